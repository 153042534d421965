"""Keeps enough jobs in memory for every worker, and no more than a bounded number of them."""

from __future__ import annotations

import asyncio

from aiq.run.feed import Feed
from aiq.run.halt import Halt
from aiq.run.waiting import Waiting

LOOK_AHEAD_BYTES = 64 * 1024 * 1024
"""Lines of waiting jobs that may be held; a page more is the most that can come on top."""


BLOCKED_FACTOR = 16
"""
So many times as many jobs are held while none of those in memory can go: others behind them, for
other models, may have a provider that can. Beyond that they wait for the first to come back.
"""


class ReadAhead:
    """Moves jobs from the feed to those that wait for their turn."""

    def __init__(self, feed: Feed, waiting: Waiting, halt: Halt, *, jobs: int) -> None:
        self._feed = feed
        self._waiting = waiting
        self._halt = halt
        self._jobs = jobs
        self._hungry = asyncio.Event()
        self._hungry.set()
        self._is_reading = False
        self.turn = asyncio.Lock()
        """Held while a page is read, and by whoever changes which jobs there are to read."""

    @property
    def is_done(self) -> bool:
        """Whether every job has been read."""
        return self._feed.is_done and not self._is_reading

    @property
    def pages(self) -> int:
        """How many pages were read."""
        return self._feed.pages

    def refill(self) -> None:
        """Read on if there is room."""
        if not self._feed.is_done and self._has_room():
            self._hungry.set()

    def revisit(self) -> None:
        """Read again what was put back; whether there is room shows in time."""
        self._feed.revisit()
        self._hungry.set()

    async def run(self) -> None:
        """Read whatever there is to read; ends by being cancelled."""
        while True:
            await self._hungry.wait()
            self._hungry.clear()
            self._is_reading = True
            while self._has_room() and not self._feed.is_done:
                async with self.turn:
                    for job in await self._feed.read():
                        self._waiting.add(job)
                self._halt.nudge()
            self._is_reading = False
            self._halt.nudge()

    def _has_room(self) -> bool:
        jobs = self._jobs * (BLOCKED_FACTOR if self._waiting.is_blocked else 1)
        return len(self._waiting) < jobs and self._waiting.bytes < LOOK_AHEAD_BYTES
