"""
What we know about a provider during a run: may it be used now, from when, or not at all.

Outcomes go in through `settle`; `usable_at` comes out. Credential and rate-limit state belongs to
the account, because providers that share a key share its fate; failures belong to the provider,
refused models to the pair. Until the circuit breaker takes over, a provider that cannot be reached
or fails on its side rests for a moment (`Recovery`). All instants are monotonic seconds.
"""

from __future__ import annotations

import enum
import math

import msgspec

from aiq.model import Kind, Outcome
from aiq.policy.cooldown import Cooldown, Recovery

CONFIRMATIONS = 3
"""Refusals in a row it takes to disable a provider that has already answered in this run."""


class Status(enum.StrEnum):
    """A provider's condition in one word (`design` 7.4)."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"
    UNKNOWN = "unknown"
    DISABLED = "disabled"


class Condition(msgspec.Struct, frozen=True):
    """A status with its reason and, where there is one, the instant of the next try."""

    status: Status
    reason: str | None = None
    until: float | None = None


class RefusedModel(msgspec.Struct, frozen=True):
    """Why one model of a provider is out for the rest of the run."""

    kind: Kind
    reason: str


class Account:
    """What providers with one key share."""

    __slots__ = ("cooldown", "disabled")

    def __init__(self) -> None:
        self.cooldown = Cooldown()
        self.disabled: str | None = None


class Standing:
    """One provider's standing in a run."""

    def __init__(self, account: Account, *, max_in_flight: int) -> None:
        self.account = account
        self.max_in_flight = max_in_flight
        self.in_flight = 0
        self.answered = False
        self.disabled: str | None = None
        self.refused_models: dict[str, RefusedModel] = {}
        self._recovery = Recovery()
        self._last_failure: str | None = None
        self._doubts: dict[str, list[int]] = {}

    @property
    def has_room(self) -> bool:
        """Whether one more request may be in flight."""
        return self.in_flight < self.max_in_flight

    def usable_at(self, model: str) -> float:
        """Return the instant from which a request may start: past means now, inf means never."""
        if self.disabled or self.account.disabled or model in self.refused_models:
            return math.inf
        return max(self.account.cooldown.until, self._recovery.until)

    def why_disabled(self, model: str) -> str | None:
        """Return why this model of this provider cannot be used for the rest of the run."""
        refused = self.refused_models.get(model)
        return self.disabled or self.account.disabled or (refused.reason if refused else None)

    def lacks(self, model: str) -> bool:
        """Whether the provider said that it does not offer this model."""
        refused = self.refused_models.get(model)
        return refused is not None and refused.kind is Kind.NOT_FOUND

    def settle(
        self, model: str, outcome: Outcome, *, job_id: int, now: float, started: float, draw: float
    ) -> None:
        """Take an outcome into account; `started` is when its request was sent."""
        kind = outcome.kind
        if kind is Kind.OK:
            self._answer(started)
        elif kind is Kind.RATE_LIMITED:
            self.account.cooldown.extend(
                now=now, started=started, hint_s=outcome.retry_after_s, draw=draw
            )
        elif kind in (Kind.CONNECT, Kind.SERVER_ERROR):
            self._last_failure = outcome.message
            self._recovery.fail(now=now, started=started)
        elif kind is Kind.OUT_OF_CREDIT or (
            kind in (Kind.AUTH, Kind.NOT_FOUND) and self._is_confirmed(model, outcome, job_id)
        ):
            self._disable(model, outcome)

    def _answer(self, started: float) -> None:
        self.answered = True
        self._recovery.succeed(started=started)
        self.account.cooldown.clear(started=started)
        if self._doubts:
            self._doubts.clear()

    def _is_confirmed(self, model: str, outcome: Outcome, job_id: int) -> bool:
        """
        Believe the first refusal of a provider that never answered, else the third in a row.

        The three come from different jobs, so that one odd prompt cannot switch a provider off; a
        job that meets three by itself counts as well, or the last job of a run would ask for ever.
        A refused key is one matter whatever model was asked for, a refused model one for itself.
        """
        if not self.answered:
            return True
        doubts = self._doubts.setdefault(model if outcome.model_only else "", [])
        doubts.append(job_id)
        return len(set(doubts)) >= CONFIRMATIONS or doubts.count(job_id) >= CONFIRMATIONS

    def _disable(self, model: str, outcome: Outcome) -> None:
        reason = f"{outcome.kind}: {outcome.message or 'refused'}"
        if outcome.model_only:
            self.refused_models[model] = RefusedModel(outcome.kind, reason)
        elif outcome.kind is Kind.OUT_OF_CREDIT or outcome.status_code == 401:
            self.account.disabled = reason
        else:
            self.disabled = reason

    def condition(self, now: float) -> Condition:
        """Return the status a person sees."""
        if reason := self.disabled or self.account.disabled:
            return Condition(Status.DISABLED, reason)
        if self.account.cooldown.until > now:
            return Condition(Status.DEGRADED, "rate limited", self.account.cooldown.until)
        if self._recovery.until > now:
            return Condition(Status.UNHEALTHY, self._last_failure, self._recovery.until)
        if self.refused_models:
            model, refused = next(iter(self.refused_models.items()))
            return Condition(Status.DEGRADED, f"{model}: {refused.reason}")
        if not self.answered:
            return Condition(Status.UNKNOWN, self._last_failure)
        return Condition(Status.HEALTHY)
