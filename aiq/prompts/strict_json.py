"""
One line of bytes as a JSON value, strictly: a value that every provider's parser reads the same.

msgspec reads nearly every line. What it refuses goes to the standard module, which knows lone
surrogates and words its errors for people; so the standard module decides. Beyond its rules a
line may not hold NaN or an infinity (also as 1e999), a byte order mark, deeper nesting or longer
integers than the limits below. Duplicate keys: the last wins.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

import msgspec

DEPTH_LIMIT = 100
"""How deep arrays and objects may nest; the outermost counts as 1."""

DIGIT_LIMIT = 4300
"""Digits an integer may have: Python's own limit, which the environment could lift."""

_REASON_LIMIT = 200
_BOM = b"\xef\xbb\xbf"
# Possessive throughout, and an unfinished string runs to the end: linear on any input.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.?)*+"?', re.DOTALL)
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_OPENING = frozenset(b"[{")

_fast_decode = msgspec.json.Decoder().decode


class BadLine(ValueError):  # it names a thing in a list, not a failure of aiq
    """
    A line that is no prompt.

    The text is one short sentence for a list; it may quote the line, so it is cut to 200
    characters, and lone surrogates are spelled out so that it can be stored and printed.
    """

    def __init__(self, reason: str) -> None:
        if len(reason) > _REASON_LIMIT:
            reason = reason[: _REASON_LIMIT - 1] + "…"
        super().__init__(reason.encode("utf-8", "backslashreplace").decode())


def decode(line: bytes) -> Any:
    """
    Return the JSON value of a line.

    Raises:
        BadLine: the line is not UTF-8, not JSON, or outside the limits of this module.

    """
    if not line.isascii() and _BOM in line:
        raise BadLine("byte order mark inside the file; in a text write it as \\ufeff")
    # No line nests deeper than it has opening brackets: the scan is for the few that have many.
    if line.count(b"[") + line.count(b"{") > DEPTH_LIMIT and _is_too_deep(line):
        raise BadLine(f"nested deeper than {DEPTH_LIMIT}")
    try:
        return _fast_decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _decode_slowly(line)


def _is_too_deep(line: bytes) -> bool:
    depth = 0
    for bracket in _STRING.sub(b"", line).translate(None, _NOT_BRACKETS):
        depth += 1 if bracket in _OPENING else -1
        if depth > DEPTH_LIMIT:
            return True
    return False


def _decode_slowly(line: bytes) -> Any:
    try:
        return json.loads(
            line.decode(),
            parse_constant=_refuse_constant,
            parse_float=_finite,
            parse_int=_short_integer,
        )
    except UnicodeDecodeError as error:
        raise BadLine(f"invalid UTF-8 at byte offset {error.start}") from None
    except json.JSONDecodeError as error:
        fault = error.msg[0].lower() + error.msg[1:].removesuffix(" at")
        raise BadLine(f"not valid JSON: {fault} at column {error.pos + 1}") from None


def _refuse_constant(name: str) -> NoReturn:
    raise BadLine(f"{name} is not a JSON number")


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise BadLine(f"number out of range: {digits[:20]}")
    return number


def _short_integer(digits: str) -> int:
    if len(digits.removeprefix("-")) > DIGIT_LIMIT:
        raise BadLine(f"an integer of more than {DIGIT_LIMIT} digits")
    return int(digits)
