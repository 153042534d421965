"""Stopping a run: what is in flight is stored or recorded, and nothing new is sent."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from aiq.errors import ExitCode
from aiq.run.result import RunResult
from tests.support.fault_server import FaultServer
from tests.support.operating import going
from tests.support.replies import Reply, Seen
from tests.support.sessions import Bench, Recorder, hurried, prompts, provider


def received(bench: Bench, number: signal.Signals) -> None:
    """Hand a signal to the session as the event loop would, but at once."""
    assert bench.session is not None
    bench.session._signals._received(number)


@pytest.mark.parametrize(
    ("number", "exit_code"),
    [
        (signal.SIGINT, ExitCode.SIGINT),
        (signal.SIGTERM, ExitCode.SIGTERM),
        (signal.SIGHUP, ExitCode.SIGTERM),
    ],
)
async def test_the_first_signal_lets_what_is_in_flight_finish(
    tmp_path: Path, number: signal.Signals, exit_code: ExitCode
) -> None:
    """No new request after it, every answer under way is stored, the rest is pending."""
    gate = asyncio.Event()
    async with FaultServer(Reply(until=gate)) as server:
        bench = Bench(tmp_path, a=provider(server), run={"concurrency": 5})
        running = asyncio.create_task(bench.run(prompts(40)))
        await server.seen(5)
        signal.raise_signal(number)
        await asyncio.sleep(0)
        gate.set()
        result = await running
        assert result.exit_code is exit_code
        assert len(server.ledger) == 5
        assert bench.states() == {"succeeded": 5, "pending": 35}
        assert bench.recorder.snapshots[-1].is_draining

        again = await bench.run()
        assert again.exit_code is ExitCode.OK
        assert len(server.ledger) == 40


async def stopped_twice(bench: Bench, server: FaultServer, **options: Any) -> RunResult:
    """Run 12 prompts against a server that never answers, and abort when 4 are in flight."""
    running = asyncio.create_task(bench.run(prompts(12), aborted=True, **options))
    await server.seen(4)
    received(bench, signal.SIGINT)
    received(bench, signal.SIGINT)
    async with asyncio.timeout(2):
        return await running


async def test_the_second_signal_aborts(tmp_path: Path) -> None:
    """What was in flight is recorded as cancelled and possibly paid, and is asked again later."""
    async with FaultServer(Reply.hang()) as server:
        bench = Bench(tmp_path, a=provider(server, max_tokens=10))
        result = await stopped_twice(bench, server)
        assert result.exit_code is ExitCode.SIGINT
        assert bench.states() == {"pending": 12}
        assert bench.rows("SELECT kind, billed, cause, count(*) FROM attempt GROUP BY 1, 2, 3") == [
            ("cancelled", "maybe", "abort", 4)
        ]
        told = result.to_json()
        assert (told["requests"], told["possibly_paid"]["requests"]) == (4, 4)
        assert told["possibly_paid"]["max_usd"] > 0
        assert bench.recorder.snapshots[-1].in_flight == 0

        server.load(None)
        assert (await bench.run()).exit_code is ExitCode.OK
    assert len(server.ledger) == 12


async def test_our_own_abort_never_counts_against_a_job(tmp_path: Path) -> None:
    """However often a run is aborted, with `retry` the job keeps all its attempts."""
    async with FaultServer(Reply.hang()) as server:
        bench = Bench(tmp_path, a=provider(server))
        for _ in range(3):
            server.load(Reply.hang())
            await stopped_twice(bench, server)
        server.load(None)
        assert (await bench.run(prompts(12))).exit_code is ExitCode.OK


async def test_an_abort_with_on_unknown_fail(tmp_path: Path) -> None:
    """Whoever never wants to pay twice finds the aborted jobs failed, the others pending."""
    async with FaultServer(Reply.hang()) as server:
        bench = Bench(tmp_path, a=provider(server))
        await stopped_twice(bench, server, overrides={"on_unknown": "fail"})
    assert bench.states() == {"failed": 4, "pending": 8}
    assert set(bench.failures().values()) == {"interrupted"}


@pytest.mark.parametrize("request_number", [1, 2, 3, 5, 8, 9, 13, 17, 21, 30])
async def test_an_abort_at_any_moment(tmp_path: Path, request_number: int) -> None:
    """Also while leases, releases and answers of others are on their way to the database."""

    def script(seen: Seen) -> Reply | None:
        if seen.number == request_number:
            received(bench, signal.SIGINT)
            received(bench, signal.SIGINT)
        return Reply.error(400, code=seen.prompt) if seen.number % 5 == 0 else None

    async with FaultServer(script) as server:
        bench = Bench(tmp_path, a=provider(server), run={"concurrency": 8})
        result = await bench.run(prompts(60), aborted=True)
        assert result.exit_code is ExitCode.SIGINT
        before = len(server.ledger)
        server.load(None)
        await bench.run(prompts(60))
    assert bench.states().get("pending", 0) == 0
    assert before < 60


async def test_an_abort_while_a_commit_takes_its_time(tmp_path: Path) -> None:
    """Answers under way to the disk are kept when leases beside them are given up unsent."""
    first, others = asyncio.Event(), asyncio.Event()
    async with FaultServer(lambda s: Reply(until=first if s.number == 1 else others)) as server:
        bench = Bench(tmp_path, a=provider(server))
        running = asyncio.create_task(bench.run(prompts(12), aborted=True))
        await server.seen(4)
        with closing(sqlite3.connect(bench.database, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")  # the writer waits from here on
            for gate, answers in ((first, 1), (others, 4)):
                gate.set()
                await server.answered(answers)
                await passes(100)  # in which as many more are leased
            received(bench, signal.SIGINT)
            received(bench, signal.SIGINT)
            await passes(10)
            other.execute("ROLLBACK")
        result = await running
        assert result.exit_code is ExitCode.SIGINT
        assert len(server.ledger) == 4
    assert bench.states() == {"succeeded": 4, "pending": 8}
    assert bench.rows("SELECT kind, billed, count(*) FROM attempt GROUP BY 1, 2") == [
        ("cancelled", "no", 4),
        ("ok", "yes", 4),
    ]


async def passes(count: int) -> None:
    """Let the event loop go round so many times."""
    for _ in range(count):
        await asyncio.sleep(0)


class StopAtPlan(Recorder):
    """An observer that stops the run right before it begins to send."""

    def __init__(self, bench: Bench, times: int) -> None:
        super().__init__()
        self._bench, self._times = bench, times

    def plan(self, plan: Any) -> None:
        super().plan(plan)
        for _ in range(self._times):
            received(self._bench, signal.SIGTERM)


@pytest.mark.parametrize("times", [1, 2])
async def test_a_signal_before_the_first_send(tmp_path: Path, times: int) -> None:
    async with FaultServer() as server:
        bench = Bench(tmp_path, a=provider(server))
        result = await bench.run(prompts(5), observer=StopAtPlan(bench, times))
        assert result.exit_code is ExitCode.SIGTERM
        assert server.ledger == []
    assert bench.states() == {"pending": 5}
    assert bench.rows("SELECT count(*) FROM attempt") == [(0,)]


async def test_a_signal_while_reading_keeps_nothing(tmp_path: Path) -> None:
    class StopAtFirstLines(Recorder):
        def reading(self, lines: int) -> None:
            super().reading(lines)
            received(bench, signal.SIGINT)

    async with FaultServer() as server:
        bench = Bench(tmp_path, a=provider(server))
        observer = StopAtFirstLines()
        result = await bench.run(prompts(10), observer=observer, partial=True)
        assert result.exit_code is ExitCode.SIGINT
        assert server.ledger == []
        assert bench.states() == {}
        assert (await bench.run(prompts(10))).exit_code is ExitCode.OK


@hurried
async def test_the_drain_is_bounded(tmp_path: Path) -> None:
    """25 s after SIGTERM what has not answered is given up, as by a second signal."""
    async with FaultServer(Reply.hang()) as server:
        bench = Bench(tmp_path, a=provider(server))
        running = asyncio.create_task(bench.run(prompts(3), aborted=True))
        await server.seen(3)
        stopped_at = asyncio.get_running_loop().time()
        received(bench, signal.SIGTERM)
        result = await running
        waited = asyncio.get_running_loop().time() - stopped_at
    assert result.exit_code is ExitCode.SIGTERM
    assert 25.0 <= waited < 100.0
    assert bench.states() == {"pending": 3}


@hurried
@pytest.mark.parametrize(
    "reply",
    [Reply.error(429, headers={"retry-after": "600"}), Reply.html(), Reply.error(500)],
    ids=["cooldown", "back-off", "recovery"],
)
async def test_a_stop_ends_every_wait(tmp_path: Path, reply: Reply) -> None:
    """Jobs that wait are pending, and the run leaves without what they wait for."""
    async with FaultServer(reply) as server:
        bench = Bench(tmp_path, a=provider(server), run={"concurrency": 2, "max_wait_s": 900.0})
        running = asyncio.create_task(bench.run(prompts(3)))
        await server.answered(1)
        received(bench, signal.SIGINT)
        asked = len(server.ledger)
        result = await running
        assert len(server.ledger) - asked <= 1, "a request that had been let go"
    assert result.exit_code is ExitCode.SIGINT
    assert result.elapsed_s < 600.0
    assert bench.states() == {"pending": 3}


async def test_a_run_that_stops_for_whatever_reason_has_not_ended_well(tmp_path: Path) -> None:
    """Jobs are left, nobody has sent a signal, and a script would take 0 for all of them."""
    async with FaultServer(Reply(delay_s=0.01)) as server:
        bench = Bench(tmp_path, a=provider(server))
        async with going(bench, prompts(200)) as running:
            await server.seen(10)
            assert bench.session is not None
            engine = bench.session.control._engine
            assert engine is not None
            engine.pool.stop()
            result = await running
        assert (result.exit_code, result.message) == (ExitCode.NO_PROVIDER, "the run was stopped")
        assert bench.states()["pending"] > 0
