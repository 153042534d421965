"""
Jobs that wait for their turn: in lanes of equals, or for the end of a back-off.

Jobs with the same candidates and the same errors there stand in one lane; when the head of a lane
cannot go, nobody behind it can, so a look at each lane is enough however many jobs wait. The pool
bounds how many there are by not reading more.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import deque
from collections.abc import Callable

from aiq.policy.breaker import State
from aiq.policy.routing import Go, Never, Wait
from aiq.policy.strategy import Strategy
from aiq.run.job import Job, Lane


class Waiting:
    """All jobs in memory that are not in flight."""

    def __init__(self, strategy: Strategy) -> None:
        self._strategy = strategy
        self._lanes: dict[Lane, deque[Job]] = {}
        self._backoff: list[tuple[float, int, Job]] = []
        self._order = itertools.count()
        self._in_lanes = 0
        self.bytes = 0
        """Bytes of the lines of all these jobs."""
        self.next_at = math.inf
        """When it is worth asking again, as of the last `take`."""
        self.is_blocked = False
        """Whether none of them could go, as of the last `take`."""

    def __len__(self) -> int:
        return self._in_lanes + len(self._backoff)

    def add(self, job: Job, *, first: bool = False) -> None:
        """Queue a job; one that was already tried goes to the head of its lane."""
        lane = self._lanes.setdefault(job.lane(), deque())
        (lane.appendleft if first else lane.append)(job)
        self._in_lanes += 1
        self.bytes += job.size

    def back_off(self, job: Job, until: float) -> None:
        """Keep a job away until the instant."""
        heapq.heappush(self._backoff, (until, next(self._order), job))
        self.bytes += job.size

    def remove(self, is_gone: Callable[[Job], bool]) -> None:
        """Let go of jobs that nobody wants any more."""
        lanes = {key: deque(j for j in lane if not is_gone(j)) for key, lane in self._lanes.items()}
        self._lanes = {key: lane for key, lane in lanes.items() if lane}
        self._backoff = [one for one in self._backoff if not is_gone(one[2])]
        heapq.heapify(self._backoff)
        self._in_lanes = sum(map(len, self._lanes.values()))
        left = itertools.chain(*self._lanes.values(), (job for _, _, job in self._backoff))
        self.bytes = sum(job.size for job in left)

    def take(self, now: float) -> tuple[Job, Go | Never] | None:
        """
        Return the most urgent job that can go, or will never; None when all have to wait.

        Of equal priority, one that was already tried goes before fresh ones: otherwise all that
        ever failed would come at the end, and hold their places in memory until then. For the trial
        of a breaker it is the other way round: one that failed elsewhere or before may be the cause
        itself, and would keep a provider that is well from everybody.
        """
        while self._backoff and self._backoff[0][0] <= now:
            job = heapq.heappop(self._backoff)[2]
            self.bytes -= job.size
            self.add(job, first=True)
        self.next_at = self._backoff[0][0] if self._backoff else math.inf
        best: tuple[tuple[int, int], Lane, Go | Never] | None = None
        for key, lane in self._lanes.items():
            job = lane[0]
            if best is not None and (job.priority, _MOST_URGENT) <= best[0]:
                continue
            choice = job.route(self._strategy, now)
            if isinstance(choice, Wait):
                if choice.until is not None:
                    self.next_at = min(self.next_at, choice.until)
                continue
            urgency = (job.priority, _urgency(choice, is_fresh=not job.history))
            if best is None or urgency > best[0]:
                best = (urgency, key, choice)
        self.is_blocked = best is None
        if best is None:
            return None
        _, key, choice = best
        lane = self._lanes[key]
        job = lane.popleft()
        self._in_lanes -= 1
        self.bytes -= job.size
        if not lane:
            del self._lanes[key]
        return job, choice


_MOST_URGENT = 2


def _urgency(choice: Go | Never, *, is_fresh: bool) -> int:
    """Return how urgent a job is among others of its priority."""
    is_trial = isinstance(choice, Go) and choice.candidate.channel.breaker.state is not State.CLOSED
    if is_trial:
        return _MOST_URGENT if is_fresh else 1
    return 0 if is_fresh else _MOST_URGENT
