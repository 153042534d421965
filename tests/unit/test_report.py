"""Figures: what counts as what, what is unknown stays unknown, and rates over ten seconds."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest

from aiq.model import Kind, LedgerRow
from aiq.run.report import Histogram, Ledger, RateMeter, Tally, provider_json, usd


def row(kind: Kind, *, provider: str = "a", billed: str = "no", **facts: Any) -> LedgerRow:
    return LedgerRow(provider=provider, kind=kind.value, billed=billed, **facts)


def tallied(*rows: LedgerRow) -> Tally:
    tally = Tally()
    for one in rows:
        tally.add(one)
    return tally


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (Kind.OK, (1, 1, 0, 0)),
        (Kind.RATE_LIMITED, (1, 0, 1, 0)),
        (Kind.SERVER_ERROR, (1, 0, 0, 1)),
        (Kind.CONNECT, (1, 0, 0, 1)),
        (Kind.INTERRUPTED, (1, 0, 0, 1)),
        (Kind.BAD_REQUEST, (1, 0, 0, 1)),
    ],
)
def test_every_request_is_one_thing(kind: Kind, expected: tuple[int, int, int, int]) -> None:
    tally = tallied(row(kind))
    assert (tally.requests, tally.succeeded, tally.rate_limited, tally.errors) == expected


@pytest.mark.parametrize(("billed", "requests"), [("no", 0), ("maybe", 1)])
def test_what_we_stopped_is_a_request_only_if_it_was_sent(billed: str, requests: int) -> None:
    tally = tallied(row(Kind.CANCELLED, billed=billed))
    assert (tally.requests, tally.errors) == (requests, 0)
    assert tally.maybe_paid == requests


def test_possibly_paid_is_never_mixed_into_spent() -> None:
    tally = tallied(
        row(Kind.OK, billed="yes", cost_nano=5),
        row(Kind.INTERRUPTED, billed="maybe", bound_nano=1_000_000_000),
    )
    assert tally.cost_nano == 5
    assert tally.possibly_paid() == {"requests": 1, "max_usd": 1.0}


def test_one_attempt_without_a_bound_makes_the_most_unknown() -> None:
    tally = tallied(
        row(Kind.INTERRUPTED, billed="maybe", bound_nano=1),
        row(Kind.INTERRUPTED, billed="maybe", unbounded=1),
    )
    assert tally.possibly_paid() == {"requests": 2, "max_usd": None}


@pytest.mark.parametrize(
    ("cost_nano", "unpriced", "expected"),
    [(0, 0, 0.0), (1_500_000_000, 0, 1.5), (0, 1, None), (1_500_000_000, 1, 1.5)],
)
def test_unknown_alone_is_none_and_known_goes_as_far_as_it_goes(
    cost_nano: int, unpriced: int, expected: float | None
) -> None:
    assert usd(cost_nano, unpriced) == expected


def test_incomplete_costs_say_so() -> None:
    tally = tallied(
        row(Kind.OK, billed="yes", cost_nano=10), row(Kind.OK, billed="yes", unpriced=1)
    )
    found = provider_json("a", tally, {"kind": "openai"})
    assert found["cost_complete"] is False
    assert found["cost_usd"] == pytest.approx(1e-8)
    assert provider_json("a", Tally(), {})["cost_complete"] is True


def test_a_provider_has_every_key_of_the_contract() -> None:
    facts = {"kind": "openai", "model": "m", "status": "healthy", "reason": None}
    contract = {"name", "kind", "model", "status", "reason", "requests", "succeeded", "failed"}
    contract |= {"rate_limited", "in_flight", "latency_ms", "tokens", "cost_usd"}
    assert contract <= provider_json("a", Tally(), facts, in_flight=3).keys()


def test_tokens_are_summed_by_direction() -> None:
    tally = tallied(
        row(Kind.OK, billed="yes", input_tokens=3, output_tokens=5, cached_tokens=1),
        row(Kind.BAD_RESPONSE, billed="yes", input_tokens=10),
    )
    assert tally.tokens() == {"input": 13, "output": 5, "cached": 1}


def test_only_answers_are_truncated_or_refused() -> None:
    tally = tallied(
        row(Kind.OK, billed="yes", truncated=1, refused=1),
        row(Kind.BAD_RESPONSE, billed="maybe", truncated=1),
    )
    assert (tally.truncated, tally.refused) == (1, 1)


def test_a_provider_that_is_not_configured_any_more_is_still_counted() -> None:
    ledger = Ledger(["a"])
    ledger.add(row(Kind.OK, provider="gone", billed="yes"), 5.0)
    assert list(ledger.providers) == ["a", "gone"]
    assert ledger.total.succeeded == ledger.providers["gone"].succeeded == 1
    assert ledger.total.latency.count == 1


def test_an_empty_histogram_has_no_figures() -> None:
    empty = Histogram()
    assert empty.quantile(0.5) is None
    assert set(empty.to_json().values()) == {None}


def test_one_latency_is_every_percentile() -> None:
    one = Histogram()
    one.add(42.0)
    assert one.to_json() == {
        "mean": 42.0,
        "p50": 42.0,
        "p90": 42.0,
        "p95": 42.0,
        "p99": 42.0,
        "max": 42.0,
    }


@pytest.mark.parametrize("ms", [0.0, 1e-6, 0.05, 0.050001, 600_000.0, 1e9])
def test_the_ends_of_the_scale_are_exact(ms: float) -> None:
    one = Histogram()
    one.add(ms)
    assert one.quantile(0.5) == ms
    assert one.maximum == one.minimum == ms


def test_percentile_ranks_are_those_of_integers() -> None:
    """0.95 of 20 is the 19th, whatever binary fractions make of it."""
    for percent in (50, 90, 95, 99):
        for count in range(1, 3000):
            exact = -(-percent * count // 100)
            assert max(1, math.ceil(percent / 100 * count)) == exact


def test_a_histogram_does_not_grow_with_what_it_counts() -> None:
    """From 0.05 ms to 8 hours there are about a thousand buckets."""
    one = Histogram()
    for n in range(40_000):
        one.add(0.05 * 1.0005**n)
    assert len(one._buckets) <= 1100


def test_the_rate_is_over_what_has_passed_and_then_over_ten_seconds() -> None:
    meter = RateMeter(100.0)
    assert meter.rate(100.0) == 0.0
    for second in range(5):
        meter.add(100.5 + second, 10)
    assert meter.rate(105.0) == pytest.approx(10.0)
    for tenth in range(500, 600):
        meter.add(100.05 + tenth / 10, 1)
    for now in (160.0, 160.1, 160.5, 160.9):
        meter.add(now, round((now - 160.0) * 10) - meter._counts.get(160, 0))
        assert meter.rate(now) == pytest.approx(10.0)


def test_the_rate_falls_to_zero_when_nothing_ends() -> None:
    meter = RateMeter(0.0)
    meter.add(1.0, 500)
    assert meter.rate(13.0) == 0.0


def test_a_rate_meter_forgets_what_is_over() -> None:
    meter = RateMeter(0.0)
    for second in range(10_000):
        meter.add(float(second), 1)
    assert len(meter._counts) <= 12


@pytest.mark.parametrize("merged", [1, 8])
def test_bins_count_everything_once_without_a_gap(merged: int) -> None:
    """Each begins where the one before ends, and none lies beside what it counts."""
    histogram = Histogram()
    for ms, count in ((0.01, 1), (3.0, 2), (3.1, 1), (250.0, 4)):
        histogram.add(ms, count)
    bins = histogram.bins(merged)
    assert sum(count for _, count in bins) == histogram.count
    edges = [edge for edge, _ in bins]
    for lower, upper in itertools.pairwise(edges):
        assert upper / lower == pytest.approx(1.02**merged)
    assert edges[-1] <= 250.0 < edges[-1] * 1.02**merged * 1.001
    assert Histogram().bins(merged) == []
