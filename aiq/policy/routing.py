"""
Which candidate takes a job's next attempt, or until when it has to wait.

Candidates come in rank order. A job prefers those it has not yet errored on; when it has errored
on all of them the order starts over. The first that may be used takes it. A better rank that is
merely at its own limit is waited for; one that is cooling or recovering is passed over. Strategies
other than rank, overflow and regions join here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import msgspec

from aiq.model import Kind
from aiq.policy.retry import History, errors_at, is_exhausted
from aiq.policy.standing import Standing


class Candidate(msgspec.Struct, frozen=True, eq=False):
    """A provider and the model it would be asked for; identity is what counts."""

    provider: str
    model: str
    standing: Standing
    context_window: int | None = None


class Go(msgspec.Struct, frozen=True):
    """This candidate takes the job now."""

    candidate: Candidate


class Wait(msgspec.Struct, frozen=True):
    """Nothing now: try again at `until`, or when something in flight ends if that is None."""

    until: float | None


class Never(msgspec.Struct, frozen=True):
    """
    No candidate will take the job in this run.

    With a `kind` the job is to fail for that reason; without one it stays pending, because the
    providers are at fault and not the job.
    """

    kind: Kind | None
    message: str


Route: TypeAlias = Go | Wait | Never


def eligible(candidates: Sequence[Candidate], history: History) -> list[Candidate]:
    """Return who could still serve a job with this history, in the order to try them."""
    too_small = [
        c.context_window or math.inf
        for c in candidates
        if history[c.provider, Kind.CONTEXT_TOO_LONG]
    ]
    needed = max(too_small, default=-1)
    remaining = [
        c
        for c in candidates
        if not history[c.provider, Kind.NOT_FOUND]
        and (needed < 0 or (c.context_window or 0) > needed)
    ]
    fresh = _fresh(remaining, history)
    return sorted(fresh or remaining, key=lambda c: errors_at(history, c.provider))


def _fresh(candidates: Sequence[Candidate], history: History) -> list[Candidate]:
    """Return who is still in the run and has not been tried by the job too often."""
    return [c for c in candidates if not is_exhausted(history, c.provider) and not _is_out(c)]


def _is_out(candidate: Candidate) -> bool:
    """Whether it is of no use to anybody for the rest of the run."""
    return candidate.standing.usable_at(candidate.model) == math.inf


def route(
    candidates: Sequence[Candidate], history: History, *, names_model: bool, now: float
) -> Route:
    """Choose at `now`. `names_model` says that the prompt itself asks for this model."""
    order = eligible(candidates, history) if history else candidates
    soonest = math.inf
    for candidate in order:
        standing = candidate.standing
        instant = standing.usable_at(candidate.model)
        if instant <= now:
            return Go(candidate) if standing.has_room else Wait(None)
        soonest = min(soonest, instant)
    if soonest < math.inf:
        return Wait(soonest)
    return _never(candidates, order, history, names_model=names_model)


def _never(
    candidates: Sequence[Candidate],
    order: Sequence[Candidate],
    history: History,
    *,
    names_model: bool,
) -> Never:
    """Say why; `order` is who could serve the job if he were not switched off."""
    is_too_long = any(kind is Kind.CONTEXT_TOO_LONG for _, kind in history)
    if is_too_long and all(c.standing.lacks(c.model) for c in order):
        return Never(Kind.CONTEXT_TOO_LONG, "too long for every provider that could take it")
    if not candidates:
        words = "no provider serves the model that is asked for"
        return Never(Kind.NOT_FOUND if names_model else None, words)
    refused = all(
        history[c.provider, Kind.NOT_FOUND] or c.standing.lacks(c.model) for c in candidates
    )
    if refused and names_model:
        return Never(Kind.NOT_FOUND, f"no provider offers the model {candidates[0].model}")
    return Never(None, "no usable provider is left")


def is_alone(candidates: Sequence[Candidate], history: History, provider: str) -> bool:
    """Whether no other provider could still take a job with this history."""
    return all(
        c.provider == provider or history[c.provider, Kind.NOT_FOUND]
        for c in _fresh(candidates, history)
    )
