"""The view for everything that is no terminal: one line now and then, no control bytes."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.text import Text

from aiq.cli import announcements, figures
from aiq.cli.streams import print_lines
from aiq.cli.text import NAME, visible
from aiq.clock import Clock
from aiq.run.board import ProviderView, Snapshot
from aiq.run.ingest import IngestReport
from aiq.run.observer import Plan

EVERY_S = 10.0


class SilentView:
    """Shows nothing; remembers how far the run came."""

    def __init__(self) -> None:
        self.snapshot: Snapshot | None = None

    def note(self, sentence: str) -> None:
        """Show nothing."""

    def reading(self, lines: int) -> None:
        """Show nothing."""

    def ingested(self, report: IngestReport) -> None:
        """Show nothing."""

    def plan(self, plan: Plan) -> None:
        """Show nothing."""

    def tick(self, snapshot: Snapshot) -> None:
        """Remember the picture."""
        self.snapshot = snapshot

    def close(self) -> None:
        """Nothing is open."""


class NotesView(SilentView):
    """Shows what is said once: notes, what was read, the plan."""

    def __init__(self, console: Console, *, is_strict: bool = False) -> None:
        super().__init__()
        self._console = console
        self._is_strict = is_strict

    def note(self, sentence: str) -> None:
        """Show a sentence."""
        self._print([announcements.note(sentence)])

    def ingested(self, report: IngestReport) -> None:
        """Show what is odd about the files; bad lines only if they are the end of the run."""
        self._print(announcements.ingest_lines(report))
        if self._is_strict and report.invalid:
            self._print(announcements.bad_lines(report.invalid_shown, report.invalid))

    def plan(self, plan: Plan) -> None:
        """Show what will happen."""
        self._print([announcements.plan_line(plan)])

    def _print(self, lines: Iterable[Text]) -> None:
        print_lines(self._console, lines, wrap=True)


class LineView(NotesView):
    """Adds a line about the state every ten seconds, and at once when the run is asked to stop."""

    def __init__(self, console: Console, clock: Clock, *, is_strict: bool = False) -> None:
        super().__init__(console, is_strict=is_strict)
        self._clock = clock
        self._due = clock.now() + EVERY_S
        self._lines_read = 0
        self._said_draining = False

    def reading(self, lines: int) -> None:
        """Count lines that were read."""
        self._lines_read += lines
        if self._is_due():
            self._print([Text(f"reading: {self._lines_read:,} lines")])

    def tick(self, snapshot: Snapshot) -> None:
        """Show how it stands, if it is time."""
        super().tick(snapshot)
        if snapshot.is_draining and not self._said_draining:
            self._said_draining = True
            self._print([Text(stopping(snapshot))])
        elif self._is_due():
            self._print([Text(state_line(snapshot))])

    def _is_due(self) -> bool:
        now = self._clock.now()
        if now < self._due:
            return False
        self._due = now + EVERY_S
        return True


def stopping(snapshot: Snapshot) -> str:
    """Say that nothing more is sent and what is waited for."""
    return f"stopping: {snapshot.in_flight:,} in flight, the next Ctrl-C aborts"


def paused(snapshot: Snapshot, unpause: str) -> str:
    """Say that nothing new is sent for now, and how that ends: by the command `unpause`."""
    left = f"{snapshot.in_flight:,} in flight finish; " if snapshot.in_flight else ""
    return f"paused by you: {left}{unpause} goes on"


def state_line(snapshot: Snapshot) -> str:
    """Return the whole state on one line."""
    done = snapshot.total - snapshot.pending - snapshot.running
    parts = [
        *(["paused by you"] if snapshot.is_paused else []),
        f"{done:,}/{snapshot.total:,} done ({figures.percent(done, snapshot.total)} %)",
        f"{snapshot.failed:,} failed",
        *([f"{snapshot.cancelled:,} cancelled"] if snapshot.cancelled else []),
        f"{snapshot.pending:,} waiting",
        f"{snapshot.in_flight:,} in flight",
        figures.rate(snapshot.rate_per_s),
    ]
    if snapshot.eta_s is not None:
        parts.append(f"{figures.clock(snapshot.eta_s)} left")
    parts.append(f"cost {figures.cost(snapshot.tally)}")
    return f"{', '.join(parts)}; {'; '.join(_condition(one) for one in snapshot.providers)}"


def _condition(view: ProviderView) -> str:
    return f"{visible(view.name, NAME)} {condition(view)}"


def condition(view: ProviderView) -> str:
    """Return a provider's status with the next try and the reason."""
    words = view.condition.status.value
    if view.next_try_s is not None:
        words += f", next try in {figures.wait(view.next_try_s)}"
    if view.condition.reason:
        words += f": {visible(view.condition.reason, 200)}"
    return words
