"""
A row of the matrix: a fault, how it is made, and what has to come of it.

In every row four prompts `p0` to `p3` go one after the other to provider `a`, and `p1` is the one
that meets the fault, unless the row says otherwise. `trail` is what the ledger must hold of the
prompt that met it: `a interrupted, a ok` are two attempts at `a`, `a connect, ...` is one and any
number more. What a row does not mention must be as in a run without faults: everything succeeds and
`a` ends healthy.

The catalogue's ids are kept: E status codes, F transport, G bodies, D time, H fleets.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from aiq.errors import ExitCode
from aiq.run.result import RunResult
from tests.support.fault_server import FaultServer
from tests.support.replies import Reply, Seen
from tests.support.sessions import Bench

LATE_S = 5.0
"""A gateway that gives up after this has passed the request on, whatever it says."""


class Site:
    """The servers of a row, and what they did: the providers' side of the story."""

    def __init__(self) -> None:
        self.server: FaultServer | None = None
        self.url: str | None = None  # where `a` is asked, if not at the server itself
        self.spare: FaultServer | None = None
        self.environ: dict[str, str] = {}
        self.injected = 0
        self.asked_again = 0  # requests for a prompt whose right answer had left
        self.bills: Counter[str] = Counter()
        """Requests by prompt that a provider may charge for, judged by what left its server."""
        self._answered: set[str] = set()

    def replied(self, seen: Seen, reply: Reply | None) -> Reply | None:
        """Note what a server makes of a request; None is the right answer."""
        if seen.method == "POST":
            self.asked_again += seen.prompt in self._answered
            self.bills[seen.prompt] += is_billed(reply or Reply())
            if reply is None:
                self._answered.add(seen.prompt)
        return reply

    @property
    def seen_twice(self) -> int:
        """How many requests a provider may charge for besides the first of their prompt."""
        return sum(max(0, count - 1) for count in self.bills.values())


def is_billed(reply: Reply) -> bool:
    """Whether a provider that replies so may have done the work: all but what it refused."""
    if reply.raw is not None:
        return True
    if reply.status in (502, 504, 524):
        return reply.delay_s > LATE_S
    return 200 <= reply.status < 300 and not _declares_error(reply.body)


def _declares_error(body: bytes | None) -> bool:
    try:
        document = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        return False
    return isinstance(document, dict) and "error" in document and "usage" not in document


@dataclass(frozen=True, slots=True)
class Scene:
    """A row's run after its end, for what only this row has to say."""

    bench: Bench
    site: Site
    result: RunResult

    def one(self, sql: str) -> Any:
        """Return the one value that a query has."""
        [(value,)] = self.bench.rows(sql)
        return value

    def met(self, column: str) -> Any:
        """Return a column of the first attempt that was no success."""
        sql = f"SELECT {column} FROM attempt LEFT JOIN bad_reply ON attempt_id = attempt.id"
        return self.bench.rows(f"{sql} WHERE kind <> 'ok' ORDER BY attempt.id LIMIT 1")[0][0]

    def answer(self, prompt: str = "p1") -> bytes:
        """Return the stored reply to a prompt."""
        sql = "SELECT body FROM answer JOIN job ON job.id = job_id WHERE key = ?"
        [(body,)] = self.bench.rows(sql, prompt)
        return bytes(body)


Check: TypeAlias = Callable[[Scene], None]
Place: TypeAlias = Callable[[Site], AbstractAsyncContextManager[None]]
"""Opens what a fault needs, on entering, and puts it into the site."""


@dataclass(frozen=True, kw_only=True)
class Row:
    id: str
    name: str
    place: Place
    trail: str
    reply: Reply | None = None  # the fault, where it is one reply
    billed: str = "no"  # the first attempt of the prompt that met it
    state: str = "succeeded"  # of that prompt
    others: str = "succeeded"  # each of these states is there, and no other
    status: str = "healthy"  # of `a` at the end
    exit_code: ExitCode = ExitCode.OK
    hit: str = "p1"
    jobs: int = 4
    spare: bool = False  # whether a healthy provider `b` stands behind `a`
    is_unseen: bool = False  # requests left that the server never read
    keys: dict[str, Any] = field(default_factory=dict)  # of `a`
    run: dict[str, Any] = field(default_factory=dict)
    prompt: str | None = None  # a text for the prompt that meets it
    check: Check | None = None
    then: Callable[[Scene], Awaitable[None]] | None = None  # what comes after the run

    @property
    def title(self) -> str:
        return f"{self.id} {self.name}"

    def prompts(self) -> list[dict[str, Any]]:
        """Return the lines of its prompt file."""
        lines: list[dict[str, Any]] = [
            {"id": f"p{number}", "prompt": f"p{number}"} for number in range(self.jobs)
        ]
        if self.prompt is not None:
            lines[int(self.hit[1:])]["prompt"] = self.prompt
        return lines


def meets(fault: str, name: str, reply: Reply, trail: str, **expected: Any) -> Row:
    """Describe a reply that one prompt meets at its first request."""
    hit = expected.get("prompt") or expected.get("hit", "p1")
    place = _served(reply, lambda seen: seen.prompt == hit and seen.nth == 1)
    return Row(id=fault, name=name, trail=trail, reply=reply, place=place, **expected)


def keeps_meeting(fault: str, name: str, reply: Reply, trail: str, **expected: Any) -> Row:
    """Describe a reply that one prompt meets every time."""
    place = _served(reply, lambda seen: seen.prompt == "p1")
    return Row(id=fault, name=name, trail=trail, reply=reply, place=place, **expected)


def all_meet(fault: str, name: str, reply: Reply, trail: str, **expected: Any) -> Row:
    """Describe a reply that everybody gets; `p0` is looked at, because it is the first."""
    place = _served(reply, lambda _: True)
    given = {"hit": "p0", **expected}
    return Row(id=fault, name=name, trail=trail, reply=reply, place=place, **given)


def meet_at_first(fault: str, name: str, reply: Reply, trail: str, **expected: Any) -> Row:
    """Describe a reply that every prompt meets at its first request."""
    place = _served(reply, lambda seen: seen.nth == 1)
    return Row(id=fault, name=name, trail=trail, reply=reply, place=place, **expected)


def _served(reply: Reply, is_met: Callable[[Seen], bool]) -> Place:
    """Open a server that gives this reply to those who meet it, and right answers else."""

    @asynccontextmanager
    async def place(site: Site) -> AsyncIterator[None]:
        def script(seen: Seen) -> Reply | None:
            is_hit = is_met(seen)
            site.injected += is_hit
            return site.replied(seen, reply if is_hit else None)

        async with FaultServer(script) as site.server:
            yield

    return place
