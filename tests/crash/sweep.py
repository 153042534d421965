"""The cases of the crash sweep, group by group, and how they are carried out."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

from tests.crash import kills, scenes, stops
from tests.crash.cuts import CAN_CUT, Cut
from tests.crash.exports import cut_exports
from tests.crash.findings import Findings
from tests.crash.scenes import Scene

Case = Callable[[Path], Awaitable[Findings]]
"""Makes itself in the directory it is given."""

AT_ONCE = max(2, os.cpu_count() or 1)

OFTEN = {"pwrite64", "sendto", "recvfrom", "connect"}

SCENES: dict[str, type[Scene]] = {
    "cut: new batch": scenes.NewBatch,
    "cut: migration": scenes.OldSchema,
    "cut: retry-failed": scenes.FailedJobs,
    "cut: changed prompts": scenes.ChangedPrompts,
}


async def cuts(
    scene: type[Scene], every: int, kinds: Sequence[str] = kills.DATABASE_CALLS
) -> list[Case]:
    """Return cases for every n-th write, send and receive, and for all of the rarer calls."""
    with tempfile.TemporaryDirectory() as directory:
        calls = await kills.calls_of(Path(directory), scene, kinds)
    return [of(scene, one) for one in calls if one[0] not in OFTEN or one[1] % every == 0]


def of(scene: type[Scene], cut: Cut) -> Case:
    """Return the case in which the scene's command is killed there."""
    return partial(kills.cut, scene=scene, cut=cut)


def kill_cases() -> dict[str, list[Case]]:
    loop = partial(
        kills.kill_loop, kills=50, jobs=2_000, delay_s=0.3, concurrency=32, seed=20_260_000
    )
    return {
        "kill: k-th answer": [partial(kills.settled, count=k) for k in range(1, scenes.JOBS, 6)],
        "kill: 50 times": [loop],
        "kill: no memory": [partial(kills.starved, spare_mb=mb) for mb in (0, 1, 4)],
    }


def stop_cases() -> dict[str, list[Case]]:
    """Return every signal at every moment, as often as it can come there."""
    once = (stops.flowing, stops.backing_off, stops.locked_out, stops.locked_out_at_start)
    often = (stops.waiting_for_answers, stops.locked_out)
    slow = (stops.committing,) if CAN_CUT else ()

    def at(moments: Sequence[stops.Moment], times: int) -> list[Case]:
        return [
            partial(stops.stopped, moment=moment, number=number, times=times)
            for moment in moments
            for number in stops.SIGNALS
        ]

    group = partial(
        stops.stopped, moment=stops.flowing, number=stops.SIGNALS[1], times=1, group=True
    )
    return {
        "stop: once": [*at((*once, *slow), 1), group],
        "stop: twice": at((*often, *slow), 2),
        "stop: thrice": at((*often, *slow), 3),
        "pause": [partial(stops.paused, stopped_s=3.0, on_terminal=t) for t in (False, True)],
        "closed": [stops.hung_up, *(partial(stops.unread, shell=s) for s in stops.CLOSED.values())],
    }


async def all_groups(every: int) -> dict[str, list[Case]]:
    groups: dict[str, list[Case]] = {}
    if CAN_CUT:
        for name, scene in SCENES.items():
            groups[name] = await cuts(scene, every)
        groups["cut: network"] = await cuts(scenes.NewBatch, 6 * every, kills.NETWORK_CALLS)
        groups["cut: export"] = [partial(cut_exports, jobs=600, every=1)]
    return groups | kill_cases() | stop_cases()


async def carried_out(cases: Sequence[Case]) -> Findings:
    """Make the cases, a few at once; what raises is trouble too."""
    places = asyncio.Semaphore(AT_ONCE)

    async def made(case: Case) -> Findings:
        async with places:
            with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
                try:
                    return await case(Path(directory))
                except Exception as error:  # noqa: BLE001 - the sweep goes on and tells
                    return Findings(cases=1, trouble=[f"{type(error).__name__}: {error}"])

    total = Findings()
    for number, found in enumerate(await asyncio.gather(*map(made, cases))):
        found.trouble = [f"case {number}: {one}" for one in found.trouble]
        total += found
    return total
