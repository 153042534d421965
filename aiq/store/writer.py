"""
The one task that writes while a run is going, committing in groups.

Callers hand in writes and never await SQL, so a cancelled caller cannot leave half a transaction.
A group closes at 64 writes or 20 ms after its first, at once when nothing more is arriving; while
a commit runs the next group keeps growing, up to 256, or 1,024 where commits are slow. Writes
handed in together stay together. What was written is reported to the run only after its commit
returned: done means durable.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, TypeAlias, TypeVar

from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_exponential

from aiq.errors import Refused, StoreError
from aiq.store.db import Database, is_busy
from aiq.store.writes import (
    BreakerMemory,
    Cancel,
    CooldownMemory,
    Lease,
    NewCandidate,
    ProviderState,
    Reject,
    Settle,
    apply,
)

Write: TypeAlias = (
    Lease | Settle | Reject | Cancel | NewCandidate | ProviderState | BreakerMemory | CooldownMemory
)

T = TypeVar("T")

Errand: TypeAlias = Callable[[Database], Awaitable[Any]]
"""Other work on the writing connection, in transactions of its own."""

GROUP_SIZE = 64
GROUP_S = 0.020
GROUP_LIMIT = 1024
QUICK_GROUP_LIMIT = 256
"""As long as commits are quick: the jobs of one group are sent at the same moment, and so answered
at the same moment, and when they are all that is in flight, network and disk take turns instead of
working side by side. That was a seventh of the rate at 400 in flight."""

SLOW_COMMIT_S = 0.1
"""From here on the disk is the bound, and as many as can share a commit."""

QUIET_PASSES = 2
"""Passes of the event loop without a new write that count as "nothing more is arriving": a reply
takes two, one for its bytes and one for the task that waited for them."""

BUSY_TRIES = 3
"""Each waits SQLite's own 10 s for whoever holds the file."""


class Writer:
    """
    Owns the writing connection during a run.

    `committed` is called after each commit with what it wrote. When a commit fails for good,
    `failure` is set, every waiting lease gets it, and nothing more is written: what was, or is
    still, handed in is `kept` for whoever can put it elsewhere.
    """

    def __init__(
        self, database: Database, *, run_id: int, committed: Callable[[Sequence[Write]], None]
    ) -> None:
        self._database = database
        self._run_id = run_id
        self._committed = committed
        self._queue: deque[tuple[tuple[Write, ...], asyncio.Future[None] | None]] = deque()
        self._errands: deque[tuple[int, Errand, asyncio.Future[Any]]] = deque()
        """Each with the number of the last hand-in that comes before it."""
        self._handed_in = self._taken = 0
        self._waiting = 0
        self._commit_s = 0.0
        self._arrived = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None
        self.failure: BaseException | None = None
        self.kept: list[Write] = []
        self.unsaved = 0
        """Settled attempts, and jobs rejected without one, that are not committed yet."""
        self.unsaved_bytes = 0

    def start(self, *, ended: Callable[[], None]) -> None:
        """Begin to write; `close` ends it. `ended` is called when writing stops for any reason."""
        self._task = asyncio.create_task(self._write(), name="writer")
        self._task.add_done_callback(lambda _: ended())

    def submit(self, *writes: Write) -> None:
        """Hand in writes that belong into one transaction."""
        self._enqueue(writes, None)

    def lease(self, *writes: Write) -> asyncio.Future[None]:
        """Hand in writes and return what tells when they are durable; raises if they never are."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._enqueue(writes, done)
        return done

    def run(self, errand: Errand) -> asyncio.Future[Any]:
        """
        Do other work when all that was handed in so far is committed; return what it returns.

        What is handed in later may be committed before it. What it raises is the caller's matter:
        writing goes on. `Refused`: it was done, the run is ending, and nothing failed.
        """
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if self.failure is not None or self._task is None:
            done.set_exception(_never_durable())
            return done
        if self._task.done():
            done.set_exception(_ended())
            return done
        self._errands.append((self._handed_in, errand, done))
        self._arrived.set()
        return done

    def _enqueue(self, writes: tuple[Write, ...], done: asyncio.Future[None] | None) -> None:
        for write in writes:
            if type(write) is Settle:
                self.unsaved += 1
                self.unsaved_bytes += write.size
            elif type(write) is Reject:
                self.unsaved += 1
        if self.failure is not None:
            self.kept += writes
            if done is not None:
                done.set_exception(_never_durable())
            return
        self._queue.append((writes, done))
        self._handed_in += 1
        self._waiting += len(writes)
        self._arrived.set()

    async def close(self) -> None:
        """Write what was handed in, then stop; raises what made writing fail."""
        self._closing = True
        self._arrived.set()
        if self._task is not None:
            await asyncio.shield(self._task)
        if self.failure is not None:
            raise self.failure

    async def _write(self) -> None:
        while True:
            await self._arrived.wait()
            await self._gather()
            writes, waiters = self._take()
            if writes:
                try:
                    began = time.monotonic()
                    await self._commit(writes)
                    self._commit_s = time.monotonic() - began
                    self._finish(writes, waiters)
                except BaseException as error:  # noqa: BLE001 - whatever it is, the run must stop
                    self._fail(error, writes, waiters)
                    return
            await self._run_errands()
            if not (self._queue or self._errands):
                if self._closing:
                    return
                self._arrived.clear()

    async def _run_errands(self) -> None:
        while self._errands and self._errands[0][0] <= self._taken:
            _, errand, done = self._errands.popleft()
            try:
                result = await _until_free(partial(errand, self._database))
            except Exception as error:  # noqa: BLE001 - whoever asked for it gets it
                if not done.done():
                    done.set_exception(error)
            else:
                if not done.done():
                    done.set_result(result)

    async def _gather(self) -> None:
        """Let a group grow while writes keep arriving."""
        loop = asyncio.get_running_loop()
        closes_at = loop.time() + GROUP_S
        quiet = 0
        while self._waiting < GROUP_SIZE and quiet < QUIET_PASSES and loop.time() < closes_at:
            before = self._waiting
            await asyncio.sleep(0)
            quiet = quiet + 1 if self._waiting == before else 0

    def _take(self) -> tuple[list[Write], list[asyncio.Future[None]]]:
        """Return the next group; the end of an attempt that begins in it waits for the next one."""
        writes: list[Write] = []
        waiters: list[asyncio.Future[None]] = []
        begun: set[int] = set()
        most = GROUP_LIMIT if self._commit_s >= SLOW_COMMIT_S else QUICK_GROUP_LIMIT
        while self._queue and (not writes or len(writes) + len(self._queue[0][0]) <= most):
            if _ends_one_of(begun, self._queue[0][0]):
                break
            together, done = self._queue.popleft()
            self._taken += 1
            for write in together:
                writes.append(write)
                if type(write) is Lease:
                    begun.add(write.attempt_id)
            if done is not None:
                waiters.append(done)
        self._waiting -= len(writes)
        return writes, waiters

    async def _commit(self, writes: Sequence[Write]) -> None:
        await _until_free(partial(self._apply, writes))

    async def _apply(self, writes: Sequence[Write]) -> None:
        await apply(
            self._database,
            run_id=self._run_id,
            settles=[w for w in writes if type(w) is Settle],
            leases=[w for w in writes if type(w) is Lease],
            rejects=[w for w in writes if type(w) is Reject],
            candidates=[w for w in writes if type(w) is NewCandidate],
            cancels=[w for w in writes if type(w) is Cancel],
            states=[w for w in writes if type(w) is ProviderState],
            breakers=[w for w in writes if type(w) is BreakerMemory],
            cooldowns=[w for w in writes if type(w) is CooldownMemory],
        )

    def _finish(self, writes: Sequence[Write], waiters: Sequence[asyncio.Future[None]]) -> None:
        for write in writes:
            if type(write) is Settle:
                self.unsaved -= 1
                self.unsaved_bytes -= write.size
            elif type(write) is Reject:
                self.unsaved -= 1
        self._committed(writes)
        for done in waiters:
            if not done.done():
                done.set_result(None)

    def _fail(
        self,
        error: BaseException,
        writes: Sequence[Write],
        waiters: Sequence[asyncio.Future[None]],
    ) -> None:
        self.failure = error
        self.kept = [*writes, *(write for together, _ in self._queue for write in together)]
        left = [done for _, done in self._queue if done is not None]
        left += [done for _, _, done in self._errands]
        self._queue.clear()
        self._errands.clear()
        for done in (*waiters, *left):
            if not done.done():
                done.set_exception(_never_durable())


async def _until_free(work: Callable[[], Awaitable[T]]) -> T:
    """Do work, again where another program holds the file: then it has not even begun."""

    async def tried() -> T:
        return await work()

    retrying = AsyncRetrying(
        retry=retry_if_exception(is_busy),
        stop=stop_after_attempt(BUSY_TRIES),
        wait=wait_exponential(multiplier=0.1, max=1),
        reraise=True,
    )
    return await retrying(tried)


def _ends_one_of(attempts: set[int], writes: Sequence[Write]) -> bool:
    return not attempts.isdisjoint([w.attempt_id for w in writes if type(w) is Settle])


def _ended() -> Refused:
    return Refused(
        "the run is ending", hint="give the command again when it has ended: it does what is left"
    )


def _never_durable() -> StoreError:
    return StoreError("the database could not be written")
