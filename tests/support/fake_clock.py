"""A clock that stands still until a test moves it."""

from __future__ import annotations

import asyncio
import heapq
import itertools

from aiq.clock import Clock

EPOCH_US = 1_700_000_000_000_000
"""What the wall clock shows when the monotonic one shows zero."""

_PASSES = 10
"""Passes of the event loop after each wake-up: enough for what woke to start waiting again."""


class FakeClock(Clock):
    """Monotonic seconds from zero; whoever sleeps is woken by `advance`, in order of instants."""

    def __init__(self) -> None:
        self._now = 0.0
        self._worked = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def now(self) -> float:
        return self._now

    def utc_us(self) -> int:
        return EPOCH_US + round(self._now * 1_000_000)

    async def sleep(self, seconds: float) -> None:
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + seconds, next(self._order), woken))
        await woken

    def worked(self) -> float:
        return self._worked

    def jump(self, seconds: float) -> None:
        """Move time without waking anybody: what a stopped process sees."""
        self._now += seconds

    def compute(self, seconds: float) -> None:
        """Move time without waking anybody: what a process sees that is busy."""
        self._now += seconds
        self._worked += seconds

    async def advance(self, seconds: float) -> None:
        """Move time and wake whoever is due, letting the loop settle after each."""
        end = self._now + seconds
        await _settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            instant, _, woken = heapq.heappop(self._sleepers)
            self._now = max(self._now, instant)
            if not woken.done():
                woken.set_result(None)
            await _settle()
        self._now = max(self._now, end)


async def _settle() -> None:
    for _ in range(_PASSES):
        await asyncio.sleep(0)
