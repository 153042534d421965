"""Jobs that are cancelled or put back while a run uses their database, and without one."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from aiq.errors import ExitCode, Refused, StoreError, UnknownName
from aiq.model import DAMAGED, JobState
from aiq.policy.control import Pause, Resume, Stop
from aiq.run import cancelling as cancelling_directly
from aiq.run.cancelling import Cancelled
from aiq.run.options import Requeue, RunOptions
from aiq.run.protocol import CancelJobs, Requeued, RequeueJobs
from aiq.store import cancelling, requeueing, runs
from aiq.store.db import Database
from tests.support import factories
from tests.support.factories import NOW_US, lease, settle
from tests.support.fault_server import FaultServer
from tests.support.operating import bench_has, going, recorded, told
from tests.support.replies import Reply, Seen
from tests.support.sessions import Bench, prompts, provider

QUICK = Reply(delay_s=0.005)


def bench_of(directory: Path, server: FaultServer, **run: Any) -> Bench:
    return Bench(directory, a=provider(server), run=run)


async def cancelled(bench: Bench, *names: str, batch: str | None = None) -> Cancelled:
    """Cancel where no run is at work."""
    return await cancelling_directly.cancel(bench.database, names, batch, note=pytest.fail)


async def test_a_cancelled_batch_sends_nothing_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is in flight finishes and counts; the run ends well, and a later one leaves it alone."""
    monkeypatch.setattr(cancelling, "PAGE", 7)
    async with FaultServer(QUICK) as server:
        bench = bench_of(tmp_path, server)
        async with going(bench, prompts(300)) as running:
            await server.seen(20)
            reply = await told(bench, CancelJobs(("prompts",)))
            count = len(server.ledger)
            result = await running
        assert result.exit_code is ExitCode.OK
        assert len(server.ledger) == count
        assert bench.states() == {"succeeded": count, "cancelled": 300 - count}
        found = reply.cancelled
        assert found is not None
        assert (found.cancelled, found.before) == (300 - count, 0)
        assert found.in_flight + found.ended == count
        assert bench.recorder.snapshots[-1].pending == 0
        assert recorded(bench) == [("cancel", "prompts")]
        again = await bench.run(prompts(300))
        assert (again.exit_code, len(server.ledger)) == (ExitCode.OK, count)
        assert again.counts[JobState.CANCELLED] == 300 - count


async def test_single_jobs(tmp_path: Path) -> None:
    """By their ids, of one batch or another; a job that has ended stays as it is."""
    async with FaultServer(QUICK) as server:
        bench = bench_of(tmp_path, server, concurrency=1)
        async with going(bench, prompts(60)):
            await server.answered(2)
            await told(bench, Pause())
            await server.idle()
            reply = await told(bench, CancelJobs(("p0", "p58", "p59")))
            assert reply.cancelled == Cancelled(cancelled=2, ended=1)
            reply = await told(bench, CancelJobs(("p59",), "prompts"))
            assert reply.cancelled == Cancelled(before=1)
            with pytest.raises(UnknownName, match="no batch and no job `p60`"):
                await told(bench, CancelJobs(("p57", "p60")))
            with pytest.raises(UnknownName, match="no job `prompts` in batch"):
                await told(bench, CancelJobs(("prompts",), "prompts"))
            await told(bench, Resume())
        assert bench.states() == {"succeeded": 58, "cancelled": 2}
        assert {seen.prompt for seen in server.ledger} == {f"p{n}" for n in range(58)}


async def test_what_is_in_flight_is_not_asked_again(tmp_path: Path) -> None:
    """Its answer would have been taken; another attempt is one that nobody wants."""
    gate = asyncio.Event()
    async with FaultServer(Reply.error(500, until=gate)) as server:
        bench = bench_of(tmp_path, server, concurrency=3)
        async with going(bench, prompts(10)) as running:
            await server.seen(3)
            reply = await told(bench, CancelJobs(("prompts",)))
            assert reply.cancelled == Cancelled(cancelled=7, in_flight=3, batches=("prompts",))
            gate.set()
            assert (await running).exit_code is ExitCode.OK
        assert bench.states() == {"cancelled": 10}
        assert len(server.ledger) == 3
        assert bench.recorder.snapshots[-1].pending == 0


async def test_jobs_that_back_off_are_cancelled_where_they_wait(tmp_path: Path) -> None:
    async with FaultServer(Reply.error(500)) as server:
        bench = bench_of(tmp_path, server, concurrency=2)
        async with going(bench, prompts(4)) as running:
            await server.answered(4)
            await told(bench, CancelJobs(("prompts",)))
            assert (await running).exit_code in (ExitCode.OK, ExitCode.SOME_FAILED)
        assert set(bench.states()) <= {"cancelled", "failed"}


def first_fails(seen: Seen) -> Reply:
    """Refuse at first every prompt whose number is odd, but those that begin with q."""
    is_refused = seen.prompt[-1] in "13579" and not seen.prompt.startswith("q")
    return Reply.error(400) if seen.nth == 1 and is_refused else QUICK


async def test_failed_jobs_are_put_back_and_taken_by_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They begin afresh, and the run does not end without them."""
    monkeypatch.setattr("aiq.store.requeueing.PAGE", 3)

    async with FaultServer(first_fails) as server:
        bench = bench_of(tmp_path, server, concurrency=2)
        async with going(bench, prompts(60)) as running:
            await server.answered(50)
            reply = await told(bench, RequeueJobs(kinds=("bad_request",)))
            found = reply.requeued
            assert found is not None
            assert found.jobs == found.taken > 10
            result = await running
        assert result.count(JobState.SUCCEEDED) == 30 + found.jobs
        assert len(server.ledger) == 60 + found.jobs
        assert recorded(bench) == [("retry-failed", None)]


async def test_a_run_that_has_sent_all_takes_what_comes_at_the_last_moment(
    tmp_path: Path,
) -> None:
    """The feed had ended, and begins again."""
    gate = asyncio.Event()

    def script(seen: Seen) -> Reply:
        if seen.prompt == "p8":
            return Reply(until=gate)
        return first_fails(seen)

    async with FaultServer(script) as server:
        bench = bench_of(tmp_path, server, concurrency=4)
        async with going(bench, prompts(10)) as running:
            await server.answered(9)
            while bench.states().get("failed") != 5:
                await told(bench, CancelJobs(("p0",)))  # each goes through the writer
            reply = await told(bench, RequeueJobs())
            assert reply.requeued == Requeued(jobs=5, taken=5)
            gate.set()
            assert (await running).exit_code is ExitCode.OK
        assert bench.states() == {"succeeded": 10}


async def test_what_is_not_of_the_runs_scope_waits_for_another(tmp_path: Path) -> None:
    """It is said so; a run of a given number of jobs takes none at all."""
    async with FaultServer(first_fails) as server:
        bench = bench_of(tmp_path, server)
        await bench.run(prompts(10))
        other = bench.write(prompts(50, prefix="q"), "other.jsonl")
        async with going(bench, files=[other], partial=True) as running:
            await server.answered(20)
            reply = await told(bench, RequeueJobs(batch="prompts"))
            assert reply.requeued == Requeued(jobs=5, taken=0)
            assert "this run does not take them" in reply.said
            await running
        assert bench.states() == {"succeeded": 55, "pending": 5}


async def test_a_run_of_a_given_number_of_jobs_takes_none_again(tmp_path: Path) -> None:
    async with FaultServer(first_fails) as server:
        bench = bench_of(tmp_path, server)
        async with going(bench, prompts(60), limit=50):
            await server.answered(30)
            reply = await told(bench, RequeueJobs())
            assert reply.requeued is not None
            assert reply.requeued.jobs > reply.requeued.taken == 0
        assert len(server.ledger) == 50


async def test_within_retry_failed_the_scope_stays_what_it_was(tmp_path: Path) -> None:
    """Jobs of another batch that are put back meanwhile are not of that run."""
    async with FaultServer(first_fails) as server:
        bench = bench_of(tmp_path, server)
        await bench.run(prompts(60))
        other = bench.write(prompts(10, prefix="r"), "other.jsonl")
        await bench.run(files=[other], partial=True)
        async with going(bench, requeue=Requeue(batch="prompts"), partial=True):
            await server.answered(80)
            reply = await told(bench, RequeueJobs(batch="other"))
            assert reply.requeued == Requeued(jobs=5, taken=0)
        assert bench.states() == {"succeeded": 65, "pending": 5}


async def test_cancelled_jobs_come_back(tmp_path: Path) -> None:
    """Beside the run that cancelled them, in any order and more than once."""
    async with FaultServer(QUICK) as server:
        bench = bench_of(tmp_path, server)
        async with going(bench, prompts(800)) as running:
            for number in (20, 40, 60):
                await server.seen(number)
                names = tuple(f"p{n}" for n in range(700, 800))
                found = (await told(bench, CancelJobs(names))).cancelled
                assert found is not None
                assert found.cancelled > 0
                order = RequeueJobs(batch="prompts", kinds=("cancelled",))
                count = found.cancelled
                assert (await told(bench, order)).requeued == Requeued(jobs=count, taken=count)
            assert (await running).exit_code is ExitCode.OK
        assert bench.states() == {"succeeded": 800}
        assert len(server.ledger) == 800


async def test_jobs_put_back_where_the_run_has_yet_to_read_are_sent_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They come by being put back, and are passed over where they stand."""
    monkeypatch.setattr("aiq.store.jobs.PAGE_BYTES", 100)
    monkeypatch.setattr("aiq.run.read_ahead.LOOK_AHEAD_BYTES", 2000)

    def script(seen: Seen) -> Reply:
        return Reply.error(400) if seen.nth == 1 and seen.prompt.startswith("q") else QUICK

    late = prompts(4, prefix="q")
    async with FaultServer(script) as server:
        bench = bench_of(tmp_path, server)
        await bench.run(late)
        assert bench.states() == {"failed": 4}
        soon = [one | {"priority": 1} for one in prompts(60)]
        async with going(bench, [*soon, *late]) as running:
            await server.seen(10)
            await told(bench, Pause())  # with so many in memory that both would be there at once
            assert (await told(bench, RequeueJobs())).requeued == Requeued(jobs=4, taken=4)
            await told(bench, Resume())
            assert (await running).exit_code is ExitCode.OK
        assert bench.states() == {"succeeded": 64}
        assert len(server.ledger) == 68


async def test_what_was_cancelled_in_flight_stays_so_when_others_are_put_back(
    tmp_path: Path,
) -> None:
    """Only what is put back is wanted again, not its whole batch."""
    gate = asyncio.Event()

    def script(seen: Seen) -> Reply:
        if seen.prompt == "p0":
            return Reply.error(400) if seen.nth == 1 else QUICK
        return Reply.error(500, until=gate)

    async with FaultServer(script) as server:
        bench = bench_of(tmp_path, server, concurrency=3)
        async with going(bench, prompts(10)) as running:
            await server.seen(4)
            while bench.states().get("failed") != 1:
                await told(bench, CancelJobs(("p9",)))  # each goes through the writer
            await told(bench, CancelJobs(("prompts",)))
            assert (await told(bench, RequeueJobs())).requeued == Requeued(jobs=1, taken=1)
            gate.set()
            assert (await running).exit_code is ExitCode.OK
        assert bench.states() == {"succeeded": 1, "cancelled": 9}
        assert sorted(seen.prompt for seen in server.ledger) == ["p0", "p0", "p1", "p2", "p3"]


async def test_single_jobs_are_put_back(tmp_path: Path) -> None:
    async with FaultServer(QUICK) as server:
        bench = bench_of(tmp_path, server, concurrency=1)
        async with going(bench, prompts(60)):
            await server.answered(2)
            await told(bench, CancelJobs(("p57", "p58", "p59")))
            order = RequeueJobs(kinds=("cancelled",), jobs=("p58",))
            assert (await told(bench, order)).requeued == Requeued(jobs=1, taken=1)
            with pytest.raises(UnknownName, match="no job `p60`"):
                await told(bench, RequeueJobs(jobs=("p60",)))
        assert bench.states() == {"succeeded": 58, "cancelled": 2}
        again = Requeue(kinds=("cancelled",), jobs=("p57",))
        assert (await bench.run(requeue=again, partial=True)).requeued == 1


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> tuple[asyncio.Event, asyncio.Event]:
    """Let orders about jobs stand still; one event tells that one does, one lets it go on."""
    entered, gate = asyncio.Event(), asyncio.Event()

    async def slowly(*_: Any) -> Any:
        entered.set()
        await gate.wait()
        return [SimpleNamespace(id=1)]

    monkeypatch.setattr("aiq.run.job_orders.named_batches", slowly)
    return entered, gate


async def test_no_other_order_waits_for_one_about_jobs(
    tmp_path: Path, held: tuple[asyncio.Event, asyncio.Event]
) -> None:
    """And a run that is stopped meanwhile does not say that it takes what is put back."""
    entered, gate = held
    failing = Reply.error(400)
    async with FaultServer(lambda seen: failing if seen.prompt == "p0" else QUICK) as server:
        bench = bench_of(tmp_path, server)
        async with going(bench, prompts(300)):
            await server.answered(30)
            putting_back = asyncio.create_task(told(bench, RequeueJobs()))
            await entered.wait()
            assert (await told(bench, Pause())).said.startswith("paused")
            await server.idle()
            assert (await told(bench, Stop())).said.startswith("stopping")
            gate.set()
            try:
                requeued = (await putting_back).requeued
            except Refused as error:
                assert str(error) == "the run is ending"  # noqa: PT017 - one or the other
            else:
                assert requeued == Requeued(jobs=1, taken=0)
                assert "this run does not take them" in str(requeued)


@pytest.mark.parametrize("order", [CancelJobs(("prompts",)), RequeueJobs()])
async def test_a_run_that_stops_takes_no_orders(tmp_path: Path, order: Any) -> None:
    gate = asyncio.Event()
    async with FaultServer(Reply(until=gate)) as server:
        bench = bench_of(tmp_path, server)
        async with going(bench, prompts(10)):
            await server.seen(4)
            await told(bench, Stop())
            with pytest.raises(Refused, match="it is stopping"):
                await told(bench, order)
            gate.set()
        assert bench.states() == {"succeeded": 4, "pending": 6}


async def test_damaged_answers_are_not_looked_for_beside_a_run(tmp_path: Path) -> None:
    async with FaultServer(QUICK) as server:
        bench = bench_of(tmp_path, server)
        async with going(bench, prompts(50)):
            await server.seen(5)
            with pytest.raises(Refused, match="damaged"):
                await told(bench, RequeueJobs(kinds=(DAMAGED,)))
            with pytest.raises(UnknownName, match="no batch `nobody`"):
                await told(bench, RequeueJobs(batch="nobody"))


async def test_without_a_run_it_is_done_under_the_lock(tmp_path: Path) -> None:
    async with FaultServer(QUICK) as server:
        bench = bench_of(tmp_path, server)
        await bench.run(prompts(20), limit=5)
        assert await cancelled(bench, "p3", "p10", "p11") == Cancelled(cancelled=2, ended=1)
        with pytest.raises(UnknownName):
            await cancelled(bench, "prompts", "nothing")
        assert bench.states() == {"succeeded": 5, "pending": 13, "cancelled": 2}
        assert await cancelled(bench, "prompts", "p12") == Cancelled(
            cancelled=13, ended=5, before=2, batches=("prompts",)
        )
        assert (await bench.run()).exit_code is ExitCode.OK
        assert len(server.ledger) == 5
        result = await bench.run(requeue=Requeue(kinds=("cancelled",)), partial=True)
        assert (result.requeued, result.exit_code) == (15, ExitCode.OK)
        assert bench.states() == {"succeeded": 20}


async def test_what_a_dead_run_left_in_flight_is_cancelled_too(tmp_path: Path) -> None:
    """Closed as possibly paid, as the next run would have done, and not asked again."""
    async with FaultServer(Reply.hang()) as server:
        bench = bench_of(tmp_path, server)
        running = asyncio.create_task(bench.run(prompts(6)))
        await server.seen(4)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert bench.session is not None
    # As a killed process leaves it: leased, and nobody who would settle it.
    with closing(sqlite3.connect(bench.database)) as connection, connection:
        connection.execute(
            "UPDATE attempt SET kind = NULL, billed = NULL, cause = NULL, message = NULL,"
            " latency_us = NULL"
        )
        connection.execute(
            "UPDATE job SET state = 'running', not_before = NULL,"
            " lease = (SELECT id FROM attempt WHERE job_id = job.id) WHERE attempts > 0"
        )
    assert await cancelled(bench, "prompts") == Cancelled(cancelled=6, batches=("prompts",))
    assert bench.states() == {"cancelled": 6}
    assert bench.rows("SELECT DISTINCT kind, cause, billed FROM attempt") == [
        ("interrupted", "crash", "maybe")
    ]


async def test_a_database_in_use_is_left_to_its_run(tmp_path: Path) -> None:
    """Without a channel, as here, it is said who has it."""
    gate = asyncio.Event()
    async with FaultServer(Reply(until=gate)) as server:
        bench = bench_of(tmp_path, server)
        async with going(bench, prompts(5)):
            await server.seen(4)
            with pytest.raises(StoreError, match="is in use by a run"):
                await cancelled(bench, "prompts")
            gate.set()


@pytest.mark.parametrize("on_changed", ["error", "rerun"])
async def test_a_changed_line_is_a_new_wish(tmp_path: Path, on_changed: str) -> None:
    """A cancelled job whose request changed is pending again; one whose line is the same is not."""
    async with FaultServer(QUICK) as server:
        bench = bench_of(tmp_path, server)
        await bench.run(prompts(6), limit=2)
        await cancelled(bench, "prompts")
        lines = prompts(6)
        lines[5]["prompt"] = "another question"
        result = await bench.run(lines, overrides={"on_changed": on_changed})
        assert result.exit_code is ExitCode.OK
        assert bench.states() == {"succeeded": 3, "cancelled": 3}
        assert server.ledger[-1].prompt == "another question"


async def test_what_was_cancelled_in_flight_is_not_asked_again_after_a_kill(tmp_path: Path) -> None:
    """The run that knew it is dead; what it had in flight may be paid, and nobody wants it."""
    gate = asyncio.Event()
    async with FaultServer(Reply(until=gate)) as server:
        bench = bench_of(tmp_path, server, concurrency=3)
        async with going(bench, prompts(10)):
            await server.seen(3)
            await told(bench, CancelJobs(("p0", "p1", "p9")))
            with closing(sqlite3.connect(bench.database)) as connection:
                connection.execute("VACUUM INTO ?", (str(tmp_path / "killed.db"),))
            gate.set()
        bench.database = tmp_path / "killed.db"
        count = len(server.ledger)
        put_back = Requeue(jobs=("p9",), kinds=("cancelled",), run_them=False)
        options = RunOptions(database=bench.database, requeue=put_back)
        await bench.new_session(options).run()
        result = await bench.run(prompts(10))
        assert result.exit_code is ExitCode.OK
        assert bench.states() == {"succeeded": 8, "cancelled": 2}
        assert len(server.ledger) == count + 8
        assert bench.rows("SELECT count(*) FROM withdrawn") == [(0,)]


async def test_what_was_cancelled_in_flight_can_be_put_back_before_it_is_settled(
    tmp_path: Path,
) -> None:
    """The command that puts back all that was ever cancelled means it too."""
    gate = asyncio.Event()
    async with FaultServer(Reply(until=gate)) as server:
        bench = bench_of(tmp_path, server, concurrency=3)
        async with going(bench, prompts(10)):
            await server.seen(3)
            await told(bench, CancelJobs(("prompts",)))
            with closing(sqlite3.connect(bench.database)) as connection:
                connection.execute("VACUUM INTO ?", (str(tmp_path / "killed.db"),))
            gate.set()
        bench.database = tmp_path / "killed.db"
        put_back = Requeue(kinds=("cancelled",), run_them=False)
        options = RunOptions(database=bench.database, requeue=put_back)
        await bench.new_session(options).run()
        await bench.run(prompts(10))
        assert bench.states() == {"succeeded": 10}


async def test_jobs_that_nobody_could_take_and_nobody_wants_are_no_obstacle(tmp_path: Path) -> None:
    """Cancelled, they leave the run nothing to carry on with, and it ends well."""
    gate = asyncio.Event()
    broke = Reply.error(402)
    async with FaultServer(broke) as a, FaultServer(Reply(until=gate)) as b:
        bench = Bench(
            tmp_path,
            a=provider(a, model="x", strict_models=True),
            b=provider(b, model="y", strict_models=True),
        )
        lines = [{"id": m, "model": m, "prompt": m} for m in "xy"]
        async with going(bench, lines) as running:
            await b.seen(1)
            await bench_has(bench, "SELECT 1 FROM attempt WHERE kind = 'out_of_credit'")
            reply = await told(bench, CancelJobs(("x",)))
            assert reply.cancelled == Cancelled(cancelled=1)
            gate.set()
            assert (await running).exit_code is ExitCode.OK
        assert bench.states() == {"succeeded": 1, "cancelled": 1}


async def cancelled_in_flight(database: Database) -> int:
    """Cancel two jobs in flight; the first fails, and the one that is returned has no end yet."""
    failed, open_one = await factories.seed(database, ["failed", "open"])
    await factories.write(database, lease(1, failed), lease(2, open_one))
    await cancelling.withdraw_leased(database, cancelling.Targets(jobs=(failed, open_one)))
    await factories.write(database, settle(1, failed, JobState.FAILED))
    return open_one


async def test_what_was_cancelled_in_flight_outlasts_a_run_that_could_not_store_its_end(
    database: Database,
) -> None:
    """Its answer may come home from elsewhere, and says nothing of being unwanted."""
    kept = await cancelled_in_flight(database)
    await runs.end_run(database, run_id=1, now_us=NOW_US)
    assert await database.rows("SELECT job_id FROM withdrawn") == [(kept,)]
    await runs.recover(database, now_us=NOW_US, fail_unknown=False)
    states = await database.rows("SELECT state FROM job ORDER BY id")
    assert states == [("failed",), ("cancelled",)]
    assert await database.rows("SELECT job_id FROM withdrawn") == []


async def test_what_failed_after_it_was_cancelled_in_flight_can_be_put_back(
    database: Database,
) -> None:
    """Whoever puts it back wants it again, whatever he thought of it before the run died."""
    await cancelled_in_flight(database)
    batches = [number for (number,) in await database.rows("SELECT id FROM batch")]
    assert await requeueing.requeue(database, batches, kinds=None, except_kinds=()) == 1
    await runs.recover(database, now_us=NOW_US, fail_unknown=False)
    states = await database.rows("SELECT state FROM job ORDER BY id")
    assert states == [("pending",), ("cancelled",)]


async def test_a_run_that_lost_sight_of_jobs_does_not_end_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An order that was half carried out took them from its memory, but not from the database."""

    async def fails(*_: Any, **__: Any) -> None:
        raise StoreError("the database is locked")

    monkeypatch.setattr(cancelling, "withdraw_leased", fails)
    gate = asyncio.Event()
    async with FaultServer(Reply(until=gate)) as server:
        bench = bench_of(tmp_path, server, concurrency=2)
        async with going(bench, prompts(6)) as running:
            await server.seen(2)
            with pytest.raises(StoreError, match="locked"):
                await told(bench, CancelJobs(("prompts",)))
            gate.set()
            result = await running
        assert bench.states() == {"succeeded": 2, "pending": 4}
        assert result.exit_code is ExitCode.STORE
        assert result.message is not None
        assert result.message.startswith("4 of the jobs are left: ")
        assert (await bench.run(prompts(6))).exit_code is ExitCode.OK
        assert len(server.ledger) == 6
