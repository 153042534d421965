"""
Secrets that never show themselves, and the redactor that stands before every sink.

A `Secret` has no readable repr and cannot be formatted by accident; the one way to its value is
`reveal()`, called where a header is built. A `Redactor` knows the real values and takes them out
of text and bytes on their way to the database, a log, an export or a screen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

REDACTED = "[redacted]"

_SHORTEST = 6
_LONG = 16


class Secret:
    """A key or a header value that must not leave the process except in its header."""

    __slots__ = ("_value", "name")

    def __init__(self, name: str, value: str) -> None:
        self.name = name
        self._value = value

    def reveal(self) -> str:
        """Return the real value; only for building a header or a redactor."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({self.name})"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)


class Redactor:
    """
    Replaces the given secrets wherever they occur.

    Values shorter than 6 characters are left alone: keys are longer. In answers the line is drawn
    at 16, because local servers are given keys like `lm-studio`, and replacing a plain word would
    damage what the user paid for.
    """

    def __init__(self, secrets: Iterable[Secret] = ()) -> None:
        values = {s.reveal() for s in secrets if len(s.reveal()) >= _SHORTEST}
        spelled = {one for value in values for one in _spellings(value)}
        self._texts = sorted(spelled, key=len, reverse=True)
        self._bytes = [value.encode() for value in self._texts]
        self._long = [value for value in self._bytes if len(value) >= _LONG]

    def text(self, text: str) -> str:
        """Return the text without any secret."""
        for value in self._texts:
            if value in text:
                text = text.replace(value, REDACTED)
        return text

    def body(self, body: bytes) -> bytes:
        """Return the bytes of a reply, or of its beginning, without any secret; nor half of one."""
        body = _without(self._bytes, body)
        begun = max((_begun_at_end(value, body) for value in self._bytes), default=0)
        return body[:-begun] + REDACTED.encode() if begun else body

    def answer(self, body: bytes) -> bytes:
        """Return a reply without anything that is long enough to be a key."""
        return _without(self._long, body)


def _without(values: Iterable[bytes], body: bytes) -> bytes:
    for value in values:
        if value in body:
            body = body.replace(value, REDACTED.encode())
    return body


def _begun_at_end(value: bytes, body: bytes) -> int:
    """Return how many bytes at the end of a body are the beginning of a value; few are a word."""
    lengths = range(len(value) - 1, _SHORTEST - 1, -1)
    return next((n for n in lengths if body.endswith(value[:n])), 0)


def _spellings(value: str) -> Iterator[str]:
    """Yield a value as it stands, and as the JSON writers of servers escape it in an echo."""
    yield value
    yield value.replace("/", "\\/")  # PHP
    for escaped in ("<>&", "<>&+'\"`"):  # Go; .NET
        for code in ("\\u{:04x}", "\\u{:04X}"):
            yield "".join(code.format(ord(c)) if c in escaped else c for c in value)
