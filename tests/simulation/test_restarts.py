"""Processes that come and go in a pause that the first of them was told of: none of them asks."""

from __future__ import annotations

from pathlib import Path

import pytest

from aiq.config.settings import RunSettings
from aiq.model import Price
from aiq.policy.account import Account
from tests.simulation.life import Life
from tests.simulation.rules import Watch
from tests.simulation.scenario import Blow, BlowKind, Scenario
from tests.simulation.servers import Character, Latency, Limit
from tests.support import factories

PRICE = Price(input=1.0, output=2.0)


@pytest.mark.parametrize("kind", ["terminate", "kill"])
def test_a_pause_lasts_from_process_to_process(tmp_path: Path, kind: BlowKind) -> None:
    """However a process ended that had the second to write down what it was told."""
    life = Life(struck_in_a_pause(kind), tmp_path)
    assert broken(life) == []
    first, second, *_ = life.processes
    assert {entry.process for entry in life.bill.entries if entry.started < 60.0} == {1}
    assert second.ended - first.began < 60.0, "it was struck in the pause as well"


def test_a_pause_that_the_next_process_does_not_know(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rule has teeth."""
    monkeypatch.setattr(Account, "remember", lambda _self, _until: None)
    found = broken(Life(struck_in_a_pause("terminate"), tmp_path))
    assert "before the end of the pause" in str(found)


def struck_in_a_pause(kind: BlowKind) -> Scenario:
    """Twenty requests a minute are made in the first second; two processes end in the rest."""
    return Scenario(
        seed=0,
        jobs=30,
        poison=frozenset(),
        bad_lines=0,
        run=RunSettings(concurrency=4, max_wait_s=300.0),
        providers=(factories.provider(name="a", account="a", price=PRICE),),
        characters={
            "a": Character(latency=Latency(0.1, "fixed", 0.0), limit=Limit(20, 60.0), price=PRICE)
        },
        blows=((Blow(kind, after=8.0),), (Blow(kind, after=8.0),)),
        commit_s=0.002,
        retries_failed=False,
    )


def broken(life: Life) -> list[str]:
    """Play a life to its end and judge it."""
    watch = Watch(life)
    try:
        for process in life.play():
            watch.ended(process)
        return watch.over()
    finally:
        life.bill.close()
