"""
JSON as providers really write it: strict where it must be, lenient where answers would be lost.

msgspec reads and writes nearly everything at C speed. It refuses lone surrogates, which models do
produce as escapes, and numbers outside its range, so the standard module takes over where msgspec
gives up. NaN and Infinity are no JSON in either.
"""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

import msgspec

_DECODER = msgspec.json.Decoder()
_ENCODER = msgspec.json.Encoder()
_TOO_DEEP = "JSON is nested too deep"
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
        raise ValueError(_TOO_DEEP) from error


def parse_exact(text: str) -> Any:
    """
    Return the one JSON document in a text, which `encode` will write as it is.

    Raises:
        ValueError: as `parse`, or a number is too large for a float.
    """
    value = parse(text)
    try:
        is_exact = _is_exact(value)
    except RecursionError as error:
        raise ValueError(_TOO_DEEP) from error
    if not is_exact:
        raise ValueError("a number is out of range")
    return value


def encode(value: object) -> bytes:
    """
    Write JSON; text that UTF-8 cannot hold (a lone surrogate) goes out as ASCII escapes.

    JSON has no infinity: a number too large for a float, which `decode` reads as that, is null.

    Raises:
        ValueError: nested too deep to be real.
    """
    try:
        return _ENCODER.encode(value)
    except UnicodeEncodeError:
        pass
    except RecursionError as error:
        raise ValueError(_TOO_DEEP) from error
    try:
        plain = _finite(value)
        return json.dumps(plain, separators=(",", ":"), allow_nan=False).encode("ascii")
    except RecursionError as error:
        raise ValueError(_TOO_DEEP) from error


def _is_exact(value: Any) -> bool:
    """Whether `encode` writes it as it is: no number in it was too large."""
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, dict):
        value = list(value.values())
    return not isinstance(value, list) or all(_is_exact(inner) for inner in value)


def _finite(value: Any) -> Any:
    """Return a value whose infinite numbers are null, as msgspec writes them."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    return [_finite(inner) for inner in value] if isinstance(value, list | tuple) else value


def without_surrogates(text: str) -> str:
    """Return text that any database, file and terminal can hold; each lone surrogate is a `?`."""
    return text if text.isascii() else text.encode(errors="replace").decode()


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")
