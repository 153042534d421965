"""One run per database: the lock is the kernel's, and it dies with its holder."""

from __future__ import annotations

import asyncio
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from aiq.errors import StoreError
from aiq.store.lock import RunLock, is_held, lock_path

HOLDER = """
import sys
from pathlib import Path
from aiq.store.lock import RunLock
lock = RunLock(Path(sys.argv[1]))  # kept: a lock that nobody holds on to is given back
print(lock.acquire(wait_s=0), flush=True)
sys.stdin.read()
"""


@asynccontextmanager
async def another_process(database: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that holds the lock until it dies or its standard input ends."""
    holder = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        HOLDER,
        str(database),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert holder.stdout is not None
        assert await holder.stdout.readline() == b"True\n"
        yield holder
    finally:
        if holder.returncode is None:
            holder.kill()
        await holder.wait()


async def test_a_second_process_is_refused_until_the_first_is_killed(database_path: Path) -> None:
    """No time-outs and no stale locks: after SIGKILL the next one has it at once."""
    lock = RunLock(database_path)
    async with another_process(database_path) as holder:
        assert not lock.acquire(wait_s=0)
        assert is_held(database_path)
        holder.kill()
        await holder.wait()
        assert not is_held(database_path)
        with lock:
            assert lock.acquire(wait_s=0)


async def test_the_file_that_stays_behind_is_no_lock(database_path: Path) -> None:
    lock = RunLock(database_path)
    with lock:
        assert lock.acquire(wait_s=0)
    assert lock.path.exists()
    assert not is_held(database_path)


def test_two_locks_of_one_process_exclude_each_other(database_path: Path) -> None:
    first, second = RunLock(database_path), RunLock(database_path)
    with first:
        assert first.acquire(wait_s=0)
        assert not second.acquire(wait_s=0)
        assert is_held(database_path)
    with second:
        assert second.acquire(wait_s=0)


async def test_it_can_be_taken_in_another_thread_than_it_is_given_back(database_path: Path) -> None:
    """The session waits for it in a thread, so that signals are heard."""
    lock = RunLock(database_path)
    assert await asyncio.to_thread(lock.acquire, wait_s=0)
    assert is_held(database_path)
    lock.release()
    assert not is_held(database_path)


def test_looking_creates_nothing(database_path: Path) -> None:
    assert not is_held(database_path)
    assert list(database_path.parent.iterdir()) == []


def test_looking_at_a_free_lock_leaves_it_free(database_path: Path) -> None:
    lock = RunLock(database_path)
    lock.acquire(wait_s=0)
    lock.release()
    before = lock.path.stat()
    assert not is_held(database_path)
    assert RunLock(database_path).acquire(wait_s=0)
    assert lock.path.stat().st_ino == before.st_ino


def test_the_side_file_is_private(database_path: Path) -> None:
    lock = RunLock(database_path)
    with lock:
        assert lock.acquire(wait_s=0)
        assert stat.S_IMODE(lock.path.stat().st_mode) == 0o600


def test_every_way_to_name_a_database_has_one_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else two runs could write one file, which can corrupt it."""
    real = tmp_path / "aiq.db"
    real.touch()
    link = tmp_path / "link.db"
    link.symlink_to(real)
    (tmp_path / "deep").mkdir()
    monkeypatch.chdir(tmp_path)
    names = [real, link, Path("aiq.db"), tmp_path / "deep" / ".." / "aiq.db"]
    assert {lock_path(name) for name in names} == {tmp_path / "aiq.db.lock"}


def test_a_directory_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="missing does not exist") as raised:
        RunLock(tmp_path / "missing" / "aiq.db").acquire(wait_s=0)
    assert list(tmp_path.iterdir()) == [], "a mistyped path is not made true"
    assert "--db" in (raised.value.hint or "")
