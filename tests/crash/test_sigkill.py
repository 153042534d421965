"""SIGKILL in the middle of the sending: nothing lost, nothing finished asked again."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from pathlib import Path

import pytest

from tests.crash.kills import kill_loop, settled
from tests.crash.ordeal import check
from tests.support.fault_server import FaultServer
from tests.support.invariants import rows
from tests.support.ledger import Picture, check_all_answered, check_requests, picture, prompts
from tests.support.process import FULL, Workplace
from tests.support.replies import Reply

JOBS = 2_000 if FULL else 400
STEPS = (2, 3, 5, 8, 13, 21, 34) if FULL else (2, 5, 13)
"""The kills of a loop come at JOBS * step / 40 requests."""

SLOW = Reply(delay_s=0.005)
"""Long enough that a kill finds requests in flight."""


async def killed_at(place: Workplace, server: FaultServer, file: str, count: int) -> Picture:
    """Run until the server has seen so many requests in all, kill, and look at what is left."""
    running = await place.start("run", file)
    await server.seen(count)
    running.send(signal.SIGKILL)
    assert (await running.ended()).code == -signal.SIGKILL
    return picture(place.db)


async def test_every_job_is_answered_once_over_a_loop_of_kills(tmp_path: Path) -> None:
    """Requests stay within the jobs plus what was leased at each kill, and those are named."""
    async with FaultServer(SLOW) as server, Workplace(tmp_path, a=server) as place:
        file = place.write(prompts(JOBS))
        pictures = [await killed_at(place, server, file, JOBS * step // 40) for step in STEPS]
        ended = await place.run("run", file, "--json")

        assert ended.code == 0, ended.text
        check_all_answered(place.db, JOBS)
        check_requests(place.db, server)
        leased = sum(len(one.leased) for one in pictures)
        assert JOBS <= len(server.ledger) <= JOBS + leased
        final = picture(place.db)
        for one in pictures:
            again = [key for key in one.succeeded if final.attempts[key] != one.attempts[key]]
            assert again == [], "a finished job was asked again"
        assert pictures[-1].succeeded, "the kills came too early to prove anything"
        check_possibly_paid(place.db, ended.json(), leased)
        status = (await place.run("status", "--json")).json()
        assert status["possibly_paid"] == ended.json()["possibly_paid"]


def check_possibly_paid(path: Path, result: dict[str, object], leased: int) -> None:
    """Each attempt that was leased at a kill is closed as such, and shown as possibly paid."""
    closed = rows(
        path,
        "SELECT kind, billed, count(*), sum(bound_nano) FROM attempt WHERE cause = 'crash'"
        " GROUP BY kind, billed",
    )
    assert [row[:3] for row in closed] == [("interrupted", "maybe", leased)]
    assert result["possibly_paid"] == {"requests": leased, "max_usd": closed[0][3] / 1e9}


async def test_a_kill_before_the_first_answer_costs_one_request_a_job(tmp_path: Path) -> None:
    """What was leased and never answered is asked once more, after all that is fresh."""
    never = asyncio.Event()
    async with FaultServer(Reply(until=never)) as server:
        async with Workplace(tmp_path, a=server) as place:
            file = place.write(prompts(40))
            left = await killed_at(place, server, file, 16)
            server.load(None)
            ended = await place.run("run", file, "-c", "1")
        assert ended.code == 0, ended.text
        check_all_answered(place.db, 40)
        assert (left.succeeded, len(left.leased)) == (frozenset(), 16)
        asked = [seen.prompt for seen in server.ledger]
        assert Counter(asked) == Counter(f"p{n}" for n in range(40))
        assert set(asked[-16:]) == left.leased


@pytest.mark.timeout(600)
@pytest.mark.skipif(not FULL, reason="takes minutes; the loop above is the same in small")
async def test_fifty_kills_over_two_thousand_jobs(tmp_path: Path) -> None:
    """At random instants, with 32 requests of 300 ms in flight: it finishes, and all is named."""
    found = await kill_loop(
        tmp_path, kills=50, jobs=2_000, delay_s=0.3, concurrency=32, seed=20_260_000
    )
    check(found, faults=50)
    assert found.requests <= 2_000 + found.at_risk


async def test_a_kill_right_after_a_commit_asks_for_none_of_it_again(tmp_path: Path) -> None:
    """What another process could see as done stays done."""
    check(await settled(tmp_path, 10))


async def test_on_unknown_fail_asks_no_job_twice(tmp_path: Path) -> None:
    """Who never wants to pay twice gets failed jobs instead, and `retry-failed` asks again."""
    never = asyncio.Event()
    async with FaultServer(Reply(until=never)) as server:
        async with Workplace(tmp_path, a=server) as place:
            file = place.write(prompts(20))
            left = await killed_at(place, server, file, 16)
            server.load(None)
            ended = await place.run("run", file, "--on-unknown", "fail", "--json")
            assert ended.code == 1
            assert (ended.json()["failed"], ended.json()["succeeded"]) == (16, 4)
            assert not left.leased & {seen.prompt for seen in server.ledger}
            retried = await place.run("retry-failed", "--kind", "interrupted")
        assert retried.code == 0, retried.text
        check_all_answered(place.db, 20)


async def test_the_next_run_starts_at_once_after_a_kill(tmp_path: Path) -> None:
    """The kernel drops the lock; there is no time-out to wait for and no question to answer."""
    never = asyncio.Event()
    async with FaultServer(Reply(until=never)) as server, Workplace(tmp_path, a=server) as place:
        file = place.write(prompts(4))
        first = await place.start("run", file)
        await server.seen(4)
        refused = await place.run("run", file)
        assert refused.code == 5
        assert f"pid {first.pid}" in refused.text
        first.send(signal.SIGKILL)
        await first.ended()
        server.load(None)
        assert (await place.run("run", file)).code == 0
        check_all_answered(place.db, 4)


@pytest.mark.parametrize("has_run_before", [False, True])
async def test_the_holder_is_named_while_it_still_reads(
    tmp_path: Path, *, has_run_before: bool
) -> None:
    """A run owns the database from its start, and is the one to be named, not its predecessor."""
    async with FaultServer() as server, Workplace(tmp_path, a=server) as place:
        if has_run_before:
            assert (await place.run("run", place.write(prompts(1), "old.jsonl"))).code == 0
        fifo = place.fifo("slow.jsonl")
        first = await place.start("run", fifo)
        pipe = await place.opened(fifo)
        refused = await place.run("run", place.write(prompts(1), "other.jsonl"))
        assert refused.code == 5
        assert f"pid {first.pid}" in refused.text
        status = (await place.run("status", "--json")).json()
        assert status["run"]["pid"] == first.pid
        os.write(pipe, b'"p"\n')
        os.close(pipe)
        assert (await first.ended()).code == 0
