"""
The latencies of a run as a series: of thousands of answers a second, the median of each interval.

An answer in a batch is long because its prompt is, and at hundreds a second three such in a row
come by chance again and again. The median of an interval moves when the provider does. So a
detector sees a run as it sees probes, one value now and then, and its numbers mean the same.
"""

from __future__ import annotations

from statistics import median

SPAN_S = 5.0
"""How long an interval is."""

LEAST = 5
"""Answers of which there is a median; with fewer an interval goes on."""

KEPT = 1000
"""Answers of an interval that are kept, the first of it: the median of more is the same."""


class Pulse:
    """The current interval; instants are seconds of any one clock."""

    __slots__ = ("_began", "_latencies_ms")

    def __init__(self) -> None:
        self._began: float | None = None
        self._latencies_ms: list[float] = []

    def beat(self, latency_ms: float, *, now: float) -> float | None:
        """Take in an answer; return the median of the interval that it ends, if it ends one."""
        if self._began is None:
            self._began = now
        if len(self._latencies_ms) < KEPT:
            self._latencies_ms.append(latency_ms)
        if now < self._began + SPAN_S or len(self._latencies_ms) < LEAST:
            return None
        self._began = now
        found, self._latencies_ms = median(self._latencies_ms), []
        return found
