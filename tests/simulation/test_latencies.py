"""A run whose provider is slow for a while, on a virtual clock: what is told of its latency."""

from __future__ import annotations

from pathlib import Path

from aiq.config.settings import RunSettings
from aiq.model import Price
from aiq.policy.alert import Alert, AlertLevel
from aiq.policy.defaults import MonitorSettings
from aiq.run.attempt_watch import AttemptWatch
from tests.simulation.life import Life
from tests.simulation.scenario import Scenario
from tests.simulation.servers import Character, Latency, Phase
from tests.support import factories

PRICE = Price(input=1.0, output=1.0)
BEGINS, ENDS = 120.0, 180.0


def played(directory: Path, *phases: Phase) -> list[Alert]:
    """Run 1,500 jobs of half a second, four at a time."""
    scenario = Scenario(
        seed=1,
        jobs=1500,
        poison=frozenset(),
        bad_lines=0,
        run=RunSettings(concurrency=4),
        providers=(factories.provider(name="a", base_url="http://a.test/v1", price=PRICE),),
        characters={
            "a": Character(latency=Latency(0.5, "lognormal", 0.3), phases=phases, price=PRICE)
        },
        blows=(),
        commit_s=0.005,
        retries_failed=False,
    )
    life = Life(scenario, directory)
    told: list[Alert] = []
    life.watchers.append(AttemptWatch(MonitorSettings(), tell=told.append, clock=life.clock))
    try:
        [ended] = life.play()
    finally:
        life.bill.close()
    assert ended.result is not None
    assert ended.result.exit_code == 0
    return told


def test_a_brown_out_is_told_of_while_it_lasts_and_when_it_is_over(tmp_path: Path) -> None:
    """Answers take 4 to 12 times as long for a minute."""
    told = played(tmp_path, Phase(BEGINS, ENDS, "brown"))
    assert [(one.title, one.level, one.is_recovery) for one in told] == [
        ("latency anomaly", AlertLevel.WARNING, False),
        ("latency anomaly", AlertLevel.CRITICAL, False),
        ("latency anomaly", AlertLevel.CRITICAL, True),
    ]
    began = told[-1].at - told[0].at
    assert 30 < began < ENDS - BEGINS + 30


def test_a_run_that_is_as_ever_tells_of_nothing(tmp_path: Path) -> None:
    told = played(tmp_path)
    assert told == []
