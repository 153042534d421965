"""Jobs in the store: it moves only as the lifecycle says, and is read back as it was left."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from itertools import product
from pathlib import Path
from typing import Any

import msgspec
import pytest

from aiq.errors import StoreError
from aiq.model import JobState
from aiq.policy.lifecycle import MOVES, Event
from aiq.store import attempts, ingesting, requeueing
from aiq.store.cancelling import Targets, cancel_page
from aiq.store.db import Database
from aiq.store.jobs import Scope
from aiq.store.rows import StaleWrite
from aiq.store.writes import Reject
from tests.support import factories
from tests.support.factories import dump, lease, query, seed, settle, write

ALL = Scope(batches=(1,))


async def in_state(database: Database, state: JobState) -> int:
    """Bring one job into a state, leased as attempt 1 where it has been leased."""
    (job_id,) = await seed(database, ["job"])
    if state is JobState.CANCELLED:
        async with database.transaction():
            await database.rows("UPDATE job SET state = 'cancelled'")
    elif state is not JobState.PENDING:
        await write(database, lease(1, job_id))
        if state is not JobState.RUNNING:
            await write(database, settle(1, job_id, state))
    return job_id


async def requeue(database: Database) -> int:
    """Cancelled jobs are put back only where that is asked for."""
    kinds = ["server_error", "cancelled"]
    return await requeueing.requeue(database, [1], kinds=kinds, except_kinds=())


async def replace(database: Database, job_id: int) -> None:
    async with database.transaction():
        await ingesting.replace_requests(database, [job_id])


async def rerun(database: Database, job_id: int) -> None:
    async with database.transaction():
        await ingesting.rerun(database, [job_id])


async def restore(database: Database, job_id: int) -> None:
    """An unfinished job can only be restored where an older answer lies."""
    async with database.transaction():
        await database.rows(
            "INSERT INTO attempt (id, job_id, number, run_id, candidate_id, started_at)"
            " SELECT 99, id, 99, 1, 1, 1 FROM job WHERE id = ?"
            " AND state IN ('pending', 'failed', 'cancelled')",
            (job_id,),
        )
        await database.rows(
            "INSERT INTO answer (job_id, attempt_id, fingerprint, digest, body)"
            " SELECT job_id, id, zeroblob(16), zeroblob(32), x'' FROM attempt WHERE id = 99"
        )
        await ingesting.restore(database, [job_id])


STORE: dict[Event, Callable[[Database, int, int], Awaitable[object]]] = {
    Event.LEASE: lambda db, job, n: write(db, lease(n + 1, job, number=n + 1)),
    Event.SUCCEED: lambda db, job, n: write(db, settle(max(n, 1), job, JobState.SUCCEEDED)),
    Event.FAIL: lambda db, job, n: write(db, settle(max(n, 1), job, JobState.FAILED)),
    Event.RELEASE: lambda db, job, n: write(db, settle(max(n, 1), job, JobState.PENDING)),
    Event.REJECT: lambda db, job, _: write(db, Reject(job, "not_found", "nobody has it")),
    Event.REQUEUE: lambda db, _job, _n: requeue(db),
    Event.REPLACE: lambda db, job, _: replace(db, job),
    Event.RERUN: lambda db, job, _: rerun(db, job),
    Event.RESTORE: lambda db, job, _: restore(db, job),
    Event.CANCEL: lambda db, job, _: cancel_page(db, Targets(jobs=(job,))),
}
"""Each event through the store's own function, given the job and its number of attempts."""

QUIET = {Event.REQUEUE, Event.REPLACE, Event.RERUN, Event.RESTORE, Event.CANCEL}
"""Events over many jobs: those in another state are left alone instead of refused."""


@pytest.mark.parametrize(("state", "event"), list(product(JobState, Event)))
async def test_the_store_makes_exactly_the_moves_of_the_table(
    database: Database, database_path: Path, state: JobState, event: Event
) -> None:
    """Every other move changes nothing, and raises where it names one job."""
    job_id = await in_state(database, state)
    ((number,),) = query(database_path, "SELECT attempts FROM job")
    before = dump(database_path)
    target = MOVES.get((state, event))
    if target is None and event not in QUIET:
        with pytest.raises(StaleWrite):
            await STORE[event](database, job_id, number)
    else:
        await STORE[event](database, job_id, number)
    if target is None:
        assert dump(database_path) == before
    else:
        assert query(database_path, "SELECT state FROM job") == [(target.value,)]


@pytest.mark.parametrize("state", [JobState.SUCCEEDED, JobState.FAILED, JobState.PENDING])
async def test_an_old_lease_moves_nothing(
    database: Database, database_path: Path, state: JobState
) -> None:
    """A late answer must not move the present: the job runs under another attempt by now."""
    job_id = await in_state(database, JobState.RUNNING)
    await write(database, settle(1, job_id, JobState.PENDING))
    await write(database, lease(2, job_id, number=2))
    before = dump(database_path)
    with pytest.raises(StaleWrite):
        await write(database, settle(1, job_id, state))
    assert dump(database_path) == before


@pytest.mark.parametrize("state", [JobState.SUCCEEDED, JobState.FAILED, JobState.PENDING])
async def test_an_attempt_moves_only_the_job_that_it_holds(
    database: Database, database_path: Path, state: JobState
) -> None:
    """Both attempts are open and both jobs are running: the lease alone tells whose is whose."""
    first, second = await seed(database, ["a", "b"])
    await write(database, lease(1, first), lease(2, second))
    before = dump(database_path)
    with pytest.raises(StaleWrite):
        await write(database, settle(1, second, state))
    assert dump(database_path) == before


@pytest.mark.parametrize("number", [0, 1, 3])
async def test_attempts_are_numbered_without_gaps(
    database: Database, database_path: Path, number: int
) -> None:
    job_id = await in_state(database, JobState.RUNNING)
    await write(database, settle(1, job_id, JobState.PENDING))
    before = dump(database_path)
    with pytest.raises(StaleWrite):
        await write(database, lease(2, job_id, number=number))
    assert dump(database_path) == before


async def test_an_attempt_number_is_used_once(database: Database, database_path: Path) -> None:
    first, second = await seed(database, ["a", "b"])
    await write(database, lease(1, first))
    before = dump(database_path)
    with pytest.raises(StoreError, match="UNIQUE"):
        await write(database, lease(1, second))
    assert dump(database_path) == before


@pytest.mark.parametrize("number", [1, 3, 4, 5, 64, 85, 256, 257, 700])
async def test_groups_of_every_size_are_written_whole(
    database: Database, database_path: Path, number: int
) -> None:
    ids = await seed(database, [str(n) for n in range(number)])
    await write(database, *(lease(job_id, job_id) for job_id in ids))
    await write(
        database,
        *(settle(i, i, JobState.SUCCEEDED, body=b"%d" % i, input_tokens=i) for i in ids),
    )
    assert query(database_path, "SELECT count(*) FROM job WHERE state = 'succeeded'") == [(number,)]
    assert query(database_path, "SELECT job_id, body FROM answer ORDER BY job_id") == [
        (i, b"%d" % i) for i in ids
    ]
    assert query(database_path, "SELECT job_id, input_tokens FROM attempt ORDER BY id") == [
        (i, i) for i in ids
    ]


async def test_everything_an_outcome_says_is_kept(database: Database, database_path: Path) -> None:
    job_id = await in_state(database, JobState.RUNNING)
    facts: dict[str, object] = {
        "kind": "bad_response",
        "cause": None,
        "latency_us": 12,
        "status_code": 200,
        "code": "x",
        "message": "not JSON \x00",
        "request_id": "req-1",
        "served_model": "m-1",
        "input_tokens": 1,
        "output_tokens": 2,
        "cached_tokens": 3,
        "billed": "maybe",
        "cost_nano": None,
        "price_source": None,
        "flags": 3,
    }
    await write(database, settle(1, job_id, JobState.FAILED, bad_reply=b"<html>", **facts))
    assert query(database_path, f"SELECT {', '.join(facts)} FROM attempt") == [
        tuple(facts.values())
    ]
    assert query(database_path, "SELECT * FROM bad_reply") == [(1, b"<html>")]
    assert query(database_path, "SELECT error_kind, error_message FROM job") == [
        ("bad_response", "not JSON \x00")
    ]


async def test_sums_are_those_of_the_ledger(database: Database) -> None:
    """Unknown cost, possibly paid and known cost are kept apart."""
    ids = await seed(database, list("abcd"))
    facts: list[dict[str, Any]] = [
        {"cost_nano": 5, "input_tokens": 7, "flags": 1},
        {"cost_nano": None},
        {"kind": "interrupted", "billed": "maybe"},
        {"kind": "cancelled", "billed": "no", "cause": "abort"},
    ]
    for job_id, fact in zip(ids, facts, strict=True):
        await write(database, lease(job_id, job_id))
        state = JobState.PENDING if "kind" in fact else JobState.SUCCEEDED
        await write(database, msgspec.structs.replace(settle(job_id, job_id, state), **fact))
    found = {row.kind: row for row in await attempts.sums(database)}
    assert (found["ok"].count, found["ok"].cost_nano, found["ok"].unpriced) == (2, 5, 1)
    assert (found["ok"].input_tokens, found["ok"].truncated) == (7, 1)
    assert (found["interrupted"].billed, found["interrupted"].unbounded) == ("maybe", 1)
    everything = sorted(await attempts.sums(database), key=lambda row: row.kind)
    assert sorted(await attempts.scope_sums(database, ALL), key=lambda row: row.kind) == everything
    assert await attempts.sums(database, [99]) == []
    assert await attempts.cost_by_batch(database) == {1: (5, 1)}


async def test_failures_are_grouped_with_a_sample(database: Database) -> None:
    await factories.failed(database, {"a": "auth", "b": "auth", "c": "server_error"})
    (job_id,) = await seed(database, ["d"])
    await write(database, Reject(job_id, "not_found", "nobody has it"))
    found = await attempts.failures(database)
    assert (found[0].kind, found[0].provider, found[0].count, found[0].job_key) == (
        "auth", "a", 2, "a",
    )  # fmt: skip
    assert {(one.kind, one.provider) for one in found[1:]} == {
        ("server_error", "a"),
        ("not_found", None),
    }


@pytest.mark.parametrize(
    ("kinds", "except_kinds", "back"),
    [
        (None, (), 0),
        (["server_error"], (), 0),
        (["cancelled"], (), 1),
        (["cancelled"], ["cancelled"], 0),
        (["cancelled", "auth"], ["server_error"], 1),
    ],
)
async def test_cancelled_jobs_are_put_back_only_where_they_are_named(
    database: Database, kinds: list[str] | None, except_kinds: list[str], back: int
) -> None:
    await in_state(database, JobState.CANCELLED)
    found = await requeueing.requeue(database, [1], kinds=kinds, except_kinds=except_kinds)
    assert found == back
