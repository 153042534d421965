"""
JSON as providers really write it: strict where it must be, lenient where answers would be lost.

msgspec reads and writes nearly everything at C speed. It refuses lone surrogates, which models do
produce as escapes, and numbers outside its range, so the standard module takes over where msgspec
gives up. NaN and Infinity are no JSON in either.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

import msgspec

_DECODER = msgspec.json.Decoder()
_ENCODER = msgspec.json.Encoder()
_BOM = "\N{ZERO WIDTH NO-BREAK SPACE}"


def decode(body: bytes) -> Any:
    """
    Return the one JSON document in `body`; leading blanks and a byte order mark are tolerated.

    Raises:
        ValueError: not UTF-8, not JSON, more than one document, nested too deep to be real, or an
            integer of thousands of digits.
    """
    return parse(body.decode().removeprefix(_BOM))


def parse(text: str) -> Any:
    """
    Return the one JSON document in a text, which may hold lone surrogates as they are.

    Raises:
        ValueError: as `decode`.
    """
    try:
        return _DECODER.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        pass
    try:
        return json.loads(text, parse_constant=_refuse)
    except RecursionError as error:
        raise ValueError("JSON is nested too deep") from error


def encode(value: object) -> bytes:
    """Write JSON; text that UTF-8 cannot hold (a lone surrogate) goes out as ASCII escapes."""
    try:
        return _ENCODER.encode(value)
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii")


def without_surrogates(text: str) -> str:
    """Return text that any database, file and terminal can hold; each lone surrogate is a `?`."""
    return text if text.isascii() else text.encode(errors="replace").decode()


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")
