"""
The charts of the page, as plain values in the form that plotly.js draws.

Time is an axis of slices and not of hours, because time in which no run was sending is left out;
each slice carries its instant as text. A colour is written `var:NAME` and is looked up in the
page's style sheet, so that the charts follow the colour scheme. plotly.js reads some HTML in
texts: whatever a stranger wrote passes through `_text`.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeAlias

from aiq.cli.text import visible
from aiq.model import NANO_PER_USD
from aiq.run.history import History
from aiq.run.timeline import Lane, Timeline

Figure: TypeAlias = dict[str, Any]

MOST_PROVIDERS = 12
"""Providers in the charts; the tables have all."""

SERIES = 8
"""Colours there are for providers and kinds; the rest share the last one."""
_TICKS = 4
MERGED = 8
"""Buckets of 2 % in a bar of the latency chart: each is 17 % wider than the one before."""


_SHARES = [[0, "var:bad"], [0.5, "var:poor"], [0.98, "var:fair"], [1, "var:good"]]
"""A few errors are another colour than none, because they are easily missed."""


def figures(history: History) -> dict[str, Figure]:
    """Return every chart by the id of its place in the page."""
    line = history.line
    names = by_requests(line)[:MOST_PROVIDERS]
    return {
        "answers": _stacked(line, {name: line.lanes[name].ok for name in names}),
        "cost": _cost(line),
        "availability": _availability(line, names),
        "errors": _stacked(line, dict(sorted(line.errors.items(), key=_largest))),
        "medians": _medians(history, names),
        "latency": _latency(history, names),
    }


def by_requests(line: Timeline) -> list[str]:
    """Return the providers, the most asked first."""
    return sorted(line.lanes, key=lambda name: (-_requests(line.lanes[name]), name))


def _requests(lane: Lane) -> int:
    return sum(map(sum, (lane.ok, lane.bad, lane.limited, lane.other)))


def _largest(item: tuple[str, list[int]]) -> int:
    return -sum(item[1])


def _text(words: str, limit: int = 40) -> str:
    return html.escape(visible(words, limit))


def colour(n: int) -> str:
    """Return the colour of the n-th series."""
    return f"var:series-{min(n, SERIES - 1)}"


def _stacked(line: Timeline, series: dict[str, list[int]]) -> Figure:
    times = instants(line)
    return {
        "data": [
            {
                "type": "bar",
                "name": _text(name),
                "y": counts,
                "customdata": times,
                "hovertemplate": "%{customdata} · %{y:,}",
                "marker": {"color": colour(n)},
            }
            for n, (name, counts) in enumerate(series.items())
            if any(counts)
        ],
        "layout": {
            "barmode": "stack",
            "bargap": 0.05,
            "xaxis": _time_axis(line),
            "yaxis": {"rangemode": "tozero"},
            "shapes": _breaks(line),
        },
    }


def _cost(line: Timeline) -> Figure:
    spent = line.totals().cost_nano
    sums, total = [], 0
    for one in spent:
        total += one
        sums.append(total / NANO_PER_USD)
    return {
        "data": [
            {
                "type": "scatter",
                "mode": "lines",
                "name": "spent so far",
                "y": sums,
                "customdata": instants(line),
                "hovertemplate": "%{customdata} · $%{y:,.6~f}",
                "fill": "tozeroy",
                "line": {"color": "var:series-0", "shape": "hv"},
            }
        ],
        "layout": {
            "showlegend": False,
            "xaxis": _time_axis(line),
            "yaxis": {"tickprefix": "$", "rangemode": "tozero"},
            "shapes": _breaks(line),
        },
    }


def _availability(line: Timeline, names: Sequence[str]) -> Figure:
    """Draw a strip a provider; where nothing that counts ended, it has a hole."""
    times = instants(line)
    lanes = [line.lanes[name] for name in names]
    slices = range(len(line.starts))
    return {
        "data": [
            {
                "type": "heatmap",
                "z": [[_percent(lane.good_share(n)) for n in slices] for lane in lanes],
                "customdata": [
                    [f"{_text(name)} · {_tally(lane, n, times[n])}" for n in slices]
                    for name, lane in zip(names, lanes, strict=True)
                ],
                "hovertemplate": "%{customdata}<extra></extra>",
                "hoverongaps": False,
                "zmin": 0,
                "zmax": 100,
                "ygap": 6,
                "showscale": False,
                "colorscale": _SHARES,
            }
        ],
        "layout": {
            "height": 90 + 44 * max(len(names), 1),
            "xaxis": _time_axis(line),
            "yaxis": {
                "autorange": "reversed",
                "showgrid": False,
                "tickvals": list(range(len(names))),
                "ticktext": [_text(name, 16) for name in names],
            },
            "shapes": _breaks(line),
        },
    }


def _percent(share: float | None) -> float | None:
    return None if share is None else round(share * 100, 1)


def _tally(lane: Lane, n: int, time: str) -> str:
    counted = lane.ok[n] + lane.bad[n]
    text = f"{time} · {lane.ok[n]:,} of {counted:,} good"
    return f"{text}, {lane.limited[n]:,} rate limited" if lane.limited[n] else text


def _medians(history: History, names: Iterable[str]) -> Figure:
    line = history.line
    return {
        "data": [
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": _text(name),
                "y": [None if ms is None else round(ms, 1) for ms in history.medians[name]],
                "customdata": instants(line),
                "hovertemplate": "%{customdata} · %{y:,} ms",
                "line": {"color": colour(n), "width": 2},
                "marker": {"size": 4},
            }
            for n, name in enumerate(names)
            if any(ms is not None for ms in history.medians[name])
        ],
        "layout": {
            "xaxis": _time_axis(line),
            "yaxis": {"ticksuffix": " ms", "rangemode": "tozero"},
            "shapes": _breaks(line),
        },
    }


def _latency(history: History, names: Iterable[str]) -> Figure:
    data = []
    for n, name in enumerate(names):
        tally = history.status.ledger.providers.get(name)
        bins = tally.latency.bins(MERGED) if tally else []
        total = sum(count for _, count in bins)
        if not total:
            continue
        data.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": _text(name),
                "x": [round(ms, 3) for ms, _ in bins],
                "y": [round(100 * count / total, 3) for _, count in bins],
                "hovertemplate": "from %{x:,.3~r} ms · %{y:.1f} %",
                "line": {"color": colour(n), "shape": "hv", "width": 2},
            }
        )
    return {
        "data": data,
        "layout": {
            "xaxis": {"type": "log", **_latency_ticks(data)},
            "yaxis": {"ticksuffix": " %", "rangemode": "tozero"},
        },
    }


def _latency_ticks(data: Iterable[Figure]) -> dict[str, Any]:
    """Return 1, 2 and 5 of each decade as ticks; of more than three decades just the ones."""
    shown = [ms for series in data for ms in series["x"]]
    if not shown:
        return {}
    low, high = math.floor(math.log10(min(shown))), math.ceil(math.log10(max(shown)))
    digits = (1, 2, 5) if high - low <= 3 else (1,)
    ticks = [digit * 10**decade for decade in range(low, high + 1) for digit in digits]
    texts = [f"{ms:g} ms" if ms < 1000 else f"{ms / 1000:g} s" for ms in ticks]
    return {"tickvals": ticks, "ticktext": texts}


def _time_axis(line: Timeline) -> dict[str, Any]:
    count = len(line.starts)
    places = sorted({round(n * (count - 1) / _TICKS) for n in range(_TICKS + 1)}) if count else []
    return {
        "tickvals": places,
        "ticktext": _ticks([instant(line.starts[n], line.width_us) for n in places]),
        "range": [-0.5, max(count, 1) - 0.5],
    }


def _ticks(times: Sequence[str]) -> list[str]:
    """Write the day below a time only where it is another one than before."""
    ticks, last = [], ""
    for time in times:
        day, _, hour = time.partition(" ")
        ticks.append(f"{hour or day}<br>{day}" if hour and day != last else hour or day)
        last = day
    return ticks


def _breaks(line: Timeline) -> list[dict[str, Any]]:
    """Return a dotted line wherever time was left out."""
    return [
        {
            "type": "line",
            "xref": "x",
            "yref": "paper",
            "x0": n - 0.5,
            "x1": n - 0.5,
            "y0": 0,
            "y1": 1,
            "line": {"color": "var:muted", "width": 1, "dash": "dot"},
        }
        for n in line.breaks
    ]


def instants(line: Timeline) -> list[str]:
    """Return the beginning of every slice as people write it."""
    return [instant(start, line.width_us) for start in line.starts]


_LAST_US = 253_402_300_799_000_000
"""The end of the year 9999, which a clock that was wrong may have passed."""


def instant(utc_us: int, width_us: int) -> str:
    """Write an instant in UTC, as exactly as slices of this width make sense."""
    moment = datetime.fromtimestamp(min(max(utc_us, 0), _LAST_US) // 1_000_000, UTC)
    if width_us >= 86_400_000_000:
        return f"{moment:%Y-%m-%d}"
    return f"{moment:%Y-%m-%d %H:%M:%S}" if width_us < 60_000_000 else f"{moment:%Y-%m-%d %H:%M}"
