"""Wall-clock limits kept by one heartbeat, which nothing may stop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from aiq.run.deadlines import BEAT_S, STALL_S, Deadlines
from tests.support.fake_clock import FakeClock


@contextlib.asynccontextmanager
async def beating(clock: FakeClock) -> AsyncIterator[tuple[Deadlines, asyncio.Task[None]]]:
    deadlines = Deadlines(clock)
    beat = asyncio.create_task(deadlines.beat())
    await clock.advance(0)
    yield deadlines, beat
    beat.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await beat


async def limited(deadlines: Deadlines, seconds: float) -> None:
    async with deadlines.limit(seconds):
        await asyncio.Event().wait()


async def test_a_limit_ends_the_block_within_a_beat(clock: FakeClock) -> None:
    async with beating(clock) as (deadlines, _):
        one = asyncio.create_task(limited(deadlines, 10.0))
        await clock.advance(10.0 - BEAT_S)
        assert not one.done()
        await clock.advance(2 * BEAT_S)
        with pytest.raises(TimeoutError):
            await one


async def test_a_block_that_ends_in_time_is_left_alone(clock: FakeClock) -> None:
    async with beating(clock) as (deadlines, beat):
        async with deadlines.limit(1.0):
            await clock.advance(0.5)
        await clock.advance(10.0)
        assert not beat.done()


async def test_a_block_that_is_slow_to_leave_does_not_stop_the_heartbeat(clock: FakeClock) -> None:
    """A connection may take longer than a beat to close; everybody else's limit still holds."""
    async with beating(clock) as (deadlines, beat):
        closed = asyncio.Event()

        async def closes_slowly() -> None:
            async with deadlines.limit(1.0):
                try:
                    await asyncio.Event().wait()
                finally:
                    await closed.wait()

        slow = asyncio.create_task(closes_slowly())
        other = asyncio.create_task(limited(deadlines, 5.0))
        await clock.advance(6.0)
        assert not beat.done()
        with pytest.raises(TimeoutError):
            await other
        closed.set()
        with pytest.raises(TimeoutError):
            await slow


async def test_time_in_which_the_process_was_stopped_does_not_count(clock: FakeClock) -> None:
    """A laptop that slept for an hour reads what already sits in its sockets first."""
    async with beating(clock) as (deadlines, _):
        one = asyncio.create_task(limited(deadlines, 10.0))
        await clock.advance(4.0)
        clock.jump(3600.0)
        await clock.advance(BEAT_S)
        assert not one.done()
        await clock.advance(5.0)
        assert not one.done()
        await clock.advance(2.0)
        assert one.done()
        with pytest.raises(TimeoutError):
            await one


async def test_time_in_which_the_process_was_busy_does_count(clock: FakeClock) -> None:
    """A flood that keeps us computing between any two beats does not put its own limit off."""
    async with beating(clock) as (deadlines, _):
        one = asyncio.create_task(limited(deadlines, 10.0))
        for _ in range(4):
            assert not one.done()
            clock.compute(3.0)
            await clock.advance(BEAT_S)
        assert one.done()
        with pytest.raises(TimeoutError):
            await one


async def test_a_short_hiccup_does_count(clock: FakeClock) -> None:
    async with beating(clock) as (deadlines, _):
        one = asyncio.create_task(limited(deadlines, 2.0))
        await clock.advance(1.0)
        clock.jump(STALL_S - BEAT_S)
        await clock.advance(BEAT_S)
        assert one.done()
        with pytest.raises(TimeoutError):
            await one
