"""Bytes of a database changed by nobody we know: found, named, and not made worse."""

from __future__ import annotations

from pathlib import Path

import pytest

from aiq.errors import StoreError
from aiq.run.options import RunOptions
from aiq.run.show import read_job
from aiq.store import rescue
from tests.support.fault_server import FaultServer
from tests.support.sessions import Bench, prompts, provider

JOBS = 300
DONE = 200
CONCURRENCY = 32
PAGE = 4096


async def finished(tmp_path: Path, server: FaultServer) -> Bench:
    """Leave a database with two hundred answers and a hundred jobs still to be done."""
    bench = Bench(tmp_path, a=provider(server), run={"concurrency": CONCURRENCY})
    await bench.run(prompts(JOBS), limit=DONE)
    return bench


def flip(path: Path, at: int) -> bytes:
    """Change one bit of a file; return what it holds now."""
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    return bytes(data)


def held(path: Path) -> bytes:
    return path.read_bytes()


async def test_a_flipped_bit_in_an_answer_is_found_by_its_digest(tmp_path: Path) -> None:
    """SQLite finds nothing wrong; export and show hand out no such answer, and name the job."""
    async with FaultServer() as server:
        bench = await finished(tmp_path, server)
        at = held(bench.database).index(b'"content":"echo: p77"') + len('"content":"echo: p')
        damaged = flip(bench.database, at)
        assert bench.rows("PRAGMA integrity_check") == [("ok",)]
        for format_name in ("flat", "openai", "csv"):
            with pytest.raises(StoreError, match="answer of job `p77` is damaged") as raised:
                await bench.export(format=format_name)
            assert "restore a copy" in (raised.value.hint or "")
        with pytest.raises(StoreError, match="answer of job `p77` is damaged"):
            await read_job(bench.database, "p77", None)
        assert (await read_job(bench.database, "p78", None)).state == "succeeded"
        assert held(bench.database) == damaged


def smash(path: Path, page: int) -> bytes:
    """Overwrite a whole page; return what the file holds now."""
    data = bytearray(path.read_bytes())
    data[(page - 1) * PAGE : page * PAGE] = b"\xff" * PAGE
    path.write_bytes(data)
    return bytes(data)


async def end_of(bench: Bench, *, files: bool = True) -> StoreError:
    """Run a session that ends because of its database, and return why."""
    given = (bench.write(prompts(JOBS)),) if files else ()
    options = RunOptions(database=bench.database, files=given)
    with pytest.raises(StoreError) as raised:
        await bench.new_session(options).run()
    return raised.value


async def test_a_damaged_header_is_no_database_any_more(tmp_path: Path) -> None:
    """Nothing is sent, and not a byte is written: it may still be salvaged."""
    async with FaultServer() as server:
        bench = await finished(tmp_path, server)
        damaged = flip(bench.database, 3)
        assert "not a database" in str(await end_of(bench))
        with pytest.raises(StoreError, match="not a database"):
            await bench.export()
        assert held(bench.database) == damaged
        assert len(server.ledger) == DONE


@pytest.mark.parametrize("table", ["job", "attempt", "batch", "request"])
async def test_a_damaged_page_sends_nothing(tmp_path: Path, table: str) -> None:
    """What is done can no longer be told from what is not."""
    async with FaultServer() as server:
        bench = await finished(tmp_path, server)
        [(root,)] = bench.rows("SELECT rootpage FROM sqlite_schema WHERE name = ?", table)
        smash(bench.database, root)
        error = await end_of(bench)
        assert "malformed" in str(error)
        assert ".recover" in (error.hint or "")
        with pytest.raises(StoreError, match="malformed"):
            await bench.export()
        assert len(server.ledger) == DONE


async def test_where_answers_cannot_be_stored_for_damage_they_are_kept(tmp_path: Path) -> None:
    """It shows at the first commit: at most what was in flight was sent, and none of it is lost."""
    async with FaultServer() as server:
        bench = await finished(tmp_path, server)
        [(root,)] = bench.rows("SELECT rootpage FROM sqlite_schema WHERE name = 'answer'")
        smash(bench.database, root)
        told = str(await end_of(bench, files=False))
        bought = len(server.ledger) - DONE
        assert 0 < bought <= CONCURRENCY
        assert f"malformed; {bought} outcomes that it could not take are kept in" in told
        [kept] = rescue.find_rescues(bench.database)
        assert sum(one.answer is not None for one in rescue.read_rescue(kept).settles) == bought
