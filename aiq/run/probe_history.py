"""What probes found before: in the health database, or in memory where that cannot be written."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from aiq.errors import StoreError
from aiq.store.health import KEPT, PastProbe, ProbeRow, record

_Series: TypeAlias = tuple[str, str, int]
"""What makes the results of a provider comparable: address, model, depth."""


class ProbeHistory:
    """The last 100 results of each series, as long as this program runs at least."""

    def __init__(self, database: Path) -> None:
        """`database` is the job database, beside which the health database is."""
        self._database = database
        self._memory: dict[str, tuple[_Series, deque[PastProbe]]] = {}
        """By provider its latest series, so that a server with ever new models fills nothing."""
        self._is_free = asyncio.Lock()

    async def keep(self, rows: Sequence[ProbeRow]) -> tuple[list[list[PastProbe]], str | None]:
        """Store what was found; return each one's series, and why it could not be stored."""
        async with self._is_free:  # the database's own lock is for other processes
            try:
                series = await asyncio.to_thread(record, self._database, rows)
            except StoreError as error:
                return [self._remember(row) for row in rows], str(error)
        for row, past in zip(rows, series, strict=True):
            self._memory[row.provider] = (_series(row), deque(past, maxlen=KEPT))
        return series, None

    def _remember(self, row: ProbeRow) -> list[PastProbe]:
        series, past = self._memory.get(row.provider, (None, deque(maxlen=KEPT)))
        if series != _series(row):
            past = deque(maxlen=KEPT)
        past.append(PastProbe(row.status, row.latency_us, row.checked_at, row.reason))
        self._memory[row.provider] = (_series(row), past)
        return list(past)


def _series(row: ProbeRow) -> _Series:
    return row.base_url, row.model, row.level
