"""
Cases in which a signal stops a process: which signal, how often, and at which moment.

A moment is a run brought to a point. What must be true afterwards is the same for all of them:
every answer that was bought is stored, or its attempt is shown as possibly paid, and the next run
finishes what is left.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from pathlib import Path

from aiq.store.lock import RunLock
from tests.crash.cuts import slowed
from tests.crash.findings import Findings
from tests.crash.ordeal import Ordeal
from tests.support.fault_server import FaultServer
from tests.support.ledger import prompts
from tests.support.process import TERMINAL, WAIT_S, Process, Workplace
from tests.support.replies import Reply, Seen

JOBS = 80
WORKERS = 8
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Replies:
    """A script that a case changes while it runs; requests that wait are let go by `free`."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.default: Reply | None = Reply(delay_s=0.02)
        self.held_from: int | None = None

    def __call__(self, seen: Seen) -> Reply | None:
        if self.held_from is not None and seen.number >= self.held_from:
            return Reply(until=self.opened)
        return self.default

    def free(self) -> None:
        self.default, self.held_from = None, None
        self.opened.set()


Moment = Callable[[Ordeal, Replies], AbstractAsyncContextManager[Process]]


@asynccontextmanager
async def flowing(ordeal: Ordeal, _: Replies) -> AsyncIterator[Process]:
    """Answers come in as fast as they may."""
    running = await ordeal.start()
    await ordeal.server.seen(30)
    yield running


@asynccontextmanager
async def waiting_for_answers(ordeal: Ordeal, replies: Replies) -> AsyncIterator[Process]:
    """All workers wait for answers that do not come."""
    replies.held_from = 21
    running = await ordeal.start()
    await ordeal.server.seen(20 + WORKERS)
    yield running


@asynccontextmanager
async def backing_off(ordeal: Ordeal, replies: Replies) -> AsyncIterator[Process]:
    """The only provider wants a few seconds of peace, and gets them from the next run too."""
    replies.default = Reply.error(429, headers={"retry-after": "3"})
    running = await ordeal.start("run", ordeal.file, "-c", "1")
    await ordeal.server.answered(1)
    yield running


@asynccontextmanager
async def committing(ordeal: Ordeal, _: Replies) -> AsyncIterator[Process]:
    """Every commit takes its time, so that one is always under way."""
    running = await ordeal.start(shell=slowed("fdatasync", 0.1))
    await ordeal.server.seen(2 * WORKERS)
    yield running


@asynccontextmanager
async def locked_out(ordeal: Ordeal, replies: Replies) -> AsyncIterator[Process]:
    """Another program holds the database while answers are there to be stored."""
    replies.held_from = 1
    running = await ordeal.start()
    await ordeal.server.seen(WORKERS)
    with closing(sqlite3.connect(ordeal.place.db, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        replies.free()
        await ordeal.server.answered(WORKERS)
        yield running


@asynccontextmanager
async def locked_out_at_start(ordeal: Ordeal, _: Replies) -> AsyncIterator[Process]:
    """Another program holds the database before the run has begun."""
    assert (await ordeal.place.run("run", ordeal.file, "--limit", "4")).code == 0
    with closing(sqlite3.connect(ordeal.place.db, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        running = await ordeal.start()
        await until_owned(ordeal.place.db)
        yield running
        await running.ended()


async def until_owned(database: Path) -> None:
    """Wait until a run owns the database; from then on it opens it and hears signals."""
    lock = RunLock(database)
    async with asyncio.timeout(WAIT_S):
        while lock.acquire(wait_s=0):
            lock.release()
            await asyncio.sleep(0.01)  # the kernel has no other way to tell


async def until_stopping(place: Workplace) -> None:
    """Wait until the run says that it sends nothing more."""
    while (await place.run("ctl", "status", "--json")).json()["phase"] != "stopping":
        pass


@asynccontextmanager
async def batch(directory: Path, replies: Replies) -> AsyncIterator[Ordeal]:
    """Give a batch, its server and its directory."""
    rules = {"concurrency": WORKERS}
    async with (
        FaultServer(replies) as server,
        Workplace(directory, a=server, run=rules) as place,
    ):
        yield Ordeal(place, server, prompts(JOBS))


async def stopped(
    directory: Path, moment: Moment, number: signal.Signals, *, times: int, group: bool = False
) -> Findings:
    """
    Send a signal so many times at a moment, and finish what is left.

    Args:
        group: to the whole process group, as a terminal or a supervisor does.
    """
    replies = Replies()
    async with batch(directory, replies) as ordeal:
        async with moment(ordeal, replies) as running:
            for _ in range(times):
                if running.is_running:
                    (os.killpg if group else os.kill)(running.pid, number)
                await asyncio.sleep(0.02)  # two at one instant are one for the kernel
            if times == 3:
                await running.ended()
        if times == 1:
            replies.free()
        ended = await ordeal.struck(running, given_up=WORKERS if times > 1 else 0)
        ordeal.faults += times - 1
        replies.free()
        found = await ordeal.finish()
    # The third may meet a process that is already leaving, and then ends it as any other.
    statuses = {130 if number is signal.SIGINT else 143, *([-number] if times == 3 else [])}
    if ended.code not in statuses:
        found.trouble.append(f"exit status {ended.code} after {number.name}: {ended.text[-200:]}")
    if b"Traceback" in ended.err:
        found.trouble.append(f"a traceback after {number.name}")
    return found


async def paused(directory: Path, *, stopped_s: float, on_terminal: bool) -> Findings:
    """
    Stop the process for longer than its attempts may take, while their answers arrive.

    Args:
        on_terminal: by Ctrl-Z and `fg` in a shell, otherwise by SIGSTOP and SIGCONT.
    """
    replies = Replies()
    replies.held_from = 1
    pause = pause_on_terminal if on_terminal else pause_by_signal
    async with batch(directory, replies) as ordeal:
        ended = await ordeal.struck(await pause(ordeal, replies, stopped_s))
        found = await ordeal.finish()
        asked = len(ordeal.server.ledger)
    if (ended.code, asked) != (0, JOBS):
        found.trouble.append(f"exit status {ended.code}, {asked} requests")
    return found


async def pause_by_signal(ordeal: Ordeal, replies: Replies, stopped_s: float) -> Process:
    running = await ordeal.start("run", ordeal.file, "--timeout", "1")
    await ordeal.server.seen(WORKERS)
    running.send(signal.SIGSTOP)
    replies.free()
    await ordeal.server.answered(WORKERS)
    await asyncio.sleep(stopped_s)  # the fault under test is time that passes
    running.send(signal.SIGCONT)
    return running


async def pause_on_terminal(ordeal: Ordeal, replies: Replies, stopped_s: float) -> Process:
    command = ("run", ordeal.file, "--timeout", "1")
    shell = f'set -m; "$@"; echo asleep; sleep {stopped_s}; fg'
    running = await ordeal.start(*command, terminal=TERMINAL, shell=shell)
    await ordeal.server.seen(WORKERS)
    running.press(b"\x1a")
    await running.says("asleep")
    replies.free()
    await ordeal.server.answered(WORKERS)
    return running


CLOSED = {
    "stdout closed": '"$@" >&-; echo $? > status',
    "stderr closed": '"$@" 2>&-; echo $? > status',
    "both closed": '"$@" >&- 2>&-; echo $? > status',
    "read by `head -1`": '{ "$@"; echo $? > status; } 2>&1 | head -1',
    "read by nobody": '{ "$@"; echo $? > status; } 2>&1 | true',
}


async def unread(directory: Path, shell: str) -> Findings:
    """Run with streams that nobody reads to their end; everything is done all the same."""
    async with FaultServer() as server, Workplace(directory, a=server) as place:
        ordeal = Ordeal(place, server, prompts(JOBS))
        running = await ordeal.start("run", ordeal.file, "--json", shell=shell)
        ended = await ordeal.struck(running)
        found = await ordeal.finish()
        status = (directory / "status").read_text().strip()
        if status != "0" or b"Traceback" in ended.err or len(server.ledger) != JOBS:
            found.trouble.append(f"exit status {status}, {len(server.ledger)} requests: {shell}")
    return found


async def hung_up(directory: Path) -> Findings:
    """Close the terminal: what is in flight is stored, though nobody can be told."""
    replies = Replies()
    replies.held_from = 21
    async with batch(directory, replies) as ordeal:
        running = await ordeal.start(terminal=TERMINAL)
        await ordeal.server.seen(20 + WORKERS)
        running.hang_up()
        await until_stopping(ordeal.place)
        replies.free()
        ended = await ordeal.struck(running)
        found = await ordeal.finish()
        asked = len(ordeal.server.ledger)
    if (ended.code, asked) != (143, JOBS):
        found.trouble.append(f"exit status {ended.code}, {asked} requests")
    return found
