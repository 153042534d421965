"""Bytes of a database changed by nobody we know: found, named, and not made worse."""

from __future__ import annotations

import hashlib
import os
import signal
from pathlib import Path

import pytest

from aiq.errors import ExitCode, StoreError
from aiq.run.diagnosis import Gravity
from aiq.run.options import Requeue, RunOptions
from aiq.run.result import RunResult
from aiq.run.show import read_job
from aiq.run.verification import verify
from aiq.store import digests, rescue
from tests.support.fault_server import FaultServer
from tests.support.invariants import check_store
from tests.support.lines import lines_of
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


def damage(bench: Bench, job: str) -> bytes:
    """Flip a bit of a job's stored answer; return what the database holds now."""
    at = held(bench.database).index(f'"content":"echo: {job}"'.encode())
    return flip(bench.database, at + len(f'"content":"echo: {job}'))


async def test_a_flipped_bit_in_an_answer_is_found_by_its_digest(tmp_path: Path) -> None:
    """SQLite finds nothing wrong; no such answer is handed out, and every other one is."""
    async with FaultServer() as server:
        bench = await finished(tmp_path, server)
        damaged = damage(bench, "p77")
        assert bench.rows("PRAGMA integrity_check") == [("ok",)]
        rows = await bench.exported()
        assert len(rows) == DONE
        bad = rows.pop("p77")
        assert (bad["state"], bad["text"], bad["finish_reason"]) == ("failed", None, None)
        assert bad["error"]["kind"] == "damaged"
        assert "does not match its digest" in bad["error"]["message"]
        assert "aiq" not in bad["error"]["message"], "a command is for another database elsewhere"
        assert bad["error"]["status_code"] is None
        assert bad["cost_usd"] > 0  # it was paid for
        assert {row["text"] for row in rows.values()} == {f"echo: {name}" for name in rows}
        shown = await read_job(bench.database, "p77", None)
        assert (shown.state, shown.content, shown.error_kind) == ("failed", None, "damaged")
        assert len(shown.attempts) == 1
        assert (await read_job(bench.database, "p78", None)).state == "succeeded"
        assert held(bench.database) == damaged


@pytest.mark.parametrize("format_name", ["flat", "openai", "csv"])
async def test_a_damaged_answer_is_a_failed_job_in_every_format(
    tmp_path: Path, format_name: str
) -> None:
    """It is left out where only answers are wanted, and found where failures are."""
    async with FaultServer() as server:
        bench = await finished(tmp_path, server)
        damage(bench, "p77")
        counts = {}
        for state in ("succeeded", "failed", "all"):
            exported, text = await bench.export_counted(format=format_name, state=state)
            lines = lines_of(text)[format_name == "csv" :]
            assert len(lines) == exported.results
            assert sum("damaged" in line for line in lines) == (state != "succeeded")
            assert exported.damaged == 1
            counts[state] = exported.results
        assert counts == {"succeeded": DONE - 1, "failed": 1, "all": DONE}


async def put_back(bench: Bench, requeue: Requeue) -> RunResult:
    """Do what `retry-failed` does."""
    return await bench.new_session(RunOptions(database=bench.database, requeue=requeue)).run()


async def test_a_damaged_answer_is_asked_again_on_the_users_word(tmp_path: Path) -> None:
    """Only where it is named, only those jobs, and nothing else is taken for damaged."""
    async with FaultServer() as server:
        bench = await finished(tmp_path, server)
        for job in ("p77", "p123"):
            damage(bench, job)
        assert (await put_back(bench, Requeue())).requeued == 0
        result = await put_back(bench, Requeue(kinds=("damaged",)))
        assert (result.requeued, result.exit_code) == (2, ExitCode.OK)
        check_store(bench.database, asked_anew={"p77", "p123"})
        assert sorted(seen.prompt for seen in server.ledger[DONE:]) == ["p123", "p77"]
        exported, _ = await bench.export_counted()
        assert (exported.results, exported.damaged) == (DONE, 0)
        diagnosis = await verify(bench.database)
        assert [one for one in diagnosis.checks if one.gravity is Gravity.FINDING] == []


async def test_a_damaged_answer_whose_line_has_vanished_cannot_be_asked_again(
    tmp_path: Path,
) -> None:
    """An export counts those apart, and a requeue leaves them."""
    async with FaultServer() as server:
        bench = await finished(tmp_path, server)
        for job in ("p3", "p77"):
            damage(bench, job)
        fewer = RunOptions(database=bench.database, files=(bench.write(prompts(50)),))
        await bench.new_session(fewer).run()
        exported, _ = await bench.export_counted()
        assert (exported.damaged, exported.vanished) == (2, 1)
        assert (await put_back(bench, Requeue(kinds=("damaged",)))).requeued == 1


async def test_the_search_for_damaged_answers_can_be_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the page at hand; nothing has been put back then."""
    async with FaultServer() as server:
        bench = await finished(tmp_path, server)
        damage(bench, "p77")
        read = 0

        def counted(body: bytes) -> bytes:
            nonlocal read
            read += 1
            if read == 1:
                os.kill(os.getpid(), signal.SIGINT)
            return hashlib.sha256(body).digest()

        monkeypatch.setattr(digests, "_sha256", counted)
        result = await put_back(bench, Requeue(kinds=("damaged",)))
        assert result.exit_code == ExitCode.SIGINT
        assert 0 < read < DONE
        assert bench.rows("SELECT count(*) FROM job WHERE state = 'succeeded'") == [(DONE,)]
        assert len(server.ledger) == DONE
        monkeypatch.undo()
        assert (await put_back(bench, Requeue(kinds=("damaged",)))).requeued == 1


async def test_a_damaged_answer_that_was_put_back_is_not_taken_for_one_that_holds(
    tmp_path: Path,
) -> None:
    """Its file still asks the same, as it would if an edit had been taken back."""
    async with FaultServer() as server:
        bench = await finished(tmp_path, server)
        damage(bench, "p77")
        requeue = Requeue(kinds=("damaged",), run_them=False)
        assert (await put_back(bench, requeue)).requeued == 1
        again = RunOptions(database=bench.database, files=(bench.write(prompts(JOBS)),))
        await bench.new_session(again).run()
        assert [seen.prompt for seen in server.ledger].count("p77") == 2
        assert bench.states() == {"succeeded": JOBS}
        check_store(bench.database, asked_anew={"p77"})


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
