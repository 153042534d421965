"""How a run that is at work on the database sees its providers, for whoever watches beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from aiq.errors import AiqError
from aiq.store import providers
from aiq.store.lock import is_held
from aiq.store.opening import open_for_reading
from aiq.store.writes import ProviderState


async def seen_by_run(path: Path) -> Mapping[str, ProviderState]:
    """Return what the run has published by provider; nothing where none is at work."""
    if not await asyncio.to_thread(is_held, path):
        return {}
    try:
        database = await open_for_reading(path)
        try:
            return await providers.states(database)
        finally:
            await database.close()
    except AiqError:  # it begins or ends at this moment, and the next look will tell
        return {}
