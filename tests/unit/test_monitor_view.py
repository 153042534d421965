"""What `monitor` shows: a table that fits, and lines and objects for what happens."""

from __future__ import annotations

from typing import Any

import pytest
from rich.text import Text

from aiq.cli.monitor_view import (
    View,
    alert_json,
    alert_line,
    frame,
    health_table,
    matter_lines,
    remarks,
)
from aiq.cli.signs import sparkline
from aiq.policy.alert import Alert, AlertLevel
from aiq.policy.conditions import Finding, Sign
from aiq.policy.health import Level
from aiq.policy.standing import Status
from aiq.run.monitor import Watched
from aiq.run.probe import ProviderHealth
from aiq.store.health import PastProbe
from aiq.store.writes import ProviderState

NOW_US = 1_700_000_000_000_000
MINUTE_US = 60_000_000
DOWN = Finding(sign=Sign.DOWN, level=AlertLevel.CRITICAL, detail="3 failures in a row")
UNUSUAL = Finding(sign=Sign.LATENCY, level=AlertLevel.INFO, detail="812 ms; usual: 41 ms")


def past(*latencies_us: int | None, status: str = "healthy") -> tuple[PastProbe, ...]:
    return tuple(
        PastProbe(status, us, NOW_US - MINUTE_US * (len(latencies_us) - n), "why")
        for n, us in enumerate(latencies_us)
    )


def watched(name: str = "a", status: Status = Status.HEALTHY, **fields: Any) -> Watched:
    given: dict[str, Any] = {"matter": None, "unusual": None, "incident": None} | fields
    health = ProviderHealth(
        name=name,
        kind="openai",
        base_url="http://127.0.0.1/v1",
        model="m",
        wanted="m",
        depth=Level.LATENCY,
        status=status,
        reason="answered in 5 ms" if status is Status.HEALTHY else "server error",
        levels=(),
        past=given.pop("past", past(*[5000] * 30)),
    )
    return Watched(health=health, checked_at=NOW_US, **given)


def alert(**fields: Any) -> Alert:
    given: dict[str, Any] = {
        "at": NOW_US / 1e6, "level": AlertLevel.CRITICAL, "provider": "a", "title": "down"
    }  # fmt: skip
    return Alert(**given | {"detail": "3 failures in a row"} | fields)


def view(*seen: Watched, **in_run: ProviderState) -> View:
    return View(
        watched={one.health.name: one for one in seen},
        in_run=in_run,
        interval_s=60.0,
        now_us=NOW_US,
    )


def shown(lines: list[Text]) -> str:
    return "\n".join(line.plain for line in lines)


@pytest.mark.parametrize("width", [30, 50, 80, 120, 200])
@pytest.mark.parametrize("height", [5, 12, 40])
def test_the_picture_fits_any_terminal(width: int, height: int) -> None:
    sick = watched("b" * 50, Status.UNHEALTHY, matter=DOWN, incident=alert())
    lines = frame(view(watched(), sick), width=width, height=height)
    assert len(lines) < height
    assert all(line.cell_len <= width for line in lines)
    assert lines[-1].plain == ""


def test_a_wide_terminal_has_everything() -> None:
    history = past(5000) + past(None, status="unhealthy") + past(20_000)
    text = shown(frame(view(watched(past=history)), width=150, height=20))
    for word in ("healthy", "▃✗█", "12 ms", "5.0 ms", "20 ms", "66.67 %", "every 60 s", "last 20"):
        assert word in text
    assert "breaker" not in text


def test_the_breaker_is_what_a_run_beside_says() -> None:
    """With the time to its next trial; of a provider it does not use, nothing."""
    state = ProviderState(
        provider="a",
        status="unhealthy",
        reason="open after 5 bad calls in a row",
        until=NOW_US + 12_000_000,
        updated_at=NOW_US,
    )
    closed = ProviderState(provider="b", status="healthy", reason=None, until=None, updated_at=0)
    seen = view(watched("a"), watched("b"), watched("c"), a=state, b=closed)
    rows = health_table(seen, 120)
    assert "breaker" in rows[0].plain
    assert "100 %  open, 12 s" in rows[1].plain
    assert "100 %  closed" in rows[2].plain
    assert "100 %  -" in rows[3].plain
    assert shown(remarks(seen)) == "a  in the run: open after 5 bad calls in a row, 12 s"
    assert shown(frame(seen, width=120, height=20)).endswith("in a row, 12 s\n")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "-"),
        ({"incident": alert(at=NOW_US / 1e6 - 180)}, "down, 3 min ago"),
        ({"incident": alert()}, "down, now"),
        ({"past": past(None, None, status="unhealthy") + past(5000)}, "unhealthy, 60 s ago"),
    ],
)
def test_the_last_incident_is_an_alert_or_what_history_has(
    fields: dict[str, Any], said: str
) -> None:
    assert health_table(view(watched(**fields)), 200)[1].plain.endswith(f"  {said}")


def test_what_is_the_matter_has_its_line() -> None:
    """An unusual answer too; who is well has none, and who is not yet known to be sick a reason."""
    assert matter_lines(watched()) == []
    assert shown(matter_lines(watched(matter=DOWN))) == "a  down: 3 failures in a row"
    assert shown(matter_lines(watched(status=Status.UNHEALTHY))) == "a  server error"
    assert shown(matter_lines(watched(unusual=UNUSUAL))) == "a  unusual: 812 ms; usual: 41 ms"


def test_an_event_is_a_line_and_an_object() -> None:
    """What a provider says cannot paint the screen; in JSON it is as it is."""
    nasty = alert(provider="x\x1b[2J", detail="\u202egone")
    assert alert_line(nasty).plain == (
        "2023-11-14T22:13:20.000Z  x\\x1b[2J  critical  down: \\u202egone"
    )
    assert alert_json(nasty) == {
        "at": "2023-11-14T22:13:20.000Z",
        "event": "alert",
        "level": "critical",
        "provider": "x\x1b[2J",
        "title": "down",
        "detail": "\u202egone",
    }


@pytest.mark.parametrize(
    ("fields", "word", "event"),
    [
        ({"is_recovery": True}, "over", "recovery"),
        ({"level": AlertLevel.INFO}, "info", "status"),
        ({"level": AlertLevel.WARNING}, "warning", "alert"),
    ],
)
def test_every_kind_of_event_has_its_word(fields: dict[str, Any], word: str, event: str) -> None:
    assert f"  a  {word:<8}  down: " in alert_line(alert(**fields)).plain
    assert alert_json(alert(**fields))["event"] == event


@pytest.mark.parametrize(
    ("history", "line"),
    [
        ([], ""),
        ([("unhealthy", None)], "✗"),
        ([("healthy", 0.0), ("healthy", 0.0)], "▁▁"),
        ([("healthy", 0.0), ("healthy", 50.0), ("disabled", None), ("degraded", 100.0)], "▁▅✗█"),
        ([("healthy", None), ("degraded", None), ("unknown", None)], "··○"),
    ],
)
def test_a_sparkline_has_a_sign_for_each_probe(
    history: list[tuple[str, float | None]], line: str
) -> None:
    """What was good and not timed, as of a provider without a list of models, is no failure."""
    assert sparkline(history).plain == line
