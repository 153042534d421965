"""Databases that cannot be used, from the start or all of a sudden: refused, and never harmed."""

from __future__ import annotations

import os
import resource
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.fault_server import FaultServer
from tests.support.invariants import check_store, rows
from tests.support.ledger import check_requests, picture, prompts, states
from tests.support.process import Workplace, contents
from tests.support.replies import Reply

OURS = 0x61697131


def sqlite_file(path: Path, *, application_id: int = 0, version: int = 0) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE job (whatever)")
        connection.execute(f"PRAGMA application_id = {application_id}")
        connection.execute(f"PRAGMA user_version = {version}")


def foreign(path: Path) -> None:
    sqlite_file(path)


def newer(path: Path) -> None:
    sqlite_file(path, application_id=OURS, version=99)


def no_database(path: Path) -> None:
    path.write_text("my shopping list, which I would hate to lose\n" * 100)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (foreign, "another program"),
        (newer, "newer aiq"),
        (no_database, "not a database"),
    ],
)
async def test_a_file_that_is_not_ours_is_refused_and_untouched(
    tmp_path: Path, make: Callable[[Path], None], says: str
) -> None:
    """Exit 5 with the reason, for those who write as for those who read."""
    async with FaultServer() as server, Workplace(tmp_path, a=server) as place:
        path = tmp_path / "precious"
        make(path)
        before = (path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_mode)
        for command in (["run", place.write(prompts(2))], ["status"]):
            ended = await place.run(*command, "--db", "precious")
            assert (ended.code, ended.out) == (5, b""), ended.text
            assert says in ended.text
            assert "precious" in ended.text
        assert (path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_mode) == before
        assert not {"precious-wal", "precious-shm"} & set(contents(tmp_path))
        assert server.ledger == []


@pytest.mark.parametrize("path", ["directory", "file.txt/aiq.db", "missing/aiq.db", "pipe"])
async def test_a_path_where_no_database_can_be_is_refused(tmp_path: Path, path: str) -> None:
    """A directory, a path below a file, a missing directory, a pipe: named, not a traceback."""
    async with FaultServer() as server, Workplace(tmp_path, a=server) as place:
        (tmp_path / "directory").mkdir()
        (tmp_path / "file.txt").write_text("text")
        place.fifo("pipe")
        ended = await place.run("run", place.write(prompts(2)), "--db", path)
        assert ended.code == 5, ended.text
        assert ended.text.startswith("error: ")
        assert path in ended.text
        assert "hint: " in ended.text
        assert "bug" not in ended.text
        assert server.ledger == []


@pytest.mark.parametrize("harm", ["truncated", "overwritten"])
async def test_a_damaged_database_is_said_to_be_damaged(tmp_path: Path, harm: str) -> None:
    """No damage is a bug of ours, none is made worse, and nothing is sent on its account."""
    async with FaultServer() as server, Workplace(tmp_path, a=server) as place:
        file = place.write(prompts(200))
        assert (await place.run("run", file, "--limit", "100")).code == 0
        data = bytearray(place.db.read_bytes())
        if harm == "truncated":
            data = data[: len(data) // 2]
        else:
            data[4096:] = os.urandom(len(data) - 4096)
        place.db.write_bytes(data)
        for command in (["run", file], ["export"]):
            ended = await place.run(*command)
            assert ended.code == 5, ended.text
            assert "Traceback" not in ended.text
        assert len(server.ledger) == 100


async def test_a_full_disk_stops_the_sending_and_the_next_run_carries_on(tmp_path: Path) -> None:
    """Exit 5 as soon as a commit fails: what was stored stays, what was leased is asked again."""
    async with FaultServer(Reply(delay_s=0.005)) as server:
        async with Workplace(tmp_path, a=server) as place:
            file = place.write(prompts(600))
            running = await place.start("run", file)
            await server.seen(200)
            wal = place.db.with_name("aiq.db-wal").stat().st_size
            resource.prlimit(running.pid, resource.RLIMIT_FSIZE, (wal + 20_000, wal + 20_000))
            ended = await running.ended()
            assert ended.code == 5, ended.text
            assert "Traceback" not in ended.text
            assert "bug" not in ended.text
            assert f"aiq run {file}" in ended.text
            left = picture(place.db)
            assert 0 < len(left.succeeded) < 600
            stopped_after = len(server.ledger)
            assert stopped_after <= len(left.succeeded) + 2 * 16 + 64

            again = await place.run("run", file)
            assert again.code == 0, again.text
        check_store(place.db, lines=600)
        check_requests(place.db, server)
        assert states(place.db) == {"succeeded": 600}
        final = picture(place.db)
        assert [key for key in left.succeeded if final.attempts[key] != left.attempts[key]] == []
        assert len(server.ledger) <= 600 + len(left.leased)
        crashed = rows(place.db, "SELECT count(*) FROM attempt WHERE cause = 'crash'")
        assert crashed == [(len(left.leased),)]


async def test_no_room_for_the_ingest_sends_nothing(tmp_path: Path) -> None:
    """A file that does not fit is refused whole, with the database's name, before any cost."""
    async with FaultServer() as server, Workplace(tmp_path, a=server) as place:
        file = place.write(prompts(20_000))
        ended = await place.run("run", file, shell='ulimit -f 200; exec "$@"')
        assert ended.code == 5, ended.text
        assert "aiq.db" in ended.text
        assert "bug" not in ended.text
        assert server.ledger == []
        assert (await place.run("run", file, "--limit", "1")).code == 0
        assert rows(place.db, "SELECT count(*) FROM job") == [(20_000,)]
