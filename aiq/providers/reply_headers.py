"""
What a reply's headers say beside the answer: the account's limits, and the request's id.

OpenAI's names are spoken by Azure, Groq, Fireworks and many more; Anthropic has its own. Vendors do
not name the period of a limit, but one per minute is whole again within a minute: a limit that
needs longer (Groq counts requests per day) is of another period and is not reported. A limit that
is not positive (Azure sends -1 and 0) means that nothing is said. Nothing here raises.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import NamedTuple

import httpx

from aiq.model import Quota
from aiq.providers.durations import parse_duration

_MINUTE_S = 60.0
_MOST_DIGITS = 15


class _Names(NamedTuple):
    """The headers of one dimension, in lower case; `reset` only where it is a duration."""

    limit: bytes
    left: bytes
    reset: bytes | None = None


def _openai(wire: bytes) -> _Names:
    return _Names(*(b"x-ratelimit-%b-%b" % (fact, wire) for fact in _OPENAI_FACTS))


def _anthropic(wire: bytes) -> _Names:
    return _Names(*(b"anthropic-ratelimit-%b-%b" % (wire, fact) for fact in _ANTHROPIC_FACTS))


_OPENAI_FACTS = (b"limit", b"remaining", b"reset")
_ANTHROPIC_FACTS = (b"limit", b"remaining")

_DIMENSIONS = (
    ("requests", _openai(b"requests")),
    ("tokens", _openai(b"tokens")),
    ("input_tokens", _openai(b"tokens-prompt")),  # Fireworks
    ("output_tokens", _openai(b"tokens-generated")),
    ("requests", _anthropic(b"requests")),
    ("tokens", _anthropic(b"tokens")),
    ("input_tokens", _anthropic(b"input-tokens")),
    ("output_tokens", _anthropic(b"output-tokens")),
)
_IDS = (b"x-request-id", b"request-id")
_LIMITS = frozenset(name for _, names in _DIMENSIONS for name in names if name is not None)
_KNOWN = _LIMITS.union(_IDS)


class Said(NamedTuple):
    """What the headers of a reply say; None: nothing."""

    quota: Quota | None = None
    request_id: str | None = None
    """Under which the vendor's support finds this request; at most 200 characters."""


_NOTHING = Said()


def read_headers(headers: Mapping[str, str]) -> Said:
    """Return what the headers say, in one pass over them."""
    found = _among(headers, _KNOWN)
    return Said(_quota(found), _request_id(found)) if found else _NOTHING


def _quota(found: Mapping[bytes, bytes]) -> Quota | None:
    facts: dict[str, int] = {}
    for dimension, names in _DIMENSIONS:
        if names.limit in found or names.left in found:
            facts |= _facts(dimension, names, found)
    return Quota(**facts) if facts else None


def _request_id(found: Mapping[bytes, bytes]) -> str | None:
    value = next((found[name] for name in _IDS if found.get(name)), None)
    return None if value is None else value[:200].decode("latin-1")


def _among(headers: Mapping[str, str], names: Container[bytes]) -> dict[bytes, bytes]:
    """Return those of the headers; one pass over all, where each public look-up is a pass."""
    if not isinstance(headers, httpx.Headers):
        headers = httpx.Headers(headers)
    return {name: value for _, name, value in headers._list if name in names}  # noqa: SLF001


def _facts(dimension: str, names: _Names, found: Mapping[bytes, bytes]) -> dict[str, int]:
    """Return the fields of `Quota` that one dimension's headers fill."""
    limit, left = _number(found.get(names.limit)), _number(found.get(names.left))
    if names.limit in found and not limit:
        return {}
    facts = {}
    if limit and _is_per_minute(names, found):
        facts[f"{dimension}_limit"] = limit
    if left is not None:
        facts[f"{dimension}_left"] = left
    return facts


def _is_per_minute(names: _Names, found: Mapping[bytes, bytes]) -> bool:
    reset = found.get(names.reset) if names.reset is not None else None
    full_in_s = parse_duration(reset.decode("latin-1")) if reset is not None else None
    return full_in_s is None or full_in_s <= _MINUTE_S


def _number(value: bytes | None) -> int | None:
    if value is None or not value.isdigit() or len(value) > _MOST_DIGITS:
        return None
    return int(value)
