"""What a run's own answers took, judged by what is usual, however many there are."""

from __future__ import annotations

from aiq.model import Kind
from aiq.policy.alert import Alert, AlertLevel
from aiq.policy.defaults import MonitorSettings
from aiq.run.alerts.latencies import SPAN_S, LatencyWatch
from tests.support.fake_clock import FakeClock
from tests.support.reach import reachable


class Played:
    """A watch on a clock that its answers move."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.told: list[Alert] = []
        self.watch = LatencyWatch(self.told.append, MonitorSettings(), self.clock)

    async def answers(self, spans: int, ms: float, *, each: int = 20, by: str = "a") -> None:
        """Let so many answers come in each of so many spans, one of ten ten times as late."""
        for _ in range(spans):
            for number in range(each):
                self.watch(by, Kind.OK, ms * 10 if number % 10 == 9 else ms + number % 5)
            await self.clock.advance(SPAN_S)

    def titles(self) -> list[tuple[str, str, AlertLevel, bool]]:
        return [(a.provider, a.title, a.level, a.is_recovery) for a in self.told]


async def test_a_provider_that_slows_down_is_told_of_once_and_when_it_is_as_before() -> None:
    played = Played()
    await played.answers(30, 200)
    assert played.told == []
    await played.answers(10, 4000)
    begun = played.titles()
    assert {one[:2] for one in begun} == {("a", "latency anomaly")}
    assert [one[2] for one in begun] == [AlertLevel.WARNING, AlertLevel.CRITICAL]
    await played.answers(6, 200)
    assert played.titles()[len(begun) :] == [
        ("a", "latency anomaly", AlertLevel.CRITICAL, True)
    ]  # fmt: skip


async def test_one_slow_answer_among_many_is_nothing() -> None:
    played = Played()
    for number in range(100):
        played.watch("a", Kind.OK, 60_000.0)
        await played.answers(1, 200 + number % 7)
    assert played.told == []


async def test_each_provider_is_judged_by_itself() -> None:
    played = Played()
    for _ in range(30):
        played.watch("b", Kind.OK, 9000.0)
        await played.answers(1, 200)
    assert played.told == []


async def test_only_answers_say_how_long_an_answer_takes() -> None:
    """A refusal that comes at once makes nobody quick, a time-out makes nobody slow."""
    played = Played()
    await played.answers(30, 200)
    for kind in (Kind.RATE_LIMITED, Kind.BAD_REQUEST, Kind.CONNECT, Kind.SERVER_ERROR):
        for _ in range(100):
            played.watch("a", kind, 600_000.0)
        await played.answers(3, 200)
    assert played.told == []


async def test_it_does_not_grow_with_the_answers() -> None:
    played = Played()
    await played.answers(120, 200)
    before = reachable(played.watch)
    await played.answers(300, 200)
    assert reachable(played.watch) - before < 100
