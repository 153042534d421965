"""An operator beside a session of the same process: orders as they come through the channel."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from aiq.run.protocol import Order, Reply, Status
from aiq.run.result import RunResult
from tests.support.sessions import Bench


async def told(bench: Bench, order: Order) -> Reply:
    """Tell the run that is going on a bench; raises what it refuses with."""
    assert bench.session is not None
    return await bench.session.control.obey(order)


@contextlib.asynccontextmanager
async def going(
    bench: Bench, *given: Any, **options: Any
) -> AsyncIterator[asyncio.Task[RunResult]]:
    """Let a run go on beside the block; what is left of it at the end is awaited, or ended."""
    running = asyncio.create_task(bench.run(*given, **options))
    try:
        yield running
        await running
    except TimeoutError:
        if running.done():  # what was waited for did not come because the run had failed
            await running
        raise
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def recorded(bench: Bench) -> list[tuple[str, str | None]]:
    """Return what the database says was told, in order."""
    return bench.rows("SELECT command, argument FROM control ORDER BY id")


async def bench_has(bench: Bench, sql: str) -> None:
    """Wait until the run has committed what the statement finds."""
    while not bench.rows(sql):
        await told(bench, Status())
        assert bench.session is not None
        await bench.session._clock.sleep(0.01)
