"""
The live view: a picture of the run that redraws itself at the foot of a terminal.

`frame` is pure: a snapshot and a size in, lines out. `LiveView` shows it, at most four times a
second, and leaves nothing behind, because the summary that follows says the same and more. Colour
repeats what a word already says.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from aiq.cli import figures
from aiq.cli.announcements import batch_names
from aiq.cli.columns import Column, spread, table
from aiq.cli.picture import Picture
from aiq.cli.plain import NotesView, paused, stopping
from aiq.cli.signs import status_text
from aiq.cli.text import visible
from aiq.clock import Clock
from aiq.run.board import ProviderView, Snapshot
from aiq.run.ingest import IngestReport
from aiq.run.observer import Plan

FRAME_S = 0.25

UNPAUSE = "`aiq ctl resume`"

_COLUMNS = (
    Column("provider", right=False, least=24, bare=10),
    Column("status, next try", rank=1, right=False, least=26),
    Column("in flight", rank=4),
    Column("ok", rank=2),
    Column("errors", rank=3),
    Column("429s", rank=6),
    Column("p50", rank=7),
    Column("p95", rank=8),
    Column("cost", rank=5),
)


def frame(
    snapshot: Snapshot, *, title: str, width: int, height: int, unpause: str = UNPAUSE
) -> list[Text]:
    """
    Return the lines of the view; they fit a terminal of this size.

    Args:
        unpause: the command that ends a pause.
    """
    phase = _phase(snapshot, unpause)
    head = [
        *spread(Text.assemble(("aiq ", "bold cyan"), (title, "bold")), phase, width),
        _progress(snapshot, width),
        *spread(_counts(snapshot), _times(snapshot), width),
        *spread(_money(snapshot), _possibly_paid(snapshot), width),
        *_budget(snapshot, width),
        Text(),
    ]
    foot = [Text()]
    if snapshot.last_error is not None:
        error = visible(snapshot.last_error)
        foot.append(Text.assemble(("last error  ", "dim"), (error, "red")))
    room = max(height - len(head) - len(foot) - 3, 1)
    lines = [*head, *_providers(snapshot.providers, width, room), *foot]
    for line in lines:
        line.truncate(width, overflow="ellipsis")
    # The cursor rests on an empty line: a `^C` at the end of a full one would wrap and shift all.
    return [*lines[: max(height - 2, 0)], Text()]


def _phase(snapshot: Snapshot, unpause: str) -> Text:
    if snapshot.is_draining:
        return Text(stopping(snapshot), "bold yellow")
    if snapshot.is_paused:
        return Text(paused(snapshot, unpause), "bold yellow")
    if snapshot.in_flight or not snapshot.pending:
        return Text("running", "green")
    if all(view.condition.status.value == "disabled" for view in snapshot.providers):
        return Text("waiting: every provider is disabled", "yellow")
    tries = [view.next_try_s for view in snapshot.providers if view.next_try_s is not None]
    soon = f", next try in {figures.wait(min(tries))}" if tries else ""
    return Text(f"waiting{soon}", "yellow")


def _progress(snapshot: Snapshot, width: int) -> Text:
    """Return the bar: succeeded, failed and the rest, and at its end the figures."""
    done = snapshot.total - snapshot.pending - snapshot.running
    figure = f"{figures.percent(done, snapshot.total):>4} %  {done:,}/{snapshot.total:,}"
    cells = max(width - len(figure), 4)
    total = max(snapshot.total, 1)
    filled = cells * done // total
    failed = min(-(-cells * snapshot.failed // total), filled)
    return Text.assemble(
        ("━" * (filled - failed), "green"),
        ("━" * failed, "red"),
        ("─" * (cells - filled), "dim"),
        figure,
    )


def _counts(snapshot: Snapshot) -> Text:
    return Text.assemble(
        (f"{snapshot.succeeded:,} succeeded", "green"),
        " · ",
        (f"{snapshot.failed:,} failed", "red" if snapshot.failed else ""),
        f" · {snapshot.cancelled:,} cancelled" if snapshot.cancelled else "",
        f" · {snapshot.pending:,} waiting · {snapshot.in_flight:,} in flight{_most(snapshot)}",
    )


def _most(snapshot: Snapshot) -> str:
    """Say what an operator allows; what the run began with was said before."""
    return "" if snapshot.concurrency is None else f" of at most {snapshot.concurrency:,}"


def _times(snapshot: Snapshot) -> Text:
    # While all providers are waited for, a rate of the last seconds says nothing about the end.
    is_known = snapshot.eta_s is not None and (snapshot.in_flight or not snapshot.pending)
    left = f" · {figures.clock(snapshot.eta_s or 0.0)} left" if is_known else ""
    rate = figures.rate(snapshot.rate_per_s)
    return Text(f"{rate} · {figures.clock(snapshot.elapsed_s)} elapsed{left}")


def _money(snapshot: Snapshot) -> Text:
    tally = snapshot.tally
    tokens = f"{figures.compact(tally.input_tokens)} in, {figures.compact(tally.output_tokens)} out"
    parts = [f"cost {figures.cost(tally)}", f"tokens {tokens}"]
    if snapshot.failovers:
        parts.append(figures.plural(snapshot.failovers, "failover"))
    return Text(" · ".join(parts))


def _possibly_paid(snapshot: Snapshot) -> Text:
    paid = figures.possibly_paid(snapshot.tally)
    return Text(f"possibly paid: {paid}" if paid else "")


def _budget(snapshot: Snapshot, width: int) -> list[Text]:
    """Return how much of the budget is taken, by earlier runs too; nothing without a budget."""
    if snapshot.budget_nano is None:
        return []
    share = figures.percent(snapshot.committed_nano, snapshot.budget_nano)
    taken = f"{figures.nano(snapshot.committed_nano)} spent or possibly paid, all runs"
    left = f"budget {figures.nano(snapshot.budget_nano)} · {share} % taken ({taken})"
    reserved = snapshot.reserved_nano
    right = f"{figures.nano(reserved)} reserved for what is in flight" if reserved else ""
    return spread(Text(left), Text(right), width)


def _providers(views: Sequence[ProviderView], width: int, room: int) -> list[Text]:
    """Return the table; where there are too many for the screen, the first in rank are shown."""
    shown = views if len(views) <= room else views[: max(room - 1, 1)]
    lines = table(_COLUMNS, [_row(view) for view in shown], width)
    if len(shown) < len(views):
        lines.append(Text(f"and {len(views) - len(shown)} more", "dim"))
    return lines


def _row(view: ProviderView) -> list[Text]:
    tally = view.tally
    return [
        Text(visible(view.name, 24)),
        status_text(view.condition.status.value, _status(view)),
        Text(f"{view.in_flight:,}/{view.limit:,}"),
        Text(f"{tally.succeeded:,}"),
        Text(f"{tally.errors:,}", "red" if tally.errors else ""),
        Text(f"{tally.rate_limited:,}", "yellow" if tally.rate_limited else ""),
        Text(figures.milliseconds(tally.latency.quantile(0.50))),
        Text(figures.milliseconds(tally.latency.quantile(0.95))),
        Text(figures.cost(tally)),
    ]


def _status(view: ProviderView) -> str:
    """Return status, seconds to the next try, reason: the column's heading says which is which."""
    words = view.condition.status.value
    if view.next_try_s is not None:
        words += f", {figures.wait(view.next_try_s)}"
    if view.condition.reason:
        words += f": {visible(view.condition.reason)}"
    return words


class LiveView(NotesView):
    """Keeps the picture at the foot of the terminal, under whatever is said meanwhile."""

    def __init__(
        self, console: Console, clock: Clock, *, is_strict: bool = False, unpause: str = UNPAUSE
    ) -> None:
        super().__init__(console, is_strict=is_strict)
        self._clock = clock
        self._unpause = unpause
        self._began = clock.now()
        self._title = ""
        self._lines_read = 0
        self._next_frame = 0.0
        self._picture = Picture(console)

    def reading(self, lines: int) -> None:
        """Count lines that were read."""
        self._lines_read += lines
        if self._is_due():
            elapsed = figures.clock(self._clock.now() - self._began)
            self._picture.show(
                [
                    Text.assemble(
                        ("aiq ", "bold cyan"),
                        f"reading prompts · {self._lines_read:,} lines · {elapsed}",
                    )
                ]
            )

    def ingested(self, report: IngestReport) -> None:
        """Take the reading line away and show what is odd about the files."""
        self._picture.take_away()
        super().ingested(report)

    def plan(self, plan: Plan) -> None:
        """Show what will happen, and take the names for the title."""
        super().plan(plan)
        self._title = batch_names(plan.batches)

    def tick(self, snapshot: Snapshot) -> None:
        """Show the picture, if it is time."""
        super().tick(snapshot)
        if self._is_due():
            width, height = self._console.size
            lines = frame(
                snapshot, title=self._title, width=width, height=height, unpause=self._unpause
            )
            self._picture.show(lines)

    def close(self) -> None:
        """Take the picture away; the cursor is visible again."""
        self._picture.take_away()

    def _is_due(self) -> bool:
        now = self._clock.now()
        if now < self._next_frame:
            return False
        self._next_frame = now + FRAME_S
        return True
