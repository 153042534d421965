"""`aiq monitor` from its options to its end, mostly as a process: what it tells, and where."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aiq.store.health import health_path
from aiq.store.lock import RunLock
from tests.cli.conftest import Aiq
from tests.support.fault_server import FaultServer
from tests.support.lines import lines_of
from tests.support.process import WAIT_S, Process, Workplace, contents
from tests.support.replies import Reply, Seen

KEY = "sk-test-4711-0815-abcdef"
CLOSED = "http://127.0.0.1:1/v1"
QUICK_S, SICK_S = 0.0225, 0.45
LISTED = Reply.json({"object": "list", "data": [{"id": "m"}]})
MONITOR = """
[monitor]
min_samples = 5        # of the usual latency, so that the test need not wait for ten
least_rise_ms = 300.0  # a busy test machine is no anomaly,
z_warning = 1.0        # and its noise does not hide one
z_critical = 1.2
"""


def answers(reply: Reply) -> Callable[[Seen], Reply]:
    """List the model at once, and answer everything else with the reply."""
    return lambda seen: LISTED if seen.method == "GET" else reply


def after(delay_s: float) -> Callable[[Seen], Reply]:
    return answers(Reply(delay_s=delay_s))


def events(process: Process, provider: str | None = None) -> list[tuple[str, str, str]]:
    """Return event, level and title of what was written so far."""
    whole = bytes(process.out).rpartition(b"\n")[0]
    told = [json.loads(line) for line in lines_of(whole)]
    return [
        (one["event"], one["level"], one["title"])
        for one in told
        if provider in (None, one["provider"])
    ]


def kept(path: Path, provider: str) -> dict[str, Any]:
    """Return what the health file says of a provider; nothing before it does."""
    if not path.exists():
        return {}
    document = json.loads(path.read_text())
    found: dict[str, dict[str, Any]] = {one["name"]: one for one in document["providers"]}
    return found.get(provider, {})


async def state(path: Path, provider: str, condition: Callable[[dict[str, Any]], bool]) -> None:
    """Wait until the health file says this of a provider."""
    async with asyncio.timeout(WAIT_S):
        while not ((found := kept(path, provider)) and condition(found)):  # noqa: ASYNC110
            await asyncio.sleep(0.05)  # a file tells nobody that it was replaced


SICKENING = [
    ("alert", "warning", "latency anomaly"),
    ("alert", "critical", "latency anomaly"),
    ("status", "info", "now unhealthy"),
    ("alert", "critical", "down"),
]
RECOVERING = [
    ("status", "info", "now healthy"),
    ("recovery", "critical", "down"),
    ("recovery", "critical", "latency anomaly"),
]


def messaged(hook: FaultServer) -> list[tuple[str, str, str]]:
    """Return event, level and title of the alerts about `b` that a webhook got, in order."""
    alerts = [one for seen in hook.ledger for one in json.loads(seen.body)["alerts"]]
    return [
        ("recovery" if one["is_recovery"] else "alert", one["level"], one["title"])
        for one in alerts
        if one["provider"] == "b"
    ]


async def test_one_of_three_sickens_and_recovers(tmp_path: Path) -> None:
    """Twenty times as slow, failing, down, back: told in order. Nobody is woken for the others."""
    file = tmp_path / "health.json"
    async with (
        FaultServer() as hook,
        FaultServer(after(QUICK_S)) as a,
        FaultServer(after(QUICK_S)) as c,
        Workplace(tmp_path) as place,
    ):
        async with FaultServer(after(QUICK_S)) as b:
            place.configure(a=a, b=b, c=c)
            with (tmp_path / "aiq.toml").open("a") as config:
                config.write(f'{MONITOR}\n[alerts]\nwebhook = "{hook.root}/hook"\n')
            running = await place.start(
                "monitor", "--json", "--interval", "1.2", "--health-file", "health.json"
            )
            await state(file, "b", lambda one: one["history"]["probes"] >= 6)
            b.load(after(SICK_S))
            await running.until(lambda: events(running, "b") == SICKENING[:2])
            b.load(answers(Reply.error(500)))
            await running.until(lambda: events(running, "b") == SICKENING)
        await state(file, "b", lambda one: "Connection refused" in one["reason"])
        async with FaultServer(after(QUICK_S), port=b.port):
            await running.until(lambda: events(running, "b") == SICKENING + RECOVERING)
            running.send(signal.SIGINT)
            ended = await running.ended()
    assert ended.code == 130
    told = [json.loads(line) for line in lines_of(ended.out)]
    assert [one for one in told if one["provider"] != "b" and one["level"] == "critical"] == []
    # A change of status is for the screen; a message for each would be one for every flap.
    assert messaged(hook) == [one for one in SICKENING + RECOVERING if one[0] != "status"]
    assert ended.text.startswith("watching 3 providers every 1.2 s; 216,000 tiny requests a day")
    assert all(set(one) == KEYS for one in told)
    assert "HTTP 500" in next(one["detail"] for one in told if one["title"] == "down")


KEYS = {"at", "event", "level", "provider", "title", "detail"}


@pytest.mark.parametrize(
    ("names", "code"), [((), 1), (("quick",), 0), (("broken",), 3), (("broken", "quick"), 1)]
)
def test_once_ends_as_a_probe_does(aiq: Aiq, names: tuple[str, ...], code: int) -> None:
    ended = aiq("monitor", "--once", *names)
    assert (ended.exit_code, ended.stderr) == (code, "")
    lines = lines_of(ended.stdout)
    told = [line for line in lines if " now unhealthy: " in line]
    assert len(told) == (names != ("quick",))
    heading = next(line for line in lines if line.startswith("provider"))
    titles = "provider status last 20 mean p50 p95 p99 available last incident"
    assert " ".join(heading.split()) == titles


async def test_once_as_json_ends_with_the_state(tmp_path: Path) -> None:
    """What a provider says is redacted here as everywhere."""
    async with FaultServer(Reply.error(401, message=f"no {KEY}")) as server:
        table = {"base_url": server.url, "api_key_env": "K"}
        async with Workplace(tmp_path, a=table) as place:
            ended = await place.run(
                "monitor", "--once", "--json", "--health-file", "h.json", env={"K": KEY}
            )
            document = json.loads((tmp_path / "h.json").read_text())
    assert ended.code == 3
    *told, last = [json.loads(line) for line in lines_of(ended.out)]
    assert [(one["event"], one["title"]) for one in told] == [
        ("status", "now disabled"),
        ("alert", "down"),
    ]
    assert last["event"] == "state"
    [one] = last["providers"]
    assert one["matter"] == {
        "level": "critical", "title": "down", "detail": "key refused: no [redacted] (HTTP 401)"
    }  # fmt: skip
    [in_file] = document["providers"]
    assert in_file | {"checked_at": None} == one | {"checked_at": None}
    assert document["exit_code"] == 3
    assert KEY.encode() not in b"".join([ended.out, *contents(tmp_path).values()])


def test_three_times_once_is_three_in_a_row(aiq: Aiq) -> None:
    """A scheduled job knows nothing of the one before; the history is in the database."""
    told = []
    for _ in range(4):
        ended = aiq("monitor", "--once", "--json", "broken")
        told.append([json.loads(line).get("title") for line in lines_of(ended.stdout)][:-1])
    assert told == [["now unhealthy"], [], ["down"], []]


async def test_free_sends_nothing_that_costs(tmp_path: Path) -> None:
    async with FaultServer() as server, Workplace(tmp_path, a=server) as place:
        running = await place.start("monitor", "--free", "--interval", "0.2", "-m", "model")
        await server.seen(3)
        running.send(signal.SIGTERM)
        ended = await running.ended()
        assert {seen.method for seen in server.ledger} == {"GET"}
    assert ended.code == 143
    assert ended.text == (
        "watching 1 provider every 0.2 s; nothing that is sent costs anything; time-out 0.18 s and"
        " not 10 s, because a probe ends before the next one begins\n"
    )


async def test_ctrl_c_ends_a_monitor_that_waits(tmp_path: Path) -> None:
    """Nobody waits out the time-out of a provider that hangs."""
    async with FaultServer(Reply.hang()) as server, Workplace(tmp_path, a=server) as place:
        running = await place.start("monitor", "--json")
        await server.seen(1)
        running.send(signal.SIGINT)
        ended = await running.ended()
    assert (ended.code, ended.out) == (130, b"")
    assert "Traceback" not in ended.text


async def test_a_terminal_gets_a_table_and_the_events_above_it(tmp_path: Path) -> None:
    """At the end the table is gone and the events are there; nothing paints the screen."""
    nasty = Reply.error(401, message="\x1b[2J[bold]gone\u202e")
    async with (
        FaultServer() as good,
        FaultServer(nasty) as bad,
        Workplace(tmp_path, good=good, bad=bad) as place,
    ):
        running = await place.start(
            "monitor", "--interval", "0.3", "-m", "model", terminal=(120, 30)
        )
        await running.says("last incident")
        await running.says("█")
        await running.says("critical  down")
        running.send(signal.SIGINT)
        ended = await running.ended()
    assert ended.code == 130
    assert b"\\x1b[2J[bold]gone\\u202e" in ended.out
    assert b"\x1b[2J" not in ended.out
    assert ended.out.rindex(b"\x1b[?25h") > ended.out.rindex(b"\x1b[?25l")


async def test_a_monitor_ends_when_its_reader_leaves(tmp_path: Path) -> None:
    """Otherwise it would go on asking, and paying, for nobody."""
    async with Workplace(tmp_path, a=CLOSED) as place:
        shell = '"$@" | head -n 1'
        ended = await place.run("monitor", "--json", "--interval", "0.2", shell=shell)
    assert json.loads(ended.out)["title"] == "now unhealthy"
    assert ended.text.startswith("watching ")


async def test_a_health_database_that_is_held_is_no_obstacle(tmp_path: Path) -> None:
    """Three in a row are three in a row also in memory, and the note comes once."""
    async with Workplace(tmp_path, a=CLOSED) as place:
        with RunLock(health_path(place.db)) as lock:
            assert lock.acquire(wait_s=0)
            running = await place.start("monitor", "--json", "--interval", "0.2")
            await running.says('"down"')
            running.send(signal.SIGINT)
            ended = await running.ended()
        assert not health_path(place.db).exists()
    assert ended.text.count("note: the history is not stored: ") == 1


async def test_it_lives_beside_a_run_and_shows_its_breaker(tmp_path: Path) -> None:
    """The run owns the job database; the monitor reads it and writes its own."""
    async with (
        FaultServer(answers(Reply.error(500))) as bad,
        FaultServer(answers(Reply.hang())) as good,
        Workplace(tmp_path, bad=bad, good=good) as place,
    ):
        run = await place.start("run", place.write([{"prompt": f"p{n}"} for n in range(30)]))
        await good.seen(1)
        monitor = await place.start("monitor", "--free", "--interval", "0.5", terminal=(160, 30))
        await monitor.says("breaker")
        await monitor.says("bad calls")
        monitor.send(signal.SIGINT)
        ended = await monitor.ended()
        assert run.is_running
    assert ended.code == 130


@pytest.mark.parametrize(
    "arguments",
    [
        ("nobody",),
        ("--interval", "0"),
        ("--health-file", "aiq.toml"),
        ("--health-file", "no/such/place"),
        ("--health-file", "/dev/null"),
    ],
)
def test_what_makes_no_sense_is_refused(aiq: Aiq, folder: Path, arguments: tuple[str, ...]) -> None:
    """In particular, no file is overwritten that is no health file, and no probe leaves a trace."""
    before = contents(folder)
    ended = aiq("monitor", "--once", *arguments)
    assert contents(folder) == before
    assert (ended.exit_code, ended.stdout) == (2, "")
    assert ended.stderr.startswith("error: ")
    assert "`-o" not in ended.stderr


@pytest.mark.parametrize("once", [("--once",), ()])
def test_a_proxy_that_cannot_be_used_is_refused(
    aiq: Aiq, folder: Path, monkeypatch: pytest.MonkeyPatch, once: tuple[str, ...]
) -> None:
    """Before anything is sent, and not as a bug."""
    (folder / "aiq.toml").write_text('providers = [{ name = "a", base_url = "http://a.invalid" }]')
    monkeypatch.setenv("HTTP_PROXY", "ftp://127.0.0.1:1")
    ended = aiq("monitor", *once)
    assert (ended.exit_code, ended.stdout) == (2, "")
    assert "error: " in ended.stderr
    assert "bug" not in ended.stderr


async def test_a_health_file_that_cannot_be_written_later_is_a_note(tmp_path: Path) -> None:
    async with FaultServer() as server, Workplace(tmp_path, a=server) as place:
        (tmp_path / "d").mkdir()
        running = await place.start(
            "monitor", "--interval", "0.3", "-m", "model", "--health-file", "d/h.json"
        )
        await state(tmp_path / "d" / "h.json", "a", lambda one: one["status"] == "healthy")
        (tmp_path / "d").rename(tmp_path / "e")
        await running.says("note: the health file cannot be written: ")
        running.send(signal.SIGINT)
        assert (await running.ended()).code == 130
