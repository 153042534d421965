"""What runs leave behind about providers: for `status` beside them, and for the next run."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from aiq.errors import ExitCode
from aiq.run.status import read_status
from aiq.store import providers
from aiq.store.opening import open_for_run
from aiq.store.schema import APPLICATION_ID, MIGRATIONS
from tests.support.fault_server import FaultServer
from tests.support.replies import Reply
from tests.support.sessions import Bench, hurried, prompts, provider


@hurried
async def test_status_beside_a_run_says_what_the_run_knows(tmp_path: Path) -> None:
    """Status, reason and the instant of the next try of a broken provider come from the run."""
    gate = asyncio.Event()
    async with FaultServer(Reply.error(500)) as broken, FaultServer(Reply(until=gate)) as other:
        bench = Bench(tmp_path, a=provider(broken), b=provider(other), run={"concurrency": 8})
        running = asyncio.create_task(bench.run(prompts(20)))
        await other.seen(8)
        told: dict[str, Any] = {}
        while told.get("status") != "unhealthy" or told["next_try"] is None:
            status = await read_status(bench.database, None, now_us=0)
            told = next(iter(status.to_json()["providers"]), {})
        assert told["name"] == "a"
        assert told["reason"].startswith("open after 5 bad calls in a row (scripted error)")
        gate.set()
        assert (await running).exit_code is ExitCode.OK


@hurried
async def test_a_state_that_is_over_is_not_told(tmp_path: Path) -> None:
    """Of a run long ago, the ledger says how the last call went; its countdown has ended."""
    async with FaultServer(Reply.error(429, headers={"retry-after": "30"})) as server:
        bench = Bench(tmp_path, a=provider(server), run={"max_wait_s": 1.0})
        await bench.run(prompts(1))
    for now_us, next_try in ((0, True), (4_000_000_000_000_000, False)):
        status = await read_status(bench.database, None, now_us=now_us)
        (told,) = status.to_json()["providers"]
        assert told["status"] == "degraded"
        assert (told["next_try"] is not None) is next_try


@hurried
async def test_a_breaker_that_was_open_begins_with_one_trial(tmp_path: Path) -> None:
    """Also in the next run: one request, and after its answer three at once."""
    async with FaultServer(Reply.error(500)) as server:
        bench = Bench(tmp_path, a=provider(server), run={"concurrency": 8, "max_wait_s": 3.0})
        stopped = await bench.run(prompts(40))
        assert stopped.exit_code is ExitCode.NO_PROVIDER
        server.load(Reply.answer(delay_s=0.01))
        finished = await bench.run(overrides={"max_wait_s": 60.0})
        assert finished.exit_code in (ExitCode.OK, ExitCode.SOME_FAILED)
        assert [seen.in_flight for seen in server.ledger[:2]] == [1, 1]
        assert max(seen.in_flight for seen in server.ledger[:4]) <= 3
    assert bench.rows("SELECT count(*) FROM breaker") == [(1,)]


async def test_a_database_of_the_first_version(tmp_path: Path) -> None:
    """It is read as it is, and migrated by the first run on it."""
    path = of_version(1, tmp_path / "aiq.db")
    assert (await read_status(path, None, now_us=0)).to_json()["providers"] == []
    database = await open_for_run(path)
    assert await database.row("PRAGMA user_version") == (len(MIGRATIONS),)
    assert await database.rows("SELECT * FROM provider_state") == []
    await database.close()


async def test_a_database_from_before_cooldowns_were_kept(tmp_path: Path) -> None:
    """It is read as it is; a run adds what is missing and leaves what is there."""
    path = of_version(3, tmp_path / "aiq.db")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO provider_state VALUES ('a', 'degraded', 'slow', NULL, 1)")
        connection.execute("INSERT INTO breaker VALUES ('http://a.test', 'm', 3)")
    assert (await read_status(path, None, now_us=0)).to_json()["providers"] == []
    database = await open_for_run(path)
    assert await database.row("PRAGMA user_version") == (len(MIGRATIONS),)
    assert await providers.openings(database) == {("http://a.test", "m"): 3}
    assert await providers.cooldowns(database) == []
    assert [*await providers.states(database)] == ["a"]
    await database.close()


def of_version(version: int, path: Path) -> Path:
    """Make a database as that version of the schema made it."""
    with closing(sqlite3.connect(path)) as connection:
        for script in MIGRATIONS[:version]:
            connection.executescript(script)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {version}")
    path.chmod(0o600)
    return path


@hurried
async def test_a_model_that_is_not_asked_for_says_nothing_about_its_provider(
    tmp_path: Path,
) -> None:
    """Its breaker is remembered for the run that asks for it, and shown in no other."""
    async with FaultServer(Reply.error(500)) as server:
        bench = Bench(tmp_path, a=provider(server), run={"concurrency": 8, "max_wait_s": 3.0})
        await bench.run([one | {"model": "old"} for one in prompts(20)])
        server.load(None)
        result = await bench.run([{"id": "new", "prompt": "new"}], name="other", partial=True)
        (told,) = result.to_json()["providers"]
        assert (told["status"], told["reason"]) == ("healthy", None)
        assert bench.rows("SELECT model, openings > 0 FROM breaker") == [("old", 1)]


@hurried
async def test_providers_of_one_address_keep_one_memory(tmp_path: Path) -> None:
    """The worse of the two; they do not overwrite each other's second by second."""
    async with FaultServer(Reply.error(500)) as server:
        bench = Bench(
            tmp_path,
            a=provider(server, max_in_flight=1),
            b=provider(server, max_in_flight=1, account="other"),
            run={"concurrency": 1, "max_wait_s": 3.0, "max_attempts": 1},
        )
        await bench.run(prompts(5))
        assert bench.rows("SELECT openings FROM breaker") == [(1,)]
