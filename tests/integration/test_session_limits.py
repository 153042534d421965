"""How much is asked at once and how fast: concurrency, cooldowns after 429, priorities."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from aiq.errors import ExitCode
from tests.support.fault_server import FaultServer
from tests.support.replies import Reply, Seen
from tests.support.sessions import SPEED, Bench, hurried, prompts, provider

ONE = {"concurrency": 1}
DATE = {"date": "Wed, 21 Oct 2015 07:28:00 GMT", "retry-after": "Wed, 21 Oct 2015 07:28:04 GMT"}


def too_many(headers: dict[str, str] | None = None, **fields: Any) -> Reply:
    return Reply.error(429, headers=headers or {}, **fields)


def gap_s(server: FaultServer) -> float:
    """Return the seconds (of a hurried loop) between the first two requests."""
    before, after = server.ledger[:2]
    return (after.at - before.at) * SPEED


@hurried
@pytest.mark.parametrize(
    ("reply", "wait_s"),
    [
        (too_many({"retry-after-ms": "800"}), 0.8),
        (too_many({"retry-after-ms": "800", "retry-after": "30"}), 0.8),
        (too_many({"retry-after": "3"}), 3.0),
        (too_many({"retry-after": "2.5"}), 2.5),
        (too_many(DATE), 4.0),
        (too_many(message="Rate limit reached. Please try again in 1.5s."), 1.5),
        (too_many(message="Please retry in 2300ms"), 2.3),
        (Reply.error(503, headers={"retry-after": "2"}), 2.0),
        (Reply.error(529, headers={"retry-after": "2"}), 2.0),
        (too_many({"retry-after": "soon"}), 1.0),
        (too_many(), 1.0),
        (Reply.error(498), 1.0),
    ],
    ids=[
        "ms", "ms wins", "seconds", "float", "date", "text", "text ms", "503", "529",
        "nonsense", "no hint", "498",
    ],
)  # fmt: skip
async def test_nothing_arrives_before_the_wait_is_over(
    tmp_path: Path, reply: Reply, wait_s: float
) -> None:
    """The wait a server asks for is kept by all jobs, counts for none, and is not exaggerated."""
    async with FaultServer([reply]) as server:
        bench = Bench(tmp_path, a=provider(server), run={"concurrency": 1})
        result = await bench.run(prompts(6))
        assert result.exit_code is ExitCode.OK
        assert len(server.ledger) == 7
        assert wait_s <= gap_s(server) < 2 * wait_s + 20.0
    assert bench.attempts("p0") == [("a", "rate_limited"), ("a", "ok")]
    told = result.to_json()
    assert (told["providers"][0]["rate_limited"], told["providers"][0]["failed"]) == (1, 0)


@hurried
async def test_a_cooldown_only_grows(tmp_path: Path) -> None:
    """Of several replies that were in flight together the longest wait counts."""
    waits = {"p0": "6", "p1": "1", "p2": "3"}

    def script(seen: Seen) -> Reply | None:
        return too_many({"retry-after": waits[seen.prompt]}) if seen.number <= 3 else None

    async with FaultServer(script) as server:
        bench = Bench(tmp_path, a=provider(server), run={"concurrency": 3})
        assert (await bench.run(prompts(3))).exit_code is ExitCode.OK
        asked = min(seen.at for seen in server.ledger if seen.prompt == "p0")
        assert all((seen.at - asked) * SPEED >= 6.0 for seen in server.ledger[3:])
        assert len(server.ledger) == 6


@hurried
async def test_others_work_during_a_cooldown(tmp_path: Path) -> None:
    """A limited provider is passed over, its jobs fail over at once, and it is asked no more."""
    async with FaultServer(too_many({"retry-after": "3600"})) as limited, FaultServer() as good:
        bench = Bench(tmp_path, a=provider(limited), b=provider(good), run=ONE)
        result = await bench.run(prompts(20))
        assert result.exit_code is ExitCode.OK
        assert (len(limited.ledger), len(good.ledger)) == (1, 20)
    assert bench.attempts("p0") == [("a", "rate_limited"), ("b", "ok")]
    assert bench.attempts("p1") == [("b", "ok")]
    assert result.to_json()["providers"][0]["status"] == "degraded"


@hurried
async def test_providers_of_one_account_share_the_cooldown(tmp_path: Path) -> None:
    async with FaultServer([too_many({"retry-after": "3"})]) as a, FaultServer() as b:
        bench = Bench(
            tmp_path, a=provider(a, account="team"), b=provider(b, account="team"), run=ONE
        )
        assert (await bench.run(prompts(5))).exit_code is ExitCode.OK
        first = a.ledger[0].at
        assert all((seen.at - first) * SPEED >= 3.0 for seen in [*a.ledger[1:], *b.ledger])


@hurried
async def test_waiting_for_a_cooldown_fails_no_job(tmp_path: Path) -> None:
    """Ten 429s for one job are ten waits, not ten of its five attempts."""
    replies = [too_many({"retry-after-ms": "100"})] * 10
    async with FaultServer(replies) as server:
        bench = Bench(tmp_path, a=provider(server), run=ONE)
        assert (await bench.run(prompts(1))).exit_code is ExitCode.OK
        assert len(server.ledger) == 11


@hurried
async def test_patience_bounds_a_long_cooldown(tmp_path: Path) -> None:
    """`--max-wait` also bounds the wait for a provider that asks for an hour."""
    async with FaultServer(too_many({"retry-after": "3600"})) as server:
        bench = Bench(tmp_path, a=provider(server), run={"max_wait_s": 2.0})
        result = await bench.run(prompts(3))
    assert result.exit_code is ExitCode.NO_PROVIDER
    assert bench.states() == {"pending": 3}


async def test_as_many_as_asked_for_are_in_flight(tmp_path: Path) -> None:
    """The maximum that the server saw is the concurrency, when there is enough work."""
    gate = asyncio.Event()
    async with FaultServer(Reply(until=gate)) as server:
        bench = Bench(tmp_path, a=provider(server), run={"concurrency": 12})
        running = asyncio.create_task(bench.run(prompts(50)))
        await server.seen(12)
        gate.set()
        assert (await running).exit_code is ExitCode.OK
        assert server.in_flight_max == 12


async def test_a_provider_s_own_limit_is_waited_for(tmp_path: Path) -> None:
    """A better rank that is merely full is waited for: nothing overflows to the next."""
    slow = Reply(delay_s=0.01)
    async with FaultServer(slow) as best, FaultServer() as spare:
        bench = Bench(
            tmp_path, a=provider(best, max_in_flight=3), b=provider(spare), run={"concurrency": 10}
        )
        assert (await bench.run(prompts(30))).exit_code is ExitCode.OK
        assert best.in_flight_max == 3
        assert (len(best.ledger), len(spare.ledger)) == (30, 0)


async def test_the_limit_holds_for_jobs_that_failed_over(tmp_path: Path) -> None:
    """A failed-over job passes the target's own limit like any other."""
    slow = Reply(delay_s=0.01)
    async with FaultServer(Reply.error(402)) as broke, FaultServer(slow) as target:
        bench = Bench(
            tmp_path,
            a=provider(broke),
            b=provider(target, max_in_flight=2),
            run={"concurrency": 10},
        )
        assert (await bench.run(prompts(30))).exit_code is ExitCode.OK
        assert target.in_flight_max <= 2


async def test_urgent_prompts_go_first(tmp_path: Path) -> None:
    """Higher priority first, equals in the order of the file, over all of the file."""
    lines = [{"id": f"p{n}", "prompt": f"p{n}", "priority": n % 3 - 1} for n in range(9)]
    async with FaultServer() as server:
        bench = Bench(tmp_path, a=provider(server), run=ONE)
        await bench.run(lines)
    assert [seen.prompt for seen in server.ledger] == [
        "p2", "p5", "p8", "p1", "p4", "p7", "p0", "p3", "p6"
    ]  # fmt: skip


async def test_limit_takes_the_first_jobs_only(tmp_path: Path) -> None:
    """`--limit` asks for so many jobs, the rest stays pending and is next."""
    async with FaultServer() as server:
        bench = Bench(tmp_path, a=provider(server), run=ONE)
        result = await bench.run(prompts(10), limit=4)
        assert result.exit_code is ExitCode.OK
        assert [seen.prompt for seen in server.ledger] == ["p0", "p1", "p2", "p3"]
        assert bench.states() == {"succeeded": 4, "pending": 6}
        assert bench.recorder.plans[0].pending == 4

        await bench.run(limit=3)
        assert [seen.prompt for seen in server.ledger[4:]] == ["p4", "p5", "p6"]
    assert bench.states() == {"succeeded": 7, "pending": 3}


async def test_max_wait_ends_a_run_that_keeps_itself_busy(tmp_path: Path) -> None:
    """Answers that are none, one after the other, are no sign of a usable provider."""
    async with FaultServer(Reply.html()) as server:
        bench = Bench(
            tmp_path,
            a=provider(server),
            run={"max_wait_s": 0.3, "concurrency": 4, "max_attempts": 50},
        )
        result = await bench.run(prompts(5000))
    assert result.exit_code is ExitCode.NO_PROVIDER
    assert len(server.ledger) < 5000
