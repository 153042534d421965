"""Figures against their own definitions: exact quantiles, plain sums, independent arithmetic."""

from __future__ import annotations

import math
import random
from decimal import ROUND_HALF_UP, Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aiq.model import Answer, Endpoint, Kind, LedgerRow, Price, Usage
from aiq.run.pricing import Pricer
from aiq.run.report import Histogram, Ledger, Tally
from tests.support.factories import NOW_US, provider

latencies = st.lists(st.floats(0.05, 3e7), min_size=1, max_size=200)
shares = st.sampled_from([0.5, 0.9, 0.95, 0.99])


def histogram(values: list[float]) -> Histogram:
    made = Histogram()
    for value in values:
        made.add(value)
    return made


@given(latencies, shares)
@example([0.05 * 1.02**n for n in range(200)], 0.5)
def test_a_percentile_is_off_by_at_most_one_percent(values: list[float], share: float) -> None:
    found = histogram(values).quantile(share)
    exact = sorted(values)[math.ceil(share * len(values)) - 1]
    assert found == pytest.approx(exact, rel=0.01)
    assert found is not None
    assert min(values) <= found <= max(values)


@given(latencies)
def test_percentiles_do_not_cross(values: list[float]) -> None:
    made = histogram(values)
    figures = [made.quantile(share) or 0.0 for share in (0.01, 0.5, 0.9, 0.95, 0.99, 1.0)]
    assert figures == sorted(figures)
    assert made.total / made.count == pytest.approx(sum(values) / len(values))


@given(latencies, st.lists(st.floats(0.05, 3e7), max_size=200))
def test_merging_is_adding_all(some: list[float], others: list[float]) -> None:
    merged = histogram(some)
    merged.merge(histogram(others))
    together = histogram(some + others)
    assert merged._buckets == together._buckets
    assert (merged.count, merged.minimum, merged.maximum) == (
        together.count,
        together.minimum,
        together.maximum,
    )
    assert merged.total == pytest.approx(together.total)


@given(latencies, st.integers(1, 50))
def test_counting_many_at_once_is_counting_each(values: list[float], times: int) -> None:
    at_once, each = Histogram(), histogram(values * times)
    for value in values:
        at_once.add(value, times)
    assert at_once._buckets == each._buckets
    assert at_once.count == each.count
    assert at_once.total == pytest.approx(each.total)


amounts = st.integers(0, 10**12)


@st.composite
def ledger_rows(draw: st.DrawFn) -> LedgerRow:
    return LedgerRow(
        provider=draw(st.sampled_from("abc")),
        kind=draw(st.sampled_from([kind.value for kind in Kind])),
        billed=draw(st.sampled_from(["yes", "no", "maybe"])),
        count=draw(st.integers(1, 5)),
        cost_nano=draw(st.none() | amounts),
        unpriced=draw(st.integers(0, 5)),
        bound_nano=draw(st.none() | amounts),
        unbounded=draw(st.integers(0, 5)),
        input_tokens=draw(amounts),
        output_tokens=draw(amounts),
        cached_tokens=draw(amounts),
    )


def figures(tally: Tally) -> dict[str, int]:
    return {name: value for name, value in vars(tally).items() if isinstance(value, int)}


def ledger_of(rows: list[LedgerRow]) -> Ledger:
    ledger = Ledger("a")
    for one in rows:
        ledger.add(one, 5.0 if one.kind == Kind.OK else None)
    return ledger


@given(st.lists(ledger_rows(), max_size=10))
def test_the_total_is_the_sum_of_its_parts(rows: list[LedgerRow]) -> None:
    ledger = ledger_of(rows)
    parts = [figures(tally) for tally in ledger.providers.values()]
    assert figures(ledger.total) == {name: sum(p[name] for p in parts) for name in parts[0]}
    assert ledger.total.latency.count == sum(t.latency.count for t in ledger.providers.values())
    assert ledger.total.requests == (
        ledger.total.succeeded
        + ledger.total.rate_limited
        + ledger.total.errors
        + sum(r.count for r in rows if r.kind == Kind.CANCELLED and r.billed != "no")
    )


@given(st.lists(ledger_rows(), max_size=10), st.randoms(use_true_random=False))
def test_the_order_of_attempts_does_not_matter(
    rows: list[LedgerRow], chance: random.Random
) -> None:
    shuffled = list(rows)
    chance.shuffle(shuffled)
    one, other = ledger_of(rows), ledger_of(shuffled)
    assert figures(one.total) == figures(other.total)
    assert {n: figures(t) for n, t in one.providers.items()} == {
        n: figures(t) for n, t in other.providers.items()
    }


prices = st.decimals(0, 1000, places=6)
tokens = st.integers(0, 10**9)

Rates = tuple[Decimal, Decimal | None, Decimal]
"""US dollars per million tokens: input, cached input, output."""
Tokens = tuple[int, int, int]


def pricer(rates: Rates) -> Pricer:
    fresh, cached, output = rates
    known = None if cached is None else float(cached)
    price = Price(input=float(fresh), output=float(output), cached_input=known)
    return Pricer(provider(price=price))


def usage(tokens_in: int, hit: int, written: int) -> Usage:
    return Usage(input_tokens=tokens_in, output_tokens=written, cached_tokens=hit)


@given(st.tuples(prices, st.none() | prices, prices), st.tuples(tokens, tokens, tokens))
def test_a_cost_is_the_decimal_product_rounded_once(price: Rates, used: Tokens) -> None:
    (fresh, cached, output), (tokens_in, hit, written) = price, used
    hit = min(hit, tokens_in)
    found = pricer(price).charge(
        Endpoint.CHAT, "m", Answer(usage=usage(tokens_in, hit, written)), utc_us=NOW_US
    )
    rate = fresh if cached is None else cached
    # USD per million tokens is the same number as thousands of nano-dollars per token.
    exact = (fresh * (tokens_in - hit) + rate * hit + output * written) * 1000
    assert found.nano == int(exact.to_integral_value(ROUND_HALF_UP))


@given(st.tuples(prices, st.none() | prices, prices), st.tuples(tokens, tokens, tokens), st.data())
def test_no_attempt_costs_more_than_its_bound(
    price: Rates, used: Tokens, data: st.DataObject
) -> None:
    """Tokens within their bounds never cost more than the bound, however many were cached."""
    tokens_in, written, slack = used
    priced = pricer(price)
    spent = usage(tokens_in, data.draw(st.integers(0, tokens_in)), written)
    cost = priced.usage_charge(Endpoint.CHAT, "m", spent, NOW_US).nano
    bound = priced.bound(
        "m", input_bound=tokens_in + slack, output_cap=written + slack, utc_us=NOW_US
    )
    assert cost is not None
    assert bound is not None
    assert bound >= cost
