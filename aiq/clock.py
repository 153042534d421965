"""
The clock the program runs on, injected wherever time matters.

Monotonic seconds measure durations inside the process; UTC is read only where a row is written or
a person reads. Tests replace the whole object.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime


class Clock:
    """The machine's own clock."""

    def now(self) -> float:
        """Return monotonic seconds; only differences mean anything."""
        return time.monotonic()

    def utc_us(self) -> int:
        """Return the wall clock as microseconds since the epoch."""
        return time.time_ns() // 1000

    def worked(self) -> float:
        """Return the seconds of computing that this process has done; only differences count."""
        return time.process_time()

    async def sleep(self, seconds: float) -> None:
        """Wait; interrupted only by cancellation."""
        await asyncio.sleep(seconds)


def rfc3339(utc_us: int) -> str:
    """Write an instant as RFC 3339 with Z and milliseconds."""
    moment = datetime.fromtimestamp(utc_us / 1_000_000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
