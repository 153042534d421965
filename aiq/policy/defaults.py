"""
The constants of routing, breaker, limits and probes (`design` 16), all settable per provider.

One table: whoever wants another number finds its name, its unit and its default here.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec

Calls: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=100_000)]
Seconds: TypeAlias = Annotated[float, msgspec.Meta(gt=0, le=86_400)]
Share: TypeAlias = Annotated[float, msgspec.Meta(gt=0, le=1)]
PerMinute: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=1_000_000_000_000)]


class BreakerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[providers.breaker]`: when a provider is taken for dead or slow, and how it is tried."""

    window_calls: Calls = 200
    """The last so many calls are judged, or the in-flight limit if that is larger."""
    window_s: Seconds = 120.0
    """None of them older than this, or than twice the 99th percentile of latency."""
    min_calls: Calls = 20
    """A share is judged over no fewer; below five times these, half of them must be the latest."""
    bad_share: Share = 0.5
    """Opens at this share of bad calls."""
    first_bad: Calls = 5
    """Opens when the first so many calls are all bad."""
    connects_in_a_row: Calls = 5
    """Opens after so many failures to connect in a row."""
    open_s: Seconds = 15.0
    """How long it stays open the first time; doubles with every re-opening."""
    open_cap_s: Seconds = 300.0
    alone_s: Seconds = 5.0
    """Between trials while every candidate is open, and of a provider that is degraded."""
    trial_expiry_s: Seconds = 30.0
    """A trial without an outcome gives its place back after this, or twice the 95th percentile."""
    slow_factor: Annotated[float, msgspec.Meta(gt=1, le=1000)] = 4.0
    """A call is slow beyond this many times the usual latency..."""
    slow_min_s: Seconds = 10.0
    """...and beyond this."""
    slow_share: Share = 0.6
    """Degraded at this share of slow calls..."""
    slow_calls: Calls = 10
    """...of no fewer than these."""


class LimitSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[providers.limits]`: how an account's pace and concurrency adapt."""

    start: Calls = 16
    """Requests in flight to begin with, where the ceiling is not lower."""
    decrease: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.7
    """What is left of the limit after a sign of congestion."""
    cooldown_s: Seconds = 2.0
    """After a 429 without a hint; doubles up to `cooldown_cap_s`."""
    cooldown_cap_s: Seconds = 60.0
    learned_share: Share = 0.9
    """Of the accepted requests per second, where no limit is configured or announced."""
    learned_span_s: Seconds = 10.0
    growth: Share = 0.05
    """What a learned rate gains per `growth_s` without a 429."""
    growth_s: Seconds = 5.0


class RateLimits(msgspec.Struct, frozen=True, kw_only=True):
    """An account's configured limits per minute; None: not configured."""

    requests: PerMinute | None = None
    tokens: PerMinute | None = None
    input_tokens: PerMinute | None = None
    output_tokens: PerMinute | None = None


class ProbeSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[providers.probe]`: how a provider is examined."""

    timeout_s: Seconds = 10.0
    """For all levels together."""
    latency_ms: Annotated[float, msgspec.Meta(gt=0, le=3_600_000)] = 5000.0
    """A working provider that takes longer is degraded."""
    level: Annotated[int, msgspec.Meta(ge=1, le=4)] = 4
    endpoint: Literal["chat", "embeddings", "completions", "responses"] = "chat"


class MonitorSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """
    `[monitor]`: how often `monitor` looks, and what it takes for out of the ordinary.

    Latencies are compared by their logarithms, because they are skewed: in milliseconds a score of
    3 is nothing rare, in logarithms it is what it is meant to be.
    """

    interval_s: Annotated[float, msgspec.Meta(ge=0.1, le=86_400)] = 60.0
    """Every provider is probed once in each."""
    jitter: Annotated[float, msgspec.Meta(ge=0, le=0.5)] = 0.1
    """The share of an interval by which a probe may come late, so that no two march in step."""
    in_a_row: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 3
    """So many in a row are no accident, be they failures, slow answers or good ones again."""
    min_samples: Annotated[int, msgspec.Meta(ge=3, le=100)] = 10
    """With fewer latencies nothing is out of the ordinary."""
    z_warning: Annotated[float, msgspec.Meta(gt=0, le=1000)] = 3.0
    """The robust z-score, from the median of 100 by their MAD, that is a warning `in_a_row`..."""
    z_critical: Annotated[float, msgspec.Meta(gt=0, le=1000)] = 4.0
    """...and the one that is critical..."""
    critical_in_a_row: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 5
    """...so many times in a row: where 1 of 20 answers takes ten times as long, three of them
    follow one another in one of 8,000, and nobody is to be woken for that."""
    least_spread: Annotated[float, msgspec.Meta(gt=0, le=10)] = 0.2
    """
    A standard deviation is taken for no smaller, as a share of the latency.

    Who always answers within 1 % would otherwise be an anomaly at 4 % more. With 0.2, a warning
    takes 1.7 times the usual latency and a critical alert 2.1 times, however steady it was.
    """
    least_rise_ms: Annotated[float, msgspec.Meta(ge=0, le=3_600_000)] = 100.0
    """And no answer is out of the ordinary that took less than this above the usual."""
    fence: Annotated[float, msgspec.Meta(gt=0, le=1000)] = 1.5
    """Tukey's: quartile ranges above the upper quartile beyond which one answer is unusual..."""
    fence_samples: Annotated[int, msgspec.Meta(ge=4, le=100)] = 20
    """...judged by no fewer. That is worth a mark in the table, never an alert."""
    drift_samples: Annotated[int, msgspec.Meta(ge=2, le=50)] = 15
    """The mean of so many answers shows a slow drift, which is a warning..."""
    drift_sigma: Annotated[float, msgspec.Meta(gt=0, le=1000)] = 2.0
    """...at so many standard deviations above the mean..."""
    drift_memory: Annotated[int, msgspec.Meta(ge=50, le=100_000)] = 500
    """...of about so many before them: the last 100 are taken along by what drifts for hours."""
    accept_after: Annotated[int, msgspec.Meta(ge=10, le=100)] = 50
    """A latency that has been out of the ordinary for so many answers is the new usual one."""
    error_share: Share = 0.05
    """Of the last 100 probes: from here on failures are an alert, until half of it..."""
    error_samples: Annotated[int, msgspec.Meta(ge=1, le=100)] = 20
    """...judged over no fewer, and on no fewer failures than `in_a_row`."""
