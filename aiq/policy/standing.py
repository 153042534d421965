"""
What we know about a provider during a run, kept where each fact belongs.

Limits, concurrency and the state of a credential belong to the `Account`, because providers that
share a key share its fate. Failures and slowness belong to one model of one provider, its
`Channel`. What a provider itself refuses belongs to its `Standing`. Outcomes change all three
through `aiq.policy.admission`. All instants are monotonic seconds.
"""

from __future__ import annotations

import enum
import math

import msgspec

from aiq.model import Kind, Outcome
from aiq.policy.account import Account
from aiq.policy.breaker import Breaker, State
from aiq.policy.defaults import BreakerSettings
from aiq.policy.ramp import Ramp
from aiq.policy.slowness import Slowness
from aiq.policy.switch import Switch
from aiq.policy.tokens import TokenRatio

CONFIRMATIONS = 3
"""Refusals in a row it takes to disable a provider that has already answered in this run."""

_SLOWER_WEIGHT = 0.3
_FASTER_WEIGHT = 0.7
"""
Of the latest answer in the moving mean. Good news counts for more: who has become fast is asked
seldom until it shows, while who has become slow shows with every call.
"""


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


class Channel:
    """One model of one provider: what fails, slows down and recovers as one."""

    __slots__ = (
        "answers",
        "breaker",
        "in_flight",
        "largest",
        "last_failure",
        "latency_s",
        "ramp",
        "slowness",
        "started",
        "tokens",
    )

    def __init__(self, settings: BreakerSettings, *, openings: int = 0) -> None:
        """`openings` says how often its breaker had opened in a row when the last run ended."""
        self.breaker = Breaker(settings, openings=openings)
        self.slowness = Slowness(settings)
        self.ramp = Ramp()
        self.tokens = TokenRatio()
        self.in_flight = 0
        self.started = -math.inf
        """When its latest call started."""
        self.answers = 0
        """How many calls were answered."""
        self.largest = 0
        """The most bytes of a prompt that was answered."""
        self.latency_s: float | None = None
        """Moving mean of its answers, seconds; None before the first."""
        self.last_failure: str | None = None

    def answered(self, latency_s: float) -> None:
        """Count an answer and take its latency into the mean."""
        self.answers += 1
        mean = self.latency_s
        if mean is None:
            self.latency_s = latency_s
            return
        weight = _FASTER_WEIGHT if latency_s < mean else _SLOWER_WEIGHT
        self.latency_s = mean + weight * (latency_s - mean)


class Standing:
    """One provider's standing in a run."""

    def __init__(
        self, account: Account, *, max_in_flight: int, breaker: BreakerSettings | None = None
    ) -> None:
        self.account = account
        self.max_in_flight = max_in_flight
        self.in_flight = 0
        self.answered = False
        self.switch = Switch.ON
        self.disabled: str | None = None
        self.refused_models: dict[str, RefusedModel] = {}
        self.channels: dict[str, Channel] = {}
        self._breaker = breaker or BreakerSettings()
        self.openings: dict[str, int] = {}
        self._doubts: dict[str, list[int]] = {}

    def remember(self, openings: dict[str, int]) -> None:
        """Take up how often breakers had opened in earlier runs, of models not yet asked for."""
        self.openings = openings

    def channel(self, model: str) -> Channel:
        """Return the channel of a model, the same one every time."""
        if model not in self.channels:
            openings = self.openings.get(model, 0)
            channel = self.channels[model] = Channel(self._breaker, openings=openings)
            channel.breaker.limit_in_flight(self.max_in_flight)
        return self.channels[model]

    @property
    def limit(self) -> int:
        """How many requests may be in flight now."""
        return min(self.max_in_flight, self.account.concurrency.limit)

    def is_out(self, model: str) -> bool:
        """Whether this model of this provider cannot be used, as things stand."""
        return (
            self.switch is not Switch.ON
            or self.disabled is not None
            or self.account.disabled is not None
            or model in self.refused_models
        )

    def is_held(self, model: str) -> bool:
        """Whether it is out only for as long as an operator wants, who is there to let it in."""
        is_refused = self.why_refused is not None or model in self.refused_models
        return self.switch is Switch.OFF and not is_refused

    @property
    def why_refused(self) -> str | None:
        """Why the provider as a whole is out, if that is its own doing."""
        return self.disabled or self.account.disabled

    @property
    def why_out(self) -> str | None:
        """Why the provider as a whole is out, whoever took it out."""
        return self.switch.reason or self.why_refused

    @property
    def is_gone(self) -> bool:
        """Whether the provider as a whole is out for the rest of the run."""
        return self.why_refused is not None or self.switch is Switch.LEFT_OFF

    def why_disabled(self, model: str) -> str | None:
        """Return why `is_out` says so."""
        refused = self.refused_models.get(model)
        return self.why_out or (refused.reason if refused else None)

    def lacks(self, model: str) -> bool:
        """Whether the provider said that it does not offer this model."""
        refused = self.refused_models.get(model)
        return refused is not None and refused.kind is Kind.NOT_FOUND

    def judge(self, model: str, outcome: Outcome, job_id: int) -> None:
        """Learn from an outcome whether key, credit and model are good."""
        kind = outcome.kind
        if kind is Kind.OK:
            self.answered = True
            if self._doubts:
                self._doubts.clear()
        elif kind is Kind.OUT_OF_CREDIT or (
            kind in (Kind.AUTH, Kind.NOT_FOUND) and self._is_confirmed(model, outcome, job_id)
        ):
            self._disable(model, outcome)

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
            self.account.disabled = self.account.all_of_it(reason)
        else:
            self.disabled = reason

    def condition(self, now: float, *, alone: bool = False) -> Condition:
        """
        Return the status a person sees: of several models, the one in the worst state.

        `alone` says that the breakers of all providers are open, so that trials come sooner.
        """
        if reason := self.why_out:
            return Condition(Status.DISABLED, reason)
        limits = self.account.limits
        if limits.cooldown.until > now:
            reason = self.account.all_of_it("rate limited")
            return Condition(Status.DEGRADED, reason, limits.cooldown.until)
        found = [
            _channel_condition(channel, now, f"{model}: " if len(self.channels) > 1 else "", alone)
            for model, channel in self.channels.items()
        ]
        worst = max(
            (one for one in found if one is not None),
            key=lambda one: one.status is Status.UNHEALTHY,
            default=None,
        )
        if worst is not None:
            return worst
        if self.refused_models:
            model, refused = next(iter(self.refused_models.items()))
            is_all = bool(self.channels) and all(map(self.is_out, self.channels))
            status = Status.DISABLED if is_all else Status.DEGRADED
            return Condition(status, f"{model}: {refused.reason}")
        if not self.answered:
            return Condition(Status.UNKNOWN, self._last_failure)
        return Condition(Status.HEALTHY, limits.reason(now))

    def start_over(self) -> None:
        """
        Forget all that stands in the way of the provider, on a person's word.

        Its account is shared, so others profit. What is still in flight has no say about the time
        after; a first refusal is believed again, and the first requests are few.
        """
        account = self.account
        account.is_cooling = True
        account.limits.start_over()
        account.disabled = self.disabled = None
        self.answered = False
        self.refused_models.clear()
        self._doubts.clear()
        self.openings = {}
        for channel in self.channels.values():
            channel.breaker.start_over()
            channel.slowness = Slowness(self._breaker)
            channel.last_failure = None

    @property
    def is_open(self) -> bool:
        """Whether no channel of it admits a call, except for a trial."""
        states = [channel.breaker.state for channel in self.channels.values()]
        return bool(states) and all(state is State.OPEN for state in states)

    @property
    def is_shut(self) -> bool:
        """Whether any breaker of it is not closed: open, or on trial."""
        return any(channel.breaker.state is not State.CLOSED for channel in self.channels.values())

    @property
    def _last_failure(self) -> str | None:
        failures = [channel.last_failure for channel in self.channels.values()]
        return next((failure for failure in failures if failure), None)


def _channel_condition(channel: Channel, now: float, prefix: str, alone: bool) -> Condition | None:
    """Return what is wrong with a channel, None if nothing is; `prefix` names its model."""
    breaker = channel.breaker
    if breaker.state is not State.CLOSED:
        said = f" ({channel.last_failure})" if channel.last_failure else ""
        is_open = breaker.state is State.OPEN
        ready_at = breaker.ready_at(now, alone=alone)
        return Condition(
            Status.UNHEALTHY if is_open else Status.DEGRADED,
            f"{prefix}{breaker.reason(now)}{said}",
            ready_at if is_open and now < ready_at else None,
        )
    if channel.slowness.is_degraded:
        trial_at = channel.slowness.next_trial_at(now)
        return Condition(Status.DEGRADED, f"{prefix}slow", trial_at if trial_at > now else None)
    return None
