"""A provider that says nothing of its limit until it is met, on a virtual clock."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest

from aiq.config.settings import RunSettings
from aiq.model import Price
from tests.simulation.bill import Entry
from tests.simulation.faults import Fault
from tests.simulation.life import Life
from tests.simulation.scenario import Scenario
from tests.simulation.servers import Character, Latency, Limit
from tests.support import factories

PRICE = Price(input=1.0, output=1.0)


@pytest.mark.parametrize(
    ("hint", "least_per_s"), [("milliseconds", 12.5), ("none", 7.5)], ids=["hint", "bare"]
)
def test_a_limit_is_learned_from_its_refusals(
    tmp_path: Path, hint: Literal["milliseconds", "none"], least_per_s: float
) -> None:
    """25 in any second: the first volley meets it, hardly anything does afterwards."""
    entries = asked(tmp_path, Limit(25, 1.0, hint))
    assert bad_share(entries) <= 0.15
    assert bad_share([one for one in entries if one.started >= 3.0]) <= 0.05
    answers = [one.started for one in entries if one.is_answer]
    assert len(answers) == 250
    assert len(answers) / (max(answers) - min(answers)) >= least_per_s


def asked(directory: Path, limit: Limit) -> list[Entry]:
    """Run 250 jobs, up to 64 at once; return the requests that the provider saw."""
    scenario = Scenario(
        seed=0,
        jobs=250,
        poison=frozenset(),
        bad_lines=0,
        run=RunSettings(concurrency=64),
        providers=(factories.provider(name="a", account="a", price=PRICE),),
        characters={"a": Character(latency=Latency(0.02), limit=limit, price=PRICE)},
        blows=(),
        commit_s=0.002,
        retries_failed=False,
    )
    life = Life(scenario, directory)
    try:
        [ended] = life.play()
        assert ended.result is not None
        assert ended.result.exit_code == 0
        return life.bill.received()
    finally:
        life.bill.close()


def bad_share(entries: list[Entry]) -> float:
    return sum(one.fault is Fault.LIMITED for one in entries) / len(entries)
