"""What `monitor` shows: a table of the providers, and a line for each thing that happens."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from rich.text import Text

from aiq.cli import figures
from aiq.cli.columns import Column, spread, table
from aiq.cli.signs import sparkline, status_text
from aiq.cli.text import NAME, visible
from aiq.clock import rfc3339
from aiq.policy.alert import Alert, AlertLevel
from aiq.policy.duration import shown_duration
from aiq.policy.health import USABLE
from aiq.run.monitor import Watched
from aiq.store.writes import ProviderState

SPARKS = 20
"""Latencies of the sparkline."""

_BREAKERS = {"unhealthy": "open", "healthy": "closed"}
"""What the run's status of a provider says of its breaker; every other stands for itself."""

_DETAIL = 1000
_STYLES = {AlertLevel.INFO: "", AlertLevel.WARNING: "yellow", AlertLevel.CRITICAL: "bold red"}
_COLUMNS = (
    Column("provider", right=False, least=10),
    Column("status", right=False),
    Column(f"last {SPARKS}", rank=7, right=False),
    Column("mean", rank=6),
    Column("p50", rank=3),
    Column("p95", rank=4),
    Column("p99", rank=8),
    Column("available", rank=2),
    Column("breaker", rank=5, right=False),
    Column("last incident", rank=1, right=False, least=13),
)


class View(msgspec.Struct, frozen=True, kw_only=True):
    """All that the live view shows at one instant."""

    watched: Mapping[str, Watched]
    in_run: Mapping[str, ProviderState]
    """How a run beside sees them; empty: there is none."""
    interval_s: float
    now_us: int


def frame(view: View, *, width: int, height: int) -> list[Text]:
    """Return the lines of the live view; they fit a terminal of this size."""
    title = Text.assemble(("aiq ", "bold cyan"), ("monitor", "bold"))
    every = Text(f"every {view.interval_s:g} s · Ctrl-C ends it", "dim")
    table_lines = health_table(view, width)
    lines = [*spread(title, every, width), Text(), *table_lines, Text(), *remarks(view)]
    for line in lines:
        line.truncate(width, overflow="ellipsis")
    # The cursor rests on an empty line: a `^C` at the end of a full one would wrap and shift all.
    return [*lines[: max(height - 2, 0)], Text()]


def health_table(view: View, width: int) -> list[Text]:
    """Return a row a provider; without a run beside there is no breaker to show."""
    rows = [_row(one, view) for one in view.watched.values()]
    shown = [n for n, column in enumerate(_COLUMNS) if view.in_run or column.title != "breaker"]
    return table([_COLUMNS[n] for n in shown], [[row[n] for n in shown] for row in rows], width)


def _row(one: Watched, view: View) -> list[Text]:
    found, past = one.health, one.health.history
    share = None if past is None else past.availability
    times = (None,) * 4 if past is None else (past.mean, past.p50, past.p95, past.p99)
    return [
        Text(visible(found.name, 24)),
        status_text(found.status),
        sparkline([(probe.status, probe.latency_ms) for probe in found.past[-SPARKS:]]),
        *(Text(figures.milliseconds(ms)) for ms in times),
        Text(figures.NONE if share is None else f"{share * 100:.4g} %"),
        Text(_breaker(view.in_run.get(found.name), view.now_us)),
        _incident(one, view.now_us),
    ]


def _breaker(state: ProviderState | None, now_us: int) -> str:
    """Return in a few words how the run beside sees a provider, and when it tries it again."""
    if state is None:
        return figures.NONE
    return _BREAKERS.get(state.status, state.status) + _until(state, now_us)


def _until(state: ProviderState, now_us: int) -> str:
    if state.until is None or state.until <= now_us:
        return ""
    return f", {figures.wait((state.until - now_us) / 1e6)}"


def _incident(one: Watched, now_us: int) -> Text:
    """Return the last alert, else the last time that it could not be used."""
    if one.incident is not None:
        age = _ago(now_us - round(one.incident.at * 1e6))
        lasts = one.matter is not None
        return Text(f"{one.incident.title}, {age}", _STYLES[one.incident.level] if lasts else "")
    failed = [past for past in one.health.past if past.status not in USABLE]
    if not failed:
        return Text(figures.NONE)
    return Text(f"{failed[-1].status}, {_ago(now_us - failed[-1].checked_at)}")


def _ago(age_us: int) -> str:
    return f"{shown_duration(age_us / 1e6)} ago" if age_us >= 1_000_000 else "now"


def remarks(view: View) -> list[Text]:
    """Return all there is to say about providers that does not fit into their rows."""
    lines: list[Text] = []
    for name, one in view.watched.items():
        lines += matter_lines(one)
        state = view.in_run.get(name)
        if state is not None and state.reason:
            words = f"in the run: {visible(state.reason, _DETAIL)}{_until(state, view.now_us)}"
            lines.append(Text.assemble((visible(name, 24), "bold"), "  ", words))
    return lines


def matter_lines(one: Watched) -> list[Text]:
    """Return what is the matter with a provider, and why it is not healthy."""
    found = one.health
    said: list[tuple[str, str]] = []
    if one.matter is not None:
        level = one.matter.level
        said = [(f"{one.matter.sign.value}: {one.matter.detail}", _STYLES[level])]
    elif found.status != "healthy":
        said = [(found.reason, "")]
    elif one.unusual is not None:
        said = [(f"unusual: {one.unusual.detail}", "dim")]
    name = Text(visible(found.name, 24), "bold")
    return [Text.assemble(name, "  ", (visible(words, _DETAIL), style)) for words, style in said]


def alert_line(alert: Alert) -> Text:
    """Return one event for people: when, who, how bad, what."""
    level = "over" if alert.is_recovery else alert.level.name.lower()
    style = "green" if alert.is_recovery else _STYLES[alert.level]
    return Text.assemble(
        (rfc3339(round(alert.at * 1e6)), "dim"),
        "  ",
        (visible(alert.provider, NAME), "bold"),
        "  ",
        (f"{level:<8}  {alert.title}", style),
        f": {visible(alert.detail, _DETAIL)}",
    )


def alert_json(alert: Alert) -> dict[str, object]:
    """Return one event for programs."""
    event = "alert" if alert.level > AlertLevel.INFO else "status"
    return {
        "at": rfc3339(round(alert.at * 1e6)),
        "event": "recovery" if alert.is_recovery else event,
        "level": alert.level.name.lower(),
        "provider": alert.provider,
        "title": alert.title,
        "detail": alert.detail,
    }
