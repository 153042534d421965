"""A day of `monitor` on a virtual clock: the real loop, probes, detector and health database."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import sqlite3
import sys
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import msgspec
import pytest

from aiq.config import ProviderSettings, load
from aiq.policy.alert import Alert
from aiq.providers.simulated import SimulatedSettings
from aiq.providers.simulated_transport import SimulatedTransport
from aiq.run.monitor import Monitor, asked_for
from aiq.run.probe import Probe
from aiq.store.health import KEPT, health_path
from tests.simulation.virtual_time import VirtualClock, VirtualLoop

HOUR_S = 3600.0
CONFIG = "".join(
    f'[[providers]]\nname = "{name}"\nkind = "simulated"\nmodel = "m"\n' for name in "abc"
)
FOREVER_S = 1e7

SICKENS_AND_RECOVERS = [
    ("latency anomaly", "warning"),
    ("latency anomaly", "critical"),
    ("now unhealthy", "info"),
    ("down", "critical"),
    ("now healthy", "info"),
    ("down", "over"),
    ("latency anomaly", "over"),
]


class Mood(msgspec.Struct, frozen=True):
    """How a server is at an instant."""

    latency_s: float = 0.8
    fails: bool = False
    refuses: bool = False


def mood_of(name: str, hour: float) -> Mood:
    """`b` sickens step by step in the seventh hour; `c` hangs for the whole of the tenth."""
    if name == "b" and 6 <= hour < 6.5:
        if hour < 6.2:
            return Mood(latency_s=4.0)
        return Mood(fails=True) if hour < 6.4 else Mood(refuses=True)
    if name == "c" and 9 <= hour < 10:
        return Mood(latency_s=FOREVER_S)
    return Mood()


class Server(SimulatedTransport):
    """The way to a server with moods; what is asked of it and costs something is noted."""

    def __init__(self, name: str, asked: list[float], dice: random.Random) -> None:
        super().__init__(SimulatedSettings(latency_ms=0), VirtualClock())
        self._failing = SimulatedTransport(
            SimulatedSettings(latency_ms=0, error_rate=1.0), VirtualClock()
        )
        self._name, self._asked, self._dice = name, asked, dice

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return await super().handle_async_request(request)
        now = VirtualClock().now()
        self._asked.append(now)
        mood = mood_of(self._name, now / HOUR_S)
        if mood.refuses:
            raise httpx.ConnectError("refused", request=request)
        await asyncio.sleep(mood.latency_s * self._dice.uniform(0.8, 1.25))
        if mood.fails:
            return await self._failing.handle_async_request(request)
        return await super().handle_async_request(request)


class Day:
    """The world of one monitor."""

    def __init__(self, directory: Path, interval_s: float = 60.0) -> None:
        (directory / "aiq.toml").write_text(CONFIG)
        self.database = directory / "aiq.db"
        self.asked: dict[str, list[float]] = {name: [] for name in "abc"}
        self.alerts: list[Alert] = []
        self.notes: list[str] = []
        settings = load(environ={}, working_directory=directory)
        self.settings = asked_for(settings, interval_s=interval_s, is_free=False)
        self._dice = random.Random(4711)

    def monitor(self) -> Monitor:
        probe = Probe(
            self.settings,
            database=self.database,
            model=None,
            level=None,
            clock=VirtualClock(),
            environ={},
            ways=self._way,
        )
        return Monitor(
            self.settings,
            probe.look,
            clock=VirtualClock(),
            draw=self._dice.random,
            tell=self.alerts.append,
            note=self.notes.append,
        )

    def _way(self, provider: ProviderSettings) -> httpx.AsyncBaseTransport:
        return Server(provider.name, self.asked[provider.name], self._dice)

    def told(self, name: str) -> list[tuple[str, str]]:
        return [
            (one.title, "over" if one.is_recovery else one.level.name.lower())
            for one in self.alerts
            if one.provider == name
        ]


@contextlib.contextmanager
def unsynced() -> Iterator[None]:
    """The day is virtual; the disk's flushes are not, and would take most of the test's time."""
    original = sqlite3.connect

    def connect(*args: object, **options: object) -> sqlite3.Connection:
        connection: sqlite3.Connection = original(*args, **options)  # type: ignore[call-overload]
        connection.execute("PRAGMA synchronous = OFF")
        return connection

    sqlite3.connect = connect  # type: ignore[assignment]
    try:
        yield
    finally:
        sqlite3.connect = original


def played(work: Callable[[], Coroutine[object, object, None]], *, began: float = 0.0) -> None:
    loop = VirtualLoop(began)
    try:
        loop.run_until_complete(work())
    finally:
        loop.close()


class Weight(NamedTuple):
    """Objects that there are, and blocks of memory; the test's own list of instants grows."""

    objects: int
    blocks: int


def weight() -> Weight:
    gc.collect()
    return Weight(len(gc.get_objects()), sys.getallocatedblocks())


@pytest.mark.timeout(180)
def test_a_day_of_monitoring(tmp_path: Path) -> None:
    """No interval is missed or paid twice, history and memory are bounded, every incident told."""
    interval_s = 120.0  # half of the default's work shows the same
    day = Day(tmp_path, interval_s)
    weights: list[Weight] = []
    sizes: list[int] = []

    async def watch() -> None:
        running = asyncio.create_task(day.monitor().run())
        for _ in range(4):
            await asyncio.sleep(6 * HOUR_S - 10)
            weights.append(weight())
            sizes.append(health_path(day.database).stat().st_size)
            await asyncio.sleep(10)
        running.cancel()
        await asyncio.wait([running])

    with unsynced():
        played(watch)
    for name, instants in day.asked.items():
        assert [int(at // interval_s) for at in instants] == list(range(24 * 30)), name
    assert day.notes == []
    with contextlib.closing(sqlite3.connect(health_path(day.database))) as connection:
        rows = connection.execute("SELECT provider, count(*) FROM probe GROUP BY 1").fetchall()
    assert rows == [(name, KEPT) for name in "abc"]
    assert sizes[1:] == [sizes[0]] * 3
    (objects, blocks), *later = weights[1:]  # by noon everything has happened once
    assert max(one.objects for one in later) < objects + 50
    assert max(one.blocks for one in later) < blocks + sum(map(len, day.asked.values())) + 1000
    assert day.told("a") == []
    assert day.told("b") == SICKENS_AND_RECOVERS
    assert day.told("c") == [
        ("now unhealthy", "info"),
        ("down", "critical"),
        ("now healthy", "info"),
        ("down", "over"),
    ]


def test_a_machine_that_slept_leaves_out_what_it_missed(tmp_path: Path) -> None:
    """It is not made up for: one probe in each interval in which it was awake, and a note."""
    day = Day(tmp_path)

    async def watch() -> None:
        running = asyncio.create_task(day.monitor().run())
        await asyncio.sleep(90.0)
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        loop.suspend(10 * 60.0)
        await asyncio.sleep(150.0)
        running.cancel()
        await asyncio.wait([running])

    played(watch)
    for name, instants in day.asked.items():
        assert [int(at // 60) for at in instants] == [0, 1, 11, 12, 13], name
    assert sorted(day.notes) == [
        f"{name} was not looked at for 9 intervals: this machine slept, or had no time"
        for name in "abc"
    ]


def test_who_starts_later_knows_what_was_before(tmp_path: Path) -> None:
    """The history in the database is what a new monitor judges by, and what lasts is told again."""
    day = Day(tmp_path)

    def watch(seconds: float) -> Callable[[], Coroutine[object, object, None]]:
        async def work() -> None:
            running = asyncio.create_task(day.monitor().run())
            await asyncio.sleep(seconds)
            running.cancel()
            await asyncio.wait([running])

        return work

    began = 6 * HOUR_S - 30 * 60.0
    with unsynced():
        played(watch(45 * 60.0), began=began)
        first = day.told("b")
        day.alerts.clear()
        played(watch(30.0), began=began + 45 * 60.0)
    assert first[-1] == ("down", "critical")
    assert day.told("b") == [("down", "critical")]
    assert day.told("a") == []


def test_a_simulated_provider_lives_as_long_as_whoever_probes_it(tmp_path: Path) -> None:
    """So that its outages come, and its latencies and errors are not always the first ones."""
    (tmp_path / "aiq.toml").write_text(
        '[[providers]]\nname = "a"\nkind = "simulated"\nmodel = "m"\n'
        "simulated = { outages = [[10, 25]] }\n"
    )
    statuses: list[str] = []
    latencies: set[float | None] = set()

    async def look() -> None:
        clock = VirtualClock()
        probe = Probe(
            load(environ={}, working_directory=tmp_path),
            database=tmp_path / "aiq.db",
            model=None,
            level=None,
            clock=clock,
            environ={},
        )
        for instant in range(0, 40, 8):
            await clock.sleep(instant - clock.now())
            [found] = (await probe.round()).providers
            statuses.append(found.status.value)
            latencies.add(found.latency_ms)

    with unsynced():
        played(look)
    assert statuses == ["healthy", "healthy", "unhealthy", "unhealthy", "healthy"]
    assert len(latencies - {None}) == 3


def test_a_monitor_that_looks_once_tells_what_has_changed(tmp_path: Path) -> None:
    """As a scheduled job would start it: each process begins with what was stored."""
    day = Day(tmp_path)
    with unsynced():
        for minute in range(45):
            played(lambda: day.monitor().once(), began=6 * HOUR_S + (minute - 12) * 60.0)
    assert day.told("b") == SICKENS_AND_RECOVERS
