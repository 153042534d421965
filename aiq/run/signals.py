"""
What a signal asks for, and how long the run may take over it.

The first SIGINT, SIGTERM or SIGHUP stops sending and lets what is in flight finish: 120 s after
SIGINT, 25 s after the others, because a container is killed after thirty. Before anything is sent
there is nothing to wait for. The second aborts. The third ends the process at once; the ledger's
leases make even that honest. What the caller ignores (`nohup`, a script's background job) stays
ignored.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from aiq.errors import ExitCode

SETTLE_S = 0.5
"""What a run may take to open its database before a signal ends it there: mostly it takes far less,
but another program may hold the file for ever."""

DRAIN_S = {signal.SIGINT: 120.0, signal.SIGTERM: 25.0, signal.SIGHUP: 25.0}


class Signals:
    """Counts signals and calls whoever has to act on them; `leave` restores the screen."""

    def __init__(self, *, leave: Callable[[], None]) -> None:
        self._leave = leave
        self.first: signal.Signals | None = None
        self._count = 0
        self._stop: Callable[[], object] | None = None
        self._abort: Callable[[], object] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._asked = asyncio.Event()
        self._is_heeded = False

    @property
    def is_stopped(self) -> bool:
        """Whether the user asked to stop."""
        return self.first is not None

    @property
    def exit_code(self) -> ExitCode:
        """The exit status that says so."""
        return ExitCode.SIGINT if self.first is signal.SIGINT else ExitCode.SIGTERM

    def stop_on_request(self) -> None:
        """Do what the first SIGINT does; nothing if a signal came before."""
        if self.first is None:
            self._received(signal.SIGINT)

    def tell(self, *, stop: Callable[[], object], abort: Callable[[], object]) -> None:
        """From now on call these; at once if a signal came before."""
        self._stop, self._abort = stop, abort
        if self._count >= 1:
            stop()
        if self._count >= 2:
            abort()

    async def unless_stopped(self, work: Coroutine[Any, Any, None]) -> bool:
        """Do what may take long before anything is sent; False if a signal ended it."""
        working = asyncio.create_task(work)
        self.tell(stop=working.cancel, abort=working.cancel)
        try:
            await working
        except asyncio.CancelledError:
            if not self.is_stopped:
                raise
            return False
        return True

    def heed(self) -> None:
        """From now on somebody looks at `is_stopped`, or is told."""
        self._is_heeded = True

    async def ignored(self) -> None:
        """Return when a signal has come and nobody was there to heed it."""
        await self._asked.wait()
        await asyncio.sleep(SETTLE_S)
        if self._is_heeded:
            await asyncio.Future()  # it is acted on, for as long as that takes

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Take the signals over while the block runs."""
        loop = asyncio.get_running_loop()
        heard = [n for n in DRAIN_S if signal.getsignal(n) is not signal.SIG_IGN]
        for number in heard:
            loop.add_signal_handler(number, self._received, number)
        try:
            yield
        finally:
            if self._timer is not None:
                self._timer.cancel()
            for number in heard:
                loop.remove_signal_handler(number)

    def _received(self, number: signal.Signals) -> None:
        self._count += 1
        if self._count == 1:
            self.first = number
            self._asked.set()
            self._timer = asyncio.get_running_loop().call_later(DRAIN_S[number], self._give_up)
            if self._stop is not None:
                self._stop()
        elif self._count == 2:
            self._give_up()
        else:
            self._leave()
            os._exit(int(self.exit_code))

    def _give_up(self) -> None:
        if self._abort is not None:
            self._abort()
