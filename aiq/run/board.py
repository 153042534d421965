"""
The state of a run for whoever looks at it: counts, figures and conditions, nothing that decides.

`committed` is the only way in for results, so whatever is shown is durable. `snapshot` gives a
frozen picture; a view that is slow, wrong or absent changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import msgspec

from aiq.clock import Clock
from aiq.model import Billed, JobState, Kind, LedgerRow
from aiq.policy.budget import Budget
from aiq.policy.standing import Condition
from aiq.policy.switch import Switch
from aiq.run.fleet import Fleet
from aiq.run.report import Ledger, RateMeter, Tally
from aiq.run.settlement import REFUSED, TRUNCATED, Memo
from aiq.store.writer import Write
from aiq.store.writes import Cancel, Lease, Reject, Settle

AttemptWatcher: TypeAlias = Callable[[str, str, float], None]
"""
Called once for each attempt that was sent and is settled, as soon as that is durable: its provider,
its kind (a value of `Kind`) and its latency in milliseconds. Runs up to thousands of times a
second in the event loop; the first exception is its last call.
"""


class ProviderView(msgspec.Struct, frozen=True, kw_only=True):
    """One provider as it stands now; `tally` is live and only to be read."""

    name: str
    condition: Condition
    next_try_s: float | None
    in_flight: int
    limit: int
    tally: Tally
    is_shut: bool = False
    """Whether a breaker of it is open, or only on trial."""
    switch: Switch = Switch.ON
    """Whether an operator lets it be asked."""


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A run at one instant; what `--limit` leaves out is not among its jobs."""

    total: int
    succeeded: int
    failed: int
    pending: int
    running: int
    in_flight: int
    failovers: int
    elapsed_s: float
    rate_per_s: float
    eta_s: float | None
    tally: Tally
    providers: tuple[ProviderView, ...]
    last_error: str | None
    is_draining: bool
    is_paused: bool = False
    """Whether an operator wants nothing new to be sent for now."""
    cancelled: int = 0
    concurrency: int | None = None
    """The most that may be in flight, where an operator has changed it."""
    budget_nano: int | None = None
    """None: there is no budget."""
    committed_nano: int = 0
    """Of the budget, spent or possibly paid, by all attempts ever."""
    reserved_nano: int = 0
    """Of the budget, set aside for the worst case of what is in flight."""


class Board:
    """Keeps the figures of a run."""

    def __init__(
        self,
        fleet: Fleet,
        clock: Clock,
        *,
        counts: dict[JobState, int],
        limit: int | None = None,
        budget: Budget | None = None,
        watchers: Sequence[AttemptWatcher] = (),
    ) -> None:
        """`watchers` are told of every attempt that was sent and is settled."""
        self._fleet = fleet
        self._clock = clock
        self._began = clock.now()
        self._meter = RateMeter(self._began)
        self._counts = {state: counts.get(state, 0) for state in JobState}
        self.skipped = self._counts[JobState.SUCCEEDED]
        pending = self._counts[JobState.PENDING]
        self.is_limited = limit is not None
        self._beyond_limit = 0 if limit is None else max(0, pending - limit)
        self.ledger = Ledger(fleet.providers)
        self.budget = budget or Budget(None)
        self.finished = 0
        self.last_error: str | None = None
        self.is_draining = False
        self._watchers = list(watchers)
        self.counts_earlier = self.budget.limit_nano is not None
        """Whether the budget counts what attempts of earlier runs took of it."""
        self.is_paused = False
        self.concurrency: int | None = None
        """As an operator has set it; None: as the run began."""

    def utc_us(self) -> int:
        """Return the wall clock, microseconds since the epoch."""
        return self._clock.utc_us()

    def count(self, state: JobState) -> int:
        """Return how many jobs of the scope are in this state, as committed."""
        return self._counts[state]

    @property
    def elapsed_s(self) -> float:
        """Seconds since the run began."""
        return self._clock.now() - self._began

    def committed(self, writes: Sequence[Write]) -> None:
        """Count what has just become durable."""
        ended = 0
        counts = self._counts
        for write in writes:
            if type(write) is Settle:
                counts[JobState.RUNNING] -= 1
                counts[write.state] += 1
                ended += write.state is not JobState.PENDING
                self._settled(write)
            elif type(write) is Lease:
                counts[JobState.PENDING] -= 1
                counts[JobState.RUNNING] += 1
            elif type(write) is Reject:
                counts[JobState.PENDING] -= 1
                counts[JobState.FAILED] += 1
                ended += 1
            elif type(write) is Cancel:
                self.moved(JobState.PENDING, JobState.CANCELLED, 1)
        if ended:
            self.finished += ended
            self._meter.add(self._clock.now(), ended)

    def moved(self, before: JobState, after: JobState, jobs: int) -> None:
        """Count jobs that the user has moved."""
        self._counts[before] -= jobs
        self._counts[after] += jobs

    def _settled(self, write: Settle) -> None:
        memo = write.memo
        assert isinstance(memo, Memo)  # noqa: S101 - every settle of a run carries one
        is_ok = write.kind == Kind.OK
        self.ledger.add(ledger_row(write, memo), write.latency_us / 1000 if is_ok else None)
        was_sent = write.kind != Kind.CANCELLED or write.billed != Billed.NO
        if memo.is_failover and was_sent:
            self.ledger.failed_over(memo.provider)
        if self._watchers and was_sent:
            self._tell(memo.provider, write)
        if not is_ok and write.message and write.kind != Kind.CANCELLED:
            self.last_error = f"{memo.provider}: {write.kind}: {write.message}"

    def _tell(self, provider: str, write: Settle) -> None:
        """Tell the watchers of an attempt; one that fails is told nothing more."""
        for watch in tuple(self._watchers):
            try:
                watch(provider, write.kind, write.latency_us / 1000)
            except Exception:  # noqa: BLE001 - whoever watches may fail in any way and must not matter
                self._watchers.remove(watch)

    def snapshot(self) -> Snapshot:
        """Return the present picture."""
        now = self._clock.now()
        counts, tally = self._counts, self.ledger.total
        rate = self._meter.rate(now)
        left_out = min(self._beyond_limit, counts[JobState.PENDING])
        pending = counts[JobState.PENDING] - left_out
        left = pending + counts[JobState.RUNNING]
        return Snapshot(
            total=sum(counts.values()) - left_out,
            succeeded=counts[JobState.SUCCEEDED],
            failed=counts[JobState.FAILED],
            pending=pending,
            cancelled=counts[JobState.CANCELLED],
            running=counts[JobState.RUNNING],
            in_flight=sum(p.standing.in_flight for p in self._fleet.providers.values()),
            failovers=tally.failovers,
            elapsed_s=now - self._began,
            rate_per_s=rate,
            eta_s=left / rate if rate > 0 else None,
            tally=tally,
            providers=tuple(self._views(now)),
            last_error=self.last_error,
            is_draining=self.is_draining,
            is_paused=self.is_paused,
            concurrency=self.concurrency,
            budget_nano=self.budget.limit_nano,
            committed_nano=self.budget.committed_nano,
            reserved_nano=self.budget.reserved_nano,
        )

    def _views(self, now: float) -> list[ProviderView]:
        views = []
        alone = self._fleet.is_all_open
        for name, provider in self._fleet.providers.items():
            condition = provider.standing.condition(now, alone=alone)
            views.append(
                ProviderView(
                    name=name,
                    condition=condition,
                    is_shut=provider.standing.is_shut,
                    switch=provider.standing.switch,
                    next_try_s=None if condition.until is None else condition.until - now,
                    in_flight=provider.standing.in_flight,
                    limit=provider.standing.limit,
                    tally=self.ledger.providers[name],
                )
            )
        return views


def ledger_row(write: Settle, memo: Memo) -> LedgerRow:
    """Return what the figures take from a settled attempt."""
    is_maybe = write.billed == Billed.MAYBE
    return LedgerRow(
        provider=memo.provider,
        kind=write.kind,
        billed=write.billed,
        cost_nano=write.cost_nano,
        unpriced=int(write.billed == Billed.YES and write.cost_nano is None),
        bound_nano=memo.bound_nano if is_maybe else None,
        unbounded=int(is_maybe and memo.bound_nano is None),
        input_tokens=write.input_tokens or 0,
        output_tokens=write.output_tokens or 0,
        cached_tokens=write.cached_tokens or 0,
        truncated=int(write.flags & TRUNCATED > 0),
        refused=int(write.flags & REFUSED > 0),
    )
