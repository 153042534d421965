"""
What becomes of a job after an attempt: finish it, fail it, or try again and when.

A job remembers what went wrong since it was last queued by the user, as counts by provider and
kind; that memory is rebuilt from the ledger after a restart, so there is no second record of it.
Waiting for a provider never counts. The numbers are the contract's (`design` 6).
"""

from __future__ import annotations

from collections import Counter
from typing import Literal, TypeAlias

import msgspec
from tenacity import RetryCallState, wait_exponential

from aiq.model import Kind, Outcome
from aiq.policy.outcomes import COUNTED

History: TypeAlias = Counter[tuple[str, Kind]]
"""How often each provider ended an attempt of one job with each kind."""

REMEMBERED = COUNTED | {
    Kind.CONNECT,
    Kind.INTERRUPTED,
    Kind.AUTH,
    Kind.NOT_FOUND,
    Kind.CONTEXT_TOO_LONG,
}
"""Kinds that make a job prefer another provider, or count against one of its limits."""

PERMANENT = frozenset({Kind.BAD_REQUEST})

BAD_RESPONSES_PER_PROVIDER = 2
"""A paid but unusable reply is asked for once more, not thrice."""

ERRORS_PER_PROVIDER = 3
"""Counted errors on one provider while another candidate exists."""

_EXPONENTIAL = wait_exponential(multiplier=1, max=60)


class RetrySettings(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of one job; all attempts count from 1."""

    max_attempts: int = 5
    on_unknown: Literal["retry", "fail"] = "retry"

    @property
    def unknown_limit(self) -> int:
        """The attempt of unknown outcome at which the job fails."""
        return 2 if self.on_unknown == "retry" else 1


class Again(msgspec.Struct, frozen=True):
    """The job goes on: `delay_s` from now at the earliest."""

    delay_s: float = 0.0


class Fail(msgspec.Struct, frozen=True):
    """The job ends here, with its last attempt's outcome as the reason."""


class Succeed(msgspec.Struct, frozen=True):
    """The job has its answer."""


Decision: TypeAlias = Again | Fail | Succeed


def counted(history: History) -> int:
    """Return how many of the job's attempts count against its limit."""
    return sum(count for (_, kind), count in history.items() if kind in COUNTED)


def unknowns(history: History) -> int:
    """Return how many attempts may have been answered, and paid, without our seeing it."""
    return sum(count for (_, kind), count in history.items() if kind is Kind.INTERRUPTED)


def errors_at(history: History, provider: str) -> int:
    """Return how often the job met an error at this provider."""
    return sum(count for (name, _), count in history.items() if name == provider)


def is_exhausted(history: History, provider: str) -> bool:
    """Whether the job has had its fill of this provider, as long as another candidate exists."""
    bad = history[provider, Kind.BAD_RESPONSE]
    return (
        bad >= BAD_RESPONSES_PER_PROVIDER
        or bad + history[provider, Kind.SERVER_ERROR] >= ERRORS_PER_PROVIDER
    )


def backoff_s(errors: int, draw: float) -> float:
    """Return full jitter: `draw` (0..1) of 1 s doubling per error to at most 60 s."""
    state = RetryCallState(retry_object=None, fn=None, args=(), kwargs={})  # type: ignore[arg-type] # a strategy only reads the attempt number
    state.attempt_number = max(1, errors)
    return draw * _EXPONENTIAL(state)


def decide(
    outcome: Outcome, history: History, *, settings: RetrySettings, alone: bool, draw: float
) -> Decision:
    """
    Decide what follows an attempt; `history` already holds its outcome.

    `alone` says that no other provider could still take the job: then a second bad response from
    the only one ends it. A job whose every candidate refused it is the router's to fail.
    """
    kind = outcome.kind
    if kind is Kind.OK:
        return Succeed()
    if kind in PERMANENT:
        return Fail()
    if kind is Kind.INTERRUPTED and unknowns(history) >= settings.unknown_limit:
        return Fail()
    if kind in COUNTED and _is_spent(history, settings, alone=alone):
        return Fail()
    if kind in COUNTED or kind in (Kind.INTERRUPTED, Kind.AUTH):
        return Again(backoff_s(_total(history), draw))
    return Again()


def _is_spent(history: History, settings: RetrySettings, *, alone: bool) -> bool:
    if counted(history) >= settings.max_attempts:
        return True
    bad = sum(count for (_, kind), count in history.items() if kind is Kind.BAD_RESPONSE)
    return alone and bad >= BAD_RESPONSES_PER_PROVIDER


def _total(history: History) -> int:
    return sum(history.values())
