"""Header durations and Retry-After: every known form, and nothing but finite waits."""

from __future__ import annotations

import pytest

from aiq.providers.durations import parse_duration, retry_after_s

DATE = "Wed, 21 Oct 2026 07:28:00 GMT"
LATER = "Wed, 21 Oct 2026 07:28:30 GMT"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7.0),
        ("0.35", 0.35),
        (" 12 ", 12.0),
        ("0", 0.0),
        ("1e2", 100.0),
        ("6m0s", 360.0),
        ("20ms", 0.02),
        ("1m26.4s", 86.4),
        ("2h59m56.603s", 10796.603),
        ("45.837906927s", 45.837906927),
        ("10h17m5.723541104s", 37025.723541104),
        ("1d", 86400.0),
        ("5us", 5e-6),
        ("5µs", 5e-6),
        ("5ns", 5e-9),
    ],
)
def test_known_forms(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    ["", "soon", "-5", "nan", "inf", "1e999", "1_000", "٣", "5 minutes", "1s!", "s", "9" * 5000],
)
def test_anything_else_is_none(text: str) -> None:
    assert parse_duration(text) is None


def test_milliseconds_are_preferred() -> None:
    assert retry_after_s({"retry-after-ms": "350", "retry-after": "7"}) == pytest.approx(0.35)


@pytest.mark.parametrize("garbage", ["nan", "-1", "1e999", "", "soon"])
def test_unusable_milliseconds_fall_through(garbage: str) -> None:
    assert retry_after_s({"retry-after-ms": garbage, "retry-after": "7"}) == 7.0


def test_a_date_counts_from_the_replys_own_date() -> None:
    """Our clock may be wrong by more than the wait."""
    assert retry_after_s({"retry-after": LATER, "date": DATE}, utc_s=0.0) == 30.0


def test_a_past_date_is_zero() -> None:
    assert retry_after_s({"retry-after": DATE, "date": LATER}) == 0.0


def test_rfc_3339_is_a_date_too() -> None:
    assert retry_after_s({"retry-after": "2026-10-21T07:28:10Z", "date": DATE}) == 10.0


def test_a_date_without_any_clock_is_unknown() -> None:
    assert retry_after_s({"retry-after": LATER}) is None


def test_our_clock_serves_where_the_reply_has_no_date() -> None:
    assert retry_after_s({"retry-after": "Thu, 01 Jan 1970 00:01:00 GMT"}, utc_s=15.0) == 45.0


def test_google_retry_info() -> None:
    error = {"details": [{"@type": "Help"}, {"retryDelay": "47.434392449s"}]}
    assert retry_after_s({}, error=error) == pytest.approx(47.434392449)


@pytest.mark.parametrize(
    ("message", "seconds"),
    [
        ("Quota exceeded. Please retry in 47.4s.", 47.4),
        ("Rate limit reached. Please try again in 20ms. Visit us.", 0.02),
        ("Please try again in 6m0s", 360.0),
        ("Please retry after 26 seconds.", 26.0),
        ("please retry in 10h17m5.7s", 37025.7),
        ("Try again later, in 5s or so", None),
        ("", None),
    ],
)
def test_spoken_hints(message: str, seconds: float | None) -> None:
    found = retry_after_s({}, message=message)
    assert found == (None if seconds is None else pytest.approx(seconds))


def test_headers_win_over_the_message() -> None:
    assert retry_after_s({"retry-after": "3"}, message="retry in 9s") == 3.0


@pytest.mark.parametrize(
    "error", [None, [], "x", {"details": 3}, {"details": [1, {}]}, {"details": None}]
)
def test_an_error_without_a_hint_is_none(error: object) -> None:
    assert retry_after_s({}, error=error) is None


@pytest.mark.parametrize(
    "text", ["Wed, 99 Oct 2026 07:28:00 GMT", "9999999999999-01-01", "Mon", "\x00"]
)
def test_broken_dates_are_none(text: str) -> None:
    assert retry_after_s({"retry-after": text, "date": DATE}, utc_s=0.0) is None
