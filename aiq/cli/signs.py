"""A provider's status and its latencies as signs; colour repeats what a word or a shape says."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

SIGNS = {
    "healthy": ("●", "green"),
    "degraded": ("◐", "yellow"),
    "unhealthy": ("✗", "red"),
    "disabled": ("✗", "bold red"),
    "unknown": ("○", "dim"),
}
_BARS = "▁▂▃▄▅▆▇█"
_NO_ANSWER = "✗"


def status_text(status: str, words: str | None = None) -> Text:
    """Return a status with its sign, and other words than its name where they say more."""
    sign, style = SIGNS[status]
    return Text(f"{sign} {words or status}", style)


def sparkline(latencies_ms: Sequence[float | None]) -> Text:
    """Return a bar a latency, from zero to the longest of them; where there was none, a cross."""
    longest = max((ms for ms in latencies_ms if ms is not None), default=0.0)
    line = Text()
    for ms in latencies_ms:
        if ms is None:
            line.append(_NO_ANSWER, "red")
        else:
            height = round(ms / longest * (len(_BARS) - 1)) if longest else 0
            line.append(_BARS[height], "cyan")
    return line
