"""What the page says beside its charts: figures in words, as every other command writes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from aiq.cli import figures
from aiq.cli.page.charts import by_requests, instant
from aiq.cli.page.grids import grids
from aiq.model import JobState
from aiq.run.facts import ProviderFacts
from aiq.run.history import History, Sample
from aiq.run.report import QUANTILES, Tally
from aiq.run.timeline import Lane, Timeline, Trouble

STATES = ("total", *(state.value for state in JobState), "invalid")
MOST_ROWS = 50
"""Of batches and of periods of trouble; what is left out is counted."""

_UNITS = ((86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


def words(history: History) -> dict[str, Any]:
    """Return what the page's template needs beside charts, style and scripts."""
    status, line = history.status, history.line
    batches = [one.to_json() for one in status.batches]
    kinds = sorted(line.errors.items(), key=lambda item: -sum(item[1]))
    return {
        "title": title(history),
        "status": status,
        "line": line,
        "period": _period(line),
        "jobs": sum(one.total for one in status.batches),
        "purged": sum(one.purged for one in status.batches),
        "facts": list(_facts(history)),
        "states": STATES,
        "batches": batches[:MOST_ROWS],
        "batches_left": max(len(batches) - MOST_ROWS, 0),
        "width": _width(line),
        "slices": _slices(line),
        "cost_caption": "What the attempts in the ledger have cost, summed up.",
        "rows": list(_rows(line)),
        "grids": grids(history),
        "orders": [(one.at, str(one)) for one in history.orders],
        "providers": [_provider(history, one) for one in status.providers],
        "latencies": list(_latencies(history)),
        "troubles": [_trouble(line, one) for one in history.troubles[:MOST_ROWS]],
        "troubles_left": max(len(history.troubles) - MOST_ROWS, 0),
        "kinds": [(kind, sum(counts)) for kind, counts in kinds],
        "failed": history.failed,
        "failed_left": max(len(status.errors) - len(history.failed), 0),
        "extremes": list(_extremes(history)),
    }


def title(history: History) -> str:
    """Return what the page is about."""
    if history.batch is not None:
        return f"Report of {history.batch}"
    names = [batch.name for batch in history.status.batches]
    return f"Report of {names[0]}" if len(names) == 1 else f"Report of {len(names)} batches"


def dollars(amount: float | None) -> str:
    """Write a cost; what is not known is a word."""
    return figures.UNKNOWN if amount is None else figures.usd(amount)


def number(count: int) -> str:
    """Write a count."""
    return f"{count:,}"


def _facts(history: History) -> Iterator[tuple[str, str, str]]:
    batches, total = history.status.batches, history.status.ledger.total
    jobs = sum(one.total for one in batches)
    for state in (JobState.SUCCEEDED, JobState.FAILED):
        count = sum(getattr(one, state) for one in batches)
        yield (
            state.value,
            number(count),
            f"{_percent(count, jobs)} of {figures.plural(jobs, 'job')}",
        )
    rest = {
        "cancelled": sum(one.cancelled for one in batches),
        "not finished": sum(one.pending + one.running for one in batches),
    }
    for name, count in rest.items():
        if count:
            share = f"{_percent(count, jobs)} of {figures.plural(jobs, 'job')}"
            yield name, number(count), share
    paid = figures.possibly_paid(total)
    yield "spent", figures.cost(total), f"possibly paid: {paid}" if paid else ""
    yield "requests", number(total.requests), _per_answer(total)
    tokens = total.tokens()
    yield "tokens in", figures.compact(tokens["input"]), f"{number(tokens['cached'])} cached"
    yield "tokens out", figures.compact(tokens["output"]), ""
    latency = total.latency.to_json()
    yield (
        "median latency",
        figures.milliseconds(latency["p50"]),
        f"p99 {figures.milliseconds(latency['p99'])}",
    )
    sending = history.line.sending_us / 1e6
    if sending:
        answered = sum(history.line.totals().ok)
        yield "rate", figures.rate(answered / sending), f"answers, over {_span(sending)} of sending"


def _percent(count: int, of: int) -> str:
    """Write a share; neither all nor none unless it is."""
    if not of or count in (0, of):
        return "100 %" if count else "0 %"
    tenths = min(max(round(1000 * count / of), 1), 999)
    return f"{'< ' if 1000 * count < of else ''}{tenths / 10:.1f} %"


def _per_answer(total: Tally) -> str:
    if not total.succeeded:
        return "none answered"
    return f"{total.requests / total.succeeded:.3f} for an answer"


def _period(line: Timeline) -> str:
    if not line.starts:
        return "nothing was sent yet"
    began = instant(line.starts[0], line.width_us)
    ended = instant(line.starts[-1] + line.width_us, line.width_us)
    return f"{began} to {ended} UTC"


def _width(line: Timeline) -> str:
    seconds = line.width_us // 1_000_000
    size, unit = next((size, unit) for size, unit in _UNITS if seconds % size == 0)
    return unit if seconds == size else f"{seconds // size} {unit}s"


def _span(seconds: float) -> str:
    return figures.elapsed(seconds)


def _slices(line: Timeline) -> str:
    text = f"Times are UTC; a slice is one {_width(line)}" if line.width_us else ""
    gaps = len(line.breaks)
    if gaps:
        text += f"; {figures.plural(gaps, 'dotted line')} where time without any run is left out"
    return text + "."


def _rows(line: Timeline) -> Iterator[list[str]]:
    total = line.totals()
    for n, start in enumerate(line.starts):
        counts = (total.ok[n], total.bad[n], total.limited[n], total.other[n])
        cost = figures.nano(total.cost_nano[n])
        yield [instant(start, line.width_us), *map(number, counts), cost]


class _Row(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    cells: list[str]
    model: str = ""
    status: str = ""


def _provider(history: History, facts: ProviderFacts) -> _Row:
    tally = history.status.ledger.providers[facts.name]
    lane = history.line.lanes.get(facts.name)
    return _Row(
        name=facts.name,
        model=facts.model or figures.NONE,
        cells=[
            *map(number, (tally.requests, tally.succeeded, tally.errors, tally.rate_limited)),
            _good(lane),
            *map(figures.compact, (tally.input_tokens, tally.output_tokens)),
            figures.cost(tally),
        ],
        status=facts.status + (f": {facts.reason}" if facts.reason else ""),
    )


def _good(lane: Lane | None) -> str:
    """Return the share of good calls, never rounded up to all."""
    counted = sum(lane.ok) + sum(lane.bad) if lane else 0
    return _percent(sum(lane.ok), counted) if lane and counted else figures.NONE


def _latencies(history: History) -> Iterator[_Row]:
    ledger = history.status.ledger
    names = ("mean", *(name for name, _ in QUANTILES), "max")
    for name in by_requests(history.line):
        tally = ledger.providers.get(name)
        if tally is not None and tally.latency.count:
            yield _Row(name=name, cells=figures.latencies(tally.latency.to_json(), *names))
    if len(history.line.lanes) > 1:
        total = ledger.total.latency.to_json()
        yield _Row(name="all", cells=figures.latencies(total, *names))


def _trouble(line: Timeline, one: Trouble) -> dict[str, str]:
    after = "asked on without a pause"
    if one.unasked:
        span = one.unasked * line.width_us / 1e6
        after = f"not asked for about {_span(span)}, while others were"
    return {
        "began": instant(one.began_at, line.width_us),
        "ended": instant(one.ended_at, line.width_us),
        "provider": one.provider,
        "bad": f"{one.bad:,} of {one.counted:,} ({_percent(one.bad, one.counted)})",
        "after": after,
    }


def _extremes(history: History) -> Iterator[tuple[str, Sequence[tuple[str, Sample]]]]:
    yield (
        "Slowest answers",
        [
            (figures.milliseconds(None if us is None else us / 1000), one)
            for one in history.slowest
            for us in (one.latency_us,)
        ],
    )
    yield (
        "Dearest jobs",
        [
            (figures.UNKNOWN if one.cost_nano is None else figures.nano(one.cost_nano), one)
            for one in history.dearest
        ],
    )
