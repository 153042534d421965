"""A run from lines to stored answers: what goes over the wire, and what is kept of the reply."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest

from aiq.config import RunSettings
from aiq.errors import ExitCode, Refused, StoreError
from aiq.run.observer import Guarded
from aiq.run.options import RunOptions
from aiq.run.request import Flags
from tests.support.fault_server import FaultServer
from tests.support.replies import Reply, Seen, default_body
from tests.support.sessions import (
    KEY,
    Bench,
    Recorder,
    batch_line,
    hurried,
    made_up,
    prompts,
    provider,
)
from tests.support.shapes import chat_body

ENDPOINTS = [
    batch_line("chat", "/v1/chat/completions", {"messages": [{"role": "user", "content": "c"}]}),
    batch_line("embed", "/v1/embeddings", {"input": ["e", "ee"], "dimensions": 3}),
    batch_line("complete", "/v1/completions", {"prompt": "t", "max_tokens": 5}),
    batch_line("respond", "/v1/responses", {"input": "r", "max_output_tokens": 50}),
]


async def test_all_endpoints_are_asked_stored_and_exported_by_id(tmp_path: Path) -> None:
    """Each line goes to its own path, and the reply is stored byte for byte."""
    async with FaultServer() as server:
        bench = Bench(tmp_path, a=provider(server))
        result = await bench.run(ENDPOINTS)
    assert result.exit_code is ExitCode.OK
    paths = {seen.path: seen for seen in server.ledger}
    assert set(paths) == {f"/v1{line['url'].removeprefix('/v1')}" for line in ENDPOINTS}
    bodies = dict(bench.rows("SELECT key, body FROM job JOIN answer ON job_id = job.id"))
    for line in ENDPOINTS:
        seen = paths[line["url"]]
        assert seen.json() == {"model": "m", **line["body"]}
        sent = default_body(seen.path, seen.prompt, seen.model, seen.json())
        assert bodies[line["custom_id"]] == sent
    flat = await bench.exported()
    assert flat["chat"]["text"] == "echo: c"
    assert flat["complete"]["text"] == "echo: t"
    assert flat["respond"]["text"] == "echo: r"
    assert flat["embed"]["embedding"] == [[0.001, 0.5, -0.5], [0.002, 0.5, -0.5]]
    assert flat["embed"]["usage"] == {"input_tokens": 2, "output_tokens": 0, "cached_tokens": None}


async def test_answers_are_matched_by_id_in_every_format(tmp_path: Path) -> None:
    async with FaultServer(lambda seen: Reply(delay_s=0.02 * (seen.number % 3))) as server:
        bench = Bench(tmp_path, a=provider(server), run={"concurrency": 16})
        await bench.run(prompts(60))
    expected = {f"p{n}": f"echo: p{n}" for n in range(60)}
    flat = await bench.exported()
    assert {key: row["text"] for key, row in flat.items()} == expected
    assert list(flat) == list(expected), "in the order of the file"
    openai = await bench.exported(format="openai")
    for key, line in openai.items():
        body = line["response"]["body"]
        assert line["error"] is None
        assert line["response"]["status_code"] == 200
        assert body["choices"][0]["message"]["content"] == expected[key]
    table = csv.DictReader(io.StringIO((await bench.export(format="csv")).decode()))
    assert {row["id"]: row["text"] for row in table} == expected


def system_and_user(seen: Seen) -> list[tuple[str, str]]:
    return [(message["role"], message["content"]) for message in seen.json()["messages"]]


async def test_line_wins_over_flags_over_defaults(tmp_path: Path) -> None:
    """What the server receives is `[defaults]` under the flags under the line."""
    lines: list[Any] = [
        {"id": "bare", "prompt": "bare"},
        {"id": "own", "prompt": "own", "system": "line", "temperature": 0.3, "model": "line-model"},
    ]
    defaults = {"system": "default", "temperature": 0.1, "top_p": 0.5, "seed": 7}
    flags = Flags(system="flag", params={"temperature": 0.2, "stop": ["x"]}, model="flag-model")
    async with FaultServer() as server:
        bench = Bench(tmp_path, a=provider(server), defaults=defaults)
        await bench.run(lines, flags=flags)
        seen = {one.prompt: one for one in server.ledger}
        bare, own = seen["bare"].json(), seen["own"].json()
        assert system_and_user(seen["bare"]) == [("system", "flag"), ("user", "bare")]
        assert system_and_user(seen["own"]) == [("system", "line"), ("user", "own")]
        assert (bare["temperature"], bare["top_p"], bare["seed"]) == (0.2, 0.5, 7)
        assert bare["stop"] == own["stop"] == ["x"]
        assert (own["temperature"], own["model"], bare["model"]) == (
            0.3,
            "line-model",
            "flag-model",
        )

        server.load(None)
        await bench.run([*lines, {"id": "later", "prompt": "later"}])
    (later,) = server.ledger
    assert later.model == "flag-model", "flags are stored with the batch and used again"
    assert system_and_user(later) == [("system", "flag"), ("user", "later")]
    assert (later.json()["temperature"], later.json()["stop"]) == (0.2, ["x"])


@pytest.mark.parametrize(
    ("keys", "line", "sent"),
    [
        ({"max_tokens": 9}, {}, {"max_tokens": 9}),
        ({"max_tokens": 9}, {"max_tokens": 5}, {"max_tokens": 5}),
        (
            {"cap_field": "max_completion_tokens"},
            {"max_tokens": 5},
            {"max_completion_tokens": 5},
        ),
        (
            {"cap_field": "max_tokens", "max_tokens": 9},
            {"max_completion_tokens": 6},
            {"max_tokens": 6},
        ),
        ({}, {"extra_body": {"top_a": 1, "max_tokens": 4}}, {"top_a": 1, "max_tokens": 4}),
        ({}, {}, {}),
    ],
    ids=["provider's cap", "line's cap", "renamed", "renamed back", "extra_body", "no cap"],
)
async def test_output_cap_on_the_wire(
    tmp_path: Path, keys: dict[str, Any], line: dict[str, Any], sent: dict[str, Any]
) -> None:
    """One cap goes out, under the server's own name for it; `extra_body` is merged and gone."""
    async with FaultServer() as server:
        bench = Bench(tmp_path, a=provider(server, **keys))
        await bench.run([{"id": "p", "prompt": "p", **line}])
    (seen,) = server.ledger
    messages = [{"role": "user", "content": "p"}]
    assert seen.json() == {"model": "m", "messages": messages, **sent}


async def test_models_are_mapped_and_strict_ones_refused(tmp_path: Path) -> None:
    """A provider that does not serve a name is passed over; without any the job fails unsent."""
    async with FaultServer() as strict, FaultServer() as open_to_all:
        bench = Bench(
            tmp_path,
            a=provider(strict, models={"fast": "small-1"}, strict_models=True),
            b=provider(open_to_all),
        )
        lines = [{"id": name, "prompt": name, "model": name} for name in ("fast", "other")]
        await bench.run([*lines, {"id": "none", "prompt": "none"}])
        assert {seen.prompt: seen.model for seen in strict.ledger} == {
            "fast": "small-1",
            "none": "m",
        }
        assert {seen.prompt: seen.model for seen in open_to_all.ledger} == {"other": "other"}

        bench.configure(a=provider(strict, models={"fast": "small-1"}, strict_models=True))
        result = await bench.run(
            [{"id": "y", "prompt": "y", "model": "other"}], partial=True, name="n"
        )
    assert result.exit_code is ExitCode.SOME_FAILED
    assert bench.failures() == {"y": "not_found"}
    assert result.to_json()["errors"][0]["job"] == "y"


async def test_a_model_of_the_command_line_that_nobody_serves_is_refused(tmp_path: Path) -> None:
    """Before anything is sent, and only where a prompt would be asked with it."""
    async with FaultServer() as server:
        bench = Bench(tmp_path, a=provider(server, models={"fast": "f"}, strict_models=True))
        with pytest.raises(Refused, match="no provider serves the model `other` that `-m` names"):
            await bench.run(prompts(2), flags=Flags(model="other"))
        assert server.ledger == []
        named = [{"id": "q", "prompt": "q", "model": "fast"}]
        result = await bench.run(named, flags=Flags(model="other"), name="n", partial=True)
    assert result.exit_code is ExitCode.OK


async def test_the_plan_names_the_model_that_is_asked_for(tmp_path: Path) -> None:
    """That of `-m` as each provider calls it, else its own; and how providers are chosen."""
    async with FaultServer() as server:
        bench = Bench(
            tmp_path,
            run={"strategy": "latency"},
            bare=provider(server, model=None),
            mapped=provider(server, models={"fast": "turbo"}),
        )
        await bench.run(prompts(2), flags=Flags(model="fast"), dry_run=True)
        [plan] = bench.recorder.plans
    assert plan.candidates == (("bare", "fast"), ("mapped", "turbo"))
    assert plan.strategy == "latency"


async def test_a_model_that_nobody_serves_is_named_where_a_job_fails(tmp_path: Path) -> None:
    async with FaultServer() as server:
        bench = Bench(tmp_path, a=provider(server, strict_models=True))
        result = await bench.run([*prompts(1), {"id": "q", "prompt": "q", "model": "other"}])
    [group] = result.errors
    assert (group.kind, group.message) == ("not_found", "no provider serves the model `other`")


async def test_a_model_that_a_provider_may_not_have_is_pointed_out(tmp_path: Path) -> None:
    """Where it has one of its own and no name for the one that prompts ask for."""
    async with FaultServer() as server:
        bench = Bench(
            tmp_path,
            own=provider(server, model="gpt"),
            mapped=provider(server, model="claude", models={"gpt": "claude"}),
            stranger=provider(server, model="gemini"),
        )
        named = [{"id": f"q{n}", "prompt": f"q{n}", "model": "gpt"} for n in range(2)]
        await bench.run([*named, *prompts(1)])
    [note] = bench.recorder.notes
    assert note.startswith("2 prompt(s) name the model `gpt`, and stranger is asked for exactly")


async def test_answers_that_were_made_up_do_not_pass_for_real_ones_in_silence(
    tmp_path: Path,
) -> None:
    """A note counts them where they are skipped, unless a simulation is asked again."""
    async with FaultServer() as server:
        bench = Bench(tmp_path, a=made_up(latency_ms=0))
        await bench.run(prompts(3))
        await bench.run(prompts(4))
        assert bench.recorder.notes == []
        bench.configure(b=provider(server))
        result = await bench.run(prompts(5))
        await bench.run(prompts(5))
    assert (result.skipped, len(server.ledger)) == (4, 1)
    note = (
        "4 finished job(s) were answered by a simulated provider and are not asked again;"
        " with another `--db` all are"
    )
    assert bench.recorder.notes == [note, note]


async def test_flagged_answers_succeed_and_are_counted(tmp_path: Path) -> None:
    """Of all jobs in scope, whenever they were answered."""
    finishes = {"p0": "stop", "p1": "length", "p2": "content_filter", "p3": "length"}
    async with FaultServer(lambda s: Reply.chat("text", finish=finishes[s.prompt])) as server:
        bench = Bench(tmp_path, a=provider(server))
        told = (await bench.run(prompts(4))).to_json()
        again = (await bench.run(prompts(4))).to_json()
    assert (told["succeeded"], told["truncated"], told["refused"]) == (4, 2, 1)
    assert (again["requests"], again["truncated"], again["refused"]) == (0, 2, 1)
    assert bench.rows("SELECT key FROM job JOIN attempt ON job_id = job.id WHERE flags = 2") == [
        ("p2",)
    ]
    assert {k: row["finish_reason"] for k, row in (await bench.exported()).items()} == finishes


async def test_every_script_survives_the_way_there_and_back(tmp_path: Path) -> None:
    """NUL, lone surrogates, line separators and any script are carried exactly."""
    texts = [
        "naïve 漢字 🙂",
        "a\x00b",
        "x\u2028\u2029\x85y",
        "\ud800 alone",
        'quote " \\ / \x1b[31m',
    ]
    async with FaultServer() as server:
        bench = Bench(tmp_path, a=provider(server))
        server.load(lambda seen: Reply.text(echo(seen)))
        result = await bench.run([{"id": str(n), "prompt": t} for n, t in enumerate(texts)])
    assert result.exit_code is ExitCode.OK
    flat = await bench.exported()
    assert [flat[str(n)]["text"] for n in range(len(texts))] == texts


def echo(seen: Seen) -> bytes:
    """Answer with the prompt as it came, escapes and all, as a server in Python would."""
    asked = json.loads(seen.body)["messages"][0]["content"]
    message = {"role": "assistant", "content": asked}
    return json.dumps({"choices": [{"index": 0, "message": message}]}).encode()


async def test_plan_comes_before_the_first_request(tmp_path: Path) -> None:
    class Watcher(Recorder):
        def plan(self, plan: Any) -> None:
            super().plan(plan)
            self.seen_before = len(server.ledger)

    async with FaultServer() as server:
        bench = Bench(tmp_path, a=provider(server), b=provider(server, model="other"))
        watcher = Watcher()
        await bench.run(prompts(3), observer=watcher)
    (plan,) = watcher.plans
    assert watcher.seen_before == 0
    assert (plan.batches, plan.pending, plan.skipped) == (("prompts",), 3, 0)
    assert plan.candidates == (("a", "m"), ("b", "other"))
    assert plan.estimated_nano is not None
    assert watcher.snapshots[-1].succeeded == 3
    assert watcher.snapshots[-1].in_flight == 0


async def test_dry_run_stops_at_the_plan(tmp_path: Path) -> None:
    async with FaultServer() as server:
        bench = Bench(tmp_path, a=provider(server))
        result = await bench.run(prompts(3), dry_run=True)
        assert len(bench.recorder.plans) == 1
        assert server.ledger == []
    assert (result.exit_code, result.to_json()["pending"]) == (ExitCode.OK, 3)


async def test_a_view_that_raises_does_not_hurt(tmp_path: Path) -> None:
    class Broken(Recorder):
        def tick(self, snapshot: Any) -> None:
            super().tick(snapshot)
            raise RuntimeError("no terminal")

    broken = Broken()
    async with FaultServer() as server:
        bench = Bench(tmp_path, a=provider(server))
        result = await bench.run(prompts(8), observer=Guarded(broken))
    assert result.exit_code is ExitCode.OK
    assert len(broken.snapshots) == 1
    assert broken.notes == ["the progress view failed (RuntimeError); the run goes on"]


@hurried
async def test_removing_the_view_changes_nothing(tmp_path: Path) -> None:
    class Blind:
        def __getattr__(self, name: str) -> Any:
            return lambda *_: None

    told = []
    for name, observer in (("seen", Recorder()), ("blind", Blind())):
        (tmp_path / name).mkdir()
        async with FaultServer(lambda s: Reply.html() if s.prompt == "p3" else None) as server:
            bench = Bench(tmp_path / name, a=provider(server), run={"concurrency": 1})
            result = await bench.run(prompts(5), observer=observer)
            assert bench.states() == {"succeeded": 4, "failed": 1}
        told.append(
            {
                key: value
                for key, value in result.to_json().items()
                if key not in ("elapsed_s", "rate_per_s", "latency_ms", "providers")
            }
        )
    assert told[0] == told[1]


async def test_a_configured_header_takes_the_place_of_aiq_s_own(tmp_path: Path) -> None:
    """Otherwise a gateway would get the vendor's key beside its own."""
    headers = {"authorization": "Bearer ${GATE}", "User-Agent": "mine"}
    async with FaultServer() as server:
        bench = Bench(
            tmp_path,
            a=provider(server, api_key_env="K", headers=headers),
            environ={"K": KEY, "GATE": GATE},
        )
        await bench.run(prompts(1))
    [seen] = server.ledger
    assert (seen.headers["authorization"], seen.headers["user-agent"]) == (f"Bearer {GATE}", "mine")
    assert not any(KEY in value for value in seen.headers.values())


async def test_snapshots_only_show_what_is_durable(tmp_path: Path) -> None:
    """At no tick does the view show more answers than the database holds."""

    class Auditor(Recorder):
        def tick(self, snapshot: Any) -> None:
            stored = bench.rows("SELECT count(*) FROM answer")[0][0]
            self.excess = max(getattr(self, "excess", 0), snapshot.succeeded - stored)
            super().tick(snapshot)

    auditor = Auditor()
    async with FaultServer(Reply(delay_s=0.1)) as server:
        bench = Bench(tmp_path, a=provider(server), run={"concurrency": 8})
        await bench.run(prompts(48), observer=auditor)
    assert len(auditor.snapshots) > 1
    assert auditor.excess == 0


def test_a_run_needs_no_more_than_its_defaults() -> None:
    """The bench sets only what hurries a test; the defaults are the contract's."""
    assert RunSettings() == RunSettings(
        concurrency=128, max_attempts=5, timeout_s=600.0, max_wait_s=None, on_unknown="retry"
    )


async def test_two_runs_at_once_are_refused(tmp_path: Path) -> None:
    """The second names the first, sends nothing and leaves everything as it is."""
    held = asyncio.Event()
    async with FaultServer(Reply(until=held)) as server:
        bench = Bench(tmp_path, a=provider(server))
        first = asyncio.create_task(bench.run(prompts(1)))
        await server.seen(1)
        with pytest.raises(StoreError, match=f"in use by a run .pid {os.getpid()} on .*, since"):
            await bench.new_session(RunOptions(database=bench.database)).run()
        held.set()
        assert (await first).exit_code is ExitCode.OK
        assert len(server.ledger) == 1


GATE = "gate-token-0123456789"


@hurried
async def test_no_secret_is_kept_anywhere(tmp_path: Path) -> None:
    """Wherever a server echoes the key, it is in no byte of what we write, nor in the result."""

    class Spy(Recorder):
        def __init__(self) -> None:
            super().__init__()
            self.leaking: set[str] = set()
            self.wal_bytes = 0

        def tick(self, snapshot: Any) -> None:
            super().tick(snapshot)
            self.leaking |= leaking_files(tmp_path)
            self.wal_bytes = (tmp_path / "aiq.db-wal").stat().st_size

    async with FaultServer(echo_secrets) as server:
        bench = Bench(
            tmp_path,
            a=provider(server, api_key_env="K", headers={"X-Gate": "${GATE}"}),
            run={"concurrency": 1, "max_attempts": 1},
            environ={"K": KEY, "GATE": GATE},
        )
        spy = Spy()
        result = await bench.run(prompts(6), observer=spy)
        assert result.exit_code is ExitCode.NO_PROVIDER
        assert bench.states() == {"succeeded": 1, "failed": 3, "pending": 2}
    assert {seen.headers["authorization"] for seen in server.ledger} == {f"Bearer {KEY}"}
    assert {seen.headers["x-gate"] for seen in server.ledger} == {GATE}
    assert spy.wal_bytes > 0
    assert spy.leaking | leaking_files(tmp_path) == set()
    told = json.dumps([result.to_json(), result.message, str(spy.snapshots[-1].last_error)])
    assert not leaks(told.encode())
    assert "[redacted]" in told
    assert not any([leaks(await bench.export(format=name)) for name in ("flat", "openai", "csv")])


def leaking_files(directory: Path) -> set[str]:
    """Return the names of files that hold a secret."""
    return {path.name for path in directory.iterdir() if leaks(path.read_bytes())}


def leaks(content: bytes) -> bool:
    return KEY.encode() in content or GATE.encode() in content


def escaped(reply: Reply) -> bytes:
    """Write the key with an escape, as JSON may."""
    return (reply.body or b"").replace(KEY.encode(), rb"\u0073" + KEY[1:].encode())


def echo_secrets(seen: Seen) -> Reply:
    said = f"You sent {KEY} and {GATE}."
    told = {"x-request-id": KEY, "retry-after": KEY}
    body = chat_body(KEY, said, (1, 1), "stop")
    return {
        "p0": Reply.json(body | {"id": KEY, "echo": GATE}, headers=told),
        "p1": Reply.text(
            escaped(Reply.error(400, code=KEY, message=said)), status=400, headers=told
        ),
        "p2": Reply.text(f"<html><title>{said}</title>{said}</html>", headers=told),
        "p3": Reply.truncated(body=f"{said} {'x' * 1000}".encode(), headers=told),
    }.get(seen.prompt, Reply.error(401, message=f"Incorrect API key provided: {KEY}", headers=told))
