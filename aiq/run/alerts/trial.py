"""One test alert through every channel at once, each tried a single time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from aiq.clock import Clock
from aiq.policy.alert import Alert, AlertLevel
from aiq.policy.alerting import Item, Message
from aiq.redaction import Redactor
from aiq.run.alerts.channel import Channel, Undelivered
from aiq.run.alerts.notice import Notice, compose


class Arrival(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a channel took the test alert; `failure` says why not."""

    channel: str
    failure: str | None


async def try_channels(
    channels: Sequence[Channel], *, clock: Clock, redactor: Redactor
) -> list[Arrival]:
    """Send the test alert everywhere and return what became of it, in the order given."""
    notice = compose(
        Message(items=(Item(alert=_alert(clock)),), omitted={}),
        redactor=redactor,
        sent_at_us=clock.utc_us(),
    )
    try:
        return list(await asyncio.gather(*(_try(one, notice, redactor) for one in channels)))
    finally:
        await asyncio.gather(*(one.close() for one in channels), return_exceptions=True)


async def _try(channel: Channel, notice: Notice, redactor: Redactor) -> Arrival:
    failure = None
    try:
        await channel.send(notice)
    except Undelivered as refusal:
        failure = redactor.text(str(refusal))
    return Arrival(channel=channel.name, failure=failure)


def _alert(clock: Clock) -> Alert:
    return Alert(
        at=clock.utc_us() / 1e6,
        level=AlertLevel.INFO,
        provider="",
        title="test",
        detail="This is a test of `aiq alerts test`: whoever reads it gets the alerts.",
    )
