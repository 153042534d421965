"""`purge`: what is old and finished goes, every total stays true, and the database stays whole."""

from __future__ import annotations

import csv
import io
import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from aiq.clock import Clock
from aiq.errors import ExitCode, Refused, StoreError, UnknownName
from aiq.run.diagnosis import Gravity
from aiq.run.purge import Purge, Purged, carry_out, foreseen
from aiq.run.show import read_job
from aiq.run.status import read_status
from aiq.run.verification import verify
from aiq.store import attempts, purging
from aiq.store.lock import RunLock
from aiq.store.opening import open_for_reading, open_for_run
from aiq.store.purging import Extent
from aiq.store.rescue import Header, write_rescue
from aiq.store.schema import MIGRATIONS
from aiq.store.tallies import PURGED
from tests.support.fault_server import FaultServer
from tests.support.invariants import rows
from tests.support.lines import lines_of
from tests.support.process import contents
from tests.support.replies import Reply, Seen
from tests.support.sessions import Bench, hurried, prompts, provider

LATER = 2**62
"""An instant before which everything ended."""


def replies(seen: Seen) -> Reply | None:
    """Answers, with a failure, a bad reply, one that may be paid, and one only after a retry."""
    return {
        "p1": Reply.error(400),
        "p2": Reply.html(),
        "p3": Reply.hang_up() if seen.nth == 1 else None,
        "p4": Reply.error(500) if seen.nth == 1 else None,
    }.get(seen.prompt)


async def worked(tmp_path: Path, server: FaultServer, count: int = 12) -> Bench:
    bench = Bench(tmp_path, a=provider(server, max_tokens=10))
    await bench.run(prompts(count))
    return bench


def purge(bench: Bench, *, batch: str | None = None, before_us: int = LATER, **more: Any) -> Purge:
    only = more.get("answers_only", False)
    return Purge(database=bench.database, batch=batch, before_us=before_us, answers_only=only)


async def purged(bench: Bench, **options: Any) -> Purged:
    """Purge; what a dry run foretold is what happens, and no rule is broken afterwards."""
    asked = purge(bench, **options)
    before = contents(bench.directory)
    expected = await foreseen(asked)
    assert contents(bench.directory)["aiq.db"] == before["aiq.db"]
    done = await carry_out(asked, Clock())
    assert done.removed == expected
    assert await broken(bench.database) == []
    return done


async def broken(path: Path) -> list[str]:
    return [check.text for check in (await verify(path)).checks if check.gravity is Gravity.FINDING]


async def totals(bench: Bench) -> dict[str, Any]:
    """Return what is said of every attempt ever: money, tokens, latency, requests."""
    told = (await read_status(bench.database, None, now_us=0)).to_json()
    names = ("cost_usd", "cost_complete", "possibly_paid", "tokens", "latency_ms")
    figures = ("requests", "succeeded", "failed", "rate_limited", "tokens", "cost_usd")
    return {
        **{name: told[name] for name in names},
        "providers": [[one[name] for name in figures] for one in told["providers"]],
        "batches": [one["cost_usd"] for one in told["batches"]],
    }


async def committed(bench: Bench) -> tuple[int, int]:
    database = await open_for_run(bench.database)
    try:
        return await attempts.committed_nano(database, [1])
    finally:
        await database.close()


@hurried
async def test_finished_jobs_go_with_all_that_is_theirs_and_no_total_changes(
    tmp_path: Path,
) -> None:
    async with FaultServer(replies) as server:
        bench = await worked(tmp_path, server)
        before, budget = await totals(bench), await committed(bench)
        ended = bench.rows("SELECT count(*) FROM attempt")[0][0]
        done = await purged(bench)
    assert (done.removed.jobs, done.removed.attempts, done.removed.answers) == (12, ended, 10)
    for table in ("job", "request", "attempt", "answer", "bad_reply"):
        assert bench.rows(f"SELECT count(*) FROM {table}") == [(0,)], table
    assert await totals(bench) == before
    assert await committed(bench) == budget
    (batch,) = (await read_status(bench.database, None, now_us=0)).batches
    assert (batch.total, batch.purged) == (0, 12)


@hurried
async def test_twice_is_as_good_as_once(tmp_path: Path) -> None:
    """Purges of several days add up, in totals and in the budget."""
    async with FaultServer(replies) as server:
        bench = await worked(tmp_path, server)
        await purged(bench)
        await bench.run(files=[bench.write(prompts(5, prefix="q"), "prompts.jsonl")], partial=True)
        before, budget = await totals(bench), await committed(bench)
        assert (await purged(bench)).removed.jobs == 5
    assert await totals(bench) == before
    assert await committed(bench) == budget
    assert (await carry_out(purge(bench), Clock())).removed == Extent()


@hurried
async def test_only_what_ended_before_the_instant_goes(tmp_path: Path) -> None:
    """The last attempt decides, and its end."""
    async with FaultServer(replies) as server:
        bench = await worked(tmp_path, server)
    ends = dict(bench.rows("SELECT job_id, max(started_at + latency_us) FROM attempt GROUP BY 1"))
    instant = sorted(ends.values())[6]
    await purged(bench, before_us=instant)
    left = {job_id for (job_id,) in bench.rows("SELECT id FROM job")}
    assert left == {job_id for job_id, end in ends.items() if end >= instant}


@hurried
async def test_what_is_not_finished_stays(tmp_path: Path) -> None:
    async with FaultServer(replies) as server:
        bench = Bench(tmp_path, a=provider(server, max_tokens=10))
        await bench.run(prompts(12), limit=5)
        await purged(bench)
        assert bench.states() == {"pending": 7}
        result = await bench.run(partial=True)
    assert (result.exit_code, bench.states()) == (ExitCode.OK, {"succeeded": 7})


@hurried
async def test_a_job_that_never_had_an_attempt_ended_with_the_last_run(tmp_path: Path) -> None:
    """A purge is no run: it pushes no date on, and what the run was told can still be read."""
    async with FaultServer() as server:
        bench = Bench(tmp_path, a=provider(server))
        await bench.run(prompts(5), limit=2)
    with closing(sqlite3.connect(bench.database)) as connection, connection:
        connection.execute(
            "UPDATE job SET state = 'cancelled', not_before = NULL WHERE state = 'pending'"
        )
        connection.execute("INSERT INTO control (run_id, at, command) VALUES (1, 9, 'pause')")
    [(ended,)] = bench.rows("SELECT ended_at FROM run")
    await purged(bench, before_us=ended)
    assert bench.states()["cancelled"] == 3
    done = await purged(bench, before_us=ended + 1)
    assert done.removed.cancelled == 3
    assert "cancelled" not in bench.states()
    assert bench.rows("SELECT id, ended_at FROM run") == [(1, ended)]
    assert [one.command for one in (await read_status(bench.database, None, now_us=0)).told] == [
        "pause"
    ]


@hurried
async def test_one_batch_of_several(tmp_path: Path) -> None:
    async with FaultServer() as server:
        bench = Bench(tmp_path, a=provider(server))
        files = [bench.write(prompts(n), f"{name}.jsonl") for name, n in (("x", 2), ("y", 5))]
        await bench.run(files=files)
        before = await totals(bench)
        await purged(bench, batch="y")
    status = await read_status(bench.database, None, now_us=0)
    assert [(one.name, one.total, one.purged) for one in status.batches] == [
        ("x", 2, 0), ("y", 0, 5)
    ]  # fmt: skip
    assert await totals(bench) == before
    with pytest.raises(UnknownName, match="no batch `z`"):
        await foreseen(purge(bench, batch="z"))


@hurried
async def test_a_purged_line_is_a_new_one_and_an_emptied_one_is_known(tmp_path: Path) -> None:
    """Running the file again sends what is gone, and nothing of what only lost its text."""
    async with FaultServer() as server:
        bench = await worked(tmp_path, server, 6)
        await purged(bench, answers_only=True)
        result = await bench.run(prompts(6))
        assert (result.exit_code, result.to_json()["requests"]) == (ExitCode.OK, 0)
        await purged(bench)
        result = await bench.run(prompts(6), partial=True)
        assert result.to_json()["requests"] == 6
    assert len(server.ledger) == 12
    assert await broken(bench.database) == []


@hurried
async def test_without_their_texts_answers_keep_their_place(tmp_path: Path) -> None:
    async with FaultServer(replies) as server:
        bench = await worked(tmp_path, server)
        before = await totals(bench)
        ledger = bench.rows("SELECT * FROM attempt")
        done = await purged(bench, answers_only=True)
    assert (done.removed.answers, done.removed.replies, done.removed.attempts) == (10, 2, 0)
    assert bench.rows("SELECT DISTINCT length(body) FROM answer") == [(0,)]
    assert bench.rows("SELECT count(*) FROM bad_reply") == [(0,)]
    assert bench.rows("SELECT * FROM attempt") == ledger
    assert await totals(bench) == before
    exported, text = await bench.export_counted()
    flat = [json.loads(line) for line in lines_of(text)]
    assert (exported.results, exported.damaged, exported.purged) == (12, 0, 10)
    assert [row["state"] for row in flat].count("succeeded") == 10
    for row in flat:
        assert row["text"] is None
        assert row.get("purged", False) is (row["state"] == "succeeded")
        assert row["cost_usd"] is None or row["cost_usd"] >= 0
    lines = [json.loads(line) for line in lines_of(await bench.export(format="openai"))]
    assert [line["error"]["code"] for line in lines if line["error"]].count("purged") == 10
    cells = list(csv.DictReader(io.StringIO((await bench.export(format="csv")).decode())))
    assert len(cells) == 12
    for cell in cells:
        assert cell["purged"] == ("true" if cell["state"] == "succeeded" else "")
    assert (await read_job(bench.database, "p0", None)).is_purged


@hurried
async def test_what_is_removed_is_no_longer_in_the_file(tmp_path: Path) -> None:
    """Neither in free pages nor beside it, and nobody else may read what is left."""
    async with FaultServer(lambda s: Reply.chat(f"very secret {s.prompt} " * 500)) as server:
        bench = await worked(tmp_path, server, 12)
        await bench.run(files=[bench.write(prompts(270, prefix="q"), "other.jsonl")], partial=True)
        size = bench.database.stat().st_size
        done = await purged(bench, batch="prompts")
        assert done.bytes_after == bench.database.stat().st_size == size, "too little to bother"
        assert b"very secret p" not in b"".join(contents(bench.directory).values())
        done = await purged(bench, batch="other", answers_only=True)
    assert b"very secret" not in b"".join(contents(bench.directory).values())
    assert done.bytes_after == bench.database.stat().st_size < size / 2
    assert bench.database.stat().st_mode & 0o777 == 0o600


@hurried
async def test_it_goes_on_in_pieces_of_few_bytes(tmp_path: Path) -> None:
    async with FaultServer(lambda _: Reply.chat("x" * 7_000_000)) as server:
        bench = await worked(tmp_path, server, 5)
        chunks: list[int] = []
        await carry_out(purge(bench), Clock(), advanced=chunks.append)
    assert chunks == [2, 2, 1]
    assert await broken(bench.database) == []


@hurried
async def test_the_newest_outcome_is_that_of_what_is_left(tmp_path: Path) -> None:
    """No provider is judged by an attempt that is gone, or by another's under its number."""
    async with FaultServer() as server:
        bench = Bench(tmp_path, a=provider(server), b=provider(server, model="n"))
        await bench.run([{"prompt": "one", "model": "m"}, {"prompt": "two", "model": "n"}])
    [(first, ended)] = bench.rows(
        "SELECT job_id, started_at + latency_us FROM attempt ORDER BY 2 LIMIT 1"
    )
    await purged(bench, before_us=ended + 1)
    assert bench.rows("SELECT count(*) FROM job WHERE id = ?", first) == [(0,)]
    newest = bench.rows("SELECT newest FROM candidate WHERE newest IS NOT NULL")
    assert newest == bench.rows("SELECT id FROM attempt")


@hurried
async def test_a_run_at_work_keeps_it_out(tmp_path: Path) -> None:
    async with FaultServer() as server:
        bench = await worked(tmp_path, server, 3)
    with RunLock(bench.database) as lock:
        assert lock.acquire()
        with pytest.raises(StoreError, match="is in use by"):
            await carry_out(purge(bench), Clock())
        assert (await foreseen(purge(bench))).jobs == 3
        assert (await read_status(bench.database, None, now_us=0)).run is None, "who is it then?"
    assert bench.states() == {"succeeded": 3}


@hurried
async def test_what_a_dead_run_left_is_settled_first(tmp_path: Path) -> None:
    """An answer that waits outside the database must still find its job."""
    async with FaultServer() as server:
        bench = await worked(tmp_path, server, 3)
    [(run_id, began)] = bench.rows("SELECT id, started_at FROM run")
    header = Header(run_id=run_id, run_started_at=began, outcomes=0)
    path = write_rescue(bench.database, header, [])
    with pytest.raises(Refused, match="keeps answers"):
        await carry_out(purge(bench), Clock())
    path.unlink()
    with closing(sqlite3.connect(bench.database)) as connection:
        connection.executescript(
            "INSERT INTO attempt (id, job_id, number, run_id, candidate_id, started_at)"
            " VALUES (99, 1, 2, 1, 1, 1700000000000000);"
            "UPDATE job SET state = 'running', lease = 99, attempts = 2 WHERE id = 1"
        )
    with pytest.raises(Refused, match=r"died with 1 job\(s\) in flight"):
        await carry_out(purge(bench), Clock())
    assert bench.states() == {"running": 1, "succeeded": 2}


@hurried
async def test_a_database_from_before_there_were_purges(tmp_path: Path) -> None:
    """It is read as it is, and purged once it is migrated."""
    async with FaultServer(replies) as server:
        bench = await worked(tmp_path, server)
    before = await totals(bench)
    with closing(sqlite3.connect(bench.database)) as connection:
        connection.executescript(
            "DROP TABLE withdrawn; DROP TABLE purged; DROP TABLE purged_job;"
            " DROP TABLE purged_text;"
            f" PRAGMA user_version = {MIGRATIONS.index(PURGED)}"
        )
    assert await totals(bench) == before
    assert await broken(bench.database) == []
    assert (await foreseen(purge(bench))).jobs == 12
    await purged(bench)
    assert await totals(bench) == before


@hurried
async def test_a_step_that_fails_leaves_all_as_it_was(tmp_path: Path) -> None:
    """A chunk is removed whole or not at all, wherever it is interrupted."""
    async with FaultServer(replies) as server:
        bench = await worked(tmp_path, server)
    selection = purging.Selection(
        batches=(1,), before_us=LATER, last_ended_us=0, answers_only=False
    )
    was = rows(bench.database, "SELECT id, state FROM job")
    for table, moment in (("attempt", "DELETE"), ("job", "DELETE"), ("purged", "INSERT")):
        path = Path(shutil.copy(bench.database, tmp_path / f"{table}.db"))
        with closing(sqlite3.connect(path)) as connection:
            connection.execute(
                f"CREATE TRIGGER stop BEFORE {moment} ON {table}"
                " BEGIN SELECT raise(ABORT, 'stopped'); END"
            )
        database = await open_for_run(path)
        await purging.prepare(database)
        with pytest.raises(StoreError, match="stopped"):
            await purging.purge_some(database, selection, after=0)
        await database.close()
        assert rows(path, "SELECT id, state FROM job") == was
        assert await broken(path) == []
        reader = await open_for_reading(path)
        assert await purging.purged_jobs(reader) == {}
        await reader.close()
