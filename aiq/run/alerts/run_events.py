"""
What a run tells of, seen in the snapshots that its view gets four times a second.

Nothing is added to what a job costs. Titles are without figures, and a recovery has the title of
what it ends. What single providers do is told by `provider_events`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from aiq.clock import Clock
from aiq.config import AlertSettings
from aiq.errors import AiqError, ExitCode, Refused, StoreInUse
from aiq.model import JobState
from aiq.policy.alert import Alert, AlertLevel
from aiq.policy.duration import shown_duration
from aiq.policy.standing import Status
from aiq.policy.switch import Switch
from aiq.run import money
from aiq.run.alerts.provider_events import ProviderEvents, why_unfit
from aiq.run.alerts.raising import Raising
from aiq.run.board import Snapshot
from aiq.run.ingest import IngestReport
from aiq.run.observer import Plan
from aiq.run.result import RunResult

BUDGET_NEAR = "budget nearly reached"
BUDGET_REACHED = "budget reached"
ERRORS = "many errors"
STALLED = "stalled"
FINISHED = "finished"
STOPPED = "stopped"

NEAR = 0.8
"""Of the budget."""

SPAN_S = 300.0
"""Over which the share of errors is taken."""

STEP_S = 5.0
"""Between the figures that are kept for it."""

LEAST_REQUESTS = 50
"""A share of fewer is chance."""

ENOUGH_BETTER = 0.5
"""Of the share that is told of; below that it is over."""


class _Sample(NamedTuple):
    """What had been asked, and had failed, at an instant."""

    at: float
    requests: int
    errors: int


class RunEvents:
    """An observer of a run that raises alerts."""

    def __init__(
        self, raise_alert: Callable[[Alert], None], settings: AlertSettings, clock: Clock
    ) -> None:
        self._raising = Raising(raise_alert, clock)
        self._settings = settings
        self._clock = clock
        self._batches = ""
        self._providers = ProviderEvents(raise_alert, clock)
        self._near_of: int | None = None
        """The budget that was told of as nearly reached."""
        self._samples: deque[_Sample] = deque(maxlen=round(SPAN_S / STEP_S) + 1)
        self._has_errors = False
        self._settled = -1
        self._moved_at = clock.now()
        self._is_stalled = False
        self._last: Snapshot | None = None

    # What an observer is told

    def note(self, sentence: str) -> None:
        """Nothing to tell: notes are for whoever sits there."""

    def reading(self, lines: int) -> None:
        """Nothing to tell."""

    def ingested(self, report: IngestReport) -> None:
        """Nothing to tell."""

    def plan(self, plan: Plan) -> None:
        """Remember what the run is about."""
        self._batches = ", ".join(plan.batches)
        self._moved_at = self._clock.now()

    def tick(self, snapshot: Snapshot) -> None:
        """Look at everything that may be worth an alert."""
        now = self._clock.now()
        self._last = snapshot
        for one in snapshot.providers:
            self._providers.look_at(one)
        self._look_at_budget(snapshot)
        self._look_at_errors(snapshot, now)
        self._look_for_stall(snapshot, now)

    def close(self) -> None:
        """Nothing to tell: how it ended comes with `ended` or `failed`."""

    def unwell(self) -> list[str]:
        """Return the providers that have no room to spare: broken, slow, or at a limit."""
        views = self._last.providers if self._last is not None else ()
        return [one.name for one in views if why_unfit(one) is not None]

    # How a run ends

    def ended(self, result: RunResult) -> None:
        """Tell how a run ended that came to send anything."""
        if self._last is None:
            return
        code, counts = result.exit_code, _counts(result)
        why = (result.message or "").partition("\n")[0].removesuffix(":")
        match code:
            case ExitCode.OK | ExitCode.SOME_FAILED:
                is_clean = code is ExitCode.OK
                level = AlertLevel.INFO if is_clean else AlertLevel.WARNING
                self._tell(level, FINISHED, counts)
            case ExitCode.BUDGET:
                self._tell(AlertLevel.CRITICAL, BUDGET_REACHED, f"{why}; {counts}")
            case ExitCode.SIGINT | ExitCode.SIGTERM:
                self._tell(AlertLevel.WARNING, STOPPED, f"{why}; {counts} (status {code:d})")
            case _:
                self._tell(AlertLevel.CRITICAL, STOPPED, f"{why}; {counts} (status {code:d})")

    def failed(self, error: Exception) -> None:
        """Tell of a run that ended in an error, unless it never began: nothing was stopped."""
        if isinstance(error, Refused | StoreInUse):
            return
        is_ours = isinstance(error, AiqError)
        why = str(error) if is_ours else f"a bug in aiq ({type(error).__name__})"
        code = error.exit_code if isinstance(error, AiqError) else ExitCode.BUG
        self._tell(AlertLevel.CRITICAL, STOPPED, f"{why} (status {code:d})")

    # Looking

    def _look_at_budget(self, snapshot: Snapshot) -> None:
        """
        Tell once of each budget; where another one was set that is far from reached, it is over.

        One that lets nothing more be sent is not nearly reached: the end of the run tells of it.
        """
        limit = snapshot.budget_nano
        if limit == self._near_of:
            return
        is_near = _is_near(snapshot)
        if is_near and snapshot.in_flight and snapshot.committed_nano < (limit or 0):
            self._near_of = limit
            self._tell(AlertLevel.WARNING, BUDGET_NEAR, _spent(snapshot))
        elif self._near_of is not None and not is_near:
            self._near_of = None
            self._recover(AlertLevel.WARNING, BUDGET_NEAR, _spent(snapshot))

    def _look_at_errors(self, snapshot: Snapshot, now: float) -> None:
        """Compare with what stood there `SPAN_S` ago, or at the beginning."""
        samples, tally = self._samples, snapshot.tally
        if samples and now < samples[-1].at + STEP_S:
            return
        samples.append(_Sample(now, tally.requests, tally.errors))
        requests = tally.requests - samples[0].requests
        errors = tally.errors - samples[0].errors
        if requests < LEAST_REQUESTS:
            return
        share, limit = errors / requests, self._settings.error_share
        said = f"{share:.0%} of {requests:,} requests in {shown_duration(now - samples[0].at)}"
        if share >= limit and not self._has_errors:
            self._has_errors = True
            last = f"; the last: {snapshot.last_error}" if snapshot.last_error else ""
            self._tell(AlertLevel.WARNING, ERRORS, said + last)
        elif share < limit * ENOUGH_BETTER and self._has_errors:
            self._has_errors = False
            self._recover(AlertLevel.WARNING, ERRORS, said)

    def _look_for_stall(self, snapshot: Snapshot, now: float) -> None:
        """What an operator holds up has not stalled; what had before goes on with what settles."""
        settled, left = snapshot.tally.requests + snapshot.failed, _left(snapshot)
        waited = shown_duration(now - self._moved_at)
        if settled != self._settled or not left:
            if self._is_stalled:
                self._is_stalled = False
                how = "it goes on" if left else "no job waits any more"
                self._recover(AlertLevel.CRITICAL, STALLED, f"{how} after {waited}")
            self._settled, self._moved_at = settled, now
        elif self._is_stalled:
            return
        elif _is_held_up(snapshot):
            self._moved_at = now
        elif now - self._moved_at >= self._settings.stall_s:
            self._is_stalled = True
            said = f"nothing was settled for {waited} while {left:,} jobs wait"
            self._tell(AlertLevel.CRITICAL, STALLED, said + _why_stalled(snapshot))

    # Telling

    def _tell(self, level: AlertLevel, title: str, detail: str) -> None:
        self._raising.tell(level, title, self._named(detail))

    def _recover(self, level: AlertLevel, title: str, detail: str) -> None:
        self._raising.recover(level, title, self._named(detail))

    def _named(self, detail: str) -> str:
        return f"{self._batches}: {detail}" if self._batches else detail


def _left(snapshot: Snapshot) -> int:
    return snapshot.pending + snapshot.running


def _counts(result: RunResult) -> str:
    left = result.count(JobState.PENDING) + result.count(JobState.RUNNING)
    cancelled = result.count(JobState.CANCELLED)
    more = f", {cancelled:,} cancelled" if cancelled else ""
    return (
        f"{result.count(JobState.SUCCEEDED):,} succeeded,"
        f" {result.count(JobState.FAILED):,} failed, {left:,} left{more}"
    )


def _is_near(snapshot: Snapshot) -> bool:
    """
    Whether so much is spent, or would be if one request in flight cost its worst case.

    Without that one a budget of few worst cases would be reached before it was nearly so. With all
    that is in flight it would be near from the first second on, and most of that comes back.
    """
    if snapshot.budget_nano is None:
        return False
    worst = snapshot.reserved_nano // max(snapshot.in_flight, 1)
    return snapshot.committed_nano + worst >= NEAR * snapshot.budget_nano


def _spent(snapshot: Snapshot) -> str:
    limit, reserved = snapshot.budget_nano, snapshot.reserved_nano
    of = "" if limit is None else f" of {money.nano(limit)}"
    more = f", {money.nano(reserved)} set aside for what is in flight" if reserved else ""
    return f"{money.nano(snapshot.committed_nano)}{of} spent{more}, {_left(snapshot):,} jobs left"


def _is_held_up(snapshot: Snapshot) -> bool:
    """Whether a person keeps the run from sending, who is there to let it go on."""
    views = snapshot.providers
    is_off = any(one.switch is Switch.OFF for one in views) and all(
        one.condition.status is Status.DISABLED for one in views
    )
    return snapshot.is_draining or snapshot.is_paused or is_off


def _why_stalled(snapshot: Snapshot) -> str:
    """Name what stands in the way now; where nothing is known of that, what went wrong last."""
    reasons = [why for one in snapshot.providers if (why := why_unfit(one)) is not None]
    if snapshot.in_flight:
        reasons.append(f"{snapshot.in_flight:,} in flight are not answered")
    if not reasons and snapshot.last_error:
        reasons.append(f"the last error: {snapshot.last_error}")
    return "".join(f"; {reason}" for reason in reasons)
