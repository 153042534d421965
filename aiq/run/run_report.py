"""How a run stands, for an operator who asks it: a picture of its board in plain values."""

from __future__ import annotations

from collections.abc import Sequence

from aiq.clock import rfc3339
from aiq.model import NANO_PER_USD
from aiq.run.board import Snapshot
from aiq.run.protocol import ProviderReport, RunReport
from aiq.store.runs import BegunRun


def report_of(
    snapshot: Snapshot, *, run: BegunRun, batches: Sequence[str], concurrency: int
) -> RunReport:
    """Return what an operator is told."""
    return RunReport(
        pid=run.pid,
        started_at=rfc3339(run.started_at),
        phase=_phase(snapshot),
        batches=tuple(batches),
        total=snapshot.total,
        succeeded=snapshot.succeeded,
        failed=snapshot.failed,
        pending=snapshot.pending,
        cancelled=snapshot.cancelled,
        in_flight=snapshot.in_flight,
        concurrency=concurrency,
        rate_per_s=round(snapshot.rate_per_s, 2),
        budget_usd=None if snapshot.budget_nano is None else snapshot.budget_nano / NANO_PER_USD,
        committed_usd=snapshot.committed_nano / NANO_PER_USD,
        providers=tuple(
            ProviderReport(
                name=view.name,
                status=view.condition.status.value,
                reason=view.condition.reason,
                next_try_s=view.next_try_s,
                in_flight=view.in_flight,
                limit=view.limit,
            )
            for view in snapshot.providers
        ),
    )


def _phase(snapshot: Snapshot) -> str:
    if snapshot.is_draining:
        return "stopping"
    return "paused" if snapshot.is_paused else "sending"
