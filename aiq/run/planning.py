"""What a run is about to do, said before its first send."""

from __future__ import annotations

from collections.abc import Sequence

from aiq.policy.budget import Budget
from aiq.run.fleet import Fleet
from aiq.run.observer import Plan
from aiq.run.pricing import estimate
from aiq.run.work import Work
from aiq.store.backlog import Load


def plan_of(
    work: Work,
    fleet: Fleet,
    loads: Sequence[Load],
    *,
    skipped: int,
    limit: int | None,
    strategy: str,
    budget: Budget,
    utc_us: int,
) -> Plan:
    """
    Return the plan of a run.

    Args:
        skipped: jobs that were finished before.
        limit: take at most so many; None: all.
        utc_us: the instant of whose prices the estimate is.
    """
    pending = sum(load.jobs for load in loads)
    taken = min(pending, limit or pending)
    first = next(iter(fleet.providers.values()))
    overlays = work.overlays.values()
    flagged = next((o.model for o in overlays if o.model is not None), None)
    estimated = estimate(
        first.settings,
        loads,
        own_model=first.resolve(flagged),
        utc_us=utc_us,
        cap=next((o.output_cap for o in overlays if o.output_cap is not None), None),
    )
    return Plan(
        batches=tuple(batch.name for batch in work.batches),
        pending=taken,
        skipped=skipped,
        candidates=tuple((p.name, p.resolve(flagged) or p.model) for p in fleet.providers.values()),
        disabled=frozenset(fleet.switched_off),
        strategy=strategy,
        estimated_nano=None if estimated is None else estimated * taken // pending,
        budget_nano=budget.limit_nano,
        committed_nano=budget.committed_nano,
    )
