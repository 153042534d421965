"""
Wall-clock limits of attempts, kept by one heartbeat instead of one timer each.

Every quarter of a second the heartbeat looks at what is in flight. It notices when the process
itself was stopped (a sleeping laptop, SIGSTOP): a beat that comes late by two seconds or more moves
every deadline by as much, so that replies which already sit in the sockets are read before any
deadline may fire. Time in which the process computed is no such stop, or a server whose replies
keep it busy could put its own deadline off for ever.
"""

from __future__ import annotations

import asyncio
from types import TracebackType

from aiq.clock import Clock

BEAT_S = 0.25
STALL_S = 2.0


class Limit:
    """One attempt's limit, as an `async with` block; a class, because every request enters one."""

    __slots__ = ("_end", "_ends", "_timeout")

    def __init__(self, ends: dict[asyncio.Timeout, float], end: float) -> None:
        self._ends = ends
        self._end = end
        self._timeout = asyncio.timeout(None)

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()
        self._ends[self._timeout] = self._end

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ends.pop(self._timeout, None)
        await self._timeout.__aexit__(kind, error, traceback)


class Deadlines:
    """The limits of all attempts in flight."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ends: dict[asyncio.Timeout, float] = {}

    def limit(self, seconds: float) -> Limit:
        """Return a block that raises `TimeoutError` when it lasts longer than this."""
        return Limit(self._ends, self._clock.now() + seconds)

    async def beat(self) -> None:
        """Run the heartbeat; it ends by being cancelled."""
        last, worked = self._clock.now(), self._clock.worked()
        while True:
            await self._clock.sleep(BEAT_S)
            now, working = self._clock.now(), self._clock.worked()
            self._check(now, stalled_s=now - last - BEAT_S - (working - worked))
            last, worked = now, working

    def _check(self, now: float, *, stalled_s: float) -> None:
        if stalled_s >= STALL_S:
            for timeout in self._ends:
                self._ends[timeout] += stalled_s
        for timeout in [timeout for timeout, end in self._ends.items() if end <= now]:
            del self._ends[timeout]  # it fires once, however long its block takes to leave
            timeout.reschedule(0)
