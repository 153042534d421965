"""A job in memory: what the pool needs to route, send and settle it."""

from __future__ import annotations

from collections import Counter

from aiq.model import Kind
from aiq.policy.retry import History
from aiq.policy.routing import Candidate, Route, eligible, route
from aiq.run.request import Request


class Job:
    """
    One pending or running job.

    `history` is what it remembers since it was last queued, `size` the bytes of its line.
    """

    __slots__ = (
        "attempts",
        "candidates",
        "history",
        "id",
        "last_provider",
        "names_model",
        "priority",
        "request",
        "size",
    )

    def __init__(
        self,
        *,
        job_id: int,
        size: int,
        priority: int,
        attempts: int,
        history: Counter[tuple[str, Kind]],
        request: Request,
        names_model: bool,
        candidates: tuple[Candidate, ...],
    ) -> None:
        self.id = job_id
        self.size = size
        self.priority = priority
        self.attempts = attempts
        self.history: History = history
        self.request = request
        self.names_model = names_model
        self.candidates = candidates
        self.last_provider: str | None = None

    def route(self, now: float) -> Route:
        """Choose who takes the next attempt."""
        return route(self.candidates, self.history, names_model=self.names_model, now=now)

    def lane(self) -> tuple[Candidate, ...]:
        """Return who could take it, in its order: jobs with the same answer wait for the same."""
        if not self.history:
            return self.candidates
        return tuple(eligible(self.candidates, self.history))


def shown_key(key: str | bytes) -> str:
    """Return a job's id as users see it: their own, or 32 hex digits for a line without one."""
    return key if isinstance(key, str) else key.hex()
