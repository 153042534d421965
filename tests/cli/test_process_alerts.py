"""`aiq alerts test` and the alerts of a run, as processes: what they print where, how they end."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from aiq.store.health import health_path
from tests.cli.conftest import Aiq
from tests.support.fault_server import FaultServer
from tests.support.process import Workplace, contents
from tests.support.replies import Reply
from tests.support.sessions import prompts

SECRET = "very-secret-path-4711"


def alerts(directory: Path, text: str) -> None:
    with (directory / "aiq.toml").open("a") as file:
        file.write(f"\n[alerts]\n{text}\n")


@pytest.mark.parametrize(("reply", "code"), [(None, 0), (Reply.error(403), 1)])
async def test_the_test_alert_says_whether_it_arrived(
    tmp_path: Path, reply: Reply | None, code: int
) -> None:
    async with FaultServer(reply) as hook, Workplace(tmp_path, a="http://127.0.0.1:1/v1") as place:
        alerts(tmp_path, 'webhook_env = "W"')
        before = contents(tmp_path)
        url = {"W": f"{hook.root}/{SECRET}"}
        ended = await place.run("alerts", "test", env=url)
        shown = await place.run("alerts", "test", "--json", env=url)
        assert contents(tmp_path) == before
        assert [seen.path for seen in hook.ledger] == [f"/{SECRET}"] * 2
        assert json.loads(hook.ledger[0].body)["title"] == "aiq [INFO] test"
    assert (ended.code, ended.err, shown.code) == (code, b"", code)
    failure = "HTTP 403" if code else None
    said = f"✗ webhook      not delivered: {failure}" if code else "● webhook      taken"
    assert ended.out.decode().rstrip() == said
    assert shown.json() == {
        "channels": [{"channel": "webhook", "ok": not code, "failure": failure}]
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "error: aiq.toml: there is no [alerts]"),
        ("", "error: aiq.toml: alerts: there is nowhere to send them"),
        ('webhook_env = "W"', "error: aiq.toml: alerts: W is not set"),
        ('urls_env = "U"', "error: U (URL 1): apprise does not take it"),
    ],
)
def test_what_cannot_be_sent_is_refused(
    aiq: Aiq, folder: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, said: str
) -> None:
    if text is not None:
        alerts(folder, text)
    monkeypatch.setenv("U", f"dicsord://{SECRET}")
    ended = aiq("alerts", "test")
    assert (ended.exit_code, ended.stdout) == (2, "")
    assert ended.stderr.startswith(said)
    assert SECRET not in ended.stderr


async def test_a_run_whose_alerts_cannot_be_sent_sends_nothing(tmp_path: Path) -> None:
    async with FaultServer() as server, Workplace(tmp_path, a=server) as place:
        alerts(tmp_path, 'webhook_env = "W"')
        ended = await place.run("run", place.write(prompts(2)))
        assert server.ledger == []
    assert ended.code == 2


async def test_the_end_of_a_run_is_told_and_no_secret_stays(tmp_path: Path) -> None:
    """Neither in the database, nor in what is printed where the webhook is dead."""
    async with FaultServer() as hook, FaultServer() as server:
        async with Workplace(tmp_path, a=server) as place:
            alerts(tmp_path, 'webhook_env = "W"')
            path = place.write(prompts(3))
            ended = await place.run("run", path, env={"W": f"{hook.root}/{SECRET}"})
            assert (ended.code, [json.loads(one.body)["title"] for one in hook.ledger]) == (
                0,
                ["aiq [INFO] finished"],
            )
            path = place.write(prompts(3, prefix="q"), "q.jsonl")
            dead = await place.run("run", path, env={"W": f"http://127.0.0.1:1/{SECRET}"})
        assert dead.code == 0
        assert "note: 1 message of alerts was not delivered to webhook" in dead.text
        assert not health_path(place.db).exists()
        assert SECRET not in dead.text
        assert not any(SECRET.encode() in kept for kept in contents(tmp_path).values())


@pytest.mark.parametrize("numbers", [(signal.SIGINT, signal.SIGINT), (signal.SIGTERM,)])
async def test_a_hanging_webhook_takes_nothing_from_the_end_of_a_run(
    tmp_path: Path, numbers: tuple[signal.Signals, ...]
) -> None:
    """A signal that comes while the last message is waited for still leaves the summary."""
    server = FaultServer(Reply(delay_s=0.01))
    async with FaultServer(Reply.hang()) as hook, server, Workplace(tmp_path, a=server) as place:
        alerts(tmp_path, f'webhook = "{hook.root}"')
        running = await place.start("run", place.write(prompts(5_000)))
        await server.seen(5)
        for count, number in enumerate(numbers):
            await hook.seen(count)
            running.send(number)
        ended = await running.ended()
    assert ended.code == (130 if signal.SIGINT in numbers else 143)
    assert "note: 1 message of alerts was not delivered to webhook" in ended.text
    assert "resume   aiq run " in ended.text


async def test_a_chat_that_hangs_does_not_keep_the_process(tmp_path: Path) -> None:
    """Its thread would wait another minute; nobody waits for it."""
    async with FaultServer(Reply.hang()) as hook, FaultServer() as server:
        async with Workplace(tmp_path, a=server) as place:
            alerts(tmp_path, "")
            url = f"json://127.0.0.1:{hook.port}/?rto=60"
            ended = await place.run("run", place.write(prompts(3)), env={"AIQ_ALERT_URLS": url})
        assert len(hook.ledger) == 1
    assert ended.code == 0
    assert "note: 1 message of alerts was not delivered to JSON" in ended.text


def test_without_a_command_the_group_shows_its_help(aiq: Aiq) -> None:
    ended = aiq("alerts")
    assert (ended.exit_code, ended.stdout) == (2, "")
    assert "Usage: aiq alerts" in ended.stderr
