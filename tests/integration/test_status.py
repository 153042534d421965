"""`status` during a run and after it: counts, cost and providers as the ledger has them."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from aiq.errors import UnknownName
from aiq.run.status import read_status
from tests.support.fault_server import FaultServer
from tests.support.replies import Reply
from tests.support.sessions import Bench, hurried, prompts, provider

KEYS = {
    "db", "batches", "totals", "cost_usd", "possibly_paid", "tokens", "latency_ms", "providers",
    "errors", "run",
}  # fmt: skip
PROVIDER_KEYS = {
    "name", "kind", "model", "status", "reason", "requests", "succeeded", "failed", "rate_limited",
    "in_flight", "latency_ms", "tokens", "cost_usd",
}  # fmt: skip


@hurried
async def test_after_a_run_it_says_what_the_run_said(tmp_path: Path) -> None:
    script = {"p0": Reply.html(), "p1": Reply.error(400, code="x"), "p2": Reply.html()}
    async with FaultServer(lambda seen: script.get(seen.prompt)) as server:
        bench = Bench(tmp_path, a=provider(server))
        result = (await bench.run([*prompts(8), {"id": "bad"}])).to_json()
    told = (await read_status(bench.database, None, now_us=0)).to_json()
    assert set(told) >= KEYS
    assert set(told["providers"][0]) >= PROVIDER_KEYS
    assert told["run"] is None
    assert told["totals"] == {
        "total": 8, "pending": 0, "running": 0, "succeeded": 5, "failed": 3, "cancelled": 0,
        "invalid": 1,
    }  # fmt: skip
    for name in ("cost_usd", "possibly_paid", "tokens", "errors"):
        assert told[name] == result[name], name
    for name in ("requests", "succeeded", "failed", "rate_limited", "tokens", "cost_usd"):
        assert told["providers"][0][name] == result["providers"][0][name], name
    assert told["latency_ms"]["p50"] == pytest.approx(
        result["latency_ms"]["p50"], rel=0.03, abs=0.2
    )
    assert [(group["kind"], group["count"]) for group in told["errors"]] == [
        ("bad_response", 2), ("bad_request", 1)
    ]  # fmt: skip


async def test_during_a_run(tmp_path: Path) -> None:
    """It names the run, and running and in-flight jobs are what they are."""
    gate = asyncio.Event()
    async with FaultServer(lambda s: Reply(until=gate) if s.number > 3 else None) as server:
        bench = Bench(tmp_path, a=provider(server), run={"concurrency": 2})
        running = asyncio.create_task(bench.run(prompts(10)))
        await server.seen(5)
        while not (told := (await read_status(bench.database, None, now_us=0)).to_json())["run"]:
            pass
        while told["totals"]["succeeded"] < 3:
            told = (await read_status(bench.database, None, now_us=0)).to_json()
        assert told["run"]["pid"] == os.getpid()
        assert told["run"]["started_at"].endswith("Z")
        assert (told["totals"]["succeeded"], told["totals"]["running"]) == (3, 2)
        assert told["totals"]["pending"] == 5
        assert told["providers"][0]["in_flight"] == 2
        assert told["providers"][0]["requests"] == 3
        gate.set()
        assert (await running).exit_code == 0
    told = (await read_status(bench.database, None, now_us=0)).to_json()
    assert (told["run"], told["totals"]["succeeded"]) == (None, 10)


async def test_one_batch_of_several(tmp_path: Path) -> None:
    async with FaultServer() as server:
        bench = Bench(tmp_path, a=provider(server))
        files = [bench.write(prompts(n), f"{name}.jsonl") for name, n in (("x", 2), ("y", 5))]
        await bench.run(files=files)
    everything = (await read_status(bench.database, None, now_us=0)).to_json()
    assert [(one["name"], one["total"]) for one in everything["batches"]] == [("x", 2), ("y", 5)]
    assert everything["totals"]["total"] == 7
    assert [one["cost_usd"] for one in everything["batches"]] == [1e-5, 2.5e-5]
    assert everything["cost_usd"] == 3.5e-5
    one = (await read_status(bench.database, "y", now_us=0)).to_json()
    assert [batch["name"] for batch in one["batches"]] == ["y"]
    assert (one["totals"]["total"], one["providers"][0]["requests"]) == (5, 5)
    assert one["cost_usd"] == everything["batches"][1]["cost_usd"]
    with pytest.raises(UnknownName, match="no batch `z`"):
        await read_status(bench.database, "z", now_us=0)


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        (None, "healthy"),
        (Reply.error(401), "disabled"),
        (Reply.error(402), "disabled"),
        (Reply.error(404), "disabled"),
        (Reply.error(429, headers={"retry-after": "3600"}), "degraded"),
        (Reply.hang_up(), "unhealthy"),
    ],
)
@hurried
async def test_a_provider_s_condition(tmp_path: Path, reply: Reply | None, status: str) -> None:
    async with FaultServer(reply) as server:
        bench = Bench(tmp_path, a=provider(server), run={"max_wait_s": 1.0})
        await bench.run(prompts(1))
    (told,) = (await read_status(bench.database, None, now_us=0)).to_json()["providers"]
    assert told["status"] == status
    assert (told["reason"] is None) == (status == "healthy")


@pytest.mark.parametrize("cause", ["crash", "abort"])
async def test_what_we_ended_ourselves_says_nothing_about_a_provider(
    tmp_path: Path, cause: str
) -> None:
    """Its newest attempt that ended by itself stands."""
    async with FaultServer() as server:
        bench = Bench(tmp_path, a=provider(server), run={"concurrency": 1})
        await bench.run(prompts(2))
    with closing(sqlite3.connect(bench.database)) as connection, connection:
        connection.execute("DELETE FROM provider_state")
        connection.execute("UPDATE candidate SET newest = 1")
        connection.execute("UPDATE attempt SET kind = NULL, billed = NULL WHERE id = 2")
        connection.execute(
            "UPDATE attempt SET kind = 'interrupted', billed = 'maybe', cause = ? WHERE id = 2",
            [cause],
        )
    (told,) = (await read_status(bench.database, None, now_us=0)).to_json()["providers"]
    assert (told["status"], told["reason"]) == ("healthy", None)


async def test_it_changes_no_byte(tmp_path: Path) -> None:
    """Reading leaves the database as it is, and creates nothing that was not there."""
    async with FaultServer() as server:
        bench = Bench(tmp_path, a=provider(server))
        await bench.run(prompts(3))
    before = bench.database.read_bytes()
    await read_status(bench.database, None, now_us=0)
    assert bench.database.read_bytes() == before
    with pytest.raises(UnknownName, match="there is no database"):
        await read_status(tmp_path / "other.db", None, now_us=0)
    assert not (tmp_path / "other.db").exists()
