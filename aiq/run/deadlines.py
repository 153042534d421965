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
from typing import Any

from aiq.clock import Clock

BEAT_S = 0.25
STALL_S = 2.0


class Limit:
    """
    One attempt's limit, as a `with` block that raises `TimeoutError` once it is over.

    It does what an `asyncio.timeout` without a timer does, in a third of the time; every request
    enters one.
    """

    __slots__ = ("_cancelling", "_end", "_ends", "_is_over", "_task")

    def __init__(self, ends: dict[Limit, float], end: float) -> None:
        self._ends = ends
        self._end = end
        self._task: asyncio.Task[Any] | None = None
        self._is_over = False

    def __enter__(self) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("only a task can be limited")
        self._task = task
        self._cancelling = task.cancelling()
        self._ends[self] = self._end

    def expire(self) -> None:
        """Cancel whoever is in the block, unless it has been left meanwhile."""
        if self._task is not None:
            self._is_over = True
            self._task.cancel()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ends.pop(self, None)
        task, self._task = self._task, None
        if not self._is_over or task is None:
            return
        # Cancelled by somebody else as well: then that is what it is.
        is_ours_alone = task.uncancel() <= self._cancelling
        if is_ours_alone and kind is not None and issubclass(kind, asyncio.CancelledError):
            raise TimeoutError from error


class Deadlines:
    """The limits of all attempts in flight."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ends: dict[Limit, float] = {}

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
            for limit in self._ends:
                self._ends[limit] += stalled_s
        for limit in [limit for limit, end in self._ends.items() if end <= now]:
            del self._ends[limit]  # it fires once, however long its block takes to leave
            # After what is ready in this turn of the loop: a reply that is here has come in time.
            asyncio.get_running_loop().call_soon(limit.expire)
