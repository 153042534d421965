"""
What a run has done so far, as figures: pure bookkeeping that live view, summary and JSON share.

Only committed writes are counted, so the totals equal sums over the ledger. Nothing here grows with
the number of jobs: latencies go into a histogram of fixed size, failures into groups.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from aiq.model import NANO_PER_USD, Kind, LedgerRow

_GROWTH = 1.02
_LOWEST_MS = 0.05
_LOG_GROWTH = math.log(_GROWTH)
QUANTILES = (("p50", 0.50), ("p90", 0.90), ("p95", 0.95), ("p99", 0.99))


class Histogram:
    """
    Latencies in buckets that grow by 2 %, so a percentile is off by at most 1 %.

    Mean and extremes are exact. About 1,000 buckets reach from 0.05 ms to 8 hours.
    """

    __slots__ = ("_buckets", "count", "maximum", "minimum", "total")

    def __init__(self) -> None:
        self._buckets: dict[int, int] = {}
        self.count = 0
        self.total = 0.0
        self.minimum = math.inf
        self.maximum = 0.0

    def add(self, ms: float, count: int = 1) -> None:
        """Count a latency."""
        bucket = int(math.log(ms / _LOWEST_MS) / _LOG_GROWTH) if ms > _LOWEST_MS else 0
        self._buckets[bucket] = self._buckets.get(bucket, 0) + count
        self.count += count
        self.total += ms * count
        self.minimum = min(self.minimum, ms)
        self.maximum = max(self.maximum, ms)

    def merge(self, other: Histogram) -> None:
        """Add what another histogram counted."""
        for bucket, count in other._buckets.items():
            self._buckets[bucket] = self._buckets.get(bucket, 0) + count
        self.count += other.count
        self.total += other.total
        self.minimum = min(self.minimum, other.minimum)
        self.maximum = max(self.maximum, other.maximum)

    def quantile(self, share: float) -> float | None:
        """Return the latency that this share of calls did not exceed; None without calls."""
        if not self.count:
            return None
        rank = max(1, math.ceil(share * self.count))
        for bucket in sorted(self._buckets):
            rank -= self._buckets[bucket]
            if rank <= 0:
                middle: float = _LOWEST_MS * _GROWTH ** (bucket + 0.5)
                return min(max(middle, self.minimum), self.maximum)
        return self.maximum

    def bins(self, merged: int) -> list[tuple[float, int]]:
        """Return (lower edge in ms, count) of so many buckets at a time, without gaps between."""
        if not self._buckets:
            return []
        counts: dict[int, int] = {}
        for bucket, count in self._buckets.items():
            counts[bucket // merged] = counts.get(bucket // merged, 0) + count
        return [
            (_LOWEST_MS * _GROWTH ** (n * merged), counts.get(n, 0))
            for n in range(min(counts), max(counts) + 1)
        ]

    def to_json(self) -> dict[str, float | None]:
        """Return mean, percentiles and maximum in milliseconds."""
        if not self.count:
            return dict.fromkeys(("mean", "p50", "p90", "p95", "p99", "max"))
        figures: dict[str, float | None] = {"mean": round(self.total / self.count, 1)}
        for name, share in QUANTILES:
            figures[name] = round(self.quantile(share) or 0.0, 1)
        figures["max"] = round(self.maximum, 1)
        return figures


def usd(cost_nano: int, unpriced: int) -> float | None:
    """
    Return dollars for a sum of known costs and a number of attempts of unknown cost.

    What is known is given as far as it goes, and `cost_complete` beside it says that it does not go
    all the way; unknown alone is None and never zero.
    """
    return None if unpriced and not cost_nano else cost_nano / NANO_PER_USD


class Tally:
    """Sums over attempts: of one provider, or of all."""

    def __init__(self) -> None:
        self.requests = 0
        self.succeeded = 0
        self.rate_limited = 0
        self.errors = 0
        self.truncated = 0
        self.refused = 0
        self.failovers = 0
        """Requests that another provider should have answered first."""
        self.cost_nano = 0
        self.unpriced = 0
        self.maybe_paid = 0
        self.maybe_nano = 0
        self.maybe_unbounded = 0
        self.input_tokens = 0
        self.output_tokens = 0
        self.cached_tokens = 0
        self.latency = Histogram()

    def add(self, row: LedgerRow) -> None:
        """Count attempts that have ended; one that was never sent is none."""
        if row.kind == Kind.CANCELLED and row.billed == "no":
            return
        self.requests += row.count
        if row.kind == Kind.OK:
            self.succeeded += row.count
            self.truncated += row.truncated
            self.refused += row.refused
        elif row.kind == Kind.RATE_LIMITED:
            self.rate_limited += row.count
        elif row.kind != Kind.CANCELLED:
            self.errors += row.count
        self.cost_nano += row.cost_nano or 0
        self.unpriced += row.unpriced
        if row.billed == "maybe":
            self.maybe_paid += row.count
            self.maybe_nano += row.bound_nano or 0
            self.maybe_unbounded += row.unbounded
        self.input_tokens += row.input_tokens
        self.output_tokens += row.output_tokens
        self.cached_tokens += row.cached_tokens

    def merge(self, other: Tally) -> None:
        """Add what another tally counted."""
        for name, value in vars(other).items():
            if name != "latency":
                setattr(self, name, getattr(self, name) + value)
        self.latency.merge(other.latency)

    @property
    def cost_usd(self) -> float | None:
        """US dollars known to be spent; None if nothing is known of what was spent."""
        return usd(self.cost_nano, self.unpriced)

    def possibly_paid(self) -> dict[str, object]:
        """Return attempts of unknown outcome and the most they can have cost."""
        unknown = self.maybe_unbounded > 0
        return {
            "requests": self.maybe_paid,
            "max_usd": None if unknown else self.maybe_nano / NANO_PER_USD,
        }

    def tokens(self) -> dict[str, int]:
        """Return tokens by direction."""
        return {
            "input": self.input_tokens,
            "output": self.output_tokens,
            "cached": self.cached_tokens,
        }


class Ledger:
    """Tallies by provider."""

    def __init__(self, providers: Iterable[str] = ()) -> None:
        self.providers: dict[str, Tally] = {name: Tally() for name in providers}

    @property
    def total(self) -> Tally:
        """The sum of all, made when somebody looks: counting happens far more often."""
        total = Tally()
        for one in self.providers.values():
            total.merge(one)
        return total

    def add(self, row: LedgerRow, latency_ms: float | None = None) -> None:
        """Count attempts; `latency_ms` of an answered one."""
        one = self.providers.get(row.provider)
        if one is None:
            one = self.providers[row.provider] = Tally()
        one.add(row)
        if latency_ms is not None:
            one.latency.add(latency_ms)

    def failed_over(self, provider: str) -> None:
        """Count a request that came from another provider to this one."""
        self.providers[provider].failovers += 1

    def add_latency(self, provider: str, ms: float, count: int = 1) -> None:
        """Count answered attempts that took this long."""
        self.providers[provider].latency.add(ms, count)


def provider_json(
    name: str, tally: Tally, facts: Mapping[str, object], *, in_flight: int = 0
) -> dict[str, object]:
    """Return the P object of the JSON contracts; `facts` are kind, model, status and reason."""
    return {
        "name": name,
        **facts,
        "requests": tally.requests,
        "succeeded": tally.succeeded,
        "failed": tally.errors,
        "rate_limited": tally.rate_limited,
        "in_flight": in_flight,
        "latency_ms": tally.latency.to_json(),
        "tokens": tally.tokens(),
        "cost_usd": tally.cost_usd,
        "cost_complete": not tally.unpriced,
    }


class RateMeter:
    """
    Jobs per second over the last ten seconds and what has passed of this one, counted by seconds.

    `now` is any monotonic clock; before ten seconds have passed, the rate is over what has.
    """

    SPAN_S = 10

    def __init__(self, now: float) -> None:
        self._began = now
        self._counts: dict[int, int] = {}

    def add(self, now: float, count: int) -> None:
        """Count jobs that ended now."""
        second = int(now)
        self._counts[second] = self._counts.get(second, 0) + count
        for old in [s for s in self._counts if s <= second - self.SPAN_S - 1]:
            del self._counts[old]

    def rate(self, now: float) -> float:
        """Return the present rate per second."""
        first = int(now) - self.SPAN_S
        recent = sum(n for second, n in self._counts.items() if second >= first)
        return recent / max(now - max(first, self._began), 1.0)
