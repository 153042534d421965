"""
How a run ended: the figures of the summary and the JSON contract, and the exit status.

Everything is taken from what was committed. `resume` and `retry` are added by the command line,
which knows how it was called.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import msgspec

from aiq.errors import ExitCode
from aiq.model import NANO_PER_USD, JobState
from aiq.policy.budget import Budget
from aiq.run.board import Board
from aiq.run.facts import ErrorGroup, ProviderFacts, error_groups
from aiq.run.fleet import Fleet
from aiq.run.halt import End
from aiq.run.ingest import IngestReport
from aiq.run.report import Ledger, Tally, provider_json
from aiq.run.signals import Signals
from aiq.run.work import Work
from aiq.store import attempts, batches, jobs
from aiq.store.db import Database


class RunResult(msgspec.Struct, kw_only=True):
    """The end of a run."""

    exit_code: ExitCode
    message: str | None = None
    """Why it stopped, where it did not simply finish; of several providers, a line each."""
    batches: tuple[str, ...] = ()
    has_others: bool = False
    """Whether the database holds further batches."""
    counts: dict[JobState, int] = {}
    skipped: int = 0
    requeued: int = 0
    ingest: IngestReport = msgspec.field(default_factory=IngestReport)
    ledger: Ledger = msgspec.field(default_factory=Ledger)
    providers: tuple[ProviderFacts, ...] = ()
    errors: tuple[ErrorGroup, ...] = ()
    failovers: int = 0
    finished: int = 0
    elapsed_s: float = 0.0
    ever: Tally = msgspec.field(default_factory=Tally)
    """All attempts ever of the jobs in scope: what a budget bounds."""
    truncated: int = 0
    """Jobs in scope whose stored answer is cut off."""
    refused: int = 0
    """Jobs in scope whose stored answer refuses to answer."""
    resume: str | None = None
    retry: str | None = None
    budget: Budget = msgspec.field(default_factory=lambda: Budget(None))
    concurrency: int | None = None
    """As an operator has set it; None: as the run began."""
    switched_off: tuple[str, ...] = ()
    """Providers that an operator keeps out."""

    @classmethod
    def nothing(cls, exit_code: ExitCode, message: str) -> RunResult:
        """Return the end of a run that never came to send anything."""
        return cls(exit_code=exit_code, message=message)

    @property
    def total(self) -> int:
        """How many jobs are in the scope."""
        return sum(self.counts.values())

    def count(self, state: JobState) -> int:
        """Return how many jobs of the scope are in this state."""
        return self.counts.get(state, 0)

    @property
    def enough_usd(self) -> float | None:
        """
        About what a budget would have to be for all the jobs: what they cost so far, scaled up.

        One worst case comes on top, because the last request needs it. None without a budget.
        """
        if self.budget.limit_nano is None:
            return None
        done = self.count(JobState.SUCCEEDED) + self.count(JobState.FAILED)
        left = self.count(JobState.PENDING) + self.count(JobState.RUNNING)
        spent = max(self.budget.committed_nano, 1)
        scaled = spent * (done + left) / done if done else 2.0 * self.budget.limit_nano
        needed = max(scaled, self.budget.limit_nano) + (self.budget.refused_nano or 0)
        return _rounded_up(1.1 * needed / NANO_PER_USD)

    @property
    def rate_per_s(self) -> float:
        """Jobs that ended per second of the run."""
        return self.finished / self.elapsed_s if self.elapsed_s > 0 else 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the contract's object (`design` 11)."""
        total = self.ledger.total
        body: dict[str, Any] = {
            "batch": self.batches[0] if len(self.batches) == 1 else None,
            "total": self.total,
            **{state.value: self.count(state) for state in JobState},
            "invalid": self.ingest.invalid,
            "skipped": self.skipped,
            "truncated": self.truncated,
            "refused": self.refused,
            "requests": total.requests,
            "failovers": self.failovers,
            "elapsed_s": round(self.elapsed_s, 3),
            "rate_per_s": round(self.rate_per_s, 2),
            "cost_usd": total.cost_usd,
            "cost_total_usd": self.ever.cost_usd,
            "cost_complete": not (total.unpriced or self.ever.unpriced),
            "budget": self._budget_json(),
            "possibly_paid": self.ever.possibly_paid(),
            "tokens": total.tokens(),
            "latency_ms": total.latency.to_json(),
            "providers": [
                provider_json(p.name, self.ledger.providers[p.name], p.to_json())
                for p in self.providers
            ],
            "errors": [group.to_json() for group in self.errors],
            "exit_code": int(self.exit_code),
            "resume": self.resume,
            "retry": self.retry,
        }
        if len(self.batches) > 1:
            body["batches"] = list(self.batches)
        return body

    def _budget_json(self) -> dict[str, float] | None:
        """Return the budget and what all attempts ever have taken of it; None without one."""
        if self.budget.limit_nano is None:
            return None
        return {
            "limit_usd": self.budget.limit_nano / NANO_PER_USD,
            "committed_usd": self.budget.committed_nano / NANO_PER_USD,
        }


class Sent(NamedTuple):
    """What a run that came to send leaves behind."""

    board: Board
    fleet: Fleet
    end: End
    trouble: str | None


async def outcome_of(
    database: Database, work: Work, *, signals: Signals, sent: Sent | None = None
) -> RunResult:
    """Put the end of a run together; without `sent`, nothing was to be sent."""
    ever = Tally()
    for row in await attempts.scope_sums(database, work.scope):
        ever.add(row)
    truncated, refused = await attempts.scope_flags(database, work.scope)
    result = RunResult(
        exit_code=ExitCode.OK,
        batches=tuple(batch.name for batch in work.batches),
        has_others=len(await batches.batches(database)) > len(work.batches),
        counts=await jobs.counts(database, work.scope),
        requeued=work.requeued,
        ingest=work.ingest,
        errors=error_groups(await attempts.scope_failures(database, work.scope)),
        ever=ever,
        truncated=truncated,
        refused=refused,
    )
    result.skipped = result.count(JobState.SUCCEEDED)
    if sent is not None:
        board = sent.board
        result.skipped = board.skipped
        result.ledger = board.ledger
        result.providers = tuple(_facts(board, sent.fleet))
        result.failovers = board.ledger.total.failovers
        result.finished = board.finished
        result.elapsed_s = board.elapsed_s
        result.budget = board.budget
        result.concurrency = board.concurrency
        result.switched_off = sent.fleet.switched_off
    result.exit_code, result.message = _verdict(result, signals, sent)
    return result


def _facts(board: Board, fleet: Fleet) -> list[ProviderFacts]:
    facts = []
    now_us = board.utc_us()
    for view in board.snapshot().providers:
        provider = fleet.providers[view.name]
        facts.append(
            ProviderFacts(
                name=view.name,
                kind=provider.settings.kind,
                model=provider.model,
                status=view.condition.status.value,
                reason=view.condition.reason,
                until_us=None if view.next_try_s is None else now_us + round(view.next_try_s * 1e6),
            )
        )
    return facts


def _verdict(result: RunResult, signals: Signals, sent: Sent | None) -> tuple[ExitCode, str | None]:
    """Return the first exit status that applies, and why."""
    if signals.is_stopped:
        return signals.exit_code, "stopped on request"
    if sent is not None and (why := _STOPPED.get(sent.end)) is not None:
        if sent.end is End.BUDGET:
            return ExitCode.BUDGET, sent.trouble if sent.board.budget.is_overrun else why
        return ExitCode.NO_PROVIDER, _with_trouble(why, result, sent)
    left = result.count(JobState.PENDING)
    if left and sent is not None and not sent.board.is_limited:
        return ExitCode.STORE, f"{left:,} of the jobs are left: {_LOST_SIGHT}"
    if result.count(JobState.FAILED) or result.ingest.invalid:
        return ExitCode.SOME_FAILED, None
    return ExitCode.OK, None


def _with_trouble(why: str, result: RunResult, sent: Sent) -> str:
    """Add what stood in the way: behind a colon, or where it is several providers a line each."""
    trouble = [one for one in (sent.trouble,) if one is not None and one != why]
    out = _reasons(result, sent)
    if not out:
        return ": ".join([why, *trouble])
    names = tuple(f"{name}: " for name in sent.fleet.providers)
    rest = [one for one in trouble if not one.startswith(names)]
    return "\n".join([f"{why}:", *out, *rest])


def _reasons(result: RunResult, sent: Sent) -> list[str]:
    """Return why each provider is not used; nothing where that is not why the run ended."""
    if sent.end is End.NO_PROVIDER:
        why = sent.fleet.why_hopeless
        return why.split("\n") if why else []
    if sent.end is not End.WAITED or len(result.providers) < 2:
        return []
    return [f"{one.name}: {one.reason}" for one in result.providers if one.reason is not None]


def _rounded_up(amount: float) -> float:
    """Return two significant digits, upwards."""
    unit = 10.0 ** (math.floor(math.log10(amount)) - 1)
    return float(f"{math.ceil(amount / unit) * unit:.2g}")


_LOST_SIGHT = "the run lost sight of them when an order could not be stored"
_STOPPED = {
    End.STOPPED: "the run was stopped",
    End.BUDGET: "the budget is reached: the worst case of the next request does not fit into it",
    End.NO_PROVIDER: "no usable provider is left",
    End.WAITED: "no provider has been usable for as long as `--max-wait` allows",
    End.SAME_MISTAKE: "the first 20 jobs were all refused alike; check key, model and parameters",
}
