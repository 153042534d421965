"""The loop in which hours pass in moments."""

from __future__ import annotations

import asyncio
import signal

import pytest

from tests.simulation.virtual_time import Standstill, VirtualClock, VirtualLoop


def played(work: object, loop: VirtualLoop) -> object:
    try:
        return loop.run_until_complete(work)  # type: ignore[arg-type] # a coroutine
    finally:
        loop.close()


def test_time_passes_only_while_everybody_waits() -> None:
    """Two sleeps end in their order, at their instants, and nothing is waited for."""
    seen: list[tuple[str, float]] = []

    async def sleep(name: str, seconds: float) -> None:
        await VirtualClock().sleep(seconds)
        seen.append((name, VirtualClock().now()))

    async def both() -> None:
        await asyncio.gather(sleep("late", 86_400.0), sleep("soon", 0.25))

    played(both(), VirtualLoop(10.0))
    assert seen == [("soon", 10.25), ("late", 86_410.0)]


def test_a_thread_is_done_when_it_is_called() -> None:
    """What others do in a thread takes no time and comes in no other order."""

    async def work() -> tuple[int, float]:
        return await asyncio.to_thread(int, "7"), asyncio.get_running_loop().time()

    assert played(work(), VirtualLoop(0.0)) == (7, 0.0)


def test_a_signal_reaches_who_listens() -> None:
    """A signal is a call of the handler, at a virtual instant."""

    async def work() -> int:
        loop = asyncio.get_running_loop()
        heard: asyncio.Future[int] = loop.create_future()
        loop.add_signal_handler(signal.SIGTERM, heard.set_result, 15)
        loop.call_later(60.0, loop.deliver, signal.SIGTERM)  # type: ignore[attr-defined] # ours
        return await heard

    assert played(work(), VirtualLoop(0.0)) == 15


@pytest.mark.parametrize("is_busy", [True, False])
def test_a_program_that_never_ends_is_noticed(is_busy: bool) -> None:
    """Waiting for nothing, and running in a circle, are errors instead of hangs."""

    async def work() -> None:
        while is_busy:  # noqa: ASYNC110 - the circle is the point
            await asyncio.sleep(0)
        await asyncio.Event().wait()

    loop = VirtualLoop(0.0)
    task = loop.create_task(work())
    with pytest.raises(Standstill, match="busy" if is_busy else "waits"):
        loop.run_until_complete(task)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        played(task, loop)
