"""
Servers that limit, and callers that want more than they get, on a clock of numbers.

A discrete-event model: no event loop, no sockets, no real time. `Load` keeps as many requests in
flight as callers, limits and concurrency allow, and books what came of each; the servers decide by
rules of their own, written without the code under test.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from typing import NamedTuple, Protocol

from aiq.model import Quota, Usage
from aiq.policy.concurrency import Concurrency
from aiq.policy.limits import NOTHING, Limits, Reservation
from aiq.policy.tokens import Estimate

RETRY_S = 0.25
"""How soon a caller comes back that was told to wait for something in flight, at the latest."""


class Reply(NamedTuple):
    """What a server does with a request: `after_s` is until the reply."""

    status_code: int
    after_s: float
    hint_s: float | None = None
    quota: Quota | None = None


class Server(Protocol):
    """Decides about requests, in the order of their arrival."""

    def receive(self, now: float) -> Reply:
        """Take a request in at `now`."""


class SlidingWindowServer:
    """Accepts so many requests in any second (or other window), and says when to come back."""

    def __init__(
        self, limit: int, *, window_s: float = 1.0, latency_s: float = 0.02, hints: bool = True
    ) -> None:
        self.limit = limit
        self._window_s = window_s
        self._latency_s = latency_s
        self._hints = hints
        self._accepted: deque[float] = deque()

    def receive(self, now: float) -> Reply:
        while self._accepted and self._accepted[0] <= now - self._window_s:
            self._accepted.popleft()
        if len(self._accepted) < self.limit:
            self._accepted.append(now)
            return Reply(200, self._latency_s)
        wait_s = self._accepted[0] + self._window_s - now
        hint_s = int(wait_s * 1000 + 1) / 1000 if self._hints else None
        return Reply(429, min(0.02, self._latency_s), hint_s)


class MinuteServer:
    """A token bucket of a whole minute's requests, which it announces in every reply or never."""

    def __init__(self, per_minute: int, *, latency_s: float = 0.5, announces: bool) -> None:
        self._per_minute = per_minute
        self._latency_s = latency_s
        self._announces = announces
        self._level = float(per_minute)
        self._at = 0.0

    def receive(self, now: float) -> Reply:
        refill = (now - self._at) * self._per_minute / 60.0
        self._level, self._at = min(float(self._per_minute), self._level + refill), now
        is_taken = self._level >= 1.0
        self._level -= is_taken
        quota = Quota(requests_limit=self._per_minute, requests_left=int(self._level))
        status_code, after_s = (200, self._latency_s) if is_taken else (429, 0.02)
        return Reply(status_code, after_s, None, quota if self._announces else None)


class SharedCapacityServer:
    """Serves `capacity` requests at once, makes the others queue, and sheds beyond `most`."""

    def __init__(self, *, capacity: int, most: int, service_s: float = 0.1) -> None:
        self._most = most
        self._service_s = service_s
        self._free_at = [0.0] * capacity
        self._leaving: list[float] = []

    def receive(self, now: float) -> Reply:
        while self._leaving and self._leaving[0] <= now:
            heapq.heappop(self._leaving)
        if len(self._leaving) >= self._most:
            return Reply(503, 0.005)
        done = max(now, heapq.heappop(self._free_at)) + self._service_s
        heapq.heappush(self._free_at, done)
        heapq.heappush(self._leaving, done)
        return Reply(200, done - now)


class Finished(NamedTuple):
    """One request that came back; instants are virtual seconds."""

    started: float
    ended: float
    status_code: int


class Load:
    """Callers with an endless supply of requests."""

    def __init__(
        self,
        server: Server,
        *,
        limits: Limits,
        concurrency: Concurrency | None = None,
        callers: int = 64,
        lateness_s: float = 0.0,
        seed: int = 1,
    ) -> None:
        """`lateness_s` is the most by which a caller wakes up too late."""
        self.finished: list[Finished] = []
        self.limit_history: list[tuple[float, int]] = []
        self.now = 0.0
        self._server = server
        self._limits = limits
        self._concurrency = concurrency
        self._idle = callers
        self._lateness_s = lateness_s
        self._dice = random.Random(seed)
        self._order = itertools.count()
        self._replies: list[tuple[float, int, float, Reply, Reservation]] = []
        self._is_cooling = False

    def run(self, *, until: float = float("inf"), requests: int | None = None) -> None:
        """Go on until an instant, or until so many requests have finished."""
        while self.now < until and (requests is None or len(self.finished) < requests):
            self._start_all()
            next_reply = self._replies[0][0] if self._replies else float("inf")
            self.now = min(next_reply, self._next_start())
            while self._replies and self._replies[0][0] <= self.now:
                self._end(*heapq.heappop(self._replies))

    def between(self, begin: float, end: float) -> list[Finished]:
        """Return what started in that time."""
        return [one for one in self.finished if begin <= one.started < end]

    def _next_start(self) -> float:
        if not self._idle:
            return float("inf")
        if self._concurrency is not None and not self._concurrency.has_room:
            return max(self.now, self._concurrency.grows_at)
        ready_at = self._limits.ready_at(self.now, NOTHING)
        if ready_at == float("inf"):
            return self.now + RETRY_S
        return max(self.now, ready_at) + self._lateness_s * self._dice.random()

    def _has_room(self) -> bool:
        if self._concurrency is None:
            return True
        self._concurrency.advance(self.now)
        return self._concurrency.has_room

    def _start_all(self) -> None:
        while (
            self._idle and self._has_room() and self._limits.ready_at(self.now, NOTHING) <= self.now
        ):
            self._idle -= 1
            if self._concurrency is not None:
                if self._is_cooling:
                    self._concurrency.slow_start(self.now)
                self._concurrency.begin(self.now)
                self.limit_history.append((self.now, self._concurrency.limit))
            self._is_cooling = False
            reservation = self._limits.reserve(self.now, Estimate(10, 10))
            reply = self._server.receive(self.now)
            entry = (self.now + reply.after_s, next(self._order), self.now, reply, reservation)
            heapq.heappush(self._replies, entry)

    def _end(
        self, ended: float, _order: int, started: float, reply: Reply, reservation: Reservation
    ) -> None:
        self._idle += 1
        self.finished.append(Finished(started, ended, reply.status_code))
        self._limits.settle(reservation, now=self.now, usage=Usage(), quota=reply.quota)
        if reply.status_code == 429:
            self._limits.rate_limited(
                now=self.now, started=started, hint_s=reply.hint_s, draw=self._dice.random()
            )
            self._is_cooling = True
        elif reply.status_code == 200:
            self._limits.cooldown.clear(started=started)
        if self._concurrency is not None:
            if reply.status_code == 200:
                self._concurrency.end_good(self.now, started=started)
            else:
                self._concurrency.end_congested(self.now, started=started)


def accepted(finished: list[Finished]) -> int:
    """Count the answers."""
    return sum(one.status_code == 200 for one in finished)


def refused_share(finished: list[Finished]) -> float:
    """Return the share that was not answered."""
    return 1.0 - accepted(finished) / max(1, len(finished))
