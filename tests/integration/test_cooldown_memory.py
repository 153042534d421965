"""A new run keeps to the cooldowns that earlier runs on its database had come to."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

from aiq.clock import Clock
from aiq.errors import ExitCode
from aiq.run.fleet import Fleet, transports
from aiq.run.publisher import Publisher, recall
from aiq.store import providers
from aiq.store.db import Database
from aiq.store.writer import Writer
from aiq.store.writes import BreakerMemory
from tests.support import factories
from tests.support.fault_server import FaultServer
from tests.support.replies import Reply
from tests.support.sessions import Bench, hurried, prompts, provider

ONE = {"concurrency": 1}
HOUR_S = 3600.0
OLD_KEY, NEW_KEY = "sk-of-the-old-customer", "sk-of-the-new-customer"


class HandClock(Clock):
    """Both clocks stand where a test puts them; a new process has another monotonic zero."""

    def __init__(self, *, now: float, utc_s: float) -> None:
        self._now = now
        self._utc_s = utc_s

    def now(self) -> float:
        return self._now

    def utc_us(self) -> int:
        return round(self._utc_s * 1e6)


def fleet_of(*accounts: str) -> Fleet:
    return Fleet.of(
        [factories.provider(name=f"of-{one}", account=one) for one in accounts],
        concurrency=8,
        transports=transports(Clock(), {}),
    )


def cooldown_of(fleet: Fleet, account: str) -> float:
    return fleet.providers[f"of-{account}"].standing.account.limits.cooldown.until


async def publish(database: Database, fleet: Fleet, clock: Clock) -> None:
    """Write down what a fleet has come to, as its run does."""
    writer = Writer(database, run_id=1, committed=lambda _: None)
    writer.start(ended=lambda: None)
    Publisher(fleet, writer, clock).publish_all()
    await writer.close()


async def told_to_wait(database: Database, clock: Clock, account: str, wait_s: float) -> None:
    """Let a run publish a cooldown."""
    fleet = fleet_of(account)
    fleet.providers[f"of-{account}"].standing.account.remember(clock.now() + wait_s)
    await publish(database, fleet, clock)


async def recalled(database: Database, clock: Clock, account: str) -> float:
    """Return how long a new run leaves an account alone, and let it publish what it knows."""
    fleet = fleet_of(account)
    await recall(database, fleet, clock)
    await publish(database, fleet, clock)
    return max(0.0, cooldown_of(fleet, account) - clock.now())


async def test_what_is_left_is_counted_by_the_wall_clock(database: Database) -> None:
    """Of accounts that both runs know; the monotonic clocks have nothing in common."""
    await told_to_wait(database, HandClock(now=7.0, utc_s=1000.0), "a", 60.0)
    fleet = fleet_of("a", "b")
    await recall(database, fleet, HandClock(now=500.0, utc_s=1020.0))
    assert cooldown_of(fleet, "a") == 540.0
    assert cooldown_of(fleet, "b") < 0


async def test_what_is_over_is_not_taken_up(database: Database) -> None:
    await told_to_wait(database, HandClock(now=7.0, utc_s=1000.0), "a", 60.0)
    fleet = fleet_of("a")
    await recall(database, fleet, HandClock(now=0.0, utc_s=1060.0))
    assert not fleet.providers["of-a"].standing.account.is_cooling
    await publish(database, fleet, HandClock(now=0.0, utc_s=1060.0))
    [kept] = await providers.cooldowns(database)
    assert kept.until == 1_060_000_000, "nothing new was written"


async def test_what_a_person_wants_forgotten_no_later_run_knows(database: Database) -> None:
    """Of breakers too, also of models that were asked for in earlier runs only."""
    clock = HandClock(now=7.0, utc_s=1000.0)
    writer = Writer(database, run_id=1, committed=lambda _: None)
    writer.start(ended=lambda: None)
    url = factories.provider().base_url
    writer.submit(BreakerMemory(base_url=url, model="old", openings=3))
    await writer.run(providers.openings)  # when that is written
    fleet = fleet_of("a")
    await recall(database, fleet, clock)
    Publisher(fleet, writer, clock).forget("of-a")
    await writer.close()
    assert await providers.openings(database) == {}


async def test_a_clock_that_was_set_back_keeps_nobody_longer_than_was_asked(
    database: Database,
) -> None:
    """However far, and one run after the other: the wait is noted anew by the clock of today."""
    await told_to_wait(database, HandClock(now=0.0, utc_s=1e9), "a", 60.0)
    assert await recalled(database, HandClock(now=5.0, utc_s=1000.0), "a") == 60.0
    assert await recalled(database, HandClock(now=0.0, utc_s=1045.0), "a") == 15.0
    assert await recalled(database, HandClock(now=0.0, utc_s=1e5), "a") == 0.0


async def test_a_cooldown_that_grows_is_written_again(database: Database) -> None:
    """One row per account, the newest."""
    await told_to_wait(database, HandClock(now=0.0, utc_s=1000.0), "a", 60.0)
    await told_to_wait(database, HandClock(now=0.0, utc_s=1010.0), "a", 90.0)
    await told_to_wait(database, HandClock(now=0.0, utc_s=1010.0), "b", 5.0)
    kept = {one.account: one.until for one in await providers.cooldowns(database)}
    assert kept == {"a": 1_100_000_000, "b": 1_015_000_000}


@hurried
async def test_a_restart_in_a_long_cooldown_sends_nothing_and_is_as_patient(tmp_path: Path) -> None:
    """It waits as long as the run that was told, and says what it waited for."""
    tired = Reply.error(429, headers={"retry-after": "3600"})
    async with FaultServer(tired) as server:
        bench = Bench(tmp_path, a=provider(server), run=ONE | {"max_wait_s": 30.0})
        first = await bench.run(prompts(3))
        second = await bench.run()
        assert len(server.ledger) == 1
    assert first.exit_code is second.exit_code is ExitCode.NO_PROVIDER
    assert 30.0 <= second.elapsed_s < 3600.0
    assert second.message is not None
    assert "a: rate_limited: an earlier run was told to wait" in second.message
    assert bench.rows("SELECT status, reason FROM provider_state") == [("degraded", "rate limited")]
    assert bench.states() == {"pending": 3}


@hurried
async def test_another_account_works_at_once_in_a_remembered_cooldown(tmp_path: Path) -> None:
    """Who shares the account waits as well, under whatever name."""
    tired = Reply.error(429, headers={"retry-after": "3600"})
    async with FaultServer(tired) as limited, FaultServer() as shared, FaultServer() as other:
        team = {"account": "team"}
        bench = Bench(tmp_path, a=provider(limited, **team), run=ONE | {"max_wait_s": 2.0})
        assert (await bench.run(prompts(5))).exit_code is ExitCode.NO_PROVIDER
        bench.configure(b=provider(shared, **team), c=provider(other), run=ONE)
        result = await bench.run()
        assert result.exit_code is ExitCode.OK
        assert (len(shared.ledger), len(other.ledger)) == (0, 5)


@hurried
async def test_a_new_key_in_the_same_variable_is_not_kept_waiting(tmp_path: Path) -> None:
    """The key is the customer, and not what the variable is called; neither is ever stored."""
    tired = Reply.error(429, headers={"retry-after": "3600"})
    async with FaultServer([tired]) as server:
        keyed = provider(server, api_key_env="K")
        bench = Bench(tmp_path, run=ONE | {"max_wait_s": 2.0}, a=keyed, environ={"K": OLD_KEY})
        assert (await bench.run(prompts(3))).exit_code is ExitCode.NO_PROVIDER
        assert (await bench.run()).exit_code is ExitCode.NO_PROVIDER
        assert len(server.ledger) == 1, "the old one waits"
        bench._environ["K"] = NEW_KEY
        assert (await bench.run()).exit_code is ExitCode.OK
    assert OLD_KEY.encode() not in bench.database.read_bytes()


@hurried
async def test_one_that_cools_from_the_start_does_not_end_a_run_with_another(
    tmp_path: Path,
) -> None:
    """Patience is for runs in which nobody can be asked."""
    tired = Reply.error(429, headers={"retry-after": "3600"})
    async with FaultServer(tired) as limited, FaultServer() as other:
        bench = Bench(tmp_path, a=provider(limited), run=ONE | {"max_wait_s": 1.0})
        assert (await bench.run(prompts(3))).exit_code is ExitCode.NO_PROVIDER
        hasty = ONE | {"max_wait_s": 0.01}
        bench.configure(a=provider(limited), b=provider(other), run=hasty)
        assert (await bench.run()).exit_code is ExitCode.OK
        assert len(other.ledger) == 3


@hurried
async def test_a_reply_that_comes_while_a_run_drains_is_remembered(tmp_path: Path) -> None:
    """What a stopped run is told last is written before it leaves."""
    gate = asyncio.Event()
    tired = Reply.error(429, headers={"retry-after": "3600"}, until=gate)
    async with FaultServer(tired) as server:
        bench = Bench(tmp_path, a=provider(server), run=ONE)
        running = asyncio.create_task(bench.run(prompts(1)))
        await server.seen(1)
        assert bench.session is not None
        bench.session._signals._received(signal.SIGINT)
        gate.set()
        assert (await running).exit_code is ExitCode.SIGINT
    [(account, lasts_us)] = bench.rows("SELECT account, until - noted_at FROM cooldown")
    assert account == "a"
    assert 0.9 * HOUR_S < lasts_us / 1e6 <= HOUR_S
