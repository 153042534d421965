"""A fixed choice of seeds; `python -m tests.simulation` plays thousands."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.simulation.outcome import Totals, play

SEEDS = range(60)


@pytest.mark.parametrize("first", SEEDS[::10])
def test_no_seed_breaks_a_rule(first: int) -> None:
    """Whatever befalls a run, nothing is lost, sent unleased, overspent, or asked again."""
    for seed in range(first, first + 10):
        assert play(seed).broken == ()


def test_seeds_are_nasty_enough() -> None:
    """A handful of seeds meets kills, lost replies and answers that were made twice."""
    totals = Totals()
    for seed in range(100, 112):
        totals.add(play(seed))
    assert totals.failing == []
    told = dict(line.split(maxsplit=1) for line in totals.lines(wall_s=1.0))
    assert "kill" in told["blows"]
    assert "order" in told["blows"]
    assert "lost reply" in told["faults"]
    assert int(told["possibly"].split()[-1]) > int(told["answers"].split()[-1]) > 0


def test_a_seed_replays_exactly() -> None:
    """Another process, with other hashes, goes through the same events at the same instants."""
    digest = play(3).digest
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulation", "--first", "3", "--seeds", "1"],
        env=os.environ | {"PYTHONHASHSEED": "4711"},
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    )
    assert f"seed 3: trace {digest}\n" in done.stdout
