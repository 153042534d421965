"""Where the engine's rules meet: patience, what is in flight, budgets, odd jobs, bad trials."""

from __future__ import annotations

import asyncio
import functools
import selectors
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from aiq.errors import ExitCode
from aiq.run.read_ahead import ReadAhead
from aiq.run.request import Flags
from tests.support.fault_server import FaultServer
from tests.support.invariants import rows
from tests.support.replies import Reply, Seen
from tests.support.sessions import Bench, LoopClock, batch_line, hurried, prompts, provider


class CountingSelector(selectors.DefaultSelector):
    """Counts the turns of its loop."""

    turns = 0

    def select(self, timeout: float | None = None) -> Any:
        self.turns += 1
        return super().select(timeout)


def test_a_run_out_of_patience_sleeps_until_what_is_in_flight_has_ended(tmp_path: Path) -> None:
    """Nothing may start any more, so the instant at which something could have is no alarm."""

    async def run() -> None:
        replies = [Reply(delay_s=1.0), *[Reply.error(429, headers={"retry-after": "1"})] * 9]
        async with FaultServer(replies) as server:
            bench = Bench(tmp_path, a=provider(server), run={"max_wait_s": 0.2})
            await bench.run(prompts(8))

    selector = CountingSelector()
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
        runner.run(run())
    assert selector.turns < 2000


async def test_every_request_finds_its_lease_in_the_database(tmp_path: Path) -> None:
    """At the moment a server reads a request, another process can see the attempt it stands for."""
    leased: list[tuple[str, list[tuple[Any, ...]]]] = []

    def script(seen: Seen) -> Reply | None:
        sql = (
            "SELECT number, kind FROM attempt JOIN job ON job.lease = attempt.id"
            " WHERE key = ? AND state = 'running'"
        )
        leased.append((seen.prompt, rows(bench.database, sql, seen.prompt)))
        return Reply.error(500) if seen.nth == 1 and seen.number % 7 == 0 else None

    async with FaultServer(script) as server:
        bench = Bench(tmp_path, a=provider(server), run={"concurrency": 16})
        await bench.run(prompts(120))
        expected = [(one.prompt, [(one.nth, None)]) for one in server.ledger]
    assert leased == expected


async def test_one_job_that_no_budget_can_bound_does_not_stop_the_others(tmp_path: Path) -> None:
    """It stays pending, and the run says why; the budget is not what was reached."""
    async with FaultServer() as server:
        bench = Bench(tmp_path, a=provider(server), run={"budget_usd": 10.0})
        odd = batch_line("odd", "/v1/completions", {"prompt": "no cap"})
        result = await bench.run([odd, *prompts(9)], flags=Flags(params={"max_tokens": 50}))
        assert result.exit_code is ExitCode.NO_PROVIDER
        assert "a budget cannot bound a request for `m` to a" in (result.message or "")
        assert bench.states() == {"succeeded": 9, "pending": 1}


async def test_a_model_without_a_price_is_not_the_job_s_fault(tmp_path: Path) -> None:
    """Under a budget nobody is asked, and nothing fails: without one it could be done."""
    async with FaultServer() as server:
        url = "https://api.openai.com/v1"
        priced = provider(server, base_url=url, price=None, model="gpt-4.1-mini", max_tokens=9)
        bench = Bench(tmp_path, a=priced, run={"budget_usd": 10.0})
        result = await bench.run([{"id": "1", "prompt": "x", "model": "nobody-knows"}])
        assert result.exit_code is ExitCode.NO_PROVIDER
        assert bench.states() == {"pending": 1}


@hurried
async def test_a_trial_of_unknown_outcome_is_not_repeated_if_the_user_forbids_it(
    tmp_path: Path,
) -> None:
    """A bad trial excuses its job, but nobody may pay twice who said so."""
    replies = [*[Reply.error(500)] * 5, *[Reply.reset()] * 20]
    async with FaultServer(replies) as server:
        run = {"concurrency": 1, "on_unknown": "fail", "max_wait_s": 60.0}
        bench = Bench(tmp_path, a=provider(server), run=run)
        await bench.run(prompts(2))
        asked = bench.rows(
            "SELECT job_id, count(*) FROM attempt WHERE billed = 'maybe' AND flags & 4"
            " GROUP BY job_id HAVING count(*) > 1"
        )
        assert asked == []
        assert bench.rows("SELECT count(*) FROM attempt WHERE kind = 'interrupted'")[0][0] >= 1


@hurried
async def test_trials_are_not_all_made_with_one_job(tmp_path: Path) -> None:
    """A bad trial is not held against its job, so one job could be asked for all of them."""
    async with FaultServer([Reply.error(500)] * 45) as server:
        run = {"concurrency": 1, "max_wait_s": 60.0}
        bench = Bench(tmp_path, a=provider(server), run=run)
        await bench.run(prompts(40))
        trials = bench.rows("SELECT job_id, count(*) FROM attempt WHERE flags & 4 GROUP BY job_id")
        asked = [count for _, count in trials]
        assert sum(asked) >= 5
        assert len(asked) >= 2
        assert max(asked) <= 0.75 * sum(asked)


@hurried
async def test_a_bad_trial_never_counts_against_its_job(tmp_path: Path) -> None:
    """Of three counted attempts a job has two left after an error and a bad trial, not one."""
    tried: list[str] = []

    def script(seen: Seen) -> Reply | None:
        if seen.number == 6:
            tried.append(seen.prompt)
        is_its_next = seen.prompt in tried and seen.nth <= 3
        return Reply.error(500) if seen.number <= 6 or is_its_next else None

    async with FaultServer(script) as server:
        run = {"concurrency": 5, "max_attempts": 3, "max_wait_s": 600.0}
        bench = Bench(tmp_path, a=provider(server), run=run)
        await bench.run(prompts(5))
    assert bench.states() == {"succeeded": 5}
    assert [kind for _, kind in bench.attempts(tried[0])] == [*["server_error"] * 3, "ok"]
    assert bench.rows("SELECT count(*) FROM attempt WHERE flags & 4") == [(1,)]


@hurried
async def test_a_clock_that_goes_back_asks_nobody_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job put back is remembered by this run; by the clock it was put back before the run."""
    now_us = LoopClock().utc_us()
    asked = iter([now_us])
    monkeypatch.setattr(LoopClock, "utc_us", lambda _: next(asked, now_us - 3_600_000_000))
    monkeypatch.setattr("aiq.run.read_ahead.BLOCKED_FACTOR", 1)
    monkeypatch.setattr("aiq.run.pool.ReadAhead", functools.partial(reading_late, ReadAhead))
    async with FaultServer(lambda s: Reply.error(500) if fails(s) else None) as server:
        bench = Bench(tmp_path, a=provider(server), run={"concurrency": 2, "max_wait_s": 600.0})
        result = await bench.run(prompts(30))
        assert (result.exit_code, len(server.ledger)) == (ExitCode.OK, 50)


def fails(seen: Seen) -> bool:
    """Twenty of thirty prompts fail at first."""
    return seen.nth == 1 and int(seen.prompt[1:]) < 20


def reading_late(kind: type[ReadAhead], *arguments: Any, jobs: int) -> ReadAhead:
    """Read on only when few still wait, so that a page follows what was put back."""
    return kind(*arguments, jobs=min(jobs, 25))


async def test_nothing_is_sent_to_one_that_fell_while_the_lease_was_committed(
    tmp_path: Path,
) -> None:
    """The commit takes its time, and in it the purse turns out to be empty: the attempt is free."""
    good, broke = asyncio.Event(), asyncio.Event()
    replies = [Reply(until=good), Reply.error(402, until=broke)]
    async with FaultServer(replies) as server:
        bench = Bench(tmp_path, a=provider(server), run={"concurrency": 2})
        running = asyncio.create_task(bench.run(prompts(6)))
        await server.seen(2)
        with closing(sqlite3.connect(bench.database, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            for gate, answers in ((good, 1), (broke, 2)):
                gate.set()
                await server.answered(answers)
                await passes(100)  # in which the next job is leased, and then waits for its commit
            other.execute("ROLLBACK")
        result = await running
        assert (result.exit_code, len(server.ledger)) == (ExitCode.NO_PROVIDER, 2)
    assert bench.states() == {"succeeded": 1, "pending": 5}
    assert bench.rows("SELECT billed, cost_nano FROM attempt WHERE kind = 'cancelled'") == [
        ("no", 0)
    ]


async def passes(count: int) -> None:
    """Let the event loop go round so many times."""
    for _ in range(count):
        await asyncio.sleep(0)


@hurried
async def test_jobs_behind_those_of_a_sick_provider_are_reached(tmp_path: Path) -> None:
    """3,000 prompts for a model that has to wait do not keep 50 for another one from theirs."""
    tired = Reply.error(429, headers={"retry-after": "30"})
    async with FaultServer(tired) as sick, FaultServer() as well:
        bench = Bench(
            tmp_path,
            run={"concurrency": 8, "max_wait_s": 40},
            a=provider(sick, model="x", strict_models=True),
            b=provider(well, model="y", strict_models=True),
        )
        named = [("x", 3000), ("y", 50)]
        lines = [
            {"id": f"{model}{n}", "prompt": f"{model}{n}", "model": model}
            for model, count in named
            for n in range(count)
        ]
        result = await bench.run(lines)
    assert result.exit_code is ExitCode.NO_PROVIDER
    assert bench.states() == {"pending": 3000, "succeeded": 50}
