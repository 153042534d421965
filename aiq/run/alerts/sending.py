"""Alerts that are sent while something is going on, and what the end of it waits for."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from aiq.run.alerts.dispatch import Alerts
from aiq.run.signals import Signals


@contextlib.asynccontextmanager
async def sending(alerts: Alerts) -> AsyncIterator[None]:
    """Send alerts during the block; a signal while the last ones are waited for ends the wait."""
    await alerts.__aenter__()
    try:
        yield
    finally:
        signals = Signals(leave=alerts.leave)
        with signals.listening():
            signals.tell(stop=alerts.leave, abort=alerts.leave)
            await alerts.__aexit__(None, None, None)
