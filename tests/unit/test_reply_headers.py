"""Limits as vendors announce them: read exactly, doubted where they make no sense."""

from __future__ import annotations

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiq.model import Quota
from aiq.providers.reply_headers import read_headers

PLAIN = {"Date": "Wed, 21 Oct 2026 07:28:00 GMT", "Content-Type": "application/json"}

OPENAI = {
    "x-ratelimit-limit-requests": "10000",
    "x-ratelimit-limit-tokens": "200000",
    "x-ratelimit-remaining-requests": "9999",
    "x-ratelimit-remaining-tokens": "199912",
    "x-ratelimit-reset-requests": "6ms",
    "x-ratelimit-reset-tokens": "26ms",
}
GROQ = {
    "x-ratelimit-limit-requests": "14400",
    "x-ratelimit-limit-tokens": "18000",
    "x-ratelimit-remaining-requests": "14370",
    "x-ratelimit-remaining-tokens": "17997",
    "x-ratelimit-reset-requests": "2m59.56s",
    "x-ratelimit-reset-tokens": "7.66ms",
}
AZURE = {
    "x-ratelimit-limit-requests": "60",
    "x-ratelimit-limit-tokens": "60000",
    "x-ratelimit-remaining-requests": "59",
    "x-ratelimit-remaining-tokens": "59000",
    "x-ratelimit-reset-tokens": "17",
}
ANTHROPIC = {
    "anthropic-ratelimit-requests-limit": "1000",
    "anthropic-ratelimit-requests-remaining": "999",
    "anthropic-ratelimit-requests-reset": "2026-10-21T07:28:00Z",
    "anthropic-ratelimit-tokens-limit": "480000",
    "anthropic-ratelimit-tokens-remaining": "479000",
    "anthropic-ratelimit-tokens-reset": "2026-10-21T07:28:00Z",
    "anthropic-ratelimit-input-tokens-limit": "400000",
    "anthropic-ratelimit-input-tokens-remaining": "399000",
    "anthropic-ratelimit-input-tokens-reset": "2026-10-21T07:28:00Z",
    "anthropic-ratelimit-output-tokens-limit": "80000",
    "anthropic-ratelimit-output-tokens-remaining": "80000",
    "anthropic-ratelimit-output-tokens-reset": "2026-10-21T07:28:00Z",
}


def read(headers: dict[str, str]) -> Quota | None:
    """Read them among others, as they come off the wire."""
    pairs = [(name.encode(), value.encode()) for name, value in (PLAIN | headers).items()]
    return read_headers(httpx.Headers(pairs)).quota


@pytest.mark.parametrize(
    ("headers", "quota"),
    [
        (
            OPENAI,
            Quota(
                requests_limit=10000, requests_left=9999, tokens_limit=200000, tokens_left=199912
            ),
        ),
        (GROQ, Quota(requests_left=14370, tokens_limit=18000, tokens_left=17997)),
        (
            AZURE,
            Quota(requests_limit=60, requests_left=59, tokens_limit=60000, tokens_left=59000),
        ),
        (
            ANTHROPIC,
            Quota(
                requests_limit=1000,
                requests_left=999,
                tokens_limit=480000,
                tokens_left=479000,
                input_tokens_limit=400000,
                input_tokens_left=399000,
                output_tokens_limit=80000,
                output_tokens_left=80000,
            ),
        ),
        (
            {"X-Ratelimit-Limit-Tokens-Prompt": "60000", "X-Ratelimit-Limit-Tokens-Generated": "9"},
            Quota(input_tokens_limit=60000, output_tokens_limit=9),
        ),
    ],
    ids=["openai", "groq counts requests per day", "azure", "anthropic", "fireworks"],
)
def test_each_vendor_is_understood(headers: dict[str, str], quota: Quota) -> None:
    assert read(headers) == quota
    assert read({name.title(): value for name, value in headers.items()}) == quota
    assert read_headers({name.lower(): value for name, value in headers.items()}).quota == quota


def test_a_reply_without_such_headers_says_nothing() -> None:
    assert read({}) is None
    assert read({"x-ratelimit-reset-requests": "6ms", "x-ratelimit-limit": "5"}) is None


def test_nothing_left_is_a_fact() -> None:
    assert read({"x-ratelimit-remaining-requests": "0"}) == Quota(requests_left=0)


@pytest.mark.parametrize("limit", ["-1", "0", "", "many", "1e3", "9" * 5000])
def test_a_limit_that_is_no_positive_number_means_nothing_is_said(limit: str) -> None:
    """Azure sends -1 and 0, and then what is left is as empty."""
    headers = {"x-ratelimit-limit-requests": limit, "x-ratelimit-remaining-requests": "0"}
    assert read(headers) is None


@pytest.mark.parametrize("left", ["-1", "", "lots", "0.5"])
def test_a_remainder_that_is_no_number_is_left_out(left: str) -> None:
    headers = {"x-ratelimit-limit-tokens": "100", "x-ratelimit-remaining-tokens": left}
    assert read(headers) == Quota(tokens_limit=100)


@pytest.mark.parametrize(
    ("reset", "limit"), [("60s", 500), ("1m0s", 500), ("61", None), ("6m0s", None), ("soon", 500)]
)
def test_a_limit_per_minute_is_whole_again_within_a_minute(reset: str, limit: int | None) -> None:
    headers = {
        "x-ratelimit-limit-requests": "500",
        "x-ratelimit-remaining-requests": "1",
        "x-ratelimit-reset-requests": reset,
    }
    assert read(headers) == Quota(requests_limit=limit, requests_left=1)


@given(st.dictionaries(st.sampled_from([*OPENAI, *ANTHROPIC]), st.binary(max_size=30)))
def test_no_header_value_raises(headers: dict[str, bytes]) -> None:
    """Whatever bytes a server sends."""
    quota = read_headers(
        httpx.Headers([(name.encode(), value) for name, value in headers.items()])
    ).quota
    counts = [] if quota is None else [getattr(quota, name) for name in quota.__struct_fields__]
    assert all(count is None or count >= 0 for count in counts)
