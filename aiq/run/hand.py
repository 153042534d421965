"""
What an operator's hand does to a pool: it pauses, narrows, and takes jobs out or puts them back.

As long as nobody lays it on, it costs the pool a look at a flag.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence

from aiq.errors import Refused
from aiq.policy.patience import Patience
from aiq.run.halt import Halt
from aiq.run.means import Means
from aiq.run.read_ahead import ReadAhead
from aiq.run.waiting import Waiting
from aiq.run.withdrawn import Withdrawn

ENDING = "the run is ending"


class Hand:
    """An operator's hand on one pool."""

    def __init__(
        self,
        *,
        halt: Halt,
        waiting: Waiting,
        reading: ReadAhead,
        patience: Patience,
        means: Means,
        concurrency: int,
    ) -> None:
        self._halt = halt
        self._waiting = waiting
        self._reading = reading
        self._patience = patience
        self._fleet = means.fleet
        self._clock = means.clock
        self._concurrency = concurrency
        self._changes = 0
        self.withdrawn = Withdrawn()
        self.is_used = False
        """Whether there ever was one."""
        self.idle = 0
        """Workers that are to have nothing to do."""

    @property
    def is_paused(self) -> bool:
        """Whether nothing new is to be sent for now."""
        return self._halt.is_paused

    @property
    def concurrency(self) -> int:
        """How many may be in flight."""
        return self._concurrency - self.idle

    @property
    def is_ending(self) -> bool:
        """Whether nothing new is sent any more, for whatever reason."""
        return self._halt.why is not None

    @property
    def is_changing_jobs(self) -> bool:
        """Whether the store may hold more jobs in a moment."""
        return self._changes > 0

    def pause(self) -> None:
        """Send nothing new until `resume`; what is in flight goes on."""
        self._halt.is_paused = True
        self.nudge()

    def resume(self) -> None:
        """Send again."""
        self._halt.is_paused = False
        self.nudge()

    def limit(self, concurrency: int) -> None:
        """Keep at most so many in flight, of those it began with; what is too many finishes."""
        self.idle = self._concurrency - concurrency
        self.nudge()

    def nudge(self) -> None:
        """Let the pool look again: something was changed that says what may be sent."""
        self.is_used = True
        self._halt.nudge()

    def bear(self) -> None:
        """Let time in which a person keeps the run from sending count against nobody."""
        if self._halt.is_paused or self._fleet.is_held:
            self._patience.hold(self._clock.now())
        else:
            self._patience.go_on(self._clock.now())

    @contextlib.asynccontextmanager
    async def changing_jobs(self) -> AsyncIterator[None]:
        """
        Let the pool neither read jobs nor come to its end while the block changes which there are.

        Raises `Refused` where it is ending already. It may still have to stop meanwhile.
        """
        if self.is_ending:
            raise Refused(ENDING, hint="try again in a moment")
        self._changes += 1
        try:
            async with self._reading.turn:
                yield
        finally:
            self._changes -= 1
            self.nudge()

    def withdraw(self, *, batches: Collection[int], jobs: Collection[int]) -> None:
        """Send nothing more of these; what is in flight finishes, and is not asked again."""
        self.withdrawn.add(batches=batches, jobs=jobs, page=self._reading.pages)
        self._waiting.remove(self.withdrawn.covers)

    @property
    def given_up(self) -> frozenset[int]:
        """Jobs that stay pending because nobody can take them, as far as remembered."""
        return frozenset(self._halt.given_up)

    def forget(self, jobs: Collection[int]) -> None:
        """Let jobs that nobody could take, and nobody wants any more, be no obstacle."""
        self._halt.given_up.difference_update(jobs)

    def take_again(self, jobs: Collection[int]) -> None:
        """Read these, which were put back."""
        self._halt.given_up.difference_update(jobs)
        self._reading.revisit()

    async def reconsider(self, put: Callable[[Sequence[int]], Awaitable[None]]) -> None:
        """
        Take up again the jobs that nobody could be asked, now that somebody may.

        Those that it is about have left memory; `put` lets them be read again.
        """
        if not (jobs := list(self._halt.given_up)):
            return
        self._changes += 1
        try:
            self._halt.given_up.clear()
            self._halt.refusal = None
            await put(jobs)
            self._reading.revisit()
        finally:
            self._changes -= 1
            self.nudge()
