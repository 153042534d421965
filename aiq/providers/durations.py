"""
How long a server asks us to wait, read from headers and error bodies.

One grammar serves every vendor: a plain number is seconds, `6m0s`, `20ms` and `1m26.4s` are sums of
units. A date counts from the reply's own `Date`, because our clock may be wrong by more than the
wait. Whatever is not a finite, non-negative duration is None; nothing here raises, and nothing
here clamps: how long we are willing to wait is a decision of policy.

Header names are looked up in lower case.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_SECONDS_PER = {
    "d": 86_400.0,
    "h": 3_600.0,
    "m": 60.0,
    "s": 1.0,
    "ms": 1e-3,
    "us": 1e-6,
    "µs": 1e-6,
    "ns": 1e-9,
}
_UNIT = "ms|us|µs|ns|d|h|m|s"  # `ms` before `m`, or 20ms would be 20 minutes and a stray s
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?")
_PART = re.compile(rf"([0-9]+(?:\.[0-9]+)?)({_UNIT})")
_PARTS = re.compile(rf"(?:[0-9]+(?:\.[0-9]+)?(?:{_UNIT}))+")
_LONGEST = 64  # characters; every known form is below 40

_HINT = re.compile(
    r"\b(?:try again|retry) (?:in|after) "
    rf"(?:(?P<run>(?:[0-9]+(?:\.[0-9]+)?(?:{_UNIT}))+)\b|(?P<seconds>[0-9]+(?:\.[0-9]+)?) ?sec)",
    re.IGNORECASE,
)


def parse_duration(text: str) -> float | None:
    """Read a number of seconds (`7`, `0.35`) or a run of units (`1m26.4s`); seconds or None."""
    text = text.strip()
    if len(text) > _LONGEST:
        return None
    if _NUMBER.fullmatch(text):
        return _finite(float(text))
    if not _PARTS.fullmatch(text):
        return None
    return _finite(sum(float(n) * _SECONDS_PER[unit] for n, unit in _PART.findall(text)))


def retry_after_s(
    headers: Mapping[str, str],
    *,
    message: str = "",
    error: object = None,
    utc_s: float | None = None,
) -> float | None:
    """
    Return the wait the reply asks for, in seconds, or None.

    The first usable of: `retry-after-ms`, `retry-after` (a number, a duration, or a date), Google's
    RetryInfo in the decoded `error` object, and the sentence that vendors put into the message. The
    wall clock `utc_s` is used for a date only when the reply has no `Date` of its own.
    """
    wait = _milliseconds(headers.get("retry-after-ms"))
    asked = headers.get("retry-after")
    if wait is None and asked is not None:
        wait = parse_duration(asked)
        if wait is None:
            wait = _until(asked, headers.get("date"), utc_s)
    if wait is None:
        wait = _retry_info(error)
    return wait if wait is not None else _spoken(message)


def _finite(seconds: float) -> float | None:
    return seconds if math.isfinite(seconds) else None


def _milliseconds(text: str | None) -> float | None:
    return None if text is None else parse_duration(f"{text.strip()}ms")


def _until(text: str, date: str | None, utc_s: float | None) -> float | None:
    """Seconds from the reply's own date (else our clock) to an instant; a past instant is 0."""
    instant = _instant(text)
    if instant is None:
        return None
    sent_at = _instant(date) if date is not None else None
    if sent_at is None:
        sent_at = utc_s
    return None if sent_at is None else max(0.0, instant - sent_at)


def _instant(text: str) -> float | None:
    """Read RFC 3339 or an HTTP date as seconds since the epoch."""
    text = text.strip()
    if len(text) > _LONGEST:
        return None
    for read in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            moment = read(text)
            if moment.tzinfo is None:  # an HTTP date is in UTC by definition
                moment = moment.replace(tzinfo=UTC)
            return moment.timestamp()
        except (ValueError, TypeError, OverflowError, IndexError):
            continue
    return None


def _retry_info(error: object) -> float | None:
    details = error.get("details") if isinstance(error, dict) else None
    if not isinstance(details, list):
        return None
    for detail in details:
        delay = detail.get("retryDelay") if isinstance(detail, dict) else None
        if isinstance(delay, str):
            return parse_duration(delay)
    return None


def _spoken(message: str) -> float | None:
    """Read "Please retry in 47.4s", "try again in 20ms" or "retry after 6 seconds"."""
    hint = _HINT.search(message)
    if hint is None:
        return None
    return parse_duration(hint["run"].lower() if hint["run"] else hint["seconds"])
