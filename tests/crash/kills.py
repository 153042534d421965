"""
Cases in which SIGKILL ends a process: at a system call, at a request, after a commit, at random.

Each function makes one case in a directory of its own and returns what it found.
"""

from __future__ import annotations

import asyncio
import random
import resource
import signal
from collections.abc import Sequence
from pathlib import Path

from tests.crash.cuts import Cut, counting, killed_at, listed
from tests.crash.findings import Findings
from tests.crash.ordeal import Ordeal
from tests.crash.scenes import JOBS, SLOW, Scene
from tests.support.fault_server import FaultServer
from tests.support.invariants import rows
from tests.support.ledger import prompts, states
from tests.support.process import Workplace
from tests.support.replies import Reply, Seen, default_body

DATABASE_CALLS = ("pwrite64", "fdatasync", "ftruncate", "unlink")
NETWORK_CALLS = ("connect", "sendto", "recvfrom")


async def cut(directory: Path, scene: type[Scene], cut: Cut) -> Findings:
    """Kill the scene's command at a system call, and finish what it began."""
    one = scene()
    async with one.server, Workplace(directory, a=one.server) as place:
        ordeal = await one.prepare(place)
        command, *_ = commands = one.commands(ordeal)
        running = await ordeal.start(*command, shell=killed_at(*cut))
        ended = await ordeal.struck(running)
        if ended.code != -signal.SIGKILL:
            ordeal.faults -= 1  # there were fewer such calls than at the count
        one.check_left(ordeal)
        return await ordeal.finish(*commands)


async def calls_of(directory: Path, scene: type[Scene], kinds: Sequence[str]) -> list[Cut]:
    """Return every call of these kinds that the scene's command makes, in order."""
    one = scene()
    async with one.server, Workplace(directory, a=one.server) as place:
        ordeal = await one.prepare(place)
        shell = counting(",".join(kinds), "calls")
        ended = await place.run(*one.commands(ordeal)[0], shell=shell)
        assert ended.code == 0, ended.text
    return listed(directory / "calls")


async def settled(directory: Path, count: int) -> Findings:
    """Kill as soon as so many answers are committed."""
    async with FaultServer(SLOW) as server, Workplace(directory, a=server) as place:
        ordeal = Ordeal(place, server, prompts(JOBS))
        running = await ordeal.start("run", ordeal.file, "-c", "4")
        await server.seen(1)  # there is a database
        while states(place.db).get("succeeded", 0) < count:  # noqa: ASYNC110 - see below
            await asyncio.sleep(0.001)  # nothing but the database tells of a commit
        running.send(signal.SIGKILL)
        await ordeal.struck(running)
        assert len(ordeal.pictures[-1].succeeded) >= count
        return await ordeal.finish()


def padded(seen: Seen) -> Reply | None:
    """Answer in two megabytes, once the batch is half done."""
    if seen.number <= JOBS // 2:
        return SLOW
    answer = default_body(seen.path, seen.prompt, seen.model, seen.json())
    return Reply(body=answer[:-1] + b', "padding": "' + b"x" * 2**21 + b'"}')


def memory_of(pid: int) -> int:
    """Return the address space of a process in bytes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[0])
    return pages * resource.getpagesize()


async def starved(directory: Path, spare_mb: int) -> Findings:
    """Leave the process only so much more memory when the answers become long."""
    async with FaultServer(padded) as server, Workplace(directory, a=server) as place:
        ordeal = Ordeal(place, server, prompts(JOBS))
        running = await ordeal.start()
        await server.seen(JOBS // 4)
        most = memory_of(running.pid) + spare_mb * 2**20
        resource.prlimit(running.pid, resource.RLIMIT_AS, (most, most))
        await ordeal.struck(running)
        [(broken,)] = rows(place.db, "SELECT count(*) FROM attempt WHERE billed = 'maybe'")
        ordeal.at_risk += broken  # answers for which there was no room while they came in
        return await ordeal.finish()


async def kill_loop(
    directory: Path, *, kills: int, jobs: int, delay_s: float, concurrency: int, seed: int
) -> Findings:
    """Kill again and again, each time a random number of requests and milliseconds on."""
    draw = random.Random(seed)
    rules = {"concurrency": concurrency}
    async with (
        FaultServer(Reply(delay_s=delay_s)) as server,
        Workplace(directory, a=server, run=rules) as place,
    ):
        ordeal = Ordeal(place, server, prompts(jobs))
        for _ in range(kills):
            running = await ordeal.start()
            more = draw.randint(1, max(2, 2 * jobs // kills))
            await server.seen(len(server.ledger) + more)
            await asyncio.sleep(draw.uniform(0, delay_s))  # so that answers are under way
            running.send(signal.SIGKILL)
            await ordeal.struck(running)
        found = await ordeal.finish()
    if found.requests > jobs + found.at_risk:
        found.trouble.append(f"{found.requests} requests for {jobs} jobs")
    return found
