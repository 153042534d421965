"""The main job in a process of its own: what is sent, what is refused, what is said."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.fault_server import FaultServer
from tests.support.invariants import check_store, rows
from tests.support.ledger import check_all_answered, prompts, states
from tests.support.lines import lines_of
from tests.support.process import TERMINAL, Workplace
from tests.support.replies import Reply, Seen

GOOD = 1_000
BAD: list[bytes] = [
    b'{"id": "x1", "prompt": "caf\xe9"}',
    b'{"id": "x2", "prompt": ',
    b'{"id": "x3", "prompt": "a", "temperature": NaN}',
    b'{"id": "x4", "prompt": "a", "top_p": -Infinity}',
    b'{"id": "x5", "prompt": "a", "metadata": {"a": ' + b"[" * 101 + b"]" * 101 + b"}}",
    b"42",
    b'["a"]',
    b'{"id": "x8", "prompt": 7}',
    b'{"id": "x9", "prompt": "a", "messages": [{"role": "user", "content": "a"}]}',
    b'{"id": "x10", "prompt": ""}',
    b'{"id": "p0", "prompt": "the id of the first line"}',
    b'{"id": "x12", "prompt": "' + b"a" * (8 * 1024 * 1024) + b'"}',
    b'\xef\xbb\xbf{"id": "x13", "prompt": "a"}',
    b'{"id": "x14", "prompt": "a", "stream": true}',
    b'{"id": "x15", "prompt": "a", "n": 2}',
    b'{"id": "x16", "custom_id": "x16", "prompt": "a"}',
    b'{"id": "' + b"i" * 513 + b'", "prompt": "a"}',
    b'{"id": "x18"}',
    b'{"custom_id": "x19", "method": "POST", "url": "https://evil.example/v1", "body": {}}',
]
RUN_KEYS = {
    "batch", "total", "succeeded", "failed", "pending", "running", "cancelled", "invalid",
    "skipped", "truncated", "refused", "requests", "elapsed_s", "rate_per_s", "cost_usd",
    "cost_total_usd", "cost_complete", "possibly_paid", "tokens", "latency_ms", "providers",
    "errors", "exit_code", "resume",
}  # fmt: skip
PROVIDER_KEYS = {
    "name", "kind", "model", "status", "reason", "requests", "succeeded", "failed",
    "rate_limited", "in_flight", "latency_ms", "tokens", "cost_usd",
}  # fmt: skip
STATUS_KEYS = {
    "db", "batches", "totals", "cost_usd", "possibly_paid", "tokens", "latency_ms", "providers",
    "errors", "run",
}  # fmt: skip


def listed(text: str, file: Path) -> dict[int, str]:
    """Return the bad lines that were listed, by number, with their reasons."""
    found = re.findall(rf"^\s*{re.escape(str(file))}:(\d+)\s+(\S.*)$", text, re.MULTILINE)
    return {int(number): reason for number, reason in found}


async def test_bad_lines_are_listed_and_cost_nothing_else(tmp_path: Path) -> None:
    """Each bad line among a thousand good ones is named with its reason; the good are answered."""
    async with FaultServer() as server, Workplace(tmp_path, a=server) as place:
        lines: list[Any] = [*prompts(GOOD)]
        for index, bad in enumerate(BAD):
            lines.insert(10 + 50 * index, bad)
        numbers = {10 + 50 * index + 1 for index in range(len(BAD))}
        file = place.write(lines)

        strict = await place.run("run", file, "--strict")
        assert strict.code == 2, strict.text
        assert set(listed(strict.text, tmp_path / file)) == numbers
        assert server.ledger == []
        assert states(place.db) == {}

        ended = await place.run("run", file, "-c", "64", "--json")
        assert ended.code == 1, ended.text
        told = ended.json()
        assert (told["succeeded"], told["failed"], told["invalid"]) == (GOOD, 0, len(BAD))
        reasons = listed(ended.text, tmp_path / file)
        assert set(reasons) == numbers
        assert "line 1" not in reasons[11], "a reason says what is wrong, not where in the parser"
        assert max(map(len, reasons.values())) < 200
        check_all_answered(place.db, GOOD)
        assert {seen.prompt for seen in server.ledger} == {f"p{n}" for n in range(GOOD)}

        checked = await place.run("check", file, "--json")
        assert checked.code == 1
        assert {one["line"] for one in checked.json()["invalid"]} == numbers

        lines[10] = {"id": "x1", "prompt": "fixed"}
        place.write(lines)
        server.load(None)
        again = await place.run("run", file, "--json")
        assert [seen.prompt for seen in server.ledger] == ["fixed"]
        assert again.json()["invalid"] == len(BAD) - 1


async def test_a_changed_prompt_under_a_finished_id_is_refused(tmp_path: Path) -> None:
    """What was paid for is neither thrown away nor paid again unless the user says so."""
    async with FaultServer() as server, Workplace(tmp_path, a=server) as place:
        file = place.write(prompts(5))
        assert (await place.run("run", file, "--limit", "3")).code == 0
        changed = prompts(6)
        changed[1]["prompt"] = "p1 in other words"
        place.write(changed)
        refused = await place.run("run", file)
        assert refused.code == 2
        assert "`p1`" in refused.text
        assert "--on-changed" in refused.text
        assert states(place.db) == {"succeeded": 3, "pending": 2}
        assert len(server.ledger) == 3

        server.load(None)
        assert (await place.run("run", file, "--on-changed", "keep")).code == 0
        assert sorted(seen.prompt for seen in server.ledger) == ["p3", "p4", "p5"]
        server.load(None)
        assert (await place.run("run", file, "--on-changed", "rerun")).code == 0
        assert [seen.prompt for seen in server.ledger] == ["p1 in other words"]
        check_answer(place, "p1", "echo: p1 in other words")
        server.load(None)
        assert (await place.run("run", file)).code == 0
        assert server.ledger == []


def check_answer(place: Workplace, job: str, text: str) -> None:
    [(body,)] = rows(
        place.db, "SELECT body FROM answer JOIN job ON job.id = job_id WHERE key = ?", job
    )
    assert text.encode() in body


async def test_a_namesake_from_another_folder_is_refused(tmp_path: Path) -> None:
    """Two files of one name are two batches, and only the user can say which is meant."""
    async with FaultServer() as server, Workplace(tmp_path, a=server) as place:
        first, second = (
            place.write(prompts(2), "one/p.jsonl"),
            place.write(prompts(3), "two/p.jsonl"),
        )
        assert (await place.run("run", first)).code == 0
        refused = await place.run("run", second)
        assert refused.code == 2
        assert str(tmp_path / first) in refused.text
        assert str(tmp_path / second) in refused.text
        assert len(server.ledger) == 2
        assert (await place.run("run", second, "-n", "another")).code == 0
        assert len(server.ledger) == 5
        assert (await place.run("run", first)).code == 0
        assert len(server.ledger) == 5


async def test_without_a_server_the_run_gives_up_and_keeps_everything(tmp_path: Path) -> None:
    """A refused connection costs nothing; after `--max-wait` the jobs are still there to do."""
    async with FaultServer() as server:
        url = server.url
    async with Workplace(tmp_path, a=url) as place:
        file = place.write(prompts(8))
        ended = await place.run("run", file, "--max-wait", "1", "--json")
        assert ended.code == 3, ended.text
        assert "8 jobs to send" in ended.text
        assert "a: " in ended.text or "refused" in ended.text.lower()
        assert states(place.db) == {"pending": 8}
        check_store(place.db)
        assert ended.json()["resume"] in ended.text
        async with FaultServer(port=server.port) as server:
            assert (await place.resume(ended)).code == 0
        check_all_answered(place.db, 8)


async def test_the_plan_stands_there_before_the_first_answer_and_a_dry_run_ends_at_it(
    tmp_path: Path,
) -> None:
    """Whoever sees a plan he does not like has paid nothing yet."""
    gate = asyncio.Event()
    async with FaultServer(Reply(until=gate)) as server, Workplace(tmp_path, a=server) as place:
        file = place.write(prompts(5))
        dry = await place.run("run", file, "--dry-run")
        assert dry.code == 0
        assert "p: 5 jobs to send · a (m) · about $" in dry.text
        assert server.ledger == []
        running = await place.start("run", file)
        await running.says("p: 5 jobs to send")
        gate.set()
        assert (await running.ended()).code == 0


async def test_status_and_export_work_beside_a_run_and_disturb_nothing(tmp_path: Path) -> None:
    """From another terminal: who runs, how far it is, and the answers there are so far."""
    gate = asyncio.Event()

    def script(seen: Seen) -> Reply | None:
        return None if seen.number <= 12 else Reply(until=gate)

    async with FaultServer(script) as server, Workplace(tmp_path, a=server) as place:
        running = await place.start("run", place.write(prompts(30)), "-c", "4", "--json")
        await server.seen(16)
        shown = await place.run("status")
        assert shown.code == 0, shown.text
        assert str(running.pid) in shown.out.decode()
        status = (await place.run("status", "--json")).json()
        assert set(status) >= STATUS_KEYS
        assert status["run"]["pid"] == running.pid
        assert (status["totals"]["succeeded"], status["totals"]["running"]) == (12, 4)
        assert status["providers"][0]["in_flight"] == 4
        exported = await place.run("export", "-o", "so-far.jsonl")
        assert exported.code == 0, exported.text
        assert len(lines_of((tmp_path / "so-far.jsonl").read_bytes())) == 12
        assert (await place.run("show", "p0")).code == 0
        gate.set()
        ended = await running.ended()
        assert ended.code == 0, ended.text
        told = ended.json()
        assert set(told) >= RUN_KEYS
        assert set(told["providers"][0]) >= PROVIDER_KEYS
        check_all_answered(place.db, 30)
        assert (await place.run("status", "--json")).json()["run"] is None


async def test_failures_are_grouped_and_retried_by_kind(tmp_path: Path) -> None:
    """`status` says what failed how often, and `retry-failed --kind` sends just those."""

    def script(seen: Seen) -> Reply | None:
        number = int(seen.prompt[1:])
        if number < 3:
            return Reply.html()
        return Reply.error(400, code="bad", message="no such tool") if number < 5 else None

    async with FaultServer(script) as server, Workplace(tmp_path, a=server) as place:
        ended = await place.run("run", place.write(prompts(10)), "--json")
        assert ended.code == 1, ended.text
        counted = {(one["kind"], one["provider"]): one["count"] for one in ended.json()["errors"]}
        assert counted == {("bad_response", "a"): 3, ("bad_request", "a"): 2}
        shown = (await place.run("status")).out.decode()
        assert re.search(r"3 . bad_response at a", shown)
        assert re.search(r"2 . bad_request at a: .*no such tool", shown)
        server.load(None)
        again = await place.run("retry-failed", "--kind", "bad_response", "--json")
        assert again.code == 0, again.text
        assert sorted(seen.prompt for seen in server.ledger) == ["p0", "p1", "p2"]
        assert states(place.db) == {"succeeded": 8, "failed": 2}
        check_store(place.db)


@pytest.mark.parametrize("what", ["plain.LineView.tick", "plain.NotesView.plan", "progress.frame"])
async def test_a_view_that_breaks_stops_nothing(tmp_path: Path, what: str) -> None:
    """Every job is answered and the exit status is 0; one sentence says that the view is gone."""
    module, _, name = what.partition(".")
    (tmp_path / "shim").mkdir()
    (tmp_path / "shim/sitecustomize.py").write_text(
        f"from aiq.cli import {module}\n"
        "def broken(*_, **__):\n"
        "    raise RuntimeError('the canary sings')\n"
        f"{module}.{name} = broken\n"
    )
    slow = Reply(delay_s=0.3)  # until a picture is due
    async with FaultServer(slow) as server, Workplace(tmp_path, a=server) as place:
        ended = await place.run(
            "run",
            place.write(prompts(30)),
            terminal=TERMINAL if module == "progress" else None,
            env={"PYTHONPATH": f"{tmp_path / 'shim'}:{place.env['PYTHONPATH']}"},
        )
        assert ended.code == 0, ended
        said = (ended.out + ended.err).decode()
        assert said.count("the progress view failed") == 1
        assert "30 succeeded" in said
        check_all_answered(place.db, 30)
