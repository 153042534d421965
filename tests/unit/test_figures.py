"""Figures as people read them."""

import pytest

from aiq.cli import figures
from aiq.run.report import Tally


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        (0, "$0"),
        (1_234.5, "$1,234.50"),
        (1, "$1.00"),
        (0.97, "$0.9700"),
        (0.0123, "$0.0123"),
        (0.001, "$0.0010"),
        (0.00016, "$0.00016"),
        (0.0000125, "$0.0000125"),
        (0.000000001, "$0.000000001"),
    ],
)
def test_money_never_rounds_to_nothing(amount: float, shown: str) -> None:
    assert figures.usd(amount) == shown


@pytest.mark.parametrize(
    ("cost_nano", "unpriced", "shown"),
    [
        (0, 0, "$0"),
        (12_300_000, 0, "$0.0123"),
        (12_300_000, 2, "≥ $0.0123"),
        (0, 2, "unknown"),
    ],
)
def test_an_unknown_price_is_said_and_never_zero(cost_nano: int, unpriced: int, shown: str) -> None:
    tally = Tally()
    tally.cost_nano, tally.unpriced = cost_nano, unpriced
    assert figures.cost(tally) == shown


@pytest.mark.parametrize(
    ("count", "nano", "unbounded", "shown"),
    [
        (0, 0, 0, None),
        (1, 160_000, 0, "1 request, at most $0.00016"),
        (3, 2_000_000_000, 0, "3 requests, at most $2.00"),
        (
            3,
            2_000_000_000,
            1,
            "3 requests, without an upper bound: they had no `max_tokens` or no price",
        ),
    ],
)
def test_possibly_paid_says_how_much_at_most(
    count: int, nano: int, unbounded: int, shown: str | None
) -> None:
    tally = Tally()
    tally.maybe_paid, tally.maybe_nano, tally.maybe_unbounded = count, nano, unbounded
    assert figures.possibly_paid(tally) == shown


@pytest.mark.parametrize(
    ("ms", "shown"),
    [
        (None, "-"),
        (0.4, "0.4 ms"),
        (9.94, "9.9 ms"),
        (9.96, "10 ms"),
        (999.4, "999 ms"),
        (999.6, "1.00 s"),
        (9_994, "9.99 s"),
        (12_340, "12.3 s"),
        (125_000, "2:05"),
    ],
)
def test_latencies_have_three_digits(ms: float | None, shown: str) -> None:
    assert figures.milliseconds(ms) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0, "0:00"), (59.9, "0:59"), (725, "12:05"), (3753, "1:02:33")]
)
def test_durations_are_clocks(seconds: float, shown: str) -> None:
    assert figures.clock(seconds) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"), [(-1, "1 s"), (0.2, "1 s"), (1.01, "2 s"), (119, "119 s"), (125, "2:05")]
)
def test_a_wait_is_rounded_up(seconds: float, shown: str) -> None:
    assert figures.wait(seconds) == shown


@pytest.mark.parametrize(
    ("per_second", "shown"),
    [
        (0, "0/s"),
        (0.0001, "0.36/h"),
        (0.02, "1.2/min"),
        (0.25, "15/min"),
        (1, "1.0/s"),
        (99.94, "99.9/s"),
        (1234, "1,234/s"),
    ],
)
def test_rates_use_the_unit_that_says_more(per_second: float, shown: str) -> None:
    assert figures.rate(per_second) == shown


@pytest.mark.parametrize(
    ("count", "shown"),
    [(0, "0"), (999, "999"), (1_000, "1.0k"), (123_456, "123k"), (4_500_000, "4.5M")],
)
def test_large_counts_are_short(count: int, shown: str) -> None:
    assert figures.compact(count) == shown


def test_hundred_percent_means_all() -> None:
    assert figures.percent(999, 1000) == 99
    assert figures.percent(1000, 1000) == 100
    assert figures.percent(0, 0) == 100
