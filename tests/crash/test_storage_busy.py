"""A database that another program holds, or takes away, while a real process writes it."""

from __future__ import annotations

import asyncio
import re
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.fault_server import FaultServer
from tests.support.ledger import check_all_answered, check_requests, prompts
from tests.support.lines import lines_of
from tests.support.process import FULL, Workplace, contents
from tests.support.replies import Reply
from tests.support.storage_faults import TRACING

HELD_S = 8.0 if FULL else 1.0
JOBS = 200


async def test_a_lock_of_seconds_is_waited_for(tmp_path: Path) -> None:
    """No error, no request more than was leased, and everything goes on when it is over."""
    async with FaultServer(Reply(delay_s=0.005)) as server, Workplace(tmp_path, a=server) as place:
        running = await place.start("run", place.write(prompts(JOBS)))
        await server.answered(50)
        with closing(sqlite3.connect(place.db, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            seen = len(server.ledger)
            await asyncio.sleep(HELD_S)
            assert len(server.ledger) <= seen + 16
            assert running.is_running
            other.execute("ROLLBACK")
        ended = await running.ended()
        assert ended.code == 0, ended.text
        assert "error" not in ended.text.replace("errors", "")
        check_all_answered(place.db, JOBS)
        check_requests(place.db, server)
        assert len(server.ledger) == JOBS


async def test_a_database_that_is_deleted_during_a_run_comes_back_as_a_copy(tmp_path: Path) -> None:
    """Found at the latest at the end: exit 5, and the printed command goes on with the copy."""
    async with FaultServer(Reply(delay_s=0.005)) as server, Workplace(tmp_path, a=server) as place:
        running = await place.start("run", place.write(prompts(JOBS)))
        await server.answered(50)
        place.db.unlink()
        ended = await running.ended()
        assert ended.code == 5, ended.text
        assert "was deleted or replaced while a run was using it" in ended.text
        assert not place.db.exists()
        [name] = [name for name in contents(tmp_path) if name.startswith("aiq.db.copy-")]
        copy = tmp_path / name
        assert str(copy) in ended.text
        assert stat.S_IMODE(copy.stat().st_mode) == 0o600
        again = await place.resume(ended)
        assert again.code == 0, again.text
        check_all_answered(copy, JOBS)
        check_requests(copy, server)
        assert len(server.ledger) == JOBS


@pytest.mark.skipif(not TRACING, reason="needs strace, and leave to trace")
async def test_a_slow_disk_makes_larger_groups_and_the_file_is_opened_once(tmp_path: Path) -> None:
    """
    What waits for a sync shares the next one, and what is bought and not stored stays bounded.

    Nobody but SQLite opens the file: closing it again would drop the locks of the whole process.
    """
    log = tmp_path / "calls"
    traced = (
        f"exec strace -f --seccomp-bpf -qq -y -o {log} -e trace=openat,fdatasync"
        ' -e inject=fdatasync:delay_exit=50000 "$@"'
    )
    async with FaultServer(Reply(delay_s=0.001)) as server, Workplace(tmp_path, a=server) as place:
        ended = await place.run("run", place.write(prompts(JOBS)), shell=traced)
        assert ended.code == 0, ended.text
        check_all_answered(place.db, JOBS)
        assert len(server.ledger) == JOBS
    calls = lines_of(log.read_text())
    opened = [call for call in calls if re.search(r'openat\(.*[/"]aiq\.db"', call)]
    assert len(opened) == 2, opened
    assert ["O_EXCL" in call for call in opened] == [True, False]
    syncs = [call for call in calls if "fdatasync(" in call]
    assert JOBS / 16 < len(syncs) < JOBS / 2
