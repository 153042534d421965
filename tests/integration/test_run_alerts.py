"""Whole runs that tell somebody: exactly what is to be told, in order, once, with recovery."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from aiq.config import load
from aiq.errors import ExitCode, Refused, StoreInUse
from aiq.model import JobState
from aiq.policy.control import Disable, Enable
from aiq.run.alerts.run_events import RunEvents
from aiq.run.alerts.watched import watched
from aiq.run.observer import Several
from aiq.run.options import RunOptions
from aiq.run.result import RunResult
from aiq.run.session import Session
from aiq.store.lock import RunLock
from tests.support import operating
from tests.support.fault_server import FaultServer
from tests.support.replies import Reply, Seen
from tests.support.sessions import Bench, LoopClock, Recorder, at_speed, prompts, provider

QUICK_BREAKER = {"open_s": 0.2, "open_cap_s": 0.3, "alone_s": 0.2}


class WatchedBench(Bench):
    """Runs as the command line does, with alerts to a webhook."""

    def alert(self, hook: FaultServer | str, more: str = "") -> None:
        url = hook if isinstance(hook, str) else f"{hook.root}/hook"
        with (self.directory / "aiq.toml").open("a") as file:
            file.write(f'\n[alerts]\nwebhook = "{url}"\n{more}\n')

    async def run_watched(self, lines: Any, **options: Any) -> RunResult:
        async with watched(
            self.settings(),
            environ={},
            clock=LoopClock(),
            note=self.recorder.note,
        ) as watch:
            observers = [one for one in (self.recorder, watch.observer) if one is not None]
            result = await self.run(lines, observer=Several(*observers), **options)
            watch.ended(result)
            return result


def told(hook: FaultServer) -> list[str]:
    return [json.loads(seen.body)["title"].removeprefix("aiq ") for seen in hook.ledger]


def details(hook: FaultServer) -> list[str]:
    return [json.loads(seen.body)["text"] for seen in hook.ledger]


class Patient:
    """A server whose condition a test sets."""

    def __init__(self) -> None:
        self.reply: Reply | None = None

    def __call__(self, _: Seen) -> Reply:
        return self.reply or Reply(delay_s=0.01)


async def test_a_provider_that_sickens_goes_down_and_comes_back(tmp_path: Path) -> None:
    """500s, then no connection, then well again: one alert, one recovery, and the end."""
    patient = Patient()
    async with (
        FaultServer() as hook,
        FaultServer(patient) as a,
        FaultServer(Reply(delay_s=0.01)) as b,
        FaultServer(Reply(delay_s=0.01)) as c,
    ):
        bench = WatchedBench(
            tmp_path,
            a=provider(a, breaker=QUICK_BREAKER),
            b=provider(b, breaker=QUICK_BREAKER),
            c=provider(c, breaker=QUICK_BREAKER),
        )
        bench.alert(hook)
        running = asyncio.create_task(bench.run_watched(prompts(1500)))
        await a.seen(20)
        patient.reply = Reply.error(500, message="out of order \x1b[2J @everyone")
        await hook.answered(1)
        patient.reply = Reply.reset()
        seen = len(a.ledger)
        await a.seen(seen + 2)  # trials that go wrong are no news
        patient.reply = None
        await hook.answered(2)
        result = await running
    assert result.exit_code is ExitCode.OK
    assert told(hook) == ["[CRITICAL] a: down", "[RECOVERED] a: down", "[INFO] finished"]
    down, back, finished = details(hook)
    assert "out of order \\x1b[2J \uff20everyone" in down
    assert back.startswith("it answers again after ")
    assert finished == "prompts: 1,500 succeeded, 0 failed, 0 left"
    assert bench.recorder.notes == []


async def test_the_healthy_provider_explains_what_happened_to_the_other(tmp_path: Path) -> None:
    """In the configured language; the ledger of the run knows nothing of the question."""
    answer = Reply.chat("Vermutlich \u00fcberlastet.\nWarten.\nMehr Anbieter.")

    def healthy(seen: Seen) -> Reply:
        return answer if "<alerts>" in seen.prompt else Reply(delay_s=0.01)

    async with FaultServer() as hook, FaultServer(Reply.error(500)) as a, FaultServer(healthy) as b:
        bench = WatchedBench(tmp_path, a=provider(a), b=provider(b))
        bench.alert(hook, 'language = "Deutsch"\n[alerts.triage]\nenabled = true')
        options = _options(bench, prompts(300))
        async with watched(
            bench.settings(), environ={}, clock=LoopClock(), note=bench.recorder.note
        ) as watch:
            assert watch.observer is not None
            result = await bench.new_session(options, observer=watch.observer).run()
            watch.ended(result)
        [question] = [seen for seen in b.ledger if "<alerts>" in seen.prompt]
        assert not any("<alerts>" in seen.prompt for seen in a.ledger)
    assert b"Answer in this language: Deutsch." in question.body
    assert "critical: a: down: open after 5 bad calls" in question.prompt
    down, finished = [json.loads(seen.body) for seen in hook.ledger]
    assert down["explanation"] == {
        "provider": "b",
        "text": "Vermutlich \u00fcberlastet.\nWarten.\nMehr Anbieter.",
    }
    assert finished["explanation"] is None
    assert result.count(JobState.SUCCEEDED) == 300
    assert bench.rows("SELECT count(*) FROM attempt")[0][0] == len(a.ledger) + len(b.ledger) - 1
    assert bench.recorder.notes[-1].startswith("1 question about alerts cost at most $0.0")


@at_speed(4)
async def test_all_providers_down_are_told_in_one_or_few_messages(tmp_path: Path) -> None:
    """And the end of a run that waited for them in vain."""
    async with FaultServer() as hook:
        closed = [provider("http://127.0.0.1:1/v1", breaker=QUICK_BREAKER) for _ in range(3)]
        bench = WatchedBench(
            tmp_path, run={"max_wait_s": 3.0}, a=closed[0], b=closed[1], c=closed[2]
        )
        bench.alert(hook)
        result = await bench.run_watched(prompts(50))
    assert result.exit_code is ExitCode.NO_PROVIDER
    found = [one for seen in hook.ledger for one in json.loads(seen.body)["alerts"]]
    *down, stopped = [(one["provider"], one["title"], one["level"]) for one in found]
    assert sorted(down) == [(name, "down", "critical") for name in "abc"]
    assert stopped == (None, "stopped", "critical")
    assert "no provider has been usable" in found[-1]["detail"]
    assert "(status 3)" in found[-1]["detail"]


async def test_a_refused_key_is_told_with_what_the_provider_said(tmp_path: Path) -> None:
    async with FaultServer() as hook, FaultServer(Reply.error(401, message="bad key")) as a:
        bench = WatchedBench(tmp_path, a=provider(a))
        bench.alert(hook)
        await bench.run_watched(prompts(5))
    found = [one for seen in hook.ledger for one in json.loads(seen.body)["alerts"]]
    assert [(one["provider"], one["title"]) for one in found] == [
        ("a", "disabled"),
        (None, "stopped"),
    ]
    assert found[0]["detail"] == "auth: bad key"


async def test_what_an_operator_does_is_told_as_such_and_a_bad_key_after_it_as_critical(
    tmp_path: Path,
) -> None:
    patient = Patient()
    async with FaultServer() as hook, FaultServer(patient) as a:
        bench = WatchedBench(tmp_path, a=provider(a))
        bench.alert(hook)
        running = asyncio.create_task(bench.run_watched(prompts(1000)))
        await a.seen(5)
        await operating.told(bench, Disable("a"))
        await hook.answered(1)
        await operating.told(bench, Enable("a"))
        await hook.answered(2)
        patient.reply = Reply.error(401, message="bad key")
        await running
    found = [one for seen in hook.ledger for one in json.loads(seen.body)["alerts"]]
    assert [(one["level"], one["title"], one["is_recovery"]) for one in found] == [
        ("info", "switched off", False),
        ("info", "switched off", True),
        ("critical", "disabled", False),
        ("critical", "stopped", False),
    ]


async def test_a_run_on_a_busy_database_tells_nobody(tmp_path: Path) -> None:
    async with FaultServer() as hook, FaultServer() as a:
        bench = WatchedBench(tmp_path, a=provider(a))
        bench.alert(hook)
        lock = RunLock(bench.database)
        assert lock.acquire()
        with lock, pytest.raises(StoreInUse):
            await bench.run_watched(prompts(2))
        assert hook.ledger == []


async def test_the_budget_is_told_before_and_when_it_is_reached(tmp_path: Path) -> None:
    answer = Reply.chat("x", usage=(3, 50), delay_s=0.5)
    async with FaultServer() as hook, FaultServer(answer) as a:
        bench = WatchedBench(
            tmp_path,
            run={"budget_usd": 0.002, "concurrency": 4},
            a=provider(a, max_tokens=50),
        )
        bench.alert(hook)
        result = await bench.run_watched(prompts(50))
    assert result.exit_code is ExitCode.BUDGET
    found = [one for seen in hook.ledger for one in json.loads(seen.body)["alerts"]]
    assert [one["title"] for one in found] == ["budget nearly reached", "budget reached"]
    assert "of $0.0020 spent" in found[0]["detail"]


async def test_jobs_that_failed_make_the_end_a_warning(tmp_path: Path) -> None:
    async with FaultServer() as hook, FaultServer(Reply.error(400)) as a:
        bench = WatchedBench(tmp_path, a=provider(a))
        bench.alert(hook, 'min_level = "warning"')
        await bench.run_watched(prompts(3))
    assert told(hook) == ["[WARNING] finished"]
    assert details(hook) == ["prompts: 0 succeeded, 3 failed, 0 left"]


async def test_a_run_that_is_stopped_says_by_what(tmp_path: Path) -> None:
    async with FaultServer() as hook, FaultServer(Reply(delay_s=0.05)) as a:
        bench = WatchedBench(tmp_path, a=provider(a))
        bench.alert(hook)
        running = asyncio.create_task(bench.run_watched(prompts(500)))
        await a.answered(5)
        os.kill(os.getpid(), signal.SIGTERM)
        result = await running
    assert result.exit_code is ExitCode.SIGTERM
    assert told(hook) == ["[WARNING] stopped"]
    assert "stopped on request; " in details(hook)[0]
    assert details(hook)[0].endswith("(status 143)")


async def test_a_dead_webhook_changes_nothing_but_a_note(tmp_path: Path) -> None:
    async with FaultServer() as a:
        bench = WatchedBench(tmp_path, a=provider(a))
        bench.alert("http://127.0.0.1:1/hook")
        result = await bench.run_watched(prompts(20))
    assert result.exit_code is ExitCode.OK
    assert bench.recorder.notes[-1] == ("1 message of alerts was not delivered to webhook")


async def test_nothing_to_do_is_nothing_to_tell(tmp_path: Path) -> None:
    async with FaultServer() as hook, FaultServer() as a:
        bench = WatchedBench(tmp_path, a=provider(a))
        await bench.run_watched(prompts(2))
        bench.alert(hook)
        await bench.run_watched(prompts(2))
        assert hook.ledger == []


async def test_an_error_is_told_unless_nothing_had_begun(tmp_path: Path) -> None:
    """What is refused is seen by whoever typed it; a bug tells its name and no more."""
    async with FaultServer() as hook:
        bench = WatchedBench(tmp_path, a=provider("http://127.0.0.1:1/v1"))
        bench.alert(hook)
        for error in (Refused("no"), RuntimeError("the words of a stranger")):
            with pytest.raises(type(error)):
                async with watched(
                    bench.settings(), environ={}, clock=LoopClock(), note=bench.recorder.note
                ):
                    raise error
    assert told(hook) == ["[CRITICAL] stopped"]
    assert details(hook) == ["a bug in aiq (RuntimeError) (status 70)"]


async def test_looking_for_alerts_may_fail_and_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_it(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(RunEvents, "tick", break_it)
    async with FaultServer() as hook, FaultServer() as a:
        bench = WatchedBench(tmp_path, a=provider(a))
        bench.alert(hook)
        result = await bench.run_watched(prompts(3))
    assert result.exit_code is ExitCode.OK
    assert bench.recorder.notes == ["what looks for alerts failed (RuntimeError); the run goes on"]


async def test_watchers_see_every_attempt_and_cannot_hurt(tmp_path: Path) -> None:
    """The place where latencies are judged: provider, kind, milliseconds, once durable."""
    seen: list[tuple[str, str, float]] = []

    def break_at_once(*_: object) -> None:
        raise RuntimeError

    script = [Reply.error(500)]
    async with FaultServer(script) as a:
        bench = Bench(tmp_path, a=provider(a))
        session = Session(
            _options(bench, prompts(3)),
            load(environ={}, working_directory=tmp_path),
            observer=Recorder(),
            clock=LoopClock(),
            environ={},
            draw=lambda: 0.0,
            watchers=[break_at_once, lambda *one: seen.append(one)],
        )
        result = await session.run()
    assert result.exit_code is ExitCode.OK
    assert sorted(kind for _, kind, _ in seen) == ["ok", "ok", "ok", "server_error"]
    assert {name for name, _, _ in seen} == {"a"}
    assert all(0 < latency_ms < 60_000 for _, _, latency_ms in seen)


def _options(bench: Bench, lines: Any) -> RunOptions:
    return RunOptions(database=bench.database, files=(bench.write(lines),))
