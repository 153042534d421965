"""The detector on recorded latencies: nobody is woken for nothing, and nothing is slept through."""

from __future__ import annotations

import functools

import pytest

from aiq.policy.alert import AlertLevel
from tests.anomalies.__main__ import main, row
from tests.anomalies.score import played
from tests.anomalies.series import Series, all_series
from tests.support.lines import lines_of

SAMPLES = 5000


@functools.cache
def by_name() -> dict[str, Series]:
    return {one.name: one for one in all_series(SAMPLES)}


@pytest.mark.parametrize("name", [one.name for one in all_series(1)])
def test_what_is_found_and_what_is_not_there(name: str) -> None:
    """No critical alert without cause, a warning in 1,600 samples at most; incidents are found."""
    series = by_name()[name]
    score = played(series)
    assert score.per_10_000(AlertLevel.CRITICAL) == 0
    assert score.per_10_000(AlertLevel.WARNING) <= 6
    assert len(score.delays) >= 0.8 * score.incidents
    assert (score.delay is None) == (score.incidents == 0)
    assert row(series, score).startswith(f"| {series.name} | ")


def test_a_series_is_the_same_each_time() -> None:
    first, again = (list(all_series(50)) for _ in range(2))
    assert first == again


def test_the_command_prints_a_row_for_each(capsys: pytest.CaptureFixture[str]) -> None:
    main(samples=100)
    heading, rule, *rows = lines_of(capsys.readouterr().out)
    assert {line.count("|") for line in (heading, rule, *rows)} == {8}
    assert len(rows) == len(list(all_series(1)))
