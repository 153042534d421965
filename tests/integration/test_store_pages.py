"""Pending jobs as a run reads them: in order, in pages, with what they remember, once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from aiq.model import JobState, Kind
from aiq.run.settlement import BAD_TRIAL
from aiq.store import backlog, batches, jobs, requeueing, runs
from aiq.store.db import Database
from aiq.store.jobs import Cursor, PendingJob, Scope
from aiq.store.writes import NewCandidate
from tests.support import factories
from tests.support.factories import NOW_US, lease, query, seed, settle, write

ALL = Scope(batches=(1,))


async def requeue(database: Database) -> int:
    return await requeueing.requeue(database, [1], kinds=None, except_kinds=())


async def read_all(
    database: Database, scope: Scope = ALL, *, before_us: int = NOW_US
) -> list[PendingJob]:
    """Follow the cursor to its end."""
    cursor: Cursor | None = Cursor()
    found: list[PendingJob] = []
    while cursor is not None:
        some, cursor = await jobs.page(database, scope, cursor, before_us=before_us)
        found += some
    return found


def keys(found: list[PendingJob]) -> list[str | bytes]:
    return [one.key for one in found]


async def test_pages_come_by_priority_then_by_order_of_ingest(database: Database) -> None:
    priorities = [0, 5, -3, 5, 0, 2**63 - 1, -(2**63), 2**62 + 1]
    await seed(database, list("abcdefgh"), priorities=priorities)
    assert keys(await read_all(database)) == list("fhbdaecg")


async def test_many_pages_hold_every_job_once(database: Database) -> None:
    count = 2 * jobs.PAGE_JOBS + 7
    wanted = [str(n) for n in range(count)]
    await seed(database, wanted, priorities=[n % 3 for n in range(count)])
    found = keys(await read_all(database))
    assert found == sorted(wanted, key=lambda key: (-(int(key) % 3), int(key)))


async def test_a_page_ends_at_eight_mebibytes_but_has_at_least_one_job(database: Database) -> None:
    await seed(database, list("abc"), line=b"x" * (jobs.PAGE_BYTES // 2))
    some, cursor = await jobs.page(database, ALL, Cursor(), before_us=NOW_US)
    assert keys(some) == ["a", "b"]
    assert cursor is not None
    some, _ = await jobs.page(database, ALL, cursor, before_us=NOW_US)
    assert keys(some) == ["c"]


async def test_one_line_over_the_bound_is_a_page_of_its_own(database: Database) -> None:
    await seed(database, list("ab"), line=b"x" * (jobs.PAGE_BYTES + 1))
    some, cursor = await jobs.page(database, ALL, Cursor(), before_us=NOW_US)
    assert keys(some) == ["a"]
    assert cursor is not None
    some, _ = await jobs.page(database, ALL, cursor, before_us=NOW_US)
    assert keys(some) == ["b"]


async def test_batches_are_read_one_after_the_other(database: Database) -> None:
    await seed(database, list("ab"), batch="one")
    await seed(database, list("cd"), batch="two", priorities=[9, 9])
    assert keys(await read_all(database, Scope(batches=(1, 2)))) == list("abcd")
    assert keys(await read_all(database, Scope(batches=(2, 1)))) == list("cdab")
    assert keys(await read_all(database, Scope(batches=(2,)))) == list("cd")


async def test_a_scope_of_sources_holds_only_their_lines(database: Database) -> None:
    await seed(database, list("ab"))
    async with database.transaction():
        other = await batches.open_source(database, 1, "/other.jsonl", now_us=NOW_US)
        await database.rows("UPDATE job SET source_id = ? WHERE key = 'b'", (other,))
    assert keys(await read_all(database, Scope(batches=(1,), sources=(other,)))) == ["b"]
    assert keys(await read_all(database, Scope(batches=(1,), sources=()))) == []
    assert await jobs.counts(database, Scope(batches=(1,), sources=(other,))) == {
        JobState.PENDING: 1
    }


async def test_a_withdrawn_job_is_in_no_scope_but_one_that_chose_it(database: Database) -> None:
    await seed(database, ["a"])
    async with database.transaction():
        await database.rows("UPDATE job SET source_id = NULL")
    assert await read_all(database) == []
    assert await jobs.counts(database, ALL) == {}
    assert await backlog.pending_loads(database, ALL) == []
    assert not await backlog.needs_model(database, ALL)


async def test_what_a_dead_run_left_leased_is_possibly_paid_and_comes_last(
    database: Database, database_path: Path
) -> None:
    first, *_ = await seed(database, list("abc"), priorities=[9, 0, 0])
    await write(database, lease(1, first))
    left = await runs.recover(database, now_us=NOW_US + 5_000_000, fail_unknown=False)
    assert left == 1
    assert query(database_path, "SELECT kind, cause, billed, latency_us FROM attempt") == [
        ("interrupted", "crash", "maybe", None)
    ], "nobody knows when it ended"
    found = await read_all(database, before_us=NOW_US + 5_000_000)
    assert keys(found) == list("bca")
    assert found[-1].attempts == 1
    assert found[-1].history == Counter(), "a crash is not held against the job"
    assert await runs.recover(database, now_us=NOW_US, fail_unknown=False) == 0


async def test_recovery_of_a_user_who_never_wants_to_pay_twice(
    database: Database, database_path: Path
) -> None:
    first, _ = await seed(database, list("ab"))
    await write(database, lease(1, first))
    assert await runs.recover(database, now_us=NOW_US, fail_unknown=True) == 1
    assert query(database_path, "SELECT state, error_kind, lease FROM job ORDER BY id") == [
        ("failed", "interrupted", None),
        ("pending", None, None),
    ]


async def test_a_clock_that_went_back_does_not_break_recovery(
    database: Database, database_path: Path
) -> None:
    (job_id,) = await seed(database, ["a"])
    await write(database, lease(1, job_id))
    await runs.recover(database, now_us=NOW_US - 10**9, fail_unknown=False)
    assert query(database_path, "SELECT state FROM job") == [("pending",)]


async def test_back_offs_of_a_run_that_is_over_are_forgotten(database: Database) -> None:
    """Whoever starts a run wants it to start; the clock may also have gone back meanwhile."""
    (job_id,) = await seed(database, ["a"])
    await write(database, lease(1, job_id))
    await write(database, settle(1, job_id, JobState.PENDING, not_before=NOW_US + 10**12))
    assert await read_all(database) == []
    await runs.recover(database, now_us=NOW_US, fail_unknown=False)
    assert keys(await read_all(database)) == ["a"]


async def test_what_this_run_releases_is_not_read_again(database: Database) -> None:
    """It comes back through memory; read twice, it would be leased twice."""
    (job_id,) = await seed(database, ["a"])
    await write(database, lease(1, job_id))
    await write(database, settle(1, job_id, JobState.PENDING, not_before=NOW_US + 1))
    assert await read_all(database, before_us=NOW_US) == []


async def test_a_history_is_rebuilt_from_the_ledger(database: Database) -> None:
    """Only what the provider did and what counts: no abort, bad trial or refusal that passed."""
    (job_id,) = await seed(database, ["a"])
    await write(database, NewCandidate(2, "b", "openai", "m"))
    ends: list[tuple[str, str | None]] = [
        ("server_error", None),
        ("server_error", None),
        ("bad_response", None),
        ("rate_limited", None),
        ("connect", None),
        ("interrupted", None),
        ("interrupted", "abort"),
        ("cancelled", "abort"),
    ]
    for number, (kind, cause) in enumerate(ends, start=1):
        await write(database, lease(number, job_id, number=number))
        await write(database, settle(number, job_id, JobState.PENDING, kind=kind, cause=cause))
    number = len(ends) + 1
    await write(database, lease(number, job_id, number=number))
    await write(database, settle(number, job_id, JobState.PENDING, flags=BAD_TRIAL))
    (found,) = await read_all(database)
    assert found.attempts == number
    assert found.history == Counter(
        {
            ("a", Kind.SERVER_ERROR): 2,
            ("a", Kind.BAD_RESPONSE): 1,
            ("a", Kind.CONNECT): 1,
            ("a", Kind.INTERRUPTED): 1,
        }
    )


@pytest.mark.parametrize(
    ("kinds", "except_kinds", "expected"),
    [
        (None, (), "abc"),
        (["auth"], (), "a"),
        (["auth", "bad_request"], (), "ab"),
        (None, ["auth"], "bc"),
        (["auth"], ["auth"], ""),
        ([], (), ""),
    ],
)
async def test_requeue_takes_the_kinds_it_was_told(
    database: Database, kinds: list[str] | None, except_kinds: list[str], expected: str
) -> None:
    await factories.failed(database, {"a": "auth", "b": "bad_request", "c": "server_error"})
    count = await requeueing.requeue(database, [1], kinds=kinds, except_kinds=except_kinds)
    assert count == len(expected)
    chosen = Scope(batches=(1,), chosen=True)
    assert keys(await read_all(database, chosen)) == list(expected)


async def test_requeue_clears_what_counts_and_never_the_ledger(
    database: Database, database_path: Path
) -> None:
    await factories.failed(database, {"a": "bad_response"})
    await requeue(database)
    (found,) = await read_all(database)
    assert (found.attempts, found.history) == (1, Counter())
    assert query(database_path, "SELECT count(*) FROM attempt") == [(1,)]
    assert query(database_path, "SELECT error_kind, error_message FROM job") == [(None, None)]


async def test_a_requeue_leaves_other_pending_jobs_out_of_its_scope(database: Database) -> None:
    await factories.failed(database, {"a": "auth"})
    await seed(database, ["b"])
    assert await requeue(database) == 1
    scope = Scope(batches=(1,), chosen=True)
    assert keys(await read_all(database, scope)) == ["a"]
    assert await jobs.counts(database, scope) == {JobState.PENDING: 1}
    assert await requeue(database) == 0
    assert await read_all(database, scope) == [], "the choice is made anew each time"


async def test_reads_of_the_job_table_use_its_index(database: Database) -> None:
    """A page of a million pending jobs must not sort or scan them."""
    await factories.seed(database, ["a"])
    for template in (jobs._FRESH_PAGE, jobs._LATER_PAGE):
        plan = await database.rows(
            f"EXPLAIN QUERY PLAN {template}",
            {
                "batch": 1,
                "before": 0,
                "priority": 0,
                "job": 0,
                **jobs.scope_parameters(ALL),
            },
        )
        steps = [detail for *_, detail in plan]
        assert any("job_by_state" in step for step in steps)
        assert not any("TEMP B-TREE" in step for step in steps)
