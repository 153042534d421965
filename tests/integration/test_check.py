"""`check`: the same verdict on every line as `run`, and about what it would cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aiq.config import load
from aiq.errors import InputError
from aiq.run.check import MistypedKey, check
from aiq.run.request import Flags
from tests.support.fault_server import FaultServer
from tests.support.sessions import Bench, prompts, provider

LINES: list[Any] = [
    *prompts(3),
    "plain",
    {"id": "p0", "prompt": "twice"},
    {"prompt": "x", "messages": []},
    {"prompt": ""},
    {"prompt": "n", "n": 2},
    {"prompt": "typo", "max_token": 5},
    7,
]


async def test_check_and_run_agree_on_every_line(tmp_path: Path) -> None:
    async with FaultServer() as server:
        bench = Bench(tmp_path, a=provider(server))
        path = bench.write(LINES)
        report = await check([path], settings=bench.settings())
        assert server.ledger == []
        assert not bench.database.exists()
        result = await bench.run(files=[path])
    told = report.to_json()
    assert (told["lines"], told["valid"]) == (10, 5)
    assert [(bad["file"], bad["line"]) for bad in told["invalid"]] == [
        (path, number) for number in (5, 6, 7, 8, 10)
    ]
    assert all(bad["reason"] for bad in told["invalid"])
    run_says = [(bad.line, bad.reason) for bad in bench.recorder.reports[0].invalid_shown]
    assert run_says == [(bad["line"], bad["reason"]) for bad in told["invalid"]]
    assert result.to_json()["invalid"] == 5
    assert report.mistyped_keys == (MistypedKey("max_token", "max_tokens", path, 9),)


async def test_every_bad_line_is_listed(tmp_path: Path) -> None:
    """All of them, not the first few that a run shows."""
    bench = Bench(tmp_path, a=provider("http://127.0.0.1:1/v1"))
    path = bench.write([{"prompt": ""}] * 150 + ["good"])
    report = await check([path], settings=None)
    assert [bad.line for bad in report.invalid] == list(range(1, 151))
    assert report.to_json()["cost_estimated_usd"] == {}


async def test_the_estimate_is_by_provider(tmp_path: Path) -> None:
    """Known where there is a price, null where there is none, and of the right size."""
    bench = Bench(
        tmp_path,
        a=provider("http://127.0.0.1:1/v1", max_tokens=10),
        b=provider("http://127.0.0.1:2/v1", price=None),
    )
    path = bench.write([{"prompt": "x" * 4000}] * 10)
    told = (await check([path], settings=bench.settings())).to_json()
    assert 10_000 <= told["tokens_estimated"] <= 12_000
    assert told["cost_estimated_usd"]["a"] == pytest.approx(
        (told["tokens_estimated"] * 1.0 + 10 * 10 * 2.0) / 1e6, rel=0.01
    )
    assert told["cost_estimated_usd"]["b"] is None


async def test_the_options_of_a_run_count_in_its_estimate(tmp_path: Path) -> None:
    """A model that makes a preset priceable, and a cap on every answer."""
    settings = load(providers=["openai"], environ={}, working_directory=tmp_path, needs_keys=False)
    path = Bench(tmp_path, a=provider("http://127.0.0.1:1/v1")).write(prompts(10))
    [nameless] = (await check([path], settings=settings)).estimates
    assert (nameless.usd, nameless.lacks_model) == (None, True)
    flags = Flags(model="gpt-4.1-mini")
    [plain] = (await check([path], settings=settings, flags=flags)).estimates
    assert (plain.model, plain.output_tokens) == ("gpt-4.1-mini", 256)
    capped = Flags(model="gpt-4.1-mini", params={"max_tokens": 8})
    [short] = (await check([path], settings=settings, flags=capped)).estimates
    assert short.output_tokens == 8
    assert 0 < (short.usd or 0) < (plain.usd or 0) / 5


async def test_files_are_checked_together_as_one_batch_each(tmp_path: Path) -> None:
    """The same id in two files is fine for `run`, which makes two batches of them."""
    async with FaultServer() as server:
        bench = Bench(tmp_path, a=provider(server))
        files = [bench.write(prompts(2), f"{name}.jsonl") for name in "xy"]
        report = await check(files, settings=bench.settings())
        result = await bench.run(files=files)
    assert result.to_json()["invalid"] == 0
    assert (report.lines, report.valid) == (4, 4)


async def test_an_empty_file_and_a_missing_one(tmp_path: Path) -> None:
    bench = Bench(tmp_path, a=provider("http://127.0.0.1:1/v1"))
    report = await check([bench.write([])], settings=bench.settings())
    assert (report.lines, report.valid, report.tokens_estimated) == (0, 0, 0)
    with pytest.raises(InputError):
        await check([str(tmp_path / "missing.jsonl")], settings=bench.settings())
