"""Past probes of one provider in figures: how often it was usable, and how quick it was."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from aiq.policy.health import USABLE


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """Latencies in milliseconds; None where there is nothing to measure."""

    probes: int
    availability: float | None
    """Share of the probes that found it healthy or degraded."""
    mean: float | None
    p50: float | None
    p95: float | None
    p99: float | None

    def to_json(self) -> dict[str, object]:
        """Return what the JSON contract calls a provider's history."""
        fields = msgspec.structs.asdict(self)
        head = {name: fields.pop(name) for name in ("probes", "availability")}
        return {**head, "latency_ms": fields}


def figures(history: Sequence[tuple[str, float | None]]) -> Figures:
    """Sum up pairs of status and latency; percentiles are exact, by nearest rank."""
    usable = sum(1 for status, _ in history if status in USABLE)
    latencies = sorted(ms for _, ms in history if ms is not None)
    return Figures(
        probes=len(history),
        availability=usable / len(history) if history else None,
        mean=round(math.fsum(latencies) / len(latencies), 1) if latencies else None,
        p50=_quantile(latencies, 0.50),
        p95=_quantile(latencies, 0.95),
        p99=_quantile(latencies, 0.99),
    )


def _quantile(ordered: Sequence[float], share: float) -> float | None:
    if not ordered:
        return None
    return round(ordered[max(1, math.ceil(share * len(ordered))) - 1], 1)
