"""
How a run ended: the figures of the summary and the JSON contract, and the exit status.

Everything is taken from what was committed. `resume` is added by the command line, which knows how
it was called.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from aiq.errors import ExitCode
from aiq.model import JobState
from aiq.run.board import Board
from aiq.run.facts import ErrorGroup, ProviderFacts, error_groups
from aiq.run.fleet import Fleet
from aiq.run.ingest import IngestReport
from aiq.run.pool import End
from aiq.run.report import Ledger, Tally, provider_json
from aiq.run.signals import Signals
from aiq.run.work import Work
from aiq.store import attempts, jobs
from aiq.store.db import Database


class RunResult(msgspec.Struct, kw_only=True):
    """The end of a run."""

    exit_code: ExitCode
    message: str | None = None
    """Why it stopped, where it did not simply finish."""
    batches: tuple[str, ...] = ()
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
    resume: str | None = None

    @classmethod
    def nothing(cls, exit_code: ExitCode, message: str) -> RunResult:
        """Return the end of a run that never came to send anything."""
        return cls(exit_code=exit_code, message=message)

    def count(self, state: JobState) -> int:
        """Return how many jobs of the scope are in this state."""
        return self.counts.get(state, 0)

    @property
    def rate_per_s(self) -> float:
        """Jobs that ended per second of the run."""
        return self.finished / self.elapsed_s if self.elapsed_s > 0 else 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the contract's object (`design` 11)."""
        total = self.ledger.total
        body: dict[str, Any] = {
            "batch": self.batches[0] if len(self.batches) == 1 else None,
            "total": sum(self.counts.values()),
            **{state.value: self.count(state) for state in JobState},
            "invalid": self.ingest.invalid,
            "skipped": self.skipped,
            "truncated": total.truncated,
            "refused": total.refused,
            "requests": total.requests,
            "failovers": self.failovers,
            "elapsed_s": round(self.elapsed_s, 3),
            "rate_per_s": round(self.rate_per_s, 2),
            "cost_usd": total.cost_usd,
            "cost_total_usd": self.ever.cost_usd,
            "cost_complete": not (total.unpriced or self.ever.unpriced),
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
        }
        if len(self.batches) > 1:
            body["batches"] = list(self.batches)
        return body


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
    result = RunResult(
        exit_code=ExitCode.OK,
        batches=tuple(batch.name for batch in work.batches),
        counts=await jobs.counts(database, work.scope),
        requeued=work.requeued,
        ingest=work.ingest,
        errors=error_groups(await attempts.scope_failures(database, work.scope)),
        ever=ever,
    )
    result.skipped = result.count(JobState.SUCCEEDED)
    if sent is not None:
        board = sent.board
        result.skipped = board.skipped
        result.ledger = board.ledger
        result.providers = tuple(_facts(board, sent.fleet))
        result.failovers = board.failovers
        result.finished = board.finished
        result.elapsed_s = board.elapsed_s
    result.exit_code, result.message = _verdict(result, signals, sent)
    return result


def _facts(board: Board, fleet: Fleet) -> list[ProviderFacts]:
    facts = []
    for view in board.snapshot().providers:
        provider = fleet.providers[view.name]
        facts.append(
            ProviderFacts(
                name=view.name,
                kind=provider.settings.kind,
                model=provider.model,
                status=view.condition.status.value,
                reason=view.condition.reason,
            )
        )
    return facts


def _verdict(result: RunResult, signals: Signals, sent: Sent | None) -> tuple[ExitCode, str | None]:
    """Return the first exit status that applies, and why."""
    if signals.is_stopped:
        return signals.exit_code, "stopped on request"
    if sent is not None and (why := _STOPPED.get(sent.end)) is not None:
        is_news = sent.trouble is not None and sent.trouble != why
        return ExitCode.NO_PROVIDER, f"{why}: {sent.trouble}" if is_news else why
    if result.count(JobState.FAILED) or result.ingest.invalid:
        return ExitCode.SOME_FAILED, None
    return ExitCode.OK, None


_STOPPED = {
    End.NO_PROVIDER: "no usable provider is left",
    End.WAITED: "no provider has been usable for as long as `--max-wait` allows",
    End.SAME_MISTAKE: "the first 20 jobs were all refused alike; check key, model and parameters",
}
