"""Exports: what is in them, when they may be made, and where they may go."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest

from aiq.errors import InputError, Refused, UnknownName
from tests.support.fault_server import FaultServer
from tests.support.lines import lines_of
from tests.support.replies import Reply, Seen
from tests.support.sessions import Bench, hurried, prompts, provider

FLAT_KEYS = [
    "id", "state", "text", "provider", "model", "finish_reason", "usage", "cost_usd", "latency_ms",
    "attempts", "error", "metadata", "line",
]  # fmt: skip


def some_fail(seen: Seen) -> Reply | None:
    match seen.prompt:
        case "p1":
            return Reply.error(400, code="odd_code", message="odd", headers={"x-request-id": "r1"})
        case "p2":
            return Reply.html()
    return None


@pytest.fixture
async def bench(tmp_path: Path) -> Bench:
    """Four jobs: two good, one refused, one with an unusable reply."""
    async with FaultServer(some_fail) as server:
        bench = Bench(tmp_path, a=provider(server), run={"concurrency": 1, "max_attempts": 1})
        await bench.run([one | {"metadata": {"n": n}} for n, one in enumerate(prompts(4))])
    return bench


async def test_flat_rows(bench: Bench) -> None:
    """The contract's keys in its order, one object per finished job, in order of ingest."""
    rows = [json.loads(line) for line in lines_of(await bench.export())]
    assert [list(row) for row in rows] == [FLAT_KEYS] * 4
    assert [(row["id"], row["line"], row["metadata"]) for row in rows] == [
        (f"p{n}", n + 1, {"n": n}) for n in range(4)
    ]
    good, refused, unusable, _ = rows
    assert (good["state"], good["text"], good["provider"], good["model"]) == (
        "succeeded", "echo: p0", "a", "m"
    )  # fmt: skip
    assert (good["finish_reason"], good["attempts"], good["error"]) == ("stop", 1, None)
    assert good["usage"] == {"input_tokens": 1, "output_tokens": 2, "cached_tokens": None}
    assert good["cost_usd"] == 5e-6
    assert refused["error"] == {"kind": "bad_request", "message": "odd", "status_code": 400}
    assert unusable["error"]["kind"] == "bad_response"
    assert (refused["state"], refused["text"], refused["cost_usd"]) == ("failed", None, 0.0)


async def test_openai_lines(bench: Bench) -> None:
    """Answers as in an output file, refusals as in an error file."""
    rows = await bench.exported(format="openai")
    assert [list(row) for row in rows.values()] == [["id", "custom_id", "response", "error"]] * 4
    assert len({row["id"] for row in rows.values()}) == 4
    refused = rows["p1"]["response"]
    assert (refused["status_code"], refused["request_id"]) == (400, "r1")
    assert refused["body"]["error"] == {
        "message": "odd", "type": "bad_request", "param": None, "code": "odd_code"
    }  # fmt: skip
    assert rows["p2"]["response"] is None
    assert rows["p2"]["error"]["code"] == "bad_response"


@pytest.mark.parametrize(
    ("state", "ids"),
    [("succeeded", ["p0", "p3"]), ("failed", ["p1", "p2"]), ("all", ["p0", "p1", "p2", "p3"])],
)
@pytest.mark.parametrize("format_name", ["flat", "openai"])
async def test_states(bench: Bench, state: str, ids: list[str], format_name: str) -> None:
    assert list(await bench.exported(state=state, format=format_name)) == ids


async def test_csv_cells_are_never_formulas(tmp_path: Path) -> None:
    texts = ["=1+1", "+1", "-1", "@x", "\tx", "\rx", 'a "b", c', "two\nlines", "plain"]
    script = {f"p{n}": text for n, text in enumerate(texts)}
    async with FaultServer(lambda seen: Reply.chat(script[seen.prompt])) as server:
        bench = Bench(tmp_path, a=provider(server))
        await bench.run(prompts(len(texts)))
    exported = (await bench.export(format="csv")).decode()
    rows = list(csv.DictReader(io.StringIO(exported, newline="")))
    found = [row["text"] for row in rows]
    assert found == ["'" + text for text in texts[:6]] + texts[6:]
    assert rows[0]["usage_input_tokens"] == "3"


async def test_to_a_terminal_no_control_character_arrives(tmp_path: Path) -> None:
    """Escapes, C1 controls and direction marks become visible; JSON still says the same."""
    evil = "\x1b[2J\x07 \x9b31m \u202egnp.exe \u200b\ufeff end\r\n"
    async with FaultServer(Reply.chat(evil)) as server:
        bench = Bench(tmp_path, a=provider(server))
        await bench.run(prompts(2))
    for format_name in ("flat", "openai", "csv"):
        shown = (await bench.export(format=format_name, escape_controls=True)).decode()
        assert all(char.isprintable() for char in shown.replace("\n", "")), format_name
        if format_name == "csv":
            assert "u000d" not in shown, "the ends of rows are no content"
        else:
            assert len(lines_of(shown)) == 2
    assert (await bench.exported(escape_controls=True))["p0"]["text"] == evil


@hurried
async def test_an_export_during_a_run_is_consistent(tmp_path: Path) -> None:
    """Every row of it is a finished job with its whole answer, and the run is not disturbed."""
    async with FaultServer(Reply(delay_s=0.2)) as server:
        bench = Bench(tmp_path, a=provider(server), run={"concurrency": 4})
        running = asyncio.create_task(bench.run(prompts(60)))
        counts = []
        await server.answered(1)
        while not running.done():
            rows = await bench.exported()
            assert all(row["text"] == f"echo: {key}" for key, row in rows.items())
            counts.append(len(rows))
        await running
    assert counts == sorted(counts)
    assert any(0 < count < 60 for count in counts)


async def test_output_replaces_atomically_and_says_how_many(bench: Bench) -> None:
    output = bench.directory / "results.jsonl"
    output.write_text("old")
    output.chmod(0o640)
    assert await bench.export(output=output) == b""
    assert len(lines_of(output.read_text())) == 4
    assert output.stat().st_mode & 0o777 == 0o640


async def test_a_link_of_our_own_is_followed(bench: Bench) -> None:
    """The file behind it is replaced, and the link stays one, also where there is no file yet."""
    (bench.directory / "real").mkdir()
    link = bench.directory / "latest"
    link.symlink_to("hop")
    (bench.directory / "hop").symlink_to("real/out")
    for _ in range(2):
        await bench.export(output=link)
        assert link.is_symlink()
        assert len(lines_of((bench.directory / "real" / "out").read_text())) == 4


@pytest.mark.skipif(os.geteuid() != 0, reason="only the superuser can make files of another user")
@pytest.mark.parametrize("has_target", [True, False])
async def test_a_link_of_a_stranger_is_not_followed(bench: Bench, *, has_target: bool) -> None:
    """In a directory like /tmp somebody may have laid a link to a file of ours."""
    shared = bench.directory / "tmp"
    shared.mkdir()
    shared.chmod(0o1777)
    mine = bench.directory / "mine"
    if has_target:
        mine.write_text("precious")
    (shared / "out").symlink_to(mine)
    os.lchown(shared / "out", 65534, 65534)
    (shared / "hop").symlink_to("out")
    for name in ("out", "hop"):
        with pytest.raises(Refused, match="another user"):
            await bench.export(output=shared / name)
    assert mine.read_text() == "precious" if has_target else not mine.exists()
    assert {path.name for path in shared.iterdir()} == {"out", "hop"}


async def test_what_is_no_file_never_becomes_one(bench: Bench) -> None:
    """A superuser's `-o /dev/null` must not cost the machine its null device."""
    place = bench.directory
    os.mkfifo(place / "pipe")
    (place / "to-pipe").symlink_to("pipe")
    (place / "round").symlink_to("round")
    for name in ("pipe", "to-pipe", "/dev/null", "round"):
        kind = os.lstat(place / name).st_mode
        with pytest.raises(Refused):
            await bench.export(output=place / name)
        assert os.lstat(place / name).st_mode == kind


@pytest.mark.parametrize(
    "name",
    [
        *("prompts.jsonl", "aiq.db", "aiq.db-wal", "aiq.db-shm", "aiq.db.lock", "aiq.toml", "link"),
        *("aiq.health.db", "aiq.health.db-wal", "aiq.health.db.lock"),
    ],
)
async def test_inputs_are_never_overwritten(bench: Bench, name: str) -> None:
    """Neither the prompts, the database with its side files, nor the configuration."""
    (bench.directory / "link").symlink_to("prompts.jsonl")
    path = bench.directory / name
    before = path.read_bytes() if path.exists() else None
    with pytest.raises(InputError):
        await bench.export(output=path, protect=[bench.directory / "aiq.toml"])
    assert (path.read_bytes() if path.exists() else None) == before


async def test_another_batch_s_prompts_are_inputs_too(tmp_path: Path) -> None:
    async with FaultServer() as server:
        bench = Bench(tmp_path, a=provider(server))
        first, second = (bench.write(prompts(1), f"{name}.jsonl") for name in "xy")
        await bench.run(files=[first, second])
    with pytest.raises(InputError):
        await bench.export(batch="x", output=Path(second))
    with pytest.raises(UnknownName, match="holds 2 batches: `x`, `y`"):
        await bench.export()
    assert list(await bench.exported(batch="y")) == ["p0"]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"batch": "nightly"}, UnknownName),
        ({"format": "xml"}, Refused),
        ({"state": "pending"}, Refused),
        ({"output": Path("/nonexistent/directory/file")}, Refused),
    ],
)
async def test_what_cannot_be_is_refused(
    bench: Bench, options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        await bench.export(**options)


async def test_tool_calls_and_refusals_have_columns_of_their_own(tmp_path: Path) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages: dict[str, dict[str, Any]] = {
        "p0": {"content": None, "tool_calls": [call]},
        "p1": {"content": None, "refusal": "I will not."},
    }

    def script(seen: Seen) -> Reply:
        return Reply.json({"choices": [{"index": 0, "message": messages[seen.prompt]}]})

    async with FaultServer(script) as server:
        bench = Bench(tmp_path, a=provider(server))
        result = await bench.run(prompts(2))
    rows = await bench.exported()
    assert (rows["p0"]["text"], rows["p0"]["tool_calls"]) == (None, [call])
    assert rows["p1"]["refusal"] == "I will not."
    assert result.to_json()["refused"] == 1
