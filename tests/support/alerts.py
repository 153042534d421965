"""Alerts as tests want them: an alert with what matters, and a channel that remembers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aiq.policy.alert import Alert, AlertLevel
from aiq.policy.alerting import Message
from aiq.run.alerts.channel import Undelivered
from aiq.run.alerts.notice import Notice

CRITICAL, WARNING, INFO = AlertLevel.CRITICAL, AlertLevel.WARNING, AlertLevel.INFO


def alert(
    title: str = "down",
    level: AlertLevel = CRITICAL,
    *,
    provider: str = "a",
    detail: str = "",
    is_recovery: bool = False,
) -> Alert:
    return Alert(
        at=1_700_000_000.0,
        level=level,
        provider=provider,
        title=title,
        detail=detail,
        is_recovery=is_recovery,
    )


def recovery(title: str = "down", *, provider: str = "a") -> Alert:
    return alert(title, INFO, provider=provider, is_recovery=True)


def told(message: Message | None) -> list[str]:
    """What a message lists, a word each: `a:down`, `+a:down` for a recovery."""
    assert message is not None
    return [
        f"{'+' if one.alert.is_recovery else ''}{one.alert.provider}:{one.alert.title}"
        for one in message.items
    ]


class RecordingChannel:
    """Keeps what it gets, once it feels like it: `fails` may return what is wrong with it."""

    def __init__(
        self, name: str = "recorder", fails: Callable[[int], Undelivered | None] | None = None
    ) -> None:
        self.name = name
        self.notices: list[Notice] = []
        self.tries = 0
        self.is_closed = False
        self._fails = fails
        self._changed = asyncio.Event()

    async def send(self, notice: Notice) -> None:
        self.tries += 1
        self._changed.set()
        if self._fails is not None and (failure := self._fails(self.tries)) is not None:
            raise failure
        self.notices.append(notice)

    async def close(self) -> None:
        self.is_closed = True

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a delivery makes the condition true."""
        async with asyncio.timeout(20):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


class HangingChannel(RecordingChannel):
    """Takes everything and never comes back."""

    async def send(self, notice: Notice) -> None:  # noqa: ARG002 - nothing is done with it
        self.tries += 1
        self._changed.set()
        await asyncio.Event().wait()
