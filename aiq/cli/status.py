"""`aiq status`: the state of a database, as tables or JSON."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from rich.text import Text

from aiq.cli import figures, streams
from aiq.cli.columns import Column, table
from aiq.cli.followup import placed
from aiq.cli.ledger import failures, figures_table, latency_table, stacked
from aiq.cli.options import StatusOptions
from aiq.cli.text import visible
from aiq.clock import Clock
from aiq.errors import ExitCode
from aiq.run.facts import ProviderFacts
from aiq.run.status import BatchStatus, Status, read_status

_BATCH_COLUMNS = (
    Column("batch", right=False, least=12),
    Column("jobs"),
    Column("done", rank=1),
    Column("succeeded"),
    Column("failed"),
    Column("pending"),
    Column("running", rank=2),
    Column("cancelled", rank=4),
    Column("invalid", rank=3),
    Column("cost", rank=1),
)
_PROVIDER_COLUMNS = (
    Column("provider", right=False, least=12),
    Column("kind", rank=4, right=False),
    Column("model", rank=2, right=False, least=12),
    Column("in flight", rank=1),
    Column("status, next try", right=False, least=12),
)
_LAST_SEEN = _PROVIDER_COLUMNS[-1]._replace(title="status at the end of the last run")
"""Without a run nobody tries again: what is known is how the last one saw a provider."""


TOLD_SHOWN = 5
"""Of what an operator told a run, the latest; `--json` has more."""


def show_status(options: StatusOptions) -> int:
    """Do what `aiq status` promises; return the exit status."""
    status = asyncio.run(read_status(options.db, options.batch, now_us=Clock().utc_us()))
    if options.json:
        streams.write_json(status.to_json())
    else:
        streams.write_lines(status_lines(status, streams.console(sys.stdout).width))
    return ExitCode.OK


def status_lines(status: Status, width: int) -> list[Text]:
    """Return the tables of a database."""
    blocks = [[_headline(status)], _batches(status, width)]
    if status.providers:
        blocks += [
            _providers(status, width),
            figures_table(status.ledger, width),
            latency_table(status.ledger, width),
        ]
    if paid := figures.possibly_paid(status.ledger.total):
        blocks.append([Text(f"possibly paid without an answer: {paid}")])
    if status.errors:
        blocks.append(failures(status.errors, sum(batch.failed for batch in status.batches)))
    blocks += [_told(status), [*_purged(status), *_unread(status)]]
    return stacked(blocks)


def _headline(status: Status) -> Text:
    text = Text.assemble((visible(status.db), "bold"), ": ")
    if status.run is None:
        left = sum(batch.running for batch in status.batches)
        text.append("no run is going")
        if left:
            verb = "was" if left == 1 else "were"
            jobs = figures.plural(left, "job")
            text.append(f"; {jobs} {verb} in flight when the last one died", "yellow")
            text.append(placed(", `aiq run` carries on", StatusOptions(db=Path(status.db))))
        return text
    since = f"{status.run.pid} on {visible(status.run.host)}, since {status.run.started_at}"
    text.append(f"a run is going (pid {since})", "green")
    if status.run.paused_since is not None:
        text.append(f", paused by you since {status.run.paused_since}", "yellow")
    return text


def _told(status: Status) -> list[Text]:
    """Return what an operator told the run that is at work, the latest."""
    told = status.told[-TOLD_SHOWN:] if status.run else ()
    return [Text(f"told at {one.at}: {visible(str(one))}") for one in told]


def _batches(status: Status, width: int) -> list[Text]:
    rows = [_batch(batch) for batch in status.batches]
    return table(_BATCH_COLUMNS, rows, width) if rows else [Text("no batch yet")]


def _batch(batch: BatchStatus) -> list[Text]:
    done = batch.total - batch.pending - batch.running
    return [
        Text(visible(batch.name, 40)),
        Text(f"{batch.total:,}"),
        Text(f"{figures.percent(done, batch.total)} %"),
        Text(f"{batch.succeeded:,}", "green"),
        Text(f"{batch.failed:,}", "red" if batch.failed else ""),
        Text(f"{batch.pending:,}"),
        Text(f"{batch.running:,}"),
        Text(f"{batch.cancelled:,}"),
        Text(f"{batch.invalid:,}", "yellow" if batch.invalid else ""),
        Text(figures.UNKNOWN if batch.cost_usd is None else figures.usd(batch.cost_usd)),
    ]


def _providers(status: Status, width: int) -> list[Text]:
    rows = [
        [
            Text(visible(one.name, 24)),
            Text(one.kind),
            Text(visible(one.model or figures.NONE, 40)),
            Text(f"{status.in_flight.get(one.name, 0):,}"),
            Text(_status(one, status.now_us if status.run else None)),
        ]
        for one in status.providers
    ]
    last = _PROVIDER_COLUMNS[-1] if status.run else _LAST_SEEN
    return table([*_PROVIDER_COLUMNS[:-1], last], rows, width)


def _status(one: ProviderFacts, now_us: int | None) -> str:
    """Return status, time to the next try and reason, as the live view shows them."""
    wait = ""
    if one.until_us is not None and now_us is not None:
        wait = f", {figures.wait((one.until_us - now_us) / 1e6)}"
    return one.status + wait + (f": {visible(one.reason)}" if one.reason else "")


def _purged(status: Status) -> list[Text]:
    """Say what was ever removed: the same jobs may be back, if their files were run again."""
    notes = []
    for batch in status.batches:
        name = visible(batch.name)
        if batch.purged:
            jobs = figures.plural(batch.purged, "finished job")
            notes.append(f"removed {jobs} of {name} so far; the cost is still in the totals")
        if batch.purged_texts:
            answers = figures.plural(batch.purged_texts, "answer")
            notes.append(f"removed the text of {answers} of {name} so far")
    return [Text(f"note: `aiq purge` has {note}") for note in notes]


def _unread(status: Status) -> list[Text]:
    return [
        Text(
            f"note: {visible(batch.name)} was not read to its end; run its file again",
            "yellow",
        )
        for batch in status.batches
        if batch.unread
    ]
