"""What `doctor --verify` finds in a database: nothing in a healthy one, and each kind of damage."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from aiq.errors import ExitCode
from aiq.model import JobState
from aiq.run.diagnosis import Check, Diagnosis, Gravity
from aiq.run.verification import _WORDS, verify
from aiq.store import digests, ingesting, runs
from aiq.store.db import Database
from aiq.store.lock import RunLock
from aiq.store.opening import open_for_run
from aiq.store.rules import Rule
from tests.support import factories, invariants
from tests.support.fault_server import FaultServer
from tests.support.process import contents
from tests.support.replies import Reply, Seen
from tests.support.sessions import Bench, prompts, provider


def replies(seen: Seen) -> Reply | None:
    """Two answers in three; the rest of every kind that ends up in the tables differently."""
    return {
        "p1": Reply.error(400),
        "p2": Reply.html(),
        "p3": Reply.hang_up() if seen.nth == 1 else None,
        "p4": Reply.error(500) if seen.nth == 1 else None,
        "p5": Reply.error(413),
    }.get(seen.prompt)


async def work(directory: Path) -> Path:
    """Do a run that meets all of that, and one over a second batch; return the database."""
    async with FaultServer(replies) as server:
        bench = Bench(directory, a=provider(server, max_tokens=10), run={"concurrency": 2})
        await bench.run(prompts(12))
        bad = [{"id": "q", "prompt": 7}, *prompts(3, prefix="q")]
        await bench.run(files=[bench.write(bad, "other.jsonl")], partial=True)
    return bench.database


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with asyncio.Runner() as runner:
        return runner.run(work(tmp_path_factory.mktemp("healthy")))


@pytest.fixture
def copy(healthy: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(healthy, tmp_path / "aiq.db"))


def damage(path: Path, sql: str) -> None:
    """Change a database behind aiq's back, with everything off that would refuse it."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            f"PRAGMA foreign_keys = OFF; PRAGMA ignore_check_constraints = ON; {sql};"
        )


def flip_a_byte_of(path: Path, sql: str) -> None:
    """Change one bit of what a statement returns, where it stands in the file."""
    whole = bytearray(path.read_bytes())
    [(body,)] = invariants.rows(path, sql)
    whole[whole.index(body) + 5] ^= 1
    path.write_bytes(whole)


def broken(found: Diagnosis) -> dict[str, Check]:
    return {check.name: check for check in found.checks if check.gravity is Gravity.FINDING}


def check(found: Diagnosis, name: str) -> Check:
    [one] = [check for check in found.checks if check.name == name]
    return one


async def test_a_healthy_database_keeps_every_rule(copy: Path) -> None:
    """The product's own checker and the one of the tests, which share no line, agree on that."""
    invariants.check_store(copy, lines=15)
    before = contents(copy.parent)
    found = await verify(copy)
    assert [one.text for one in found.checks if one.gravity is not Gravity.OK] == []
    assert found.exit_code is ExitCode.OK
    assert sum(one.count == 0 for one in found.checks) == len(Rule) + 1
    assert "15 jobs, 18 attempts, 12 answers" in check(found, "database").text
    assert contents(copy.parent)["aiq.db"] == before["aiq.db"]


P0 = "(SELECT id FROM job WHERE key = 'p0')"
P1 = "(SELECT id FROM job WHERE key = 'p1')"
P4 = "(SELECT id FROM job WHERE key = 'p4')"
Q1 = "(SELECT id FROM job WHERE key = 'q1')"
A0 = f"(SELECT id FROM attempt WHERE job_id = {P0})"
FIRST = f"(SELECT id FROM attempt WHERE job_id = {P4} AND number = 1)"
FREE = f"job_id = {P1}"

DAMAGES = [
    ("references", "DELETE FROM candidate", "attempt row 1 names a missing candidate"),
    ("references", f"DELETE FROM job WHERE id = {P0}", "names a missing job"),
    ("lines", f"UPDATE job SET line = 2 WHERE id = {P0}", "p0 (line 2)"),
    ("lines", f"UPDATE job SET line = 1 WHERE id = {Q1}", "q1 of other (line 1)"),
    ("prompts", f"DELETE FROM request WHERE job_id = {P0}", "p0"),
    ("prompts", f"UPDATE job SET batch_id = 2 WHERE id = {P0}", "p0 of other"),
    ("states", f"UPDATE job SET state = 'lost' WHERE id = {P0}", "p0 (lost)"),
    ("states", f"UPDATE job SET error_kind = NULL WHERE id = {P1}", "p1 (failed)"),
    ("states", f"UPDATE job SET not_before = 1 WHERE id = {P0}", "p0 (succeeded)"),
    ("states", f"UPDATE job SET fresh_from = 2 WHERE id = {P0}", "p0 (succeeded)"),
    ("states", f"UPDATE job SET lease = 1 WHERE id = {P1}", "p1 (failed)"),
    ("numbers", f"UPDATE attempt SET number = 2 WHERE job_id = {P0}", "p0 (1 counted, 1 in"),
    ("numbers", f"UPDATE attempt SET number = 0 WHERE job_id = {P0}", "p0 (1 counted, 1 in"),
    ("numbers", f"UPDATE job SET attempts = 4 WHERE id = {P0}", "p0 (4 counted, 1 in"),
    ("numbers", f"DELETE FROM attempt WHERE job_id = {P1}", "p1 (1 counted, 0 in"),
    ("leases", f"UPDATE job SET state = 'running', lease = 99 WHERE id = {P0}", "p0"),
    ("leases", f"UPDATE job SET state = 'running', lease = {A0} WHERE id = {P0}", "p0"),
    ("leases", f"UPDATE attempt SET kind = NULL, billed = NULL WHERE {FREE}", "p1 (attempt 1)"),
    ("answers", f"DELETE FROM answer WHERE job_id = {P0}", "p0"),
    ("kept answers", f"DELETE FROM answer WHERE job_id = {P0}", "p0 (attempt 1)"),
    (
        "no answers",
        f"UPDATE job SET state = 'pending' WHERE id = {P0}",
        "p0 (pending)",
    ),
    ("owners", f"UPDATE answer SET attempt_id = 999 WHERE job_id = {P0}", "p0"),
    ("owners", f"UPDATE answer SET attempt_id = {A0} + 1 WHERE job_id = {P0}", "p0"),
    ("owners", f"UPDATE attempt SET kind = 'server_error' WHERE id = {A0}", "p0"),
    ("owners", f"UPDATE answer SET attempt_id = {FIRST} WHERE job_id = {P4}", "p4"),
    ("once", f"UPDATE attempt SET kind = 'ok', billed = 'yes' WHERE job_id = {P4}", "p4 (2 ans"),
    ("digests", f"UPDATE answer SET body = x'20' WHERE job_id = {P0}", "p0"),
    ("digests", f"UPDATE answer SET digest = zeroblob(32) WHERE job_id = {P0}", "p0"),
    ("failures", f"UPDATE job SET error_kind = 'auth' WHERE id = {P1}", "p1 (auth)"),
    ("outcomes", f"UPDATE attempt SET kind = 'odd' WHERE {FREE}", "p1 (attempt 1)"),
    ("outcomes", f"UPDATE attempt SET billed = 'maybe' WHERE {FREE}", "p1 (attempt 1)"),
    ("outcomes", f"UPDATE attempt SET billed = NULL WHERE {FREE}", "p1 (attempt 1)"),
    ("outcomes", f"UPDATE attempt SET billed = 'no' WHERE id = {A0}", "p0 (attempt 1)"),
    ("outcomes", f"UPDATE attempt SET cause = 'crash' WHERE {FREE}", "p1 (attempt 1)"),
    ("outcomes", f"UPDATE attempt SET flags = 1 WHERE {FREE}", "p1 (attempt 1)"),
    ("outcomes", f"UPDATE attempt SET flags = 4 WHERE id = {A0}", "p0 (attempt 1)"),
    ("outcomes", f"UPDATE attempt SET flags = 8 WHERE id = {A0}", "p0 (attempt 1)"),
    ("costs", f"UPDATE attempt SET cost_nano = 1 WHERE {FREE}", "p1 (attempt 1)"),
    ("costs", "UPDATE attempt SET cost_nano = 0 WHERE billed = 'maybe'", "p2 (attempt 1)"),
    ("costs", f"UPDATE attempt SET cost_nano = -1 WHERE id = {A0}", "p0 (attempt 1)"),
    ("costs", f"UPDATE attempt SET output_tokens = -1 WHERE id = {A0}", "p0 (attempt 1)"),
    ("costs", f"UPDATE attempt SET latency_us = -1 WHERE id = {A0}", "p0 (attempt 1)"),
    ("bad replies", f"INSERT INTO bad_reply VALUES ({A0}, x'20')", "p0 (attempt 1)"),
    ("bad replies", "UPDATE bad_reply SET body = zeroblob(65537)", "p2 (attempt 1)"),
    ("runs", "UPDATE run SET ended_at = NULL WHERE id = 1", "run 1"),
    ("runs", f"UPDATE attempt SET kind = NULL, billed = NULL WHERE {FREE}", "p1 (attempt 1)"),
    ("totals", "DELETE FROM candidate", "cost 0 for"),
    ("totals", "UPDATE tally SET cost_nano = cost_nano + 1", "cost by batch"),
    ("totals", "UPDATE tally SET count = count + 1", "possibly paid"),
    ("totals", "DELETE FROM tally", "cost by batch"),
    ("totals", "DELETE FROM batch WHERE id = 1", "jobs 3 for 15"),
]


@pytest.mark.parametrize(("rule", "sql", "sample"), DAMAGES)
async def test_each_kind_of_damage_is_found_and_named(
    copy: Path, rule: str, sql: str, sample: str
) -> None:
    """The rule that is broken is among the findings, with the job as its user knows it."""
    damage(copy, sql)
    found = await verify(copy)
    assert found.exit_code is ExitCode.SOME_FAILED
    its = broken(found)[rule]
    assert sample in "; ".join(its.samples).replace(" of prompts", "")
    assert its.samples[0] in its.text
    assert its.count


def test_every_rule_is_broken_by_some_damage() -> None:
    """A rule that no test breaks might as well not be there."""
    notes = {"bounds", "times"}
    assert {name for name, _, _ in DAMAGES} == {name for name, _ in _WORDS.values()} - notes | {
        "totals"
    }


@pytest.mark.parametrize(
    ("name", "sql"),
    [
        ("bounds", f"UPDATE attempt SET cost_nano = bound_nano + 1 WHERE id = {A0}"),
        ("times", f"UPDATE attempt SET started_at = 1 WHERE id = {A0}"),
        ("times", "UPDATE run SET ended_at = started_at - 1"),
        ("times", "UPDATE run SET started_at = 9e15, ended_at = 9e15 + 1"),
        ("times", "UPDATE job SET state = 'pending', not_before = 9e15 WHERE key = 'p1'"),
    ],
)
async def test_what_may_happen_without_a_mistake_is_a_note(copy: Path, name: str, sql: str) -> None:
    """A reply dearer than its worst case, and a clock that was wrong."""
    damage(copy, sql)
    its = check(await verify(copy), name)
    assert its.gravity is Gravity.NOTE
    assert its.count
    assert its.hint


async def test_all_breaches_are_counted_and_three_are_named(copy: Path) -> None:
    damage(copy, "DELETE FROM answer")
    its = check(await verify(copy), "answers")
    assert (its.count, len(its.samples)) == (12, 3)
    assert its.text.endswith("not so: 12: p0 of prompts, p3 of prompts, p4 of prompts, ...")


async def test_a_byte_flipped_in_an_answer_is_found_by_its_digest(copy: Path) -> None:
    """SQLite's own check has nothing to say about it."""
    flip_a_byte_of(copy, f"SELECT body FROM answer WHERE job_id = {P0}")
    assert list(broken(await verify(copy))) == ["digests"]


@pytest.mark.parametrize("how", ["page", "cut", "index"])
async def test_a_damaged_file_is_a_finding_and_ends_nothing(tmp_path: Path, how: str) -> None:
    """What can still be looked at is looked at, and the rest says that it cannot be."""
    path = tmp_path / "aiq.db"
    database = await open_for_run(path)
    await factories.begin(database)
    await factories.seed(database, [f"job-{n}" for n in range(3000)])
    await database.checkpoint()
    await database.close()
    whole = bytearray(path.read_bytes())
    if how == "cut":
        del whole[len(whole) // 2 :]
    elif how == "page":
        start = len(whole) // 2 & ~4095
        whole[start : start + 4096] = os.urandom(4096)
    else:  # an index that has forgotten an entry: no page of it is damaged
        with closing(sqlite3.connect(path)) as connection:
            connection.executescript(
                "PRAGMA writable_schema = ON;"
                "UPDATE sqlite_schema SET sql = sql || ' WHERE id < 3000'"
                " WHERE name = 'job_by_state'; PRAGMA writable_schema = RESET;"
                "REINDEX job_by_state; PRAGMA writable_schema = ON;"
                "UPDATE sqlite_schema SET sql = replace(sql, ' WHERE id < 3000', '')"
                " WHERE name = 'job_by_state'; PRAGMA writable_schema = RESET;"
            )
        whole = bytearray(path.read_bytes())
    path.write_bytes(whole)
    found = await verify(path)
    assert found.exit_code is ExitCode.SOME_FAILED
    assert {"file", "database"} & set(broken(found))


@pytest.mark.parametrize("body", [None, b"", b"no database at all" * 1000])
async def test_what_is_no_database_is_a_finding(tmp_path: Path, body: bytes | None) -> None:
    path = tmp_path / "aiq.db"
    if body is not None:
        path.write_bytes(body)
    found = await verify(path)
    assert list(broken(found)) == ["database"]
    assert (path.read_bytes() if path.exists() else None) == body


async def test_jobs_that_are_asked_again_keep_their_old_answer(
    tmp_path: Path, database: Database
) -> None:
    """Pending, failed or answered anew: a new question does not make the old answer a breach."""
    ids = await factories.seed(database, ["x", "y", "z"])
    await factories.write(database, *(factories.lease(i, i) for i in ids))
    await factories.write(
        database, *(factories.settle(i, i, JobState.SUCCEEDED, cost_nano=5) for i in ids)
    )
    async with database.transaction():
        await ingesting.rerun(database, ids)
    x, y, z = ids
    await factories.write(
        database, factories.lease(11, x, number=2), factories.lease(12, y, number=2)
    )
    await factories.write(database, factories.settle(11, x, JobState.FAILED))
    await factories.write(database, factories.settle(12, y, JobState.SUCCEEDED))
    assert await states(database) == [("failed",), ("succeeded",), ("pending",)]
    await runs.end_run(database, run_id=1, now_us=factories.NOW_US)
    found = await verify(tmp_path / "aiq.db")
    assert [one.text for one in found.checks if one.gravity is not Gravity.OK] == []
    assert z in ids


async def states(database: Database) -> list[tuple[str]]:
    return await database.rows("SELECT state FROM job ORDER BY id")


async def test_a_run_at_work_is_neither_disturbed_nor_accused(
    tmp_path: Path, database: Database
) -> None:
    """What is in flight belongs to it, and a transaction that it holds open is not seen."""
    ids = await factories.seed(database, ["x", "y"])
    await factories.write(database, factories.lease(1, ids[0]))
    with RunLock(tmp_path / "aiq.db") as lock:
        assert lock.acquire(wait_s=0)
        async with database.transaction():
            await database.rows("DELETE FROM request")
            found = await verify(tmp_path / "aiq.db")
            await database.rows("INSERT INTO request SELECT id, CAST('x' AS BLOB) FROM job")
    assert [one.text for one in found.checks if one.gravity is not Gravity.OK] == []
    assert "a run is going" in check(found, "database").text
    assert check(found, "in flight").text == "1 job"


async def test_what_a_dead_run_left_is_a_note(tmp_path: Path, database: Database) -> None:
    """The next run settles it."""
    ids = await factories.seed(database, ["x", "y"])
    await factories.write(database, factories.lease(1, ids[0]))
    await database.close()
    found = await verify(tmp_path / "aiq.db")
    assert found.exit_code is ExitCode.OK
    its = check(found, "in flight")
    assert (its.gravity, its.text) == (Gravity.NOTE, "the last run died with 1 job in flight")


async def test_leaving_does_not_wait_for_the_statement_at_work(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is tired of a large database gets out of it now, not when a statement has ended."""
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()

    def digest(_: bytes) -> bytes:
        loop.call_soon_threadsafe(begun.set)
        return b""

    endless = (
        "WITH RECURSIVE n(i) AS (SELECT length(sha256('')) UNION ALL SELECT i + 1 FROM n)"
        " SELECT i, i FROM n WHERE i < 0"
    )
    monkeypatch.setattr(digests, "_sha256", digest)
    monkeypatch.setattr(Rule, "sql", endless)
    looking = asyncio.create_task(verify(copy))
    await begun.wait()
    looking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await looking
