"""Runs whose database stops taking writes, or goes away: what was bought is kept."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aiq.clock import Clock
from aiq.errors import StoreError, StoreMoved
from aiq.run import pool, watch
from aiq.run.aftermath import Aftermath
from aiq.run.options import RunOptions
from aiq.store import opening, rescue, runs, writer
from aiq.store.place import log_path
from aiq.store.rows import StaleWrite
from aiq.store.writes import apply
from tests.support.fault_server import FaultServer
from tests.support.replies import Reply, Seen
from tests.support.sessions import Bench, Recorder, prompts, provider

JOBS = 60
ANSWERED_AT_LAST = {"succeeded": JOBS}


class Disk:
    """Takes groups of writes until it breaks; then each commit fails as was planted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fail: Callable[..., Any]) -> None:
        self.is_broken = False
        self._fail = fail
        self._patch = monkeypatch
        monkeypatch.setattr(writer, "apply", self)

    async def __call__(self, *arguments: Any, **named: Any) -> None:
        is_mixed = bool(named["settles"] and named["leases"])
        if self.is_broken or is_mixed:
            self.is_broken = True
            await self._fail(*arguments, **named)
        else:
            await apply(*arguments, **named)

    def mend(self) -> None:
        self._patch.setattr(writer, "apply", apply)


async def io_error(*_: Any, **__: Any) -> None:
    raise StoreError("disk I/O error")


async def io_error_after_all_was_written(*arguments: Any, **named: Any) -> None:
    await apply(*arguments, **named)
    raise StoreError("disk I/O error")


async def stale_write(*_: Any, **__: Any) -> None:
    raise StaleWrite("a mistake of ours")


async def end_of(bench: Bench, count: int = JOBS) -> BaseException:
    """Run a session that ends in an error, and return it."""
    options = RunOptions(database=bench.database, files=(bench.write(prompts(count)),))
    with pytest.raises((StoreError, StaleWrite, RuntimeError)) as raised:
        await bench.new_session(options, observer=bench.recorder).run()
    return raised.value


def hurry_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait milliseconds instead of seconds for whoever holds the database."""
    pragmas = [pragma.replace("10000", "30") for pragma in opening._COMMON_PRAGMAS]
    assert pragmas != [*opening._COMMON_PRAGMAS]
    monkeypatch.setattr(opening, "_COMMON_PRAGMAS", pragmas)


def count_of_answers(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT count(*) FROM answer").fetchone()[0])


def requests(server: FaultServer) -> list[str]:
    return sorted(seen.prompt for seen in server.ledger)


@pytest.mark.parametrize("fail", [io_error, io_error_after_all_was_written, stale_write])
async def test_a_commit_that_fails_costs_no_second_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fail: Callable[..., Any]
) -> None:
    """
    Also if it happened all the same, and also if it failed by a mistake of ours.

    The leases that went down with it were never sent: none of them counts as possibly paid.
    """

    def script(seen: Seen) -> Reply:
        return Reply(delay_s=0.2 if seen.number % 4 == 0 else 0.003)

    async with FaultServer(script) as server:
        bench = Bench(tmp_path, a=provider(server), run={"concurrency": 8})
        disk = Disk(monkeypatch, fail)
        error = await end_of(bench)
        assert "are kept in" in " ".join([str(error), *bench.recorder.notes])
        assert disk.is_broken
        assert 0 < len(server.ledger) < JOBS
        disk.mend()
        await bench.run(prompts(JOBS), aborted=True)
        assert bench.states() == ANSWERED_AT_LAST
        assert requests(server) == sorted(line["id"] for line in prompts(JOBS))
        assert bench.rows("SELECT count(*) FROM attempt WHERE billed = 'maybe'") == [(0,)]
        assert rescue.find_rescues(bench.database) == []


async def test_a_database_that_is_renamed_before_the_next_run_gets_its_answers_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were kept under its old name, and it is known by its run."""
    async with FaultServer() as server:
        bench = Bench(tmp_path, a=provider(server), run={"concurrency": 2})
        disk = Disk(monkeypatch, io_error)
        await end_of(bench)
        disk.mend()
        moved = tmp_path / "elsewhere.db"
        bench.database.rename(moved)
        bench.database = moved
        await bench.run(prompts(JOBS), aborted=True)
        assert bench.states() == ANSWERED_AT_LAST
        assert len(server.ledger) == JOBS
        assert len(rescue.find_others(moved)) == 1  # a copy may need it too


async def test_what_is_in_flight_is_not_awaited_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What does not come within the time of a drain is possibly paid, and that is kept as well."""
    monkeypatch.setattr(pool, "STORE_DRAIN_S", 0.2)
    never = Reply(until=asyncio.Event())
    async with FaultServer(lambda seen: never if seen.number == 2 else None) as server:
        bench = Bench(tmp_path, a=provider(server), run={"concurrency": 2})
        disk = Disk(monkeypatch, io_error)
        await end_of(bench)
        disk.mend()
        await bench.run(prompts(JOBS), aborted=True)
        assert bench.states() == ANSWERED_AT_LAST
        assert bench.rows("SELECT kind, cause FROM attempt WHERE billed = 'maybe'") == [
            ("cancelled", "abort")
        ]
        assert len(server.ledger) == JOBS + 1


async def test_answers_that_nothing_can_keep_are_said_to_be_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every place is tried, each refusal is told, and the next run counts them as possibly paid."""
    nowhere = tmp_path / "nowhere"
    monkeypatch.setattr(rescue, "_places", lambda _: [(nowhere, "a."), (nowhere / "b", "b.")])
    async with FaultServer() as server:
        bench = Bench(tmp_path, a=provider(server), run={"concurrency": 2})
        disk = Disk(monkeypatch, io_error)
        told = str(await end_of(bench))
        assert "could be stored nowhere, and may have to be asked and paid again" in told
        assert f"{nowhere}: No such file or directory; {nowhere / 'b'}: No such" in told
        disk.mend()
        await bench.run(prompts(JOBS), aborted=True)
        assert bench.states() == ANSWERED_AT_LAST
        [(maybe,)] = bench.rows("SELECT count(*) FROM attempt WHERE billed = 'maybe'")
        assert maybe == len(server.ledger) - JOBS


async def test_a_database_that_is_locked_for_ever_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After its tries it is said who may be the reason, and what was answered meanwhile is kept."""
    hurry_locks(monkeypatch)
    holder: list[sqlite3.Connection] = []

    def script(seen: Seen) -> None:
        if seen.number == 20:
            holder.append(sqlite3.connect(tmp_path / "aiq.db", isolation_level=None, timeout=5))
            holder[0].execute("BEGIN IMMEDIATE")

    async with FaultServer(script) as server:
        bench = Bench(tmp_path, a=provider(server), run={"concurrency": 4})
        error = await end_of(bench)
        assert "database is locked" in str(error)
        assert isinstance(error, StoreError)
        assert "another program holds the database" in (error.hint or "")
        assert len(server.ledger) <= 20 + 4
        holder[0].close()
        await bench.run(prompts(JOBS), aborted=True)
        assert bench.states() == ANSWERED_AT_LAST
        assert len(server.ledger) == JOBS


async def test_a_worker_that_dies_ends_the_run_when_the_others_are_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their answers are paid, and stored; and waiting for them is no busy loop."""
    conclude = Aftermath.conclude

    def planted(self: Aftermath, assignment: Any, *others: Any) -> Any:
        if assignment.attempt.job.id == 1:
            raise RuntimeError("planted")
        return conclude(self, assignment, *others)

    monkeypatch.setattr(Aftermath, "conclude", planted)
    replies = [Reply(), *[Reply(delay_s=0.2)] * 3]
    async with FaultServer(replies) as server:
        bench = Bench(tmp_path, a=provider(server))
        assert str(await end_of(bench)) == "planted"
        assert bench.states() == {"succeeded": 3, "running": 1, "pending": JOBS - 4}
        assert len(server.ledger) == 4


def delete(path: Path) -> None:
    path.unlink()


def replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(b"somebody else's")
    other.rename(path)


def remove_directory(path: Path) -> None:
    shutil.rmtree(path.parent)


def delete_log(path: Path) -> None:
    log_path(path).unlink()


def replace_log(path: Path) -> None:
    replace(log_path(path))


@pytest.mark.parametrize("harm", [delete, replace, remove_directory, delete_log, replace_log])
async def test_a_database_that_goes_away_during_a_run_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: Callable[[Path], None]
) -> None:
    """Sending stops, all that was bought is in the copy, and the run can go on with that."""
    monkeypatch.setattr(watch, "BEAT_S", 0.02)
    elsewhere = tmp_path / "tmp"
    elsewhere.mkdir()
    monkeypatch.setenv("TMPDIR", str(elsewhere))
    path = tmp_path / "deep" / "aiq.db"
    path.parent.mkdir()

    def script(seen: Seen) -> Reply:
        if seen.number == 10:
            harm(path)
        return Reply(delay_s=0.01)

    async with FaultServer(script) as server:
        bench = Bench(tmp_path, a=provider(server))
        bench.database = path
        error = await end_of(bench, 200)
        assert isinstance(error, StoreMoved)
        assert str(error.copy) in str(error)
        assert error.copy.stat().st_mode & 0o777 == 0o600
        assert error.copy.parent == (elsewhere if harm is remove_directory else path.parent)
        assert 10 <= len(server.ledger) < 200
        if harm is replace:
            assert path.read_bytes() == b"somebody else's"
        is_log = harm in (delete_log, replace_log)
        assert ("its write-ahead log" in str(error)) == is_log
        assert ("its write-ahead log" in bench.recorder.notes[-1]) == is_log
        bench.database = error.copy
        await bench.run(prompts(200))
        assert bench.states() == {"succeeded": 200}
        assert len(server.ledger) == 200


async def test_a_database_that_is_put_back_has_stopped_the_run_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stopped it is not forgotten: it ends neither well nor without a way to go on."""
    monkeypatch.setattr(watch, "BEAT_S", 0.02)
    back = asyncio.Event()
    away = tmp_path / "away.db"

    def script(seen: Seen) -> Reply:
        if seen.number == 10:
            bench.database.rename(away)
        return Reply(until=back) if seen.number >= 10 else Reply()

    class PutsBack(Recorder):
        def note(self, sentence: str) -> None:
            super().note(sentence)
            if "nothing more is sent" in sentence:
                away.rename(bench.database)
                back.set()

    async with FaultServer(script) as server:
        bench = Bench(tmp_path, a=provider(server))
        with pytest.raises(StoreMoved) as moved:
            await bench.run(prompts(200), observer=PutsBack())
        assert 10 <= len(server.ledger) < 200
        bench.database = moved.value.copy
        await bench.run(prompts(200))
        assert bench.states() == {"succeeded": 200}
        assert len(server.ledger) == 200


async def test_what_sqlite_does_to_its_log_is_no_loss(tmp_path: Path) -> None:
    """It is cut back, begun anew, and left alone by whoever else closes the database."""
    path = tmp_path / "aiq.db"
    database = await opening.open_for_run(path)
    looking = watch.Watch(path, Clock())
    looking.begin()
    try:
        for number in range(3):
            for _ in range(20):
                await runs.begin_run(database, pid=1, host="host", now_us=number)
            other = sqlite3.connect(path)
            assert other.execute("SELECT count(*) FROM run").fetchone() == (20 * number + 20,)
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            other.close()
            await database.checkpoint()
            assert looking.lost is None
    finally:
        await database.close()


async def test_a_program_that_goes_on_reading_is_pointed_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It sees what it began with, the run goes on, and the log that cannot shrink is told once."""
    hurry_locks(monkeypatch)
    monkeypatch.setattr(watch, "BEAT_S", 0.02)
    monkeypatch.setattr(watch, "LOG_BYTES", 50_000)
    reader: list[sqlite3.Connection] = []

    def script(seen: Seen) -> Reply:
        if seen.number == 1:
            reader.append(sqlite3.connect(tmp_path / "aiq.db", isolation_level=None))
            reader[0].execute("BEGIN")
            assert count_of_answers(reader[0]) == 0
        return Reply(delay_s=0.005)

    async with FaultServer(script) as server:
        bench = Bench(tmp_path, a=provider(server))
        await bench.run(prompts(JOBS))
        assert count_of_answers(reader[0]) == 0
        reader[0].close()
        [told] = [note for note in bench.recorder.notes if "write-ahead log" in note]
        assert "another program keeps reading" in told
        assert bench.states() == ANSWERED_AT_LAST


async def test_a_backup_made_during_a_run_is_whole_and_disturbs_nobody(tmp_path: Path) -> None:
    """Whoever copies it with SQLite's own means gets a database that can be gone on with."""
    copy = tmp_path / "copy.db"

    def script(seen: Seen) -> Reply:
        if seen.number == JOBS // 2:
            with sqlite3.connect(tmp_path / "aiq.db") as source, sqlite3.connect(copy) as target:
                source.backup(target)
            source.close()
            target.close()
        return Reply(delay_s=0.005)

    async with FaultServer(script) as server:
        bench = Bench(tmp_path, a=provider(server))
        await bench.run(prompts(JOBS))
        assert len(server.ledger) == JOBS
        bench.database = copy
        assert bench.rows("PRAGMA integrity_check") == [("ok",)]
        [(done,)] = bench.rows("SELECT count(*) FROM answer")
        assert 0 < done < JOBS
        await bench.run(prompts(JOBS), aborted=True)
        assert bench.states() == ANSWERED_AT_LAST


@pytest.mark.parametrize(("free", "is_told"), [(10 * 2**20, True), (10 * 2**30, False)])
async def test_too_little_room_is_told_before_the_first_send(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, is_told: bool
) -> None:
    usage = namedtuple("usage", "total used free")  # noqa: PYI024
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(2**40, 0, free))
    async with FaultServer() as server:
        bench = Bench(tmp_path, a=provider(server))
        await bench.run(prompts(3))
        told = [note for note in bench.recorder.notes if "10 MiB are free" in note]
        assert len(told) == is_told
