"""
Servers with a character of their own: limited, small, faulty, dying, slowing down.

    async with scripted_fleet(tmp_path, {"a": limited(25), "b": steady()}) as fleet:
        await fleet.bench.run(prompts(100))
        ...  # fleet["a"].calls, fleet["a"].good(3.0, 10.0), fleet.bad_share(since=3.0)

A `Temper` decides a reply by the seconds since the fleet's first request and the request itself;
`Scripted` makes a script of it and keeps a diary. Seconds are those of the running loop, so a
hurried loop hurries its servers too. What a server decides, it decides on arrival.
"""

from __future__ import annotations

import asyncio
import bisect
import contextlib
import heapq
import math
import random
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from tests.support.fault_server import FaultServer
from tests.support.replies import Reply, Seen
from tests.support.sessions import Bench, provider

Temper: TypeAlias = Callable[[float, Seen], Reply]
"""What a server makes of a request that came at this second."""


class Watch:
    """Seconds of the running loop since it was first looked at."""

    def __init__(self) -> None:
        self._began: float | None = None

    def now(self) -> float:
        instant = asyncio.get_running_loop().time()
        if self._began is None:
            self._began = instant
        return instant - self._began


class Call(NamedTuple):
    """A request as the server's diary has it; `status` None: no status line left."""

    at: float
    status: int | None
    is_good: bool
    in_flight: int


class Scripted:
    """A script that decides by time and writes down what it did."""

    def __init__(self, temper: Temper, watch: Watch | None = None) -> None:
        self.temper = temper
        self.watch = watch or Watch()
        self.calls: list[Call] = []

    def __call__(self, seen: Seen) -> Reply:
        at = self.watch.now()
        reply = self.temper(at, seen)
        status = None if reply.raw is not None else reply.status
        is_good = status == 200 and reply.is_complete
        self.calls.append(Call(at, status, is_good, seen.in_flight))
        return reply

    def between(self, since: float = 0.0, until: float = math.inf) -> list[Call]:
        """Return the requests of that time."""
        first = bisect.bisect_left(self.calls, since, key=lambda call: call.at)
        return self.calls[first : bisect.bisect_left(self.calls, until, key=lambda call: call.at)]

    def good(self, since: float = 0.0, until: float = math.inf) -> int:
        """Count the requests of that time that got an answer."""
        return sum(call.is_good for call in self.between(since, until))

    def bad(self, since: float = 0.0, until: float = math.inf) -> int:
        """Count the others."""
        return len(self.between(since, until)) - self.good(since, until)

    def bad_share(self, since: float = 0.0, until: float = math.inf) -> float:
        return self.bad(since, until) / max(1, len(self.between(since, until)))

    @property
    def ended(self) -> float:
        """The second of the last request."""
        return self.calls[-1].at

    def most_within(self, window_s: float) -> int:
        """Return the largest number of answers to requests that came within any such window."""
        instants = [call.at for call in self.calls if call.is_good]
        return most_within(instants, [1] * len(instants), window_s)


def most_within(instants: list[float], units: list[int], window_s: float) -> int:
    """Return the largest sum of units in any half-open window of that length."""
    most = held = first = 0
    for at, amount in zip(instants, units, strict=True):
        held += amount
        while at - instants[first] >= window_s:
            held -= units[first]
            first += 1
        most = max(most, held)
    return most


def always(reply: Reply) -> Temper:
    """Give the same reply to everything."""
    return lambda _at, _seen: reply


def steady(latency_s: float = 0.05) -> Temper:
    """Answer everything."""
    return always(Reply(delay_s=latency_s))


def failing(latency_s: float = 0.05) -> Temper:
    """Answer everything with a 500."""
    return always(Reply.error(500, delay_s=latency_s))


def limited(per_s: int, *, latency_s: float = 0.02, hint: bool = True) -> Temper:
    """Answer so many requests in any second, sliding; refuse the others, with the wait or bare."""
    accepted: deque[float] = deque()

    def decide(at: float, _seen: Seen) -> Reply:
        while accepted and accepted[0] <= at - 1.0:
            accepted.popleft()
        if len(accepted) < per_s:
            accepted.append(at)
            return Reply(delay_s=latency_s)
        wait_ms = math.floor((accepted[0] + 1.0 - at) * 1000) + 1
        headers = {"retry-after-ms": str(wait_ms)} if hint else {}
        return Reply.error(429, headers=headers, delay_s=latency_s)

    return decide


def small(slots: int, *, most: int, service_s: float = 0.1) -> Temper:
    """Serve `slots` requests at once, let others queue, and shed from `most` on with a bare 503."""
    free_at = [0.0] * slots
    leaving: list[float] = []

    def decide(at: float, _seen: Seen) -> Reply:
        while leaving and leaving[0] <= at:
            heapq.heappop(leaving)
        if len(leaving) >= most:
            return Reply.error(503)
        done = max(at, heapq.heappop(free_at)) + service_s
        heapq.heappush(free_at, done)
        heapq.heappush(leaving, done)
        return Reply(delay_s=done - at)

    return decide


def faulty(
    share: float, *, seed: int, latency_s: float = 0.05, odds: Sequence[int] = (1, 1, 1)
) -> Temper:
    """Fail such a share of the requests: with 500s, resets and half bodies, at these odds."""
    dice = random.Random(seed)
    faults = (
        Reply.error(500, delay_s=latency_s),
        Reply.reset(delay_s=latency_s),
        Reply.truncated(delay_s=latency_s),
    )

    def decide(_at: float, _seen: Seen) -> Reply:
        if dice.random() >= share:
            return Reply(delay_s=latency_s)
        return dice.choices(faults, odds)[0]

    return decide


def at_times(is_so: Callable[[float], bool], then: Temper, otherwise: Temper) -> Temper:
    """Change the temper with the time."""
    return lambda at, seen: (then if is_so(at) else otherwise)(at, seen)


class ScriptedFleet:
    """Servers with their diaries by name, and a bench that has them as providers."""

    def __init__(self, bench: Bench, servers: dict[str, FaultServer], scripts: dict[str, Scripted]):
        self.bench = bench
        self.servers = servers
        self._scripts = scripts

    def __getitem__(self, name: str) -> Scripted:
        return self._scripts[name]

    def calls(self, since: float = 0.0, until: float = math.inf) -> list[tuple[float, str]]:
        """Return when and by whom a request was received, in order of arrival."""
        return sorted(
            (call.at, name)
            for name, script in self._scripts.items()
            for call in script.between(since, until)
        )

    def good(self, since: float = 0.0, until: float = math.inf) -> int:
        return sum(script.good(since, until) for script in self._scripts.values())

    def bad_share(self, since: float = 0.0, until: float = math.inf) -> float:
        bad = sum(script.bad(since, until) for script in self._scripts.values())
        return bad / max(1, len(self.calls(since, until)))

    @property
    def ended(self) -> float:
        """The second of the last request at all."""
        return max(script.ended for script in self._scripts.values() if script.calls)

    @property
    def most_in_flight(self) -> int:
        return max(call.in_flight for script in self._scripts.values() for call in script.calls)


@contextlib.asynccontextmanager
async def scripted_fleet(
    directory: Path,
    tempers: Mapping[str, Temper],
    *,
    run: dict[str, Any] | None = None,
    keys: Mapping[str, dict[str, Any]] | None = None,
) -> AsyncIterator[ScriptedFleet]:
    """Start a server per temper; they are providers in this order, with `keys` by name."""
    watch = Watch()
    scripts = {name: Scripted(temper, watch) for name, temper in tempers.items()}
    async with contextlib.AsyncExitStack() as stack:
        servers = {
            name: await stack.enter_async_context(FaultServer(script))
            for name, script in scripts.items()
        }
        yield ScriptedFleet(_bench(directory, servers, run or {}, keys or {}), servers, scripts)


def _bench(
    directory: Path,
    servers: Mapping[str, FaultServer],
    run: dict[str, Any],
    keys: Mapping[str, dict[str, Any]],
) -> Bench:
    directory.mkdir(exist_ok=True)
    providers: dict[str, Any] = {
        name: provider(one, **keys.get(name, {})) for name, one in servers.items()
    }
    return Bench(directory, run={"max_wait_s": 600} | run, **providers)
