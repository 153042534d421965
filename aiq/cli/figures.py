"""Figures as people read them: money, counts, durations. Unknown is a word, never zero."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from aiq.run import money

UNKNOWN = "unknown"
NONE = "-"
"""Stands where there is nothing to measure."""

usd, nano = money.usd, money.nano


class Costs(Protocol):
    """What a cost is made of; `aiq.run.report.Tally` has it."""

    cost_nano: int
    unpriced: int
    maybe_paid: int
    maybe_nano: int
    maybe_unbounded: int


def cost(costs: Costs) -> str:
    """Write what was spent; with unpriced attempts among them, at least so much, or unknown."""
    if not costs.unpriced:
        return nano(costs.cost_nano)
    return f"≥ {nano(costs.cost_nano)}" if costs.cost_nano else UNKNOWN


def possibly_paid(costs: Costs) -> str | None:
    """Write what requests without a known end may have cost; None where there are none."""
    if not costs.maybe_paid:
        return None
    requests = plural(costs.maybe_paid, "request")
    if costs.maybe_unbounded:
        return f"{requests}, without an upper bound: they had no `max_tokens` or no price"
    return f"{requests}, at most {nano(costs.maybe_nano)}"


def plural(count: int, noun: str, nouns: str | None = None) -> str:
    """Write a count with its noun; the plural takes an s, unless it is given."""
    return f"{count:,} {noun if count == 1 else nouns or noun + 's'}"


def compact(count: int) -> str:
    """Write a count in at most five characters: 999, 12.3k, 4.5M."""
    for size, unit in ((1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")):
        if count >= size:
            shown = count / size
            return f"{shown:.0f}{unit}" if shown >= 100 else f"{shown:.1f}{unit}"
    return str(count)


def clock(seconds: float) -> str:
    """Write a duration as 0:07, 12:05 or 1:02:33."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def elapsed(seconds: float) -> str:
    """Write how long something took: with a tenth of a second where that matters."""
    return f"{seconds:.1f} s" if seconds < 10 else clock(seconds)


def is_known(costs: Costs) -> bool:
    """Whether anything can be said of what was spent."""
    return not costs.unpriced or bool(costs.cost_nano)


def wait(seconds: float) -> str:
    """Write how long something still takes, rounded up so that it never says 0 s too early."""
    whole = max(1, -int(-seconds // 1))
    return f"{whole} s" if whole < 120 else clock(whole)


def milliseconds(ms: float | None) -> str:
    """Write a latency with three digits."""
    if ms is None:
        return NONE
    if ms < 9.95:
        return f"{ms:.1f} ms"
    if ms < 999.5:
        return f"{ms:.0f} ms"
    if ms < 99_950:
        return f"{ms / 1000:.2f} s" if ms < 9_995 else f"{ms / 1000:.1f} s"
    return clock(ms / 1000)


def rate(per_second: float) -> str:
    """Write a rate per second, or per minute or hour where that says more."""
    if per_second <= 0:
        return "0/s"
    if per_second < 1 / 60:
        return f"{per_second * 3600:.2g}/h"
    if per_second < 1:
        return f"{per_second * 60:.2g}/min"
    return f"{per_second:.1f}/s" if per_second < 100 else f"{per_second:,.0f}/s"


def percent(done: int, total: int) -> int:
    """Return whole percent, 100 only when all is done."""
    return done * 100 // total if total else 100


def latencies(figures: Mapping[str, float | None], *names: str) -> list[str]:
    """Write some of the latencies of a histogram's object."""
    return [milliseconds(figures[name]) for name in names]
