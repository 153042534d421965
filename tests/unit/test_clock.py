"""Instants as people and JSON read them, and the clock that tests put in the real one's place."""

from __future__ import annotations

import asyncio

import pytest

from aiq.clock import Clock, rfc3339
from tests.support.fake_clock import FakeClock


@pytest.mark.parametrize(
    ("utc_us", "shown"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_700_000_000_123_999, "2023-11-14T22:13:20.123Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (4_102_444_800_000_000, "2100-01-01T00:00:00.000Z"),
    ],
)
def test_times_are_rfc_3339_with_z(utc_us: int, shown: str) -> None:
    """Milliseconds always, cut and not rounded."""
    assert rfc3339(utc_us) == shown


def test_the_real_clock_goes_forward_in_seconds_and_microseconds() -> None:
    clock = Clock()
    assert clock.now() <= clock.now()
    assert clock.utc_us() > 1_700_000_000_000_000


async def test_the_fake_clock_wakes_sleepers_in_order() -> None:
    clock, woken = FakeClock(), []

    async def sleeper(seconds: float, rounds: int) -> None:
        for _ in range(rounds):
            await clock.sleep(seconds)
            woken.append(clock.now())

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(sleeper(100.0, 2))
        tasks.create_task(sleeper(70.0, 4))
        await clock.advance(300.0)
    assert woken == [70.0, 100.0, 140.0, 200.0, 210.0, 280.0]
    assert clock.now() == 300.0
