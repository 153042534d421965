"""
Which candidate takes a job's next attempt, or until when it has to wait.

A job prefers candidates it has not yet errored on; when it has errored on all of them the order
starts over. Among equals the strategy decides. The first that can take it now does. A better one
that is merely at its own limit is waited for, unless the strategy or `overflow` says otherwise; one
that is cooling, broken, slow or congested is passed over. While every candidate's breaker is open,
each gets a trial now and then.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import msgspec

from aiq.model import Kind
from aiq.policy.admission import Candidate, access
from aiq.policy.breaker import State
from aiq.policy.retry import History, errors_at, is_exhausted
from aiq.policy.strategy import Strategy
from aiq.policy.tokens import Estimate


class Go(msgspec.Struct, frozen=True):
    """This candidate takes the job now; `alone` as in `aiq.policy.admission.access`."""

    candidate: Candidate
    alone: bool = False


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

Estimator: TypeAlias = Callable[[Candidate], Estimate]
"""What a job would take of a candidate's token limits."""


def eligible(candidates: Sequence[Candidate], history: History) -> list[Candidate]:
    """
    Return whom to ask for a job with this history, in the order of the candidates.

    A provider that the job has had its fill of is left alone while another can be reached. One that
    never comes back would be waited for without end.
    """
    left = remaining(candidates, history)
    fresh = _fresh(left, history)
    return fresh if any(map(_is_reachable, fresh)) else left


def remaining(candidates: Sequence[Candidate], history: History) -> list[Candidate]:
    """Return who could serve a job with this history at all, in the order of the candidates."""
    too_small = [
        c.context_window or math.inf
        for c in candidates
        if history[c.provider, Kind.CONTEXT_TOO_LONG]
    ]
    needed = max(too_small, default=-1)
    return [
        c
        for c in candidates
        if not _was_refused_by(c.provider, history)
        and (needed < 0 or (c.context_window or 0) > needed)
    ]


def _is_reachable(candidate: Candidate) -> bool:
    return candidate.channel.breaker.state is State.CLOSED


def _was_refused_by(provider: str, history: History) -> bool:
    """Whether the provider does not have the model, or its wire format no words for the prompt."""
    return bool(history[provider, Kind.NOT_FOUND] or history[provider, Kind.BAD_REQUEST])


def _fresh(candidates: Sequence[Candidate], history: History) -> list[Candidate]:
    """Return who is still in the run and has not been tried by the job too often."""
    return [
        c
        for c in candidates
        if not is_exhausted(history, c.provider) and not c.standing.is_out(c.model)
    ]


def route(
    candidates: Sequence[Candidate],
    history: History,
    *,
    strategy: Strategy,
    estimate: Estimator,
    names_model: bool,
    now: float,
) -> Route:
    """Choose at `now`. `names_model` says that the prompt itself asks for this model."""
    possible = eligible(candidates, history) if history else candidates
    order = [c for c in strategy.arrange(possible, now) if not c.standing.is_out(c.model)]
    if not order:
        if any(c.standing.is_held(c.model) for c in possible):
            return Wait(None)
        return _never(candidates, possible, history, names_model=names_model)
    if history:
        order.sort(key=lambda c: errors_at(history, c.provider))
    choice = _first(order, strategy, estimate, now, alone=False)
    if isinstance(choice, Wait) and all(c.channel.breaker.state is not State.CLOSED for c in order):
        return _first(order, strategy, estimate, now, alone=True)
    return choice


def _first(
    order: Sequence[Candidate], strategy: Strategy, estimate: Estimator, now: float, *, alone: bool
) -> Go | Wait:
    soonest = math.inf
    for candidate in order:
        found = access(candidate, now, estimate(candidate), alone=alone, is_only=len(order) == 1)
        if found.at <= now:
            return Go(candidate, alone)
        soonest = min(soonest, found.at)
        if found.is_own and strategy.waits:
            break
    return Wait(None if soonest == math.inf else soonest)


def _never(
    candidates: Sequence[Candidate],
    possible: Sequence[Candidate],
    history: History,
    *,
    names_model: bool,
) -> Never:
    """Say why; `possible` is who could serve the job if he were not switched off."""
    is_too_long = any(kind is Kind.CONTEXT_TOO_LONG for _, kind in history)
    if is_too_long and all(c.standing.lacks(c.model) for c in possible):
        return Never(Kind.CONTEXT_TOO_LONG, "too long for every provider that could take it")
    if not candidates:
        words = "no provider serves the model that is asked for"
        return Never(Kind.NOT_FOUND if names_model else None, words)
    if all(history[c.provider, Kind.BAD_REQUEST] for c in candidates):
        return Never(Kind.BAD_REQUEST, "no provider's API can express this prompt")
    refused = all(
        history[c.provider, Kind.NOT_FOUND] or c.standing.lacks(c.model) for c in candidates
    )
    if refused and names_model:
        return Never(Kind.NOT_FOUND, f"no provider offers the model {candidates[0].model}")
    return Never(None, "no usable provider is left")


def is_alone(candidates: Sequence[Candidate], history: History, provider: str) -> bool:
    """Whether no other provider could take a job with this history as things are."""
    return all(
        c.provider == provider or _was_refused_by(c.provider, history) or not _is_reachable(c)
        for c in _fresh(candidates, history)
    )
