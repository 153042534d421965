"""
One channel's deliveries, one after the other, each tried again as long as that makes sense.

Every channel has its own, so that a dead one delays no other. What it cannot hold is lost, the
oldest first, and counted; what ends as not delivered is said once per reason.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

import tenacity

from aiq.clock import Clock
from aiq.run.alerts.channel import Channel, Undelivered
from aiq.run.alerts.notice import Notice

HELD = 50
"""Notices that wait for one channel; at six a minute, those of eight minutes."""

ATTEMPTS = 8
_BASE_S = 1.0
_CAP_S = 60.0
_LONGEST_S = 300.0
"""A channel that asks for a longer pause is tried all the same."""
_LAST_REST_S = 0.5
"""Between attempts once nothing but these deliveries holds the program up."""


class Courier:
    """Delivers to one channel."""

    def __init__(
        self,
        channel: Channel,
        *,
        clock: Clock,
        draw: Callable[[], float],
        note: Callable[[str], None],
    ) -> None:
        """`draw` is uniform in 0..1; `note` is told what could not be delivered."""
        self._channel = channel
        self._clock = clock
        self._draw = draw
        self._note = note
        self._waiting: deque[Notice] = deque()
        self._current: Notice | None = None
        self._offered = asyncio.Event()
        self._settled = asyncio.Event()
        self._settled.set()
        self._hurry = asyncio.Event()
        self._said: set[str] = set()
        self.lost = 0
        """Notices that were never delivered."""

    @property
    def name(self) -> str:
        """The channel's."""
        return self._channel.name

    @property
    def undelivered(self) -> int:
        """How many notices have not got out, for good or so far."""
        return self.lost + len(self._waiting) + (self._current is not None)

    def offer(self, notice: Notice) -> None:
        """Take a notice; never waits."""
        if len(self._waiting) >= HELD:
            self._waiting.popleft()
            self.lost += 1
        self._waiting.append(notice)
        self._settled.clear()
        self._offered.set()

    async def run(self) -> None:
        """Deliver, until cancelled."""
        while True:
            await self._offered.wait()
            self._offered.clear()
            while self._waiting:
                self._current = self._waiting.popleft()
                await self._deliver(self._current)
                self._current = None
            self._settled.set()

    async def settle(self) -> None:
        """Hurry, and return when everything offered was delivered or given up."""
        self._hurry.set()
        await self._settled.wait()

    async def close(self) -> None:
        """Close the channel."""
        await self._channel.close()

    async def _deliver(self, notice: Notice) -> None:
        # A fresh one each time: what tenacity keeps of a call stands in the object.
        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(_is_passing),
            stop=tenacity.stop_after_attempt(ATTEMPTS),
            wait=self._pause_s,
            sleep=self._rest,
            reraise=True,
        )
        try:
            await retrying(self._channel.send, notice)
        except Undelivered as failure:
            self._fail(str(failure))
        except Exception as error:  # noqa: BLE001 - a channel may fail in any way and must not matter
            self._fail(type(error).__name__)

    def _fail(self, reason: str) -> None:
        self.lost += 1
        if reason not in self._said and len(self._said) < HELD:
            self._said.add(reason)
            self._note(f"an alert was not delivered to {self.name}: {reason}")

    def _pause_s(self, state: tenacity.RetryCallState) -> float:
        """Return the back-off with full jitter, or what the channel asked for if that is longer."""
        error = state.outcome.exception() if state.outcome is not None else None
        asked = error.retry_after_s if isinstance(error, Undelivered) else None
        backoff = self._draw() * min(_CAP_S, _BASE_S * 2.0 ** min(state.attempt_number, 10))
        return max(backoff, min(asked or 0.0, _LONGEST_S))

    async def _rest(self, seconds: float) -> None:
        """Wait between attempts; cut short where the program waits for the end of it."""
        resting = asyncio.create_task(self._clock.sleep(seconds))
        hurried = asyncio.create_task(self._hurry.wait())
        try:
            await asyncio.wait({resting, hurried}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            resting.cancel()
            hurried.cancel()
            await asyncio.gather(resting, hurried, return_exceptions=True)
        if self._hurry.is_set():
            await self._clock.sleep(min(seconds, _LAST_REST_S))


def _is_passing(error: BaseException) -> bool:
    return isinstance(error, Undelivered) and not error.is_final
