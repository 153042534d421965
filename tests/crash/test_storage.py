"""Databases that cannot be used, from the start or all of a sudden: refused, and never harmed."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.fault_server import FaultServer
from tests.support.ledger import prompts
from tests.support.process import Workplace, contents

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
