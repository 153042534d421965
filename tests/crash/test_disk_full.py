"""A disk that is full, or fails: sending stops, what was bought is kept, nothing is asked twice."""

from __future__ import annotations

import contextlib
import re
import resource
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.fault_server import FaultServer
from tests.support.invariants import rows
from tests.support.ledger import check_all_answered, check_requests, picture, prompts
from tests.support.process import FULL, Ended, Process, Workplace, contents
from tests.support.replies import Reply
from tests.support.storage_faults import TRACING, failing, fill, small_disk

CONCURRENCY = 16
TRACED = 200
"""Jobs of a run in which a system call fails."""

SWEPT = [
    f"{call}:error={error}:when={number}{lasts}"
    for call, error, numbers in [
        ("pwrite64", "ENOSPC", range(4, 240, 9)),
        ("pwrite64", "EIO", range(7, 240, 9)),
        ("fdatasync", "EIO", range(2, 44, 2)),
    ]
    for number in numbers
    for lasts in ("", "+")
]
"""From the creation of a database to its last checkpoint, once or from then on."""


def freeze_size(place: Workplace, running: Process) -> None:
    """Let no file of the process grow beyond the present size of its write-ahead log."""
    size = place.db.with_name("aiq.db-wal").stat().st_size
    resource.prlimit(running.pid, resource.RLIMIT_FSIZE, (size, size))


@contextlib.contextmanager
def growing_log(place: Workplace) -> Iterator[None]:
    """Keep the log from starting over, which would go on inside its present size: read it."""
    with closing(sqlite3.connect(f"file:{place.db}?mode=ro", uri=True)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM job").fetchone()
        yield


def rescue_named(ended: Ended) -> Path:
    """Return the rescue file that the words of an end name; it is there, and private."""
    assert ended.code == 5, ended.text
    assert "Traceback" not in ended.text
    assert "bug" not in ended.text
    [name] = re.findall(r"are kept in (\S+)", ended.text)
    path = Path(name)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    return path


def check_nothing_paid_twice(place: Workplace, server: FaultServer, count: int) -> None:
    """Each job is answered, by its only request, and none is said to be possibly paid."""
    check_all_answered(place.db, count)
    check_requests(place.db, server)
    assert len(server.ledger) == count
    assert rows(place.db, "SELECT count(*) FROM attempt WHERE billed = 'maybe'") == [(0,)]
    assert rows(place.db, "SELECT count(*) FROM attempt WHERE cause = 'crash'") == [(0,)]


async def test_a_full_disk_stops_the_sending_and_every_answer_is_kept(tmp_path: Path) -> None:
    """At most what was in flight is still sent; with room again, 1,000 jobs cost 1,000 requests."""
    async with FaultServer(Reply(delay_s=0.005)) as server:
        async with Workplace(tmp_path, run={"concurrency": CONCURRENCY}, a=server) as place:
            running = await place.start("run", place.write(prompts(1000)))
            await server.answered(1)
            with growing_log(place):
                await server.answered(300)
                freeze_size(place, running)
                seen = len(server.ledger)
                ended = await running.ended()
            kept = rescue_named(ended)
            assert kept.parent == tmp_path
            assert len(server.ledger) <= seen + CONCURRENCY
            left = picture(place.db)
            assert len(left.succeeded) + len(left.leased) >= len(server.ledger)

            again = await place.resume(ended)
            assert again.code == 0, again.text
            assert "that an earlier run could not store were taken in" in again.text
            assert not kept.exists()
        check_nothing_paid_twice(place, server, 1000)
        after = picture(place.db)
        assert [key for key in left.succeeded if after.attempts[key] != left.attempts[key]] == []


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB that is really full when it is full."""
    with small_disk(tmp_path / "disk", size="8m") as mounted:
        yield mounted


async def test_a_full_file_system_is_rescued_to_the_directory_for_temporary_files(
    tmp_path: Path, disk: Path
) -> None:
    """Not a byte is left beside the database; and a run before there is room changes nothing."""
    elsewhere = tmp_path / "tmp"
    elsewhere.mkdir()
    env = {"TMPDIR": str(elsewhere)}
    async with FaultServer(Reply(delay_s=0.005)) as server, Workplace(disk, a=server) as place:
        file = place.write(prompts(200))
        running = await place.start("run", file, env=env)
        await server.answered(60)
        ballast = disk / "ballast"
        fill(ballast)
        ended = await running.ended()
        kept = rescue_named(ended)
        assert kept.parent == elsewhere
        before = kept.read_bytes(), len(server.ledger)

        still = await place.run("run", file, env=env)
        assert still.code == 5, still.text
        assert f"what {kept} keeps for it is still there" in still.text
        assert (kept.read_bytes(), len(server.ledger)) == before

        ballast.unlink()
        again = await place.run("run", file, env=env)
        assert again.code == 0, again.text
        assert list(elsewhere.iterdir()) == []
        check_nothing_paid_twice(place, server, 200)


async def survive(directory: Path, fault: str, *, is_ingested: bool = False) -> tuple[Ended, int]:
    """
    Run into a fault, then run again without it: nothing is lost, nothing is asked twice.

    With `is_ingested` the database and its jobs are there already when the counting begins.
    Return how the first run ended, and how many requests it had sent.
    """
    async with (
        FaultServer(Reply(delay_s=0.002)) as server,
        Workplace(directory, run={"concurrency": CONCURRENCY}, a=server) as place,
    ):
        file = place.write(prompts(TRACED))
        if is_ingested:
            assert (await place.run("run", file, "--dry-run")).code == 0
        ended = await place.run("run", file, shell=failing(fault))
        sent = len(server.ledger)
        again = await place.run("run", file)
        assert again.code == 0, again.text
        assert [name for name in contents(directory) if "rescue" in name] == []
        check_nothing_paid_twice(place, server, TRACED)
    return ended, sent


@pytest.mark.skipif(not TRACING, reason="needs strace, and leave to trace")
@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("pwrite64:error=ENOSPC:when=60+", "full"),
        ("fdatasync:error=EIO:when=10+", "disk I/O error"),
    ],
)
async def test_a_write_or_a_sync_that_fails(tmp_path: Path, fault: str, says: str) -> None:
    """What was bought is kept and named, and nothing of it is bought again."""
    ended, sent = await survive(tmp_path, fault, is_ingested=True)
    assert ended.code == 5, ended.text
    assert says in ended.text
    assert "are kept in" in ended.text
    assert "Traceback" not in ended.text
    assert 0 < sent < TRACED


@pytest.mark.skipif(not (TRACING and FULL), reason="the sweep takes minutes, and strace")
@pytest.mark.parametrize("fault", SWEPT * FULL)
async def test_whichever_write_or_sync_fails(tmp_path: Path, fault: str) -> None:
    """It ends the run or it does not, and in either case it costs nothing."""
    ended, _ = await survive(tmp_path, fault)
    assert ended.code in (0, 5), ended.text
    assert "bug" not in ended.text


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
