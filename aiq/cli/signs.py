"""A provider's status and its latencies as signs; colour repeats what a word or a shape says."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from aiq.policy.health import USABLE

SIGNS = {
    "healthy": ("●", "green"),
    "degraded": ("◐", "yellow"),
    "unhealthy": ("✗", "red"),
    "disabled": ("✗", "bold red"),
    "unknown": ("○", "dim"),
}
_BARS = "▁▂▃▄▅▆▇█"
_UNTIMED = "·"


def status_text(status: str, words: str | None = None) -> Text:
    """Return a status with its sign, and other words than its name where they say more."""
    sign, style = SIGNS[status]
    return Text(f"{sign} {words or status}", style)


def sparkline(history: Sequence[tuple[str, float | None]]) -> Text:
    """
    Return a sign for each pair of status and latency.

    A latency is a bar, from zero to the longest of them. Where nothing was timed it is the sign of
    the status, and a point for a provider that could be used.
    """
    longest = max((ms for _, ms in history if ms is not None), default=0.0)
    line = Text()
    for status, ms in history:
        if ms is not None:
            height = round(ms / longest * (len(_BARS) - 1)) if longest else 0
            line.append(_BARS[height], "cyan")
        elif status in USABLE:
            line.append(_UNTIMED, "dim")
        else:
            line.append(*SIGNS[status])
    return line
