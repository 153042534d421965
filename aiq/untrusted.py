r"""
The one function that shows untrusted text.

Answers, ids, file names and provider errors are written by strangers. Before any of it reaches a
screen, or in a message somebody else's, it passes through `visible`: control, direction and
zero-width characters become escapes (`\x1b`), piles of accents stop growing, and length is capped.
Markup has no meaning anywhere in the command line, so brackets need no escape there.
"""

from __future__ import annotations

import unicodedata

SENTENCE = 300
"""How much of a message fits a line that is still read."""

NAME = 60
"""How much of a name fits a sentence."""

ACCENTS = 4
"""Combining marks one letter may carry; real scripts need fewer."""

# Cc control, Cf direction marks and zero width, Cs lone surrogates, Zl and Zp line breaks.
_HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# Letters and marks by category that take no room: joiners, fillers, inherent vowels.
_HIDDEN_LETTERS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0")
# Kept by Unicode for characters that take no room either, once there are any.
_HIDDEN_RANGES = (range(0x2065, 0x2066), range(0xFFF0, 0xFFF9), range(0xE0000, 0xE1000))
_LAYOUT = frozenset("\n\t")


def visible(text: str, limit: int = SENTENCE, *, lines: bool = False) -> str:
    """
    Return the text as it may be shown: printable, and no longer than `limit` characters.

    Args:
        limit: what is longer ends in an ellipsis.
        lines: line feeds and tabs are layout here; otherwise they are escaped like the rest.
    """
    text = text[: limit + 1]
    if not (text.isascii() and text.isprintable()):
        text = "".join(_shown(text, _LAYOUT if lines else frozenset()))
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _shown(text: str, layout: frozenset[str]) -> list[str]:
    shown = []
    accents = 0
    for char in text:
        category = unicodedata.category(char)
        accents = accents + 1 if category in ("Mn", "Me") else 0
        is_hidden = accents > ACCENTS or _is_hidden(char, category)
        shown.append(_escape(ord(char)) if is_hidden and char not in layout else char)
    return shown


def _is_hidden(char: str, category: str) -> bool:
    if category == "Cn":
        return any(ord(char) in one for one in _HIDDEN_RANGES)
    return category in _HIDDEN_CATEGORIES or char in _HIDDEN_LETTERS


def _escape(code: int) -> str:
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
