"""The writer: done means durable, groups are all or nothing, and a failure is the end."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from aiq.errors import Refused, StoreError
from aiq.model import JobState
from aiq.store import writer as writer_module
from aiq.store.db import Database
from aiq.store.rows import StaleWrite
from aiq.store.writer import BUSY_TRIES, GROUP_LIMIT, QUICK_GROUP_LIMIT, Write, Writer
from aiq.store.writes import Cancel, NewCandidate, Reject
from tests.support import factories
from tests.support.factories import lease, query, settle

Committed = Callable[[Sequence[Write]], None]


def ignore(_: Sequence[Write]) -> None:
    """Nobody wants to know."""


@contextlib.asynccontextmanager
async def writing(database: Database, committed: Committed = ignore) -> AsyncIterator[Writer]:
    """A started writer, closed at the end unless it failed, which the test has to look at."""
    writer = Writer(database, run_id=1, committed=committed)
    writer.start(ended=lambda: None)
    try:
        yield writer
    finally:
        with contextlib.suppress(StoreError, StaleWrite):
            await writer.close()


async def jobs_of(database: Database, number: int) -> list[int]:
    return await factories.seed(database, [f"job-{n}" for n in range(number)])


def states(path: Path) -> list[str]:
    return [state for (state,) in query(path, "SELECT state FROM job ORDER BY id")]


async def settle_loop() -> None:
    for _ in range(200):
        await asyncio.sleep(0)


async def test_who_comes_when_all_is_written_is_told_that_it_ended(database: Database) -> None:
    """Not that it failed: nothing did."""

    async def nothing(_: Database) -> None:
        raise AssertionError("it was done")

    async with writing(database) as writer:
        pass
    with pytest.raises(Refused, match="the run is ending"):
        await writer.run(nothing)


async def test_a_lease_is_told_only_when_another_connection_sees_it(
    database: Database, database_path: Path
) -> None:
    (job_id,) = await jobs_of(database, 1)
    async with writing(database) as writer:
        await writer.lease(lease(1, job_id))
        assert query(database_path, "SELECT state, lease, attempts FROM job") == [("running", 1, 1)]
        assert query(database_path, "SELECT job_id, number, kind FROM attempt") == [
            (job_id, 1, None)
        ]


async def test_the_run_hears_of_an_answer_only_when_another_connection_sees_it(
    database: Database, database_path: Path
) -> None:
    """At the very moment of the call the answer is there, digest and all."""
    (job_id,) = await jobs_of(database, 1)
    seen: list[object] = []

    def committed(_: Sequence[Write]) -> None:
        seen.append(states(database_path))
        seen.append(query(database_path, "SELECT job_id, attempt_id, body FROM answer"))

    async with writing(database, committed) as writer:
        await writer.lease(lease(1, job_id))
        writer.submit(settle(1, job_id, JobState.SUCCEEDED, body=b"reply"))
    assert seen == [["running"], [], ["succeeded"], [(job_id, 1, b"reply")]]


async def test_nothing_is_told_while_the_commit_has_not_returned(
    database: Database, database_path: Path
) -> None:
    """Somebody else holds the file: the write waits, and so does everybody who asked for it."""
    (job_id,) = await jobs_of(database, 1)
    told: list[int] = []
    other = sqlite3.connect(database_path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    async with writing(database, lambda writes: told.append(len(writes))) as writer:
        done = writer.lease(lease(1, job_id))
        await settle_loop()
        assert not done.done()
        assert told == []
        other.execute("ROLLBACK")
        await done
        assert told == [1]
    other.close()


async def test_what_is_committed_is_told_before_those_who_wait(database: Database) -> None:
    """Figures move first, so that whoever wakes sees them as they are."""
    (job_id,) = await jobs_of(database, 1)
    waiter: asyncio.Future[None] | None = None
    was_done: list[bool] = []

    def committed(_: Sequence[Write]) -> None:
        assert waiter is not None
        was_done.append(waiter.done())

    async with writing(database, committed) as writer:
        waiter = writer.lease(lease(1, job_id))
        await waiter
    assert was_done == [False]


@pytest.mark.parametrize(
    ("slow_from_s", "expected"), [(60.0, [*[256] * 9, 196]), (0.0, [1024, 1024, 452])]
)
async def test_a_group_has_at_most_1024_writes(
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    slow_from_s: float,
    expected: list[int],
) -> None:
    """And 256 as long as commits are quick."""
    assert (QUICK_GROUP_LIMIT, GROUP_LIMIT) == (256, 1024)
    monkeypatch.setattr(writer_module, "SLOW_COMMIT_S", slow_from_s)
    ids = await jobs_of(database, 2500)
    sizes: list[int] = []
    async with writing(database, lambda writes: sizes.append(len(writes))) as writer:
        for job_id in ids:
            writer.submit(lease(job_id, job_id))
    assert sizes == expected


async def test_writes_handed_in_together_share_a_transaction(database: Database) -> None:
    """The outcome of one attempt and the lease of the next are never in two groups."""
    ids = await jobs_of(database, 256)
    groups: list[list[Write]] = []
    async with writing(database, lambda writes: groups.append(list(writes))) as writer:
        await writer.lease(lease(1, ids[0]))
        for job_id in ids[1:]:
            writer.submit(lease(job_id, job_id))
        writer.submit(settle(1, ids[0], JobState.PENDING), lease(5000, ids[0], number=2))
    assert [len(group) for group in groups] == [1, 255, 2]


async def test_a_group_grows_while_a_commit_runs(database: Database, database_path: Path) -> None:
    ids = await jobs_of(database, 201)
    sizes: list[int] = []
    other = sqlite3.connect(database_path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    async with writing(database, lambda writes: sizes.append(len(writes))) as writer:
        writer.submit(lease(ids[0], ids[0]))
        await settle_loop()
        for job_id in ids[1:]:
            writer.submit(lease(job_id, job_id))
            await asyncio.sleep(0)
        other.execute("ROLLBACK")
    other.close()
    assert sizes == [1, 200]


async def test_a_group_waits_for_what_is_just_arriving(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Replies that come one by one share a commit; after two quiet passes it is made."""
    monkeypatch.setattr("aiq.store.writer.GROUP_S", 3600.0)
    ids = await jobs_of(database, 20)
    sizes: list[int] = []
    async with writing(database, lambda writes: sizes.append(len(writes))) as writer:
        for job_id in ids[1:]:
            writer.submit(lease(job_id, job_id))
            await asyncio.sleep(0)
        await writer.lease(lease(ids[0], ids[0]))
    assert sizes == [20]


async def test_a_group_is_closed_by_its_size_or_by_the_clock_at_the_latest(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much keeps arriving, who came first does not wait for the last."""
    ids = await jobs_of(database, 200)
    sizes: list[int] = []
    async with writing(database, lambda writes: sizes.append(len(writes))) as writer:
        monkeypatch.setattr("aiq.store.writer.GROUP_S", 3600.0)
        for job_id in ids[:100]:
            writer.submit(lease(job_id, job_id))
            await asyncio.sleep(0)
        await writer.lease(lease(ids[100], ids[100]))
        assert sizes[0] == 64
        monkeypatch.setattr("aiq.store.writer.GROUP_S", 0.0)
        before = len(sizes)
        for job_id in ids[101:120]:
            writer.submit(lease(job_id, job_id))
            await asyncio.sleep(0)
        await writer.lease(lease(ids[120], ids[120]))
        assert sizes[before] < 20


async def test_an_attempt_given_up_at_once_is_begun_and_ended_in_order(
    database: Database, database_path: Path
) -> None:
    """A group ends attempts before it begins some, so one attempt's two ends are two groups."""
    (job_id,) = await jobs_of(database, 1)
    async with writing(database) as writer:
        writer.submit(lease(1, job_id))
        writer.submit(settle(1, job_id, JobState.PENDING, kind="cancelled", cause="abort"))
    assert states(database_path) == ["pending"]
    assert query(database_path, "SELECT kind, cause FROM attempt") == [("cancelled", "abort")]


async def test_a_cancelled_waiter_harms_nobody(database: Database, database_path: Path) -> None:
    first, second = await jobs_of(database, 2)
    async with writing(database) as writer:
        gone = writer.lease(lease(1, first))
        stays = writer.lease(lease(2, second))
        gone.cancel()
        await stays
    assert states(database_path) == ["running", "running"]


async def test_unsaved_answers_are_counted_until_they_are_durable(database: Database) -> None:
    """What is bought and not stored is bounded by these figures."""
    (job_id,) = await jobs_of(database, 1)
    async with writing(database) as writer:
        await writer.lease(lease(1, job_id))
        assert (writer.unsaved, writer.unsaved_bytes) == (0, 0)
        writer.submit(settle(1, job_id, JobState.SUCCEEDED, body=b"x" * 1000))
        assert (writer.unsaved, writer.unsaved_bytes) == (1, 1000)
        await writer.close()
        assert (writer.unsaved, writer.unsaved_bytes) == (0, 0)


async def test_close_writes_what_was_handed_in(database: Database, database_path: Path) -> None:
    ids = await jobs_of(database, 100)
    async with writing(database) as writer:
        for job_id in ids:
            writer.submit(Reject(job_id, "not_found", "nobody has it"))
        await writer.close()
    assert states(database_path) == ["failed"] * 100


async def assert_dead(writer: Writer, database_path: Path, before: object) -> None:
    """Nothing was written, nobody is left waiting, and nothing is taken any more."""
    with pytest.raises((StoreError, StaleWrite)):
        await writer.close()
    assert writer.failure is not None
    late = writer.lease(lease(900, 1))
    writer.submit(Reject(1, "not_found", "late"))
    with pytest.raises((StoreError, StaleWrite)):
        await late
    assert factories.dump(database_path) == before


async def test_a_full_disk_ends_writing_for_everybody(
    database: Database, database_path: Path
) -> None:
    first, second, third = await jobs_of(database, 3)
    ended = asyncio.Event()
    writer = Writer(database, run_id=1, committed=ignore)
    writer.start(ended=ended.set)
    await writer.lease(lease(1, first))
    (pages,) = await database.row("PRAGMA page_count") or (0,)
    await database.rows(f"PRAGMA max_page_count = {pages}")
    before = factories.dump(database_path)
    writer.submit(settle(1, first, JobState.SUCCEEDED, body=b"x" * 1_000_000))
    waiters = [writer.lease(lease(2, second)), writer.lease(lease(3, third))]
    await ended.wait()
    for waiter in waiters:
        with pytest.raises(StoreError):
            await waiter
    assert "full" in str(writer.failure)
    assert isinstance(writer.failure, StoreError)
    assert "space" in (writer.failure.hint or "")
    assert (writer.unsaved, writer.unsaved_bytes) == (1, 1_000_000)
    await assert_dead(writer, database_path, before)
    assert query(database_path, "PRAGMA integrity_check") == [("ok",)]


async def test_a_late_lease_takes_its_whole_group_down(
    database: Database, database_path: Path
) -> None:
    """Settling with an old lease is a mistake of ours: whatever was written with it is undone."""
    first, second = await jobs_of(database, 2)
    writer = Writer(database, run_id=1, committed=ignore)
    writer.start(ended=lambda: None)
    await writer.lease(lease(1, first), lease(2, second))
    await writer.lease(settle(1, first, JobState.PENDING), lease(3, first, number=2))
    before = factories.dump(database_path)
    writer.submit(settle(2, second, JobState.SUCCEEDED))
    writer.submit(settle(1, first, JobState.SUCCEEDED))
    await assert_dead(writer, database_path, before)
    assert isinstance(writer.failure, StaleWrite)


async def test_an_attempt_cannot_end_the_lease_of_another(
    database: Database, database_path: Path
) -> None:
    """Only the attempt that a job is leased to moves it: an answer never lands at a stranger's."""
    first, second = await jobs_of(database, 2)
    writer = Writer(database, run_id=1, committed=ignore)
    writer.start(ended=lambda: None)
    await writer.lease(lease(1, first), lease(2, second))
    before = factories.dump(database_path)
    writer.submit(settle(2, first, JobState.SUCCEEDED))
    await assert_dead(writer, database_path, before)
    assert isinstance(writer.failure, StaleWrite)


async def test_a_listener_that_fails_ends_writing_and_leaves_nobody_waiting(
    database: Database,
) -> None:
    """A mistake in the figures must stop the run, not hang it."""

    def committed(_: Sequence[Write]) -> None:
        raise ZeroDivisionError

    (job_id,) = await jobs_of(database, 1)
    ended = asyncio.Event()
    writer = Writer(database, run_id=1, committed=committed)
    writer.start(ended=ended.set)
    waiter = writer.lease(lease(1, job_id))
    await ended.wait()
    assert waiter.done()
    with pytest.raises(StoreError):
        await waiter
    assert isinstance(writer.failure, ZeroDivisionError)
    with pytest.raises(ZeroDivisionError):
        await writer.close()


class Interruption:
    """Interrupts SQLite at its n-th step, once."""

    def __init__(self, at: int) -> None:
        self.left = at

    def __call__(self) -> int:
        self.left -= 1
        return 1 if self.left == 0 else 0


@contextlib.asynccontextmanager
async def interrupted(database: Database, at: int) -> AsyncIterator[Interruption]:
    fault = Interruption(at)
    await database._connection.set_progress_handler(fault, 1)
    try:
        yield fault
    finally:
        await database._connection.set_progress_handler(None, 0)  # type: ignore[arg-type] # None ends it


async def test_a_fault_at_any_step_leaves_all_or_nothing(
    database: Database, database_path: Path
) -> None:
    """However far a group came, the database holds what it held before, and can go on."""
    first, second, third = await jobs_of(database, 3)
    await factories.write(database, lease(1, first), lease(2, second))
    before = factories.dump(database_path)
    group: list[Write] = [
        settle(1, first, JobState.SUCCEEDED),
        settle(2, second, JobState.PENDING, kind="bad_response", bad_reply=b"<html>"),
        Reject(third, "not_found", "nobody has it"),
        NewCandidate(2, "b", "openai", "m"),
        lease(3, second, number=2),
    ]
    async with interrupted(database, 10**9) as steps:
        await database.rows("BEGIN IMMEDIATE")
    await database.rows("ROLLBACK")
    begun = 10**9 - steps.left
    for step in itertools.count(begun + 1):
        async with interrupted(database, step):
            with contextlib.suppress(StoreError):
                await factories.write(database, *group)
        assert not database._connection.in_transaction
        if factories.dump(database_path) != before:
            break  # also when the fault came between the commit and its return
    assert step > begun + 100, "the faults were never met"
    assert states(database_path) == ["succeeded", "running", "failed"]


async def test_an_errand_finds_all_that_was_handed_in_before_it(
    database: Database, database_path: Path
) -> None:
    """And its own transaction is no part of theirs."""
    first, second = await jobs_of(database, 2)
    async with writing(database) as writer:
        writer.submit(lease(1, first))
        writer.submit(lease(2, second), settle(1, first, JobState.FAILED))

        async def look(_: Database) -> list[str]:
            return states(database_path)

        assert await writer.run(look) == ["failed", "running"]
        assert await writer.run(look) == ["failed", "running"]
        writer.submit(settle(2, second, JobState.SUCCEEDED))
    assert states(database_path) == ["failed", "succeeded"]


async def test_what_an_errand_raises_is_its_askers_matter(
    database: Database, database_path: Path
) -> None:
    (job_id,) = await jobs_of(database, 1)

    async def fail(opened: Database) -> None:
        async with opened.transaction():
            await opened.rows("UPDATE job SET priority = 9")
            raise KeyError("no")

    async with writing(database) as writer:
        with pytest.raises(KeyError):
            await writer.run(fail)
        await writer.lease(lease(1, job_id))
        assert writer.failure is None
    assert query(database_path, "SELECT state, priority FROM job") == [("running", 0)]


async def test_an_errand_whose_asker_has_left_is_done_all_the_same(
    database: Database, database_path: Path
) -> None:
    (job_id,) = await jobs_of(database, 1)
    async with writing(database) as writer:
        done = writer.run(lambda opened: opened.rows("UPDATE job SET priority = 9"))
        done.cancel()
        await writer.lease(lease(1, job_id))
    assert query(database_path, "SELECT priority FROM job") == [(9,)]


async def test_no_errand_is_left_waiting(database: Database) -> None:
    """Before the beginning, behind a failure and after the end it is refused."""
    (job_id,) = await jobs_of(database, 1)

    async def nothing(_: Database) -> None: ...

    idle = Writer(database, run_id=1, committed=ignore)
    with pytest.raises(StoreError, match="could not be written"):
        await idle.run(nothing)
    async with writing(database) as writer:
        writer.submit(settle(7, job_id, JobState.FAILED))  # of a lease that nobody has
        behind = writer.run(nothing)
        with pytest.raises(StoreError):
            await behind
        with pytest.raises(StoreError):
            await writer.run(nothing)
    with pytest.raises(StoreError):
        await writer.run(nothing)


async def test_a_cancelled_job_is_so_in_the_transaction_that_ends_its_attempt(
    database: Database, database_path: Path
) -> None:
    """Nobody ever sees it pending; and one that is not pending is refused with its group."""
    first, second = await jobs_of(database, 2)
    async with writing(database) as writer:
        await writer.lease(lease(1, first))
        released = settle(1, first, JobState.PENDING, not_before=5)
        await writer.lease(released, Cancel(first))
        assert states(database_path) == ["cancelled", "pending"]
        writer.submit(lease(2, second))
        with pytest.raises(StoreError):
            await writer.lease(Cancel(first))


async def test_an_errand_waits_as_long_as_a_commit_for_whoever_holds_the_file(
    database: Database, database_path: Path
) -> None:
    """Otherwise jobs that had left memory for it would be neither sent nor cancelled."""
    (job_id,) = await jobs_of(database, 1)
    tries = 0

    async def hindered(opened: Database) -> None:
        nonlocal tries
        tries += 1
        if tries < BUSY_TRIES:
            with closing(sqlite3.connect(database_path)) as holder:
                holder.execute("BEGIN IMMEDIATE")
                await opened.rows("PRAGMA busy_timeout = 0")
                await opened.rows("BEGIN IMMEDIATE")
        await opened.rows("UPDATE job SET priority = 9")

    async with writing(database) as writer:
        await writer.run(hindered)
    assert query(database_path, "SELECT id, priority FROM job") == [(job_id, 9)]
