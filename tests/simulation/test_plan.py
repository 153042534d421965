"""Foretelling a fleet."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.simulation.plan import foretell
from tests.support.lines import lines_of

FLEET = """
workers = 50
concurrency = 40
seconds = 10
wanted_per_s = 2_000
[[providers]]
name = "a"
latency_s = 0.5
spread = 0
price = { input = 1.0, output = 2.0 }
"""


def test_a_fleet_is_as_quick_as_its_places_and_latency_allow(tmp_path: Path) -> None:
    """50 workers with 40 in flight for half a second each: 4,000 a second, and what they cost."""
    file = tmp_path / "fleet.toml"
    file.write_text(FLEET)
    told = foretell(file)
    [row] = [line.split() for line in lines_of(told) if line.startswith("a ")]
    answers, cost = (float(row[n].replace(",", "")) for n in (2, 5))
    assert cost == pytest.approx(answers * 3600 * (400 * 1.0 + 150 * 2.0) / 1e6, rel=0.01)
    assert row[3] == "0.00%"
    assert answers == pytest.approx(4_000, rel=0.1)


def test_the_example_is_a_fleet() -> None:
    """The file beside the simulation can be read as a plan."""
    import msgspec

    from tests.simulation.plan import Plan

    plan = msgspec.toml.decode((Path(__file__).parent / "fleet.toml").read_bytes(), type=Plan)
    assert plan.wanted_per_s == 50_000
