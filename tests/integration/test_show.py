"""`show`: one job in full, found by its id."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from aiq.errors import UnknownName
from aiq.run.show import read_job
from tests.support.fault_server import FaultServer
from tests.support.replies import Reply
from tests.support.sessions import Bench, hurried, prompts, provider


@hurried
async def test_every_attempt_is_told(tmp_path: Path) -> None:
    """Provider, outcome, latency, cost and what the server said, in order."""
    busy = Reply.error(429, headers={"retry-after-ms": "100", "x-request-id": "r-1"})
    async with FaultServer([busy, Reply.html(), Reply.hang_up()]) as server:
        bench = Bench(tmp_path, a=provider(server, max_tokens=10), run={"concurrency": 1})
        await bench.run(prompts(1))
    details = await read_job(bench.database, "p0", None)
    told = details.to_json()
    assert (told["state"], told["text"], told["batch"]) == ("succeeded", "echo: p0", "prompts")
    assert told["source"] == str(tmp_path / "prompts.jsonl")
    assert told["request"] == '{"id": "p0", "prompt": "p0"}'
    attempts = told["attempts"]
    assert [one["number"] for one in attempts] == [1, 2, 3, 4]
    assert [one["kind"] for one in attempts] == [
        "rate_limited",
        "bad_response",
        "interrupted",
        "ok",
    ]
    assert [one["billed"] for one in attempts] == ["no", "maybe", "maybe", "yes"]
    assert [one["status_code"] for one in attempts] == [429, 200, None, 200]
    assert attempts[0]["request_id"] == "r-1"
    assert (attempts[1]["reply"] or "").startswith("<!DOCTYPE html>")
    assert [one["cost_usd"] for one in attempts] == [0.0, None, None, 5e-6]
    assert attempts[2]["max_usd"] == pytest.approx(134e-6)
    assert all(one["started_at"].endswith("Z") for one in attempts)
    assert all(one["latency_ms"] >= 0 for one in attempts)


@hurried
@pytest.mark.parametrize("price", [{"input": 1.0, "output": 2.0}, {"input": 0.0, "output": 0.0}])
async def test_what_was_only_possibly_paid_has_no_known_cost(
    tmp_path: Path, price: dict[str, float]
) -> None:
    """Null for the job in every output, unless it cannot have cost anything."""
    busy = Reply.error(429, headers={"retry-after-ms": "100"})
    async with FaultServer([busy, Reply.hang_up()]) as server:
        bench = Bench(tmp_path, a=provider(server, max_tokens=10, price=price))
        await bench.run(prompts(1), overrides={"on_unknown": "fail"})
    cost = None if price["input"] else 0.0
    details = await read_job(bench.database, "p0", None)
    assert details.to_json()["cost_usd"] == cost
    assert (await bench.exported())["p0"]["cost_usd"] == cost
    (row,) = csv.DictReader(io.StringIO((await bench.export(format="csv")).decode()))
    assert row["cost_usd"] == ("" if price["input"] else "0.0")


async def test_a_job_that_was_not_sent_yet(tmp_path: Path) -> None:
    async with FaultServer() as server:
        bench = Bench(tmp_path, a=provider(server))
        await bench.run(prompts(2), limit=1)
    told = (await read_job(bench.database, "p1", None)).to_json()
    assert (told["state"], told["attempts"], told["text"], told["provider"]) == (
        "pending", [], None, None
    )  # fmt: skip


async def test_a_line_without_an_id_by_its_digest(tmp_path: Path) -> None:
    async with FaultServer() as server:
        bench = Bench(tmp_path, a=provider(server))
        await bench.run(["hello"])
    (key,) = await bench.exported()
    assert len(key) == 32
    assert (await read_job(bench.database, key, None)).to_json()["text"] == "echo: hello"


async def test_an_id_in_several_batches_needs_one(tmp_path: Path) -> None:
    async with FaultServer() as server:
        bench = Bench(tmp_path, a=provider(server))
        files = [bench.write(prompts(1), f"{name}.jsonl") for name in "xy"]
        await bench.run(files=files)
    with pytest.raises(UnknownName, match="in several batches: `x`, `y`"):
        await read_job(bench.database, "p0", None)
    assert (await read_job(bench.database, "p0", "y")).batch == "y"
    for job, batch in (("nobody", None), ("p0", "z"), ("f" * 32, None), ("zz" * 16, None)):
        with pytest.raises(UnknownName, match=f"there is no job `{job}`"):
            await read_job(bench.database, job, batch)
