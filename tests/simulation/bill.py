"""
What the far side knows: every request, whether it was carried out, and what it cost.

The rules about single requests are checked here at the instant they arrive, against what is
committed in the database at that instant, as another process would see it.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections import Counter, deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiq.config import ProviderSettings
from aiq.policy.cooldown import MAX_HINT_S
from tests.simulation.faults import Fate, Fault

_LEASED = """
SELECT job.state, candidate.provider, attempt.kind, attempt.id
FROM job LEFT JOIN attempt ON attempt.id = job.lease
LEFT JOIN candidate ON candidate.id = attempt.candidate_id
WHERE job.batch_id = 1 AND job.key = ?
"""
WINDOW_S = 60.0
CONFIRMATIONS = 3
MOST_PER_JOB = 400
"""Requests for one job of one life that are too many, whatever goes wrong."""

ROUNDING_S = 1e-5
"""What is kept for the next process is kept in whole microseconds."""

_SHOWN = 5
_COUNTS = "SELECT state, count(*) FROM job WHERE batch_id = 1 GROUP BY state"


class Entry:
    """One request; `process` is which of the processes sent it."""

    __slots__ = (
        "arrived", "attempt", "cost_nano", "fault", "is_answer", "is_billed", "is_delivered",
        "job", "process", "provider", "started",
    )  # fmt: skip

    def __init__(self, provider: str, job: str, *, process: int, started: float) -> None:
        self.provider = provider
        self.job = job
        self.process = process
        self.started = started
        self.arrived: float | None = None
        self.attempt: int | None = None
        self.fault: Fault | None = None
        self.is_billed = False
        self.is_answer = False
        """Whether a usable answer was made, wherever it ended up."""
        self.is_delivered = False
        self.cost_nano = 0.0


class Standing:
    """What one process has been told by one account, and by one provider of it."""

    def __init__(self) -> None:
        self.quiet_from = self.quiet_until = -1.0
        self.told_at = -1.0
        """When it was told of the pause that ends last."""
        self.is_out_from: float | None = None
        self.has_answered = False
        self.doubts: list[str] = []
        self.starts: deque[float] = deque()

    def told_to_pause(self, now: float, until: float) -> None:
        self.quiet_from = now
        if until > self.quiet_until:
            self.quiet_until, self.told_at = until, now

    def remember(self, earlier: Standing) -> None:
        self.quiet_from, self.quiet_until = earlier.quiet_from, earlier.quiet_until
        self.told_at = earlier.told_at


class Bill:
    """The books of the whole fleet."""

    def __init__(
        self, path: Path, providers: Mapping[str, ProviderSettings], *, budget_nano: int | None
    ) -> None:
        self.entries: list[Entry] = []
        self.broken: list[str] = []
        self.asked_again = 0
        """Requests for jobs that were durably finished."""
        self.cost_nano = 0.0
        self.faults: Counter[str] = Counter()
        self.in_flight: Counter[str] = Counter()
        self.process = 0
        self.is_endless = False
        """Whether a job is asked for again and again."""
        self._asked: Counter[str] = Counter()
        self._trace = hashlib.blake2b(digest_size=8)
        self._path = path
        self._providers = providers
        self._budget_nano = budget_nano
        self._reader: sqlite3.Connection | None = None
        self._accounts: dict[str, Standing] = {}
        self._told: dict[str, Standing] = {}

    @property
    def digest(self) -> str:
        """The trace of everything that happened, short."""
        return self._trace.hexdigest()

    def note(self, now: float, *what: object) -> None:
        """Add an event to the trace."""
        self._trace.update(f"{now:.9f} {what}\n".encode())

    def breaks(self, now: float, rule: str) -> None:
        """Keep a broken rule."""
        if len(self.broken) < _SHOWN:
            self.broken.append(f"at {now:.3f} s: {rule}")

    def begin_process(self, *, remembered_until: float) -> None:
        """A new process knows the pauses that were told up to an instant, and nothing else."""
        self.process += 1
        earlier = self._accounts
        self._accounts = {one.account: Standing() for one in self._providers.values()}
        for account, standing in earlier.items():
            if standing.told_at <= remembered_until:
                self._accounts[account].remember(standing)
        self._told = {name: Standing() for name in self._providers}
        self.in_flight.clear()

    def started(self, provider: str, job: str, now: float) -> Entry:
        """A request sets out."""
        entry = Entry(provider, job, process=self.process, started=now)
        self.entries.append(entry)
        self._asked[job] += 1
        if self._asked[job] > MOST_PER_JOB and not self.is_endless:
            self.is_endless = True
            self.breaks(now, f"{job} was asked for {MOST_PER_JOB} times")
        return entry

    def unconnected(self, entry: Entry, fault: Fault, now: float) -> None:
        """No connection came about."""
        entry.fault = fault
        self.faults[fault] += 1
        self.note(now, "unconnected", entry.provider, entry.job)

    def withheld(self, entry: Entry) -> None:
        """Its gate did not let it through: it never was."""
        self.entries.remove(entry)

    def arrived(self, entry: Entry, fate: Fate, now: float) -> None:
        """The server has the whole request, and has decided."""
        entry.arrived = now
        entry.fault = fate.fault
        self.note(now, "arrived", entry.provider, entry.job, fate.fault)
        if fate.fault is not None:
            self.faults[fate.fault] += 1
        self._check_lease(entry, now)
        self._check_pauses(entry, now)
        self._check_pace(entry, now)

    def carried_out(self, entry: Entry, cost_nano: float, *, is_answer: bool, now: float) -> None:
        """It will be paid, whatever becomes of its reply."""
        entry.is_billed = True
        entry.is_answer = is_answer
        entry.cost_nano = cost_nano
        self.cost_nano += cost_nano
        if self._budget_nano is not None and self.cost_nano > self._budget_nano + 1:
            self.breaks(
                now, f"the bill is {self.cost_nano:.0f} nano, the budget {self._budget_nano}"
            )

    def delivered(self, entry: Entry, fate: Fate, now: float) -> None:
        """The whole reply has reached the process; from now on it knows what it says."""
        entry.is_delivered = True
        self.note(now, "delivered", entry.provider, entry.job, fate.status)
        settings = self._providers[entry.provider]
        account, told = self._accounts[settings.account], self._told[entry.provider]
        if fate.tells_wait_s is not None:
            account.told_to_pause(now, now + min(fate.tells_wait_s, MAX_HINT_S))
        if entry.is_answer and fate.status == 200:
            told.has_answered = True
            told.doubts.clear()
        if fate.fault is Fault.NO_CREDIT:
            account.is_out_from = account.is_out_from or now
        elif fate.fault in (Fault.KEY_REFUSED, Fault.NO_MODEL):
            told.doubts.append(entry.job)
            is_sure = len(set(told.doubts)) >= CONFIRMATIONS or not told.has_answered
            whom = account if fate.fault is Fault.KEY_REFUSED else told
            if is_sure and whom.is_out_from is None:
                whom.is_out_from = now

    def shown(self, counts: Mapping[str, int], now: float) -> None:
        """
        A view has been shown these counts: done means durable.

        It may lag behind where a commit took place that was reported as failed.
        """
        stored = dict(self._committed(_COUNTS))
        if any(count > stored.get(state, 0) for state, count in counts.items()):
            self.breaks(now, f"{counts} were shown, and these are committed: {stored}")

    def _committed(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Ask the database as another process would."""
        if self._reader is None:
            self._reader = sqlite3.connect(
                f"{self._path.as_uri()}?mode=ro", uri=True, isolation_level=None
            )
        return self._reader.execute(sql, parameters).fetchall()

    def _check_lease(self, entry: Entry, now: float) -> None:
        found = self._committed(_LEASED, entry.job)
        if len(found) != 1:
            self.breaks(now, f"{entry.job} is asked for and not stored")
            return
        [(state, provider, kind, attempt)] = found
        entry.attempt = attempt
        if state in ("succeeded", "failed"):
            self.asked_again += 1
            self.breaks(now, f"{entry.job} is {state} and was asked for again")
        elif state != "running" or provider != entry.provider or kind is not None:
            self.breaks(
                now, f"{entry.job} was sent to {entry.provider} without a lease: {found[0]}"
            )

    def _check_pauses(self, entry: Entry, now: float) -> None:
        settings = self._providers[entry.provider]
        account, told = self._accounts[settings.account], self._told[entry.provider]
        if account.quiet_from < now < account.quiet_until - ROUNDING_S:
            self.breaks(
                now,
                f"{entry.provider} was asked {account.quiet_until - now:.3f} s before the end of"
                " the pause that it had asked for",
            )
        for whom in (account, told):
            if whom.is_out_from is not None and whom.is_out_from < now:
                self.breaks(now, f"{entry.provider} was asked after it had refused for good")

    def _check_pace(self, entry: Entry, now: float) -> None:
        settings = self._providers[entry.provider]
        if settings.max_in_flight and self.in_flight[entry.provider] > settings.max_in_flight:
            self.breaks(now, f"{entry.provider} has more in flight than it may")
        if settings.rates.requests is None:
            return
        starts = self._accounts[settings.account].starts
        starts.append(entry.started)
        while starts and starts[0] <= entry.started - WINDOW_S:
            starts.popleft()
        if len(starts) > settings.rates.requests:
            self.breaks(
                now, f"{len(starts)} requests to {settings.account} within a minute, of"
                f" {settings.rates.requests} allowed"
            )  # fmt: skip

    def received(self) -> list[Entry]:
        """Return the requests that reached a server."""
        return [entry for entry in self.entries if entry.arrived is not None]

    def seen_twice(self) -> int:
        """Count the answers that were made for jobs that already had one."""
        made = Counter(entry.job for entry in self.entries if entry.is_answer)
        return sum(count - 1 for count in made.values())

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()
