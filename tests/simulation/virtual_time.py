"""An event loop in which hours pass in moments, and the clock that a simulated process reads."""

from __future__ import annotations

import asyncio
import selectors
import signal
from collections.abc import Callable
from typing import Any

from aiq.clock import Clock

EPOCH_US = 1_700_000_000_000_000
"""What the wall clock shows at the virtual second 0."""

MOST_PASSES = 200_000
"""Passes of a loop without a step of its clock that count as running in a circle."""


class Standstill(RuntimeError):
    """Nobody has anything to do and nobody waits for an instant, or nobody ever rests."""


class _Selector(selectors.SelectSelector):
    """Waits for no socket: a wait is a step of the clock."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self._passes = 0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise Standstill("everybody waits, and nothing will ever happen")
        if timeout > 0:
            self.now += timeout
            self._passes = 0
        else:
            self._passes += 1
            if self._passes > MOST_PASSES:
                self._passes = 0
                raise Standstill(f"busy for ever at the virtual second {self.now:.3f}")
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """
    One simulated process: its time, its threads (run at once, in the caller's) and its signals.

    `began` is the virtual second at which it starts.
    """

    def __init__(self, began: float) -> None:
        self._virtual = _Selector()
        self._virtual.now = began
        self._heard: dict[int, tuple[Callable[..., object], tuple[Any, ...]]] = {}
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now

    def suspend(self, seconds: float) -> None:
        """Stop the process for a while: time passes and nobody notices until it is over."""
        self._virtual.now += seconds

    def deliver(self, number: signal.Signals) -> None:
        """Let a signal reach the process, if it listens."""
        if number in self._heard:
            callback, arguments = self._heard[number]
            callback(*arguments)

    def add_signal_handler(self, sig: int, callback: Callable[..., Any], *args: Any) -> None:  # type: ignore[override] # looser
        self._heard[sig] = (callback, args)

    def remove_signal_handler(self, sig: int) -> bool:
        return self._heard.pop(sig, None) is not None

    def run_in_executor(  # type: ignore[override] # looser
        self, _executor: object, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """Run the function now: another thread would finish at an instant of its own choice."""
        done: asyncio.Future[Any] = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - whoever awaits it gets it
            done.set_exception(error)
        return done


class VirtualClock(Clock):
    """The running loop's time; `skew_us` is how far the wall clock has been set wrong."""

    def __init__(self) -> None:
        self.skew_us = 0

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def utc_us(self) -> int:
        return EPOCH_US + round(self.now() * 1_000_000) + self.skew_us

    def worked(self) -> float:
        """Real computing takes no virtual time, or a seed would not replay."""
        return 0.0
