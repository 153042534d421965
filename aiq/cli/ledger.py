"""The tables that a run's summary and `status` share: figures, latencies and failures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from rich.text import Text

from aiq.cli import figures
from aiq.cli.columns import Column, table
from aiq.cli.text import NAME, visible
from aiq.run.facts import ErrorGroup
from aiq.run.report import Ledger, Tally

GROUPS = 10
"""How many groups of failures are listed."""

_FIGURES: Sequence[tuple[Column, Callable[[Tally], str]]] = (
    (Column("requests"), lambda tally: f"{tally.requests:,}"),
    (Column("ok"), lambda tally: f"{tally.succeeded:,}"),
    (Column("errors"), lambda tally: f"{tally.errors:,}"),
    (Column("429s"), lambda tally: f"{tally.rate_limited:,}"),
    (Column("failovers", rank=4), lambda tally: f"{tally.failovers:,}"),
    (Column("aborted", rank=4), lambda tally: f"{_aborted(tally):,}"),
    (Column("truncated", rank=4), lambda tally: f"{tally.truncated:,}"),
    (Column("refused", rank=4), lambda tally: f"{tally.refused:,}"),
    (Column("tokens in", rank=3), lambda tally: f"{tally.input_tokens:,}"),
    (Column("out", rank=3), lambda tally: f"{tally.output_tokens:,}"),
    (Column("cost"), figures.cost),
)
_SELDOM = ("failovers", "aborted", "truncated", "refused")
_LATENCIES = ("mean", "p50", "p90", "p95", "p99", "max")


def figures_table(ledger: Ledger, width: int) -> list[Text]:
    """Return requests, tokens and cost by provider; columns with nothing in them are left out."""
    shown = [
        (column, write)
        for column, write in _FIGURES
        if column.title not in _SELDOM or write(ledger.total) != "0"
    ]
    columns = [Column("", right=False, least=12), *(column for column, _ in shown)]
    return table(columns, _rows(ledger, lambda tally: [write(tally) for _, write in shown]), width)


def latency_table(ledger: Ledger, width: int) -> list[Text]:
    """Return latencies of answered requests by provider."""
    columns = [
        Column("latency", right=False, least=12),
        *(Column(name, rank=n) for n, name in enumerate(_LATENCIES)),
    ]
    if not ledger.total.latency.count:
        return []
    rows = _rows(ledger, lambda tally: figures.latencies(tally.latency.to_json(), *_LATENCIES))
    return table(columns, rows, width)


def _aborted(tally: Tally) -> int:
    """Return requests that the run itself gave up: neither answered nor refused."""
    return tally.requests - tally.succeeded - tally.errors - tally.rate_limited


def _rows(ledger: Ledger, write: Callable[[Tally], Iterable[str]]) -> list[list[Text]]:
    rows = [
        [Text(visible(name, 24)), *map(Text, write(tally))]
        for name, tally in ledger.providers.items()
    ]
    if len(rows) > 1:
        rows.append([Text("total", "bold"), *(Text(c, "bold") for c in write(ledger.total))])
    return rows


def failures(groups: Sequence[ErrorGroup], count: int) -> list[Text]:
    """Return failed jobs by kind and provider, each group with a sample and a job to look at."""
    lines = [Text(f"{figures.plural(count, 'job')} failed:", "red")] if count else []
    for group in groups[:GROUPS]:
        where = f" at {visible(group.provider, NAME)}" if group.provider else ""
        lines.append(
            Text.assemble(
                f"  {group.count:,} x ",
                (group.kind, "bold"),
                f"{where}: {visible(group.message or 'no message')}",
                (f"  (job {visible(group.job, NAME)})" if group.job else "", "dim"),
            )
        )
    if len(groups) > GROUPS:
        lines.append(Text(f"  and {len(groups) - GROUPS:,} more groups: `--json` lists all"))
    return lines


def stacked(blocks: Iterable[Sequence[Text]]) -> list[Text]:
    """Return blocks of lines with an empty line between them; empty blocks leave no gap."""
    return [line for block in blocks if block for line in (*block, Text())][:-1]
