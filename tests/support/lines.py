"""Lines as the tool writes them, and reads them."""

from __future__ import annotations


def lines_of(text: str | bytes) -> list[str]:
    """Cut at line feeds alone: a text may hold U+2028 and other breaks of `str.splitlines`."""
    whole = text.decode() if isinstance(text, bytes) else text
    return whole.removesuffix("\n").split("\n") if whole else []
