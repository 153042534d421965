"""
Foretelling a fleet past one machine: rate, cost and share of 429s, without sending anything.

The model is coarser than a life: one worker of many is played against its even share of each limit
and capacity. What it leaves out: that workers of one account disturb each other, and the network.
What it has: the product's own routing, limits, breaker, concurrency and store.
"""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from aiq.config.settings import RunSettings
from aiq.model import Price
from aiq.policy.defaults import RateLimits
from tests.simulation.bill import Entry
from tests.simulation.faults import Fault
from tests.simulation.life import Life
from tests.simulation.outcome import MEMORY
from tests.simulation.scenario import Scenario
from tests.simulation.servers import Character, Latency, Limit
from tests.support import factories

WARM_UP_S = 10.0
Positive = Annotated[float, msgspec.Meta(gt=0)]
Count = Annotated[int, msgspec.Meta(ge=1)]


class PlannedProvider(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One provider of a plan; limits are those of the whole fleet."""

    name: str
    latency_s: Positive
    spread: Annotated[float, msgspec.Meta(ge=0)] = 0.3
    limit_per_minute: Count | None = None
    says_limit: bool = True
    capacity: Count | None = None
    input_tokens: Count = 400
    output_tokens: Count = 150
    price: Price
    error_share: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0
    max_in_flight: Count | None = None


class Plan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A fleet as its file describes it."""

    workers: Count
    concurrency: Count
    seconds: Positive = 30.0
    wanted_per_s: Positive
    strategy: Literal["rank", "latency", "cost", "balanced"] = "rank"
    overflow: bool = False
    providers: tuple[PlannedProvider, ...]


def foretell(path: Path) -> str:
    """Return what is to be expected of the fleet in a file, as text for people."""
    plan = msgspec.toml.decode(path.read_bytes(), type=Plan)
    where = str(MEMORY) if MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(dir=where, prefix="aiq-plan-") as directory:
        life = Life(_scenario(plan), Path(directory))
        try:
            for _ in life.play(until=plan.seconds + WARM_UP_S):
                break
            return "".join(f"{line}\n" for line in _report(plan, life))
        finally:
            life.bill.close()


def _scenario(plan: Plan) -> Scenario:
    """Return what one worker meets."""
    quickest = min(one.latency_s for one in plan.providers)
    most_per_s = max(plan.wanted_per_s / plan.workers, 1.2 * plan.concurrency / quickest)
    characters = {one.name: _character(plan, one) for one in plan.providers}
    return Scenario(
        seed=0,
        jobs=math.ceil(most_per_s * (plan.seconds + WARM_UP_S)),  # never all done
        poison=frozenset(),
        bad_lines=0,
        run=RunSettings(
            concurrency=plan.concurrency, strategy=plan.strategy, overflow=plan.overflow
        ),
        providers=tuple(
            factories.provider(
                name=one.name,
                base_url=f"http://{rank}.test/v1",
                rank=rank,
                account=one.name,
                max_in_flight=one.max_in_flight,
                max_tokens=one.output_tokens,
                price=one.price,
                rates=_rates(plan, one),
            )
            for rank, one in enumerate(plan.providers, start=1)
        ),
        characters=characters,
        blows=(),
        commit_s=0.005,
        retries_failed=False,
    )


def _rates(plan: Plan, one: PlannedProvider) -> RateLimits:
    if one.limit_per_minute is None or not one.says_limit:
        return RateLimits()
    return RateLimits(requests=max(1, one.limit_per_minute // plan.workers))


def _character(plan: Plan, one: PlannedProvider) -> Character:
    limit = None
    if one.limit_per_minute is not None:
        # Vendors enforce a limit per minute over shorter spans as well.
        per_s = one.limit_per_minute / plan.workers / 60
        span_s = max(1.0, 10 / per_s)
        limit = Limit(max(1, round(per_s * span_s)), span_s)
    return Character(
        latency=Latency(one.latency_s, "lognormal" if one.spread else "fixed", one.spread),
        limit=limit,
        capacity=None if one.capacity is None else max(1, one.capacity // plan.workers),
        noise=((Fault.SERVER_ERROR, one.error_share),) if one.error_share else (),
        price=one.price,
    )


_HEAD = (
    "foretold from one of {workers:,} workers, {lasted:.0f} s after it got up to speed;"
    " nothing was sent"
)
_COLUMNS = (
    f"{'provider':16} {'requests/s':>12} {'answers/s':>12} {'429 share':>10} {'503 share':>10}"
    f" {'USD/hour':>12}"
)


def _report(plan: Plan, life: Life) -> list[str]:
    entries = [entry for entry in life.bill.received() if entry.started >= WARM_UP_S]
    until = max((entry.started for entry in entries), default=WARM_UP_S)
    lasted = max(1.0, until - WARM_UP_S)
    answered = [entry for entry in entries if entry.is_answer]
    rate = len(answered) * plan.workers / lasted
    lines = [_HEAD.format(workers=plan.workers, lasted=lasted), _COLUMNS]
    lines += [_row(one.name, [one], entries, plan, lasted) for one in plan.providers]
    lines.append(_row("all", plan.providers, entries, plan, lasted))
    lines.append(
        f"wanted {plan.wanted_per_s:,.0f} answers/s, to be expected {rate:,.0f}"
        f" ({rate / plan.wanted_per_s:.0%})"
    )
    return lines


def _row(
    name: str,
    providers: tuple[PlannedProvider, ...] | list[PlannedProvider],
    entries: list[Entry],
    plan: Plan,
    lasted: float,
) -> str:
    names = {one.name: one for one in providers}
    own = [entry for entry in entries if entry.provider in names]
    answers = [entry for entry in own if entry.is_answer]
    scale = plan.workers / lasted
    usd = sum(_usd(names[entry.provider]) for entry in answers) * scale * 3600
    shares = [
        sum(1 for entry in own if entry.fault is fault) / max(1, len(own))
        for fault in (Fault.LIMITED, Fault.BUSY)
    ]
    return (
        f"{name:16} {len(own) * scale:12,.0f} {len(answers) * scale:12,.0f} {shares[0]:10.2%}"
        f" {shares[1]:10.2%} {usd:12,.0f}"
    )


def _usd(one: PlannedProvider) -> float:
    return (one.input_tokens * one.price.input + one.output_tokens * one.price.output) / 1e6
