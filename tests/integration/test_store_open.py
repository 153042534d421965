"""Opening a database: what is ours opens, what is not is refused without a byte changed."""

from __future__ import annotations

import os
import sqlite3
import stat
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aiq.errors import StoreError, UnknownName
from aiq.store.db import Database
from aiq.store.file_system import refuse_network_file_system
from aiq.store.opening import open_for_reading, open_for_run
from aiq.store.schema import APPLICATION_ID, SCHEMA_VERSION, TABLES
from tests.support import factories

Opener = Callable[[Path], Awaitable[Database]]
OPENERS = [open_for_run, open_for_reading]


async def made(path: Path) -> None:
    """Leave a closed database with a few pages of jobs behind."""
    database = await open_for_run(path)
    await factories.seed(database, [f"job-{n}" for n in range(2000)])
    await database.checkpoint()
    await database.close()


def put(path: Path, content: bytes | None) -> None:
    """Put a file in a database's place; None is a directory."""
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)


def truncate(path: Path, share: float) -> None:
    os.truncate(path, int(path.stat().st_size * share))


def around(path: Path) -> dict[str, bytes | None]:
    """Return every file beside a database, and the database."""
    if not path.parent.exists():
        return {}
    return {p.name: p.read_bytes() if p.is_file() else None for p in path.parent.iterdir()}


async def refused(opener: Opener, path: Path, **checks: Any) -> StoreError:
    """Open what must not be opened; whatever it was, it must not have changed."""
    before = around(path)
    with pytest.raises(StoreError, **checks) as raised:
        await (await opener(path)).close()
    assert around(path) == before
    error: StoreError = raised.value
    assert error.hint
    return error


async def test_a_new_database_has_every_table_and_says_whose_it_is(database_path: Path) -> None:
    database = await open_for_run(database_path)
    names = await database.rows(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    )
    assert sorted(name for (name,) in names) == sorted(TABLES)
    assert await database.row("PRAGMA application_id") == (APPLICATION_ID,)
    assert await database.row("PRAGMA user_version") == (SCHEMA_VERSION,)
    await database.close()


@pytest.mark.parametrize(
    ("pragma", "value"),
    [
        ("journal_mode", "wal"),
        ("synchronous", 2),
        ("foreign_keys", 1),
        ("trusted_schema", 0),
        ("busy_timeout", 10_000),
    ],
)
async def test_the_pragmas_that_durability_rests_on(
    database: Database, pragma: str, value: object
) -> None:
    assert await database.row(f"PRAGMA {pragma}") == (value,)


async def test_opening_again_changes_nothing(database_path: Path) -> None:
    await made(database_path)
    before = factories.dump(database_path)
    database = await open_for_run(database_path)
    await database.close()
    assert factories.dump(database_path) == before


@pytest.mark.parametrize("umask", [0o022, 0o000])
async def test_every_file_of_a_database_is_private(database_path: Path, umask: int) -> None:
    """Prompts and answers are nobody else's, whatever the umask says."""
    old = os.umask(umask)
    try:
        database = await open_for_run(database_path)
        await factories.seed(database, ["x"])
        files = sorted(database_path.parent.iterdir())
        assert [f.name for f in files] == ["aiq.db", "aiq.db-shm", "aiq.db-wal"]
        assert {stat.S_IMODE(f.stat().st_mode) for f in files} == {0o600}
        await database.close()
    finally:
        os.umask(old)


async def test_after_a_checkpoint_it_is_one_file(database_path: Path) -> None:
    await made(database_path)
    assert [p.name for p in database_path.parent.iterdir()] == ["aiq.db"]


async def test_an_empty_file_is_a_new_database(database_path: Path) -> None:
    """It is what a run that died in its first moment leaves."""
    put(database_path, b"")
    with pytest.raises(UnknownName, match="no batch yet"):
        await open_for_reading(database_path)
    database = await open_for_run(database_path)
    assert await database.row("SELECT count(*) FROM job") == (0,)
    await database.close()


async def test_reading_what_is_not_there_creates_nothing(database_path: Path) -> None:
    with pytest.raises(UnknownName, match="there is no database"):
        await open_for_reading(database_path)
    assert list(database_path.parent.iterdir()) == []


@pytest.mark.parametrize("opener", OPENERS)
async def test_a_database_of_another_program(opener: Opener, database_path: Path) -> None:
    connection = sqlite3.connect(database_path)
    connection.execute("CREATE TABLE bookmark (url TEXT)")
    connection.close()
    await refused(opener, database_path, match="another program")


@pytest.mark.parametrize("opener", OPENERS)
async def test_a_database_with_the_id_of_another_program(
    opener: Opener, database_path: Path
) -> None:
    connection = sqlite3.connect(database_path)
    connection.execute("PRAGMA application_id = 1")
    connection.close()
    await refused(opener, database_path, match="another program")


@pytest.mark.parametrize("opener", OPENERS)
async def test_a_database_of_a_newer_version(opener: Opener, database_path: Path) -> None:
    await made(database_path)
    connection = sqlite3.connect(database_path)
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()
    error = await refused(opener, database_path, match="newer aiq")
    assert "update aiq" in (error.hint or "")


@pytest.mark.parametrize("opener", OPENERS)
@pytest.mark.parametrize("content", [b"id,prompt\n1,hello\n" * 100, b"\x00" * 4096, b"xy"])
async def test_a_file_that_is_no_database(
    opener: Opener, database_path: Path, content: bytes
) -> None:
    put(database_path, content)
    await refused(opener, database_path, match=r"not a database|another program")


@pytest.mark.parametrize("opener", OPENERS)
@pytest.mark.parametrize("share", [0.5, 0.9])
async def test_a_truncated_database(opener: Opener, database_path: Path, share: float) -> None:
    await made(database_path)
    truncate(database_path, share)
    with pytest.raises(StoreError, match="malformed") as raised:
        await (await opener(database_path)).close()
    assert ".recover" in (raised.value.hint or "")


@pytest.mark.parametrize("opener", OPENERS)
async def test_a_directory_in_its_place(opener: Opener, database_path: Path) -> None:
    put(database_path, None)
    await refused(opener, database_path, match="not a regular file")


async def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    await refused(open_for_run, tmp_path / "missing" / "aiq.db", match="cannot be created")


@pytest.fixture
def read_only_directory() -> Iterator[Path]:
    """A directory that this process may read and not write, even where tests run as root."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o555)
        is_root = os.geteuid() == 0
        if is_root:
            os.seteuid(65534)
        try:
            yield directory
        finally:
            if is_root:
                os.seteuid(0)
            directory.chmod(0o755)


async def test_a_directory_that_cannot_be_written(read_only_directory: Path) -> None:
    path = read_only_directory / "aiq.db"
    error = await refused(open_for_run, path, match="cannot be created: Permission denied")
    assert "--db" in (error.hint or "")


@pytest.mark.parametrize(
    ("kind", "point", "is_refused"),
    [
        ("nfs4", "/", True),
        ("cifs", "/data", True),
        ("fuse.sshfs", "/data/deep", True),
        ("nfs", "/data/deeper", False),
        ("nfs", "/dat", False),
        ("ext4", "/data", False),
    ],
)
def test_network_file_systems_are_refused(
    tmp_path: Path, kind: str, point: str, is_refused: bool
) -> None:
    """The mount that really holds the directory decides: whole path components, deepest first."""
    mounts = tmp_path / "mounts"
    mounts.write_text(f"proc /proc proc rw 0 0\nserver:/x {point} {kind} rw 0 0\n")
    path = Path("/data/deep/aiq.db")
    if is_refused:
        with pytest.raises(StoreError, match=f"network file system \\({kind}\\)"):
            refuse_network_file_system(path, mounts=mounts)
    else:
        refuse_network_file_system(path, mounts=mounts)


def test_the_deepest_mount_decides_and_the_last_of_two_on_one_point(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text("s:/ / nfs rw 0 0\n/dev/sda /data ext4 rw 0 0\n")
    refuse_network_file_system(Path("/data/aiq.db"), mounts=mounts)
    mounts.write_text("/dev/sda /data ext4 rw 0 0\ns:/ /data nfs rw 0 0\n")
    with pytest.raises(StoreError):
        refuse_network_file_system(Path("/data/aiq.db"), mounts=mounts)


def test_a_mount_point_with_a_space_is_read_as_the_kernel_writes_it(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text("s:/ /my\\040data nfs rw 0 0\n")
    with pytest.raises(StoreError):
        refuse_network_file_system(Path("/my data/aiq.db"), mounts=mounts)


def test_without_a_mount_table_nothing_is_refused(tmp_path: Path) -> None:
    refuse_network_file_system(Path("/data/aiq.db"), mounts=tmp_path / "none")


async def test_a_reader_cannot_write(database: Database, database_path: Path) -> None:
    reader = await open_for_reading(database_path)
    with pytest.raises(StoreError, match="readonly"):
        await reader.rows("DELETE FROM job")
    await reader.close()
    assert database.path == database_path


async def test_a_reader_sees_only_what_is_committed(
    database: Database, database_path: Path
) -> None:
    reader = await open_for_reading(database_path)
    async with database.transaction():
        await database.rows("INSERT INTO batch VALUES (1, 'b', 0, x'7b7d')")
        assert await reader.row("SELECT count(*) FROM batch") == (0,)
    assert await reader.row("SELECT count(*) FROM batch") == (1,)
    await reader.close()


async def test_a_transaction_that_raises_is_undone(database: Database) -> None:

    async def fail_half_way() -> None:
        async with database.transaction():
            await database.rows("INSERT INTO batch VALUES (1, 'b', 0, x'7b7d')")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail_half_way()
    assert await database.row("SELECT count(*) FROM batch") == (0,)
    async with database.transaction():
        await database.rows("INSERT INTO batch VALUES (1, 'b', 0, x'7b7d')")


async def test_a_sqlite_that_is_too_old_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is made, and not as a syntax error."""
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 37, 2))
    path = tmp_path / "aiq.db"
    for opening in (open_for_run, open_for_reading):
        with pytest.raises(StoreError, match=r"and aiq needs 3\.38\.0"):
            await opening(path)
    assert not path.exists()
