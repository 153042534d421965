"""`aiq probe` and `aiq doctor` as processes: what they print where, and how they end."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from aiq.store.health import health_path
from aiq.store.lock import RunLock
from tests.support.fault_server import FaultServer
from tests.support.lines import lines_of
from tests.support.process import Workplace, contents
from tests.support.replies import Reply

KEY = "sk-test-4711-0815-abcdef"
CLOSED = "http://127.0.0.1:1/v1"
WATCH = ("probe", "--watch", "1", "--level", "2")


@pytest.mark.parametrize(
    ("names", "code"), [((), 1), (("good",), 0), (("bad",), 3), (("bad", "good"), 1)]
)
async def test_the_exit_status_tells_who_can_be_used(
    tmp_path: Path, names: tuple[str, ...], code: int
) -> None:
    """Without names every configured provider is probed; stdout holds the table and no more."""
    async with FaultServer() as server, Workplace(tmp_path, good=server, bad=CLOSED) as place:
        ended = await place.run("probe", *names)
    assert (ended.code, ended.err) == (code, b"")
    heading, *rows = lines_of(ended.out)
    assert heading.split() == ["provider", "status", "network", "API", "answer", "reason"]
    assert [row.split()[0] for row in rows] == list(names or ("good", "bad"))
    for row in rows:
        assert ("● healthy" in row) == row.startswith("good")
        assert ("✗ unhealthy" in row) == row.startswith("bad")
    assert ("Connection refused" in ended.out.decode()) == (names != ("good",))


async def test_the_object_of_the_contract(tmp_path: Path) -> None:
    async with FaultServer(Reply.error(401, message=f"no {KEY}")) as server:
        table = {"base_url": server.url, "api_key_env": "K"}
        async with Workplace(tmp_path, a=table) as place:
            ended = await place.run("probe", "--json", env={"K": KEY})
    assert ended.code == 3
    found = ended.json()
    assert set(found) == {"checked_at", "providers"}
    assert found["checked_at"].endswith("Z")
    [one] = found["providers"]
    assert {name: one[name] for name in ("name", "kind", "model", "status", "latency_ms")} == {
        "name": "a", "kind": "openai", "model": "m", "status": "disabled", "latency_ms": None
    }  # fmt: skip
    assert one["reason"] == "key refused: no [redacted] (HTTP 401)"
    assert [(level["level"], level["name"], level["ok"]) for level in one["levels"]] == [
        (1, "network", True),
        (2, "api", False),
    ]
    assert all(set(level) == LEVEL_KEYS for level in one["levels"])
    assert one["history"]["availability"] == 0
    assert KEY.encode() not in ended.out + health_path(tmp_path / "aiq.db").read_bytes()


LEVEL_KEYS = {"level", "name", "ok", "latency_ms", "detail"}


async def test_verbose_says_what_each_level_found(tmp_path: Path) -> None:
    async with FaultServer() as server, Workplace(tmp_path, a=server) as place:
        ended = await place.run("probe", "-v", "-m", "model")
    lines = lines_of(ended.out)
    assert [line.split()[:3] for line in lines[-4:]] == [
        ["1", "network", "ok"],
        ["2", "api", "ok"],
        ["3", "function", "ok"],
        ["4", "latency", "ok"],
    ]
    assert "it lists 1 model, `model` among them" in lines[-3]


async def test_level_two_sends_no_paid_request(tmp_path: Path) -> None:
    async with FaultServer() as server, Workplace(tmp_path, a=server) as place:
        ended = await place.run("probe", "--level", "2", "-m", "model")
        assert [seen.method for seen in server.ledger] == ["GET"]
    assert ended.code == 0


async def test_a_watch_goes_on_until_ctrl_c(tmp_path: Path) -> None:
    """An object a round, each with one more probe in its history; the end is clean."""
    async with FaultServer() as server, Workplace(tmp_path, a=server) as place:
        running = await place.start(*WATCH, "--json", "-m", "model")
        await running.until(lambda: running.out.count(b"\n") == 3)
        running.send(signal.SIGINT)
        ended = await running.ended()
    assert (ended.code, ended.err) == (130, b"")
    rounds = [json.loads(line) for line in lines_of(ended.out)]
    histories = [one["providers"][0]["history"] for one in rounds]
    assert [history["probes"] for history in histories] == [1, 2, 3]
    assert all(history["availability"] == 1 for history in histories)
    assert set(histories[0]["latency_ms"]) == {"mean", "p50", "p95", "p99"}


async def test_a_watch_shows_history_and_says_what_it_costs(tmp_path: Path) -> None:
    async with FaultServer() as server, Workplace(tmp_path, a=server) as place:
        running = await place.start("probe", "--watch", "1")
        await running.says("last 100")
        await running.says("note: each round sends every provider a request that costs")
        running.send(signal.SIGTERM)
        ended = await running.ended()
    assert ended.code == 143
    heading = next(line for line in lines_of(ended.out) if "last 100" in line)
    assert heading.split()[2:] == ["probes", "available", "mean", "p50", "p95", "p99"]


async def test_ctrl_c_ends_a_probe_that_waits(tmp_path: Path) -> None:
    """Nobody waits out the time-out of a provider that hangs."""
    async with FaultServer(Reply.hang()) as server, Workplace(tmp_path, a=server) as place:
        running = await place.start("probe")
        await server.seen(1)
        running.send(signal.SIGINT)
        ended = await running.ended()
    assert (ended.code, ended.out, ended.err) == (130, b"", b"")


async def test_a_watch_ends_when_its_reader_leaves(tmp_path: Path) -> None:
    """Otherwise it would go on asking, and paying, for nobody."""
    async with FaultServer() as server, Workplace(tmp_path, a=server) as place:
        shell = '"$@" | head -n 1'
        ended = await place.run(*WATCH, "--json", "-m", "model", shell=shell)
        assert len(server.ledger) <= 3
    assert json.loads(ended.out)["providers"]
    assert ended.err == b""


async def test_a_health_database_that_is_held_is_no_obstacle(tmp_path: Path) -> None:
    async with FaultServer() as server, Workplace(tmp_path, a=server) as place:
        with RunLock(health_path(place.db)) as lock:
            assert lock.acquire(wait_s=0)
            ended = await place.run("probe", "-m", "model")
        assert not health_path(place.db).exists()
    assert ended.code == 0
    assert ended.text.startswith("note: the history is not stored: ")
    assert "in use by another probe" in ended.text


@pytest.mark.parametrize("arguments", [("nobody",), ("--level", "5"), ("--watch", "0")])
async def test_what_makes_no_sense_is_refused(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    async with FaultServer() as server, Workplace(tmp_path, a=server) as place:
        before = contents(tmp_path)
        ended = await place.run("probe", *arguments)
        assert server.ledger == []
        assert contents(tmp_path) == before
    assert (ended.code, ended.out) == (2, b"")
    assert ended.text.startswith("error: ")


async def test_what_a_provider_says_cannot_paint_the_screen(tmp_path: Path) -> None:
    nasty = Reply.error(401, message="\x1b[2J[bold]gone\u202e")
    async with FaultServer(nasty) as server, Workplace(tmp_path, a=server) as place:
        ended = await place.run("probe", "-v")
    assert b"\x1b" not in ended.out
    assert "\\x1b[2J[bold]gone\\u202e" in ended.out.decode()


async def test_doctor_prints_a_line_a_check(tmp_path: Path) -> None:
    """And ends with 1 as soon as one of them is a finding."""
    async with Workplace(tmp_path, a=CLOSED) as place:
        ended = await place.run("doctor")
        assert (ended.code, ended.err) == (0, b"")
        *lines, empty, last = lines_of(ended.out)
        assert (empty, last) == ("", "nothing to be put right")
        assert {line.split()[0] for line in lines} <= {"ok", "note"}
        (tmp_path / ".env").write_text(f"OPENAI_API_KEY={KEY}\n")
        (tmp_path / ".env").chmod(0o644)
        ended = await place.run("doctor", "--json")
    assert (ended.code, ended.err) == (1, b"")
    found: dict[str, Any] = ended.json()
    assert found["findings"] == 1
    assert KEY.encode() not in ended.out
