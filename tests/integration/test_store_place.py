"""What may lie at a database's path or beside it, and what is only read there."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiq.errors import StoreError, UnknownName
from aiq.store.db import Database
from aiq.store.opening import open_for_reading, open_for_run
from aiq.store.place import log_path
from tests.support import factories

NOBODY = 65534


async def refused(path: Path, match: str) -> None:
    """Nobody opens it, for writing or reading, and nothing in its directory changes."""
    before = contents(path.parent)
    for opener in (open_for_run, open_for_reading):
        with pytest.raises((StoreError, UnknownName), match=match) as raised:
            await (await opener(path)).close()
        assert raised.value.hint
    assert contents(path.parent) == before


def contents(directory: Path) -> dict[str, bytes | None]:
    return {p.name: p.read_bytes() if p.is_file() else None for p in directory.iterdir()}


async def made(path: Path) -> None:
    """Leave a closed database with a job behind."""
    database = await open_for_run(path)
    await factories.seed(database, ["x"])
    await database.checkpoint()
    await database.close()


async def left_with_log(path: Path) -> None:
    """Leave what a killed run leaves: a database with a log that is not folded in."""
    living = path.with_name("living.db")
    database = await open_for_run(living)
    await factories.seed(database, ["x"])
    for end in ("", "-wal"):
        shutil.copy(f"{living}{end}", f"{path}{end}")
    await database.close()
    living.unlink()


def take_away(path: Path, *, leave_empty: bool) -> bytes:
    """Take a database from beside its log; return what it held."""
    assert log_path(path).stat().st_size > 0
    whole = path.read_bytes()
    path.unlink()
    if leave_empty:
        path.touch()
    return whole


def put_back(path: Path, whole: bytes) -> None:
    path.write_bytes(whole)


def link(path: Path, target: Path) -> None:
    path.symlink_to(target)


@pytest.mark.parametrize("is_empty", [True, False])
async def test_a_log_without_its_database_is_not_taken_for_another_s(
    database_path: Path, is_empty: bool
) -> None:
    """An empty file in its place, or none: a new database would swallow the log and its answers."""
    await left_with_log(database_path)
    whole = take_away(database_path, leave_empty=is_empty)
    await refused(database_path, "is missing or empty, but its log .*aiq.db-wal holds")
    put_back(database_path, whole)
    database = await open_for_run(database_path)
    assert await database.row("SELECT count(*) FROM job") == (1,)
    await database.close()


async def test_an_empty_log_says_nothing(database_path: Path) -> None:
    """It is what a run leaves whose database was taken away from it."""
    log_path(database_path).touch()
    database = await open_for_run(database_path)
    await database.close()


async def test_a_link_leads_to_the_database_and_everything_lies_beside_that(
    tmp_path: Path, database_path: Path
) -> None:
    real = tmp_path / "elsewhere" / "real.db"
    real.parent.mkdir()
    await made(real)
    link(database_path, real)
    database = await open_for_run(database_path)
    await factories.seed(database, ["y"], batch="c")
    assert log_path(database_path) == real.with_name("real.db-wal")
    assert log_path(database_path).stat().st_size > 0
    await database.close()
    assert factories.query(real, "SELECT count(*) FROM job") == [(2,)]


async def test_a_link_to_nothing_is_refused(database_path: Path) -> None:
    link(database_path, database_path.with_name("nothing"))
    with pytest.raises(StoreError, match="a symbolic link to nothing"):
        await open_for_run(database_path)
    with pytest.raises(UnknownName, match="there is no database"):
        await open_for_reading(database_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file of another user")
async def test_a_link_to_the_file_of_another_user_is_refused(
    tmp_path: Path, database_path: Path
) -> None:
    real = tmp_path / "theirs.db"
    await made(real)
    os.chown(real, NOBODY, NOBODY)
    link(database_path, real)
    await refused(database_path, "a symbolic link to a file of another user")


async def test_a_device_is_refused(database_path: Path) -> None:
    link(database_path, Path("/dev/null"))
    await refused(database_path, "not a regular file")


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory that an unprivileged user may come to."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


class ReadOnly:
    """While it is entered, this process may read everything in a directory and write nothing."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def __enter__(self) -> None:
        for file in self._directory.iterdir():
            file.chmod(0o444)
        self._directory.chmod(0o555)
        if os.getuid() == 0:
            os.seteuid(NOBODY)

    def __exit__(self, *_: object) -> None:
        os.seteuid(os.getuid())
        self._directory.chmod(0o755)


async def test_a_database_in_a_read_only_directory_can_be_read(directory: Path) -> None:
    """When nobody can be writing it: no log lies beside it."""
    path = directory / "aiq.db"
    await made(path)
    with ReadOnly(directory):
        database = await open_for_reading(path)
        assert await database.row("SELECT count(*) FROM job") == (1,)
        await database.close()
        with pytest.raises(StoreError) as raised:
            await open_for_run(path)
        assert "writable" in (raised.value.hint or "")
    assert list(contents(directory)) == ["aiq.db"]


async def test_with_a_log_beside_it_that_is_refused_with_a_way_out(directory: Path) -> None:
    """Without the log, answers would be missing; with it, SQLite would have to write."""
    path = directory / "aiq.db"
    await left_with_log(path)
    before = contents(directory)
    with ReadOnly(directory):
        with pytest.raises(StoreError) as raised:
            await open_for_reading(path)
        assert "copy it, with its -wal file" in (raised.value.hint or "")
    assert contents(directory) == before


@pytest.fixture
async def holder(database_path: Path) -> Database:
    await made(database_path)
    return await open_for_run(database_path)


async def test_reading_takes_no_lock_that_a_writer_would_meet(
    holder: Database, database_path: Path
) -> None:
    """A reader in the middle of a page keeps nobody from writing."""
    reader = await open_for_reading(database_path)
    await reader.rows("BEGIN")
    assert await reader.row("SELECT count(*) FROM job") == (1,)
    await holder.rows("PRAGMA busy_timeout = 0")
    await factories.seed(holder, ["y"], batch="c")
    assert await reader.row("SELECT count(*) FROM job") == (1,)
    await reader.close()
    await holder.close()
    with sqlite3.connect(database_path) as connection:
        assert connection.execute("SELECT count(*) FROM job").fetchone() == (2,)
    connection.close()
