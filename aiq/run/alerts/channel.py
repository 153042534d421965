"""One way out for notices, and what it means that one did not get out."""

from __future__ import annotations

from typing import Protocol

from aiq.run.alerts.notice import Notice


class Undelivered(Exception):
    """A notice was not taken; the message says why and holds nothing secret."""

    def __init__(
        self, message: str, *, is_final: bool = False, retry_after_s: float | None = None
    ) -> None:
        """`is_final`: it would not be taken another time either."""
        super().__init__(message)
        self.is_final = is_final
        self.retry_after_s = retry_after_s


class Channel(Protocol):
    """Where notices go."""

    name: str
    """For people; holds nothing secret."""

    async def send(self, notice: Notice) -> None:
        """Deliver a notice within a time of its own; raises `Undelivered`."""

    async def close(self) -> None:
        """Give up what is open."""
