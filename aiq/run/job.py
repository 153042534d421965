"""A job in memory: what the pool needs to route, send and settle it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

from aiq.model import Endpoint, Kind
from aiq.policy.admission import Candidate
from aiq.policy.limits import NOTHING
from aiq.policy.retry import History, errors_at, is_exhausted
from aiq.policy.routing import Never, Route, remaining, route
from aiq.policy.strategy import Strategy
from aiq.policy.tokens import Estimate
from aiq.providers.dialect import output_cap
from aiq.run.attachments import text_size
from aiq.run.request import Request

Lane: TypeAlias = tuple[Candidate | tuple[Candidate, int, bool], ...]
"""Candidates; if the job met errors, with how many at each, and whether it has had its fill."""


_NOWHERE: Mapping[str, Any] = MappingProxyType({})
"""What nearly all jobs have met, shared by all of these."""


class Job:
    """
    One pending or running job.

    `history` is what it remembers since it was last queued, `size` the bytes of its line, and
    `text_size` what they are as text, for estimates. `page` is the number of the page that it was
    read with, so that a job that was put back is told from what it was before.
    """

    __slots__ = (
        "_failed",
        "_limited",
        "attempts",
        "batch_id",
        "candidates",
        "excused",
        "history",
        "id",
        "is_narrowed",
        "last_provider",
        "names_model",
        "page",
        "priority",
        "request",
        "size",
        "text_size",
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
        batch_id: int = 0,
        page: int = 0,
    ) -> None:
        self.id = job_id
        self.batch_id = batch_id
        self.page = page
        self.size = size
        self.text_size = text_size(size, request.body)
        self.priority = priority
        self.attempts = attempts
        self.history: History = history
        self.request = request
        self.names_model = names_model
        self.candidates = candidates
        self.is_narrowed = False
        self.last_provider: str | None = None
        self.excused = 0
        """Bad trials that were not held against it, in this run."""
        self._failed: Mapping[str, int] = _NOWHERE
        """How many answers providers had given when it first failed there, in this run."""
        self._limited: Mapping[str, int] = _NOWHERE
        """How many 429s it got in a row while nothing as large was ever answered there."""

    def route(self, strategy: Strategy, now: float) -> Route:
        """Choose who takes the next attempt."""
        if not self.candidates and self.request.model is not None:
            where = (
                f" at {self.request.endpoint}" if self.request.endpoint is not Endpoint.CHAT else ""
            )
            words = f"no provider serves the model `{self.request.model}`{where}"
            return Never(Kind.NOT_FOUND if self.names_model else None, words)
        found = route(
            self.candidates,
            self.history,
            strategy=strategy,
            estimate=self.estimate,
            names_model=self.names_model,
            now=now,
        )
        if self.is_narrowed and isinstance(found, Never) and found.kind is not None:
            return Never(None, f"{found.message}; a budget cannot bound others that could")
        return found

    def narrow(self, candidates: tuple[Candidate, ...]) -> None:
        """Leave out who could take it, but not under a budget; it fails no more for want of him."""
        self.candidates = candidates
        self.is_narrowed = True

    def estimate(self, candidate: Candidate) -> Estimate:
        """Return about how many tokens it would take of a candidate's limits, if those count."""
        if not candidate.standing.account.limits.counts_tokens:
            return NOTHING
        cap = output_cap(self.request.endpoint, self.request.body)
        return candidate.channel.tokens.estimate(self.text_size, cap)

    def failed_at(self, candidate: Candidate) -> None:
        """Note that it failed at a candidate in a way that may be the provider's fault."""
        self._failed = {candidate.provider: candidate.channel.answers, **self._failed}

    def is_suspect(self, candidate: Candidate) -> bool:
        """Whether it has failed there although others were answered since."""
        before = self._failed.get(candidate.provider)
        return before is not None and candidate.channel.answers > before

    @property
    def is_suspect_anywhere(self) -> bool:
        """Whether it is suspect at any of its candidates."""
        return bool(self._failed) and any(map(self.is_suspect, self.candidates))

    def limited_at(self, candidate: Candidate) -> int:
        """Count a 429 and return how many it got there, as the largest of all that were sent."""
        largest = candidate.channel.largest
        is_largest = 0 < largest < self.text_size
        count = self._limited.get(candidate.provider, 0) + 1 if is_largest else 0
        self._limited = {**self._limited, candidate.provider: count}
        return count

    def lane(self) -> Lane:
        """Return who could take it, and what it met there: jobs that agree wait for the same."""
        if not self.history:
            return self.candidates
        return tuple(
            (one, errors_at(self.history, one.provider), is_exhausted(self.history, one.provider))
            for one in remaining(self.candidates, self.history)
        )
