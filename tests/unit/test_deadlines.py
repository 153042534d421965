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
    with deadlines.limit(seconds):
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
        with deadlines.limit(1.0):
            await clock.advance(0.5)
        await clock.advance(10.0)
        assert not beat.done()


async def test_a_block_that_is_slow_to_leave_does_not_stop_the_heartbeat(clock: FakeClock) -> None:
    """A connection may take longer than a beat to close; everybody else's limit still holds."""
    async with beating(clock) as (deadlines, beat):
        closed = asyncio.Event()

        async def closes_slowly() -> None:
            with deadlines.limit(1.0):
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


@pytest.mark.parametrize("is_over", [False, True])
async def test_a_cancellation_from_outside_is_no_time_out(clock: FakeClock, is_over: bool) -> None:
    """Also when the limit fires in the same moment; and the task is left as it was found."""
    async with beating(clock) as (deadlines, _):
        closing = asyncio.Event()

        async def closes_slowly() -> None:
            with deadlines.limit(1.0):
                try:
                    await asyncio.Event().wait()
                finally:
                    await closing.wait()

        one = asyncio.create_task(closes_slowly())
        await clock.advance(2.0 if is_over else 0.5)
        one.cancel()
        closing.set()
        with pytest.raises(asyncio.CancelledError):
            await one
        await clock.advance(5.0)


async def test_a_time_out_leaves_no_cancellation_behind(clock: FakeClock) -> None:
    async with beating(clock) as (deadlines, _):

        async def goes_on() -> int:
            with pytest.raises(TimeoutError):
                await limited(deadlines, 1.0)
            await asyncio.sleep(0)
            task = asyncio.current_task()
            assert task is not None
            return task.cancelling()

        one = asyncio.create_task(goes_on())
        await clock.advance(2.0)
        assert await one == 0


async def test_an_error_that_comes_with_the_time_out_stays_what_it_is(clock: FakeClock) -> None:
    async with beating(clock) as (deadlines, _):

        async def breaks() -> None:
            with deadlines.limit(1.0):
                try:
                    await asyncio.Event().wait()
                finally:
                    raise ConnectionError

        one = asyncio.create_task(breaks())
        await clock.advance(2.0)
        with pytest.raises(ConnectionError):
            await one


async def test_what_is_ready_when_the_limit_fires_has_come_in_time(clock: FakeClock) -> None:
    async with beating(clock) as (deadlines, beat):
        reply: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        async def waits() -> int:
            with deadlines.limit(1.0):
                return await reply

        one = asyncio.create_task(waits())
        await clock.advance(0.5)
        beat.cancel()
        reply.set_result(7)
        deadlines._check(clock.now() + 1.0, stalled_s=0.0)
        assert await one == 7


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
