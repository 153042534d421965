"""
Alerts in, notices out, beside whatever raises them.

`raise_alert` only files an alert; a task of its own makes messages of them, has the critical ones
explained, and hands them to every channel's courier. At the end the last ones get a few seconds,
and what has not got out by then is said.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Protocol, Self

from aiq.clock import Clock
from aiq.policy.alert import Alert, AlertLevel
from aiq.policy.alerting import Alerting, Message
from aiq.redaction import Redactor
from aiq.run.alerts.channel import Channel
from aiq.run.alerts.courier import Courier
from aiq.run.alerts.notice import Explanation, compose

GRACE_S = 5.0
"""What the end of a program waits for its last messages."""

STOPPED_GRACE_S = 1.5
"""
The same where somebody wants it to end: after 25 s of waiting for answers a container has 5 s left
before it is killed, and a second Ctrl-C promises an end within 2 s.
"""


class Explainer(Protocol):
    """Who explains critical messages (`triage`)."""

    @property
    def account(self) -> str | None:
        """What that has cost, in words; None: nothing was asked."""

    async def explain(
        self, message: Message, worst: Mapping[str, AlertLevel]
    ) -> Explanation | None:
        """Return what a message may mean; `worst` is the gravest known of each provider."""

    async def close(self) -> None:
        """Give up what is open."""


class Alerts:
    """Sends what is worth a message; an async context manager."""

    def __init__(
        self,
        channels: Iterable[Channel],
        policy: Alerting,
        *,
        clock: Clock,
        redactor: Redactor,
        note: Callable[[str], None],
        triage: Explainer | None = None,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """
        Prepare; nothing is sent before the context is entered.

        `note` gets what a person should know: that a channel fails, that a message is lost. It must
        not raise. `draw` is uniform in 0..1.
        """
        self._policy = policy
        self._clock = clock
        self._redactor = redactor
        self._note = note
        self._triage = triage
        self._couriers = [
            Courier(one, clock=clock, draw=draw, note=self._note_harmlessly) for one in channels
        ]
        self._changed = asyncio.Event()
        self._ending = asyncio.Event()
        self._left = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._gathering: asyncio.Task[None] | None = None
        self.grace_s = GRACE_S
        """How long the last messages are waited for."""
        self.unwell: Callable[[], Iterable[str]] = tuple
        """Returns the providers that are not to be asked now, beside those that alerts tell of."""

    def raise_alert(self, alert: Alert) -> None:
        """File an alert; never blocks, never raises, and costs nothing where nobody is told."""
        try:
            if self._couriers and self._policy.add(alert, self._clock.now()):
                self._changed.set()
        except Exception as error:  # noqa: BLE001 - whoever raises alerts has better things to do
            self._note_harmlessly(f"an alert was lost ({type(error).__name__})")

    def leave(self) -> None:
        """Wait for no message any more; what has not got out is lost, and said."""
        self._left.set()

    async def __aenter__(self) -> Self:
        if self._couriers:
            self._gathering = asyncio.create_task(self._gather(), name="alerts")
            self._tasks = [
                asyncio.create_task(courier.run(), name=f"alerts to {courier.name}")
                for courier in self._couriers
            ]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._gathering is None:
            return
        self._ending.set()
        self._changed.set()
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.grace_s):
                    await _first(self._settle(self._gathering), self._left.wait())
        finally:
            await self._give_up([self._gathering, *self._tasks])

    async def _settle(self, gathering: asyncio.Task[None]) -> None:
        await gathering
        await asyncio.gather(*(courier.settle() for courier in self._couriers))

    async def _give_up(self, tasks: list[asyncio.Task[None]]) -> None:
        lost = {one.name: one.undelivered for one in self._couriers if one.undelivered}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        closing = [one.close() for one in (*self._couriers, self._triage) if one is not None]
        await asyncio.gather(*closing, return_exceptions=True)
        if self._triage is not None and (cost := self._triage.account) is not None:
            self._note_harmlessly(cost)
        for name, count in lost.items():
            messages = "message of alerts was" if count == 1 else "messages of alerts were"
            self._note_harmlessly(f"{count:,} {messages} not delivered to {name}")

    async def _gather(self) -> None:
        """Make messages of alerts until the end; its own mistake is said, and ends it."""
        try:
            while True:
                self._changed.clear()
                message = self._policy.take(self._clock.now(), is_last=self._ending.is_set())
                if message is not None:
                    await self._tell(message)
                elif self._ending.is_set():
                    return
                else:
                    await self._rest()
        except Exception as error:  # noqa: BLE001 - alerts may fail in any way and must not matter
            self._note_harmlessly(f"alerts have failed ({type(error).__name__}); the rest goes on")

    async def _tell(self, message: Message) -> None:
        explanation = await self._explained(message)
        notice = compose(
            message,
            redactor=self._redactor,
            sent_at_us=self._clock.utc_us(),
            explanation=explanation,
        )
        for courier in self._couriers:
            courier.offer(notice)

    async def _explained(self, message: Message) -> Explanation | None:
        """Have a critical message explained; the end of the program does not wait for that."""
        is_critical = message.level is AlertLevel.CRITICAL
        if self._triage is None or not is_critical or self._ending.is_set():
            return None
        worst = self._policy.worst() | dict.fromkeys(self.unwell(), AlertLevel.CRITICAL)
        asking = asyncio.ensure_future(self._triage.explain(message, worst))
        try:
            await _first(asking, self._ending.wait())
            return asking.result() if asking.done() else None
        except Exception as error:  # noqa: BLE001 - an alert goes out without its explanation
            self._note_harmlessly(f"an alert was not explained ({type(error).__name__})")
            return None
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)

    async def _rest(self) -> None:
        """Wait for another alert, which may be graver, or until a message is due."""
        now = self._clock.now()
        ready_at = self._policy.ready_at(now)
        if math.isinf(ready_at):
            await self._changed.wait()
        else:
            await _first(self._clock.sleep(ready_at - now), self._changed.wait())

    def _note_harmlessly(self, sentence: str) -> None:
        self._note(self._redactor.text(sentence))


async def _first(*awaited: Awaitable[Any]) -> None:
    """Wait for the first of several, and give up those that were only begun here."""
    tasks = {asyncio.ensure_future(one) for one in awaited}
    begun = {task for task in tasks if task not in awaited}
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in begun:
            task.cancel()
        await asyncio.gather(*begun, return_exceptions=True)
