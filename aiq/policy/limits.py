"""
From when an account may send another request, as far as its rate limits are concerned.

Four things say so, and the latest counts: the cooldown after a 429, the limits that the user
configured, what the server announces in its headers, and a rate learned from 429s where the number
of requests is neither configured nor announced. Every request reserves its estimate and is then
either settled with its real usage or refunded. An account with no limits at all costs next to
nothing here, and that is the common case. All instants are monotonic seconds.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import msgspec

from aiq.model import Quota, Usage
from aiq.policy.announced import Announced
from aiq.policy.buckets import Bucket, Slice
from aiq.policy.cooldown import Cooldown
from aiq.policy.defaults import LimitSettings, RateLimits
from aiq.policy.learned import LearnedRate, Second
from aiq.policy.tokens import Estimate

NOTHING = Estimate(0, 0)

_NOUNS = ("requests", "tokens", "input tokens", "output tokens")
"""The dimensions of limits, in the order used throughout this module."""

Units: TypeAlias = tuple[int, int, int, int]
"""What something amounts to in each of these dimensions."""

_REQUEST_BURST = 1 / 30
_TOKEN_BURST = 1 / 6
"""Capacities of buckets: two seconds of requests, ten of tokens, whose sizes differ more."""


class Reservation(msgspec.Struct, eq=False):
    """What one request holds until it is settled or refunded, once; afterwards both do nothing."""

    at: float
    estimate: Estimate
    sent_in: Second
    booked: tuple[Slice, ...] = ()
    is_held: bool = True


class Limits:
    """The rate limits of one account."""

    def __init__(self, settings: LimitSettings, rates: RateLimits) -> None:
        self._settings = settings
        self.cooldown = Cooldown(settings)
        self._buckets = _buckets(rates)
        self._has_request_rate = rates.requests is not None
        self._learned = LearnedRate(settings)
        self._announced: dict[int, Announced] = {}
        self._is_adapted = False
        """Whether anything was ever announced or learned."""
        self._requests = self._input_tokens = self._output_tokens = 0
        self._latest = NOTHING
        self._latest_at = -math.inf

    @property
    def counts_tokens(self) -> bool:
        """Whether estimates of tokens matter."""
        return any(index > 0 for index, _ in self._buckets) or any(self._announced)

    def ready_at(self, now: float, estimate: Estimate) -> float:
        """Return from when a request may start: past means now, inf when something has ended."""
        return max(self.configured_ready_at(now, estimate), self.other_ready_at(now, estimate))

    def configured_ready_at(self, now: float, estimate: Estimate) -> float:
        """Return what the configured rates say: a better rank is worth waiting for until then."""
        if not self._buckets:
            return -math.inf
        units = _units(estimate)
        return max(bucket.ready_at(now, units[index]) for index, bucket in self._buckets)

    def other_ready_at(self, now: float, estimate: Estimate | None = None) -> float:
        """
        Return what cooldown, announced and learned limits say.

        Without an estimate the request is taken to be like the latest one.
        """
        until = self.cooldown.until
        if not self._is_adapted:
            return until
        ready = max(until, self._learned.ready_at(now))
        if self._announced:
            ready = max(ready, self._announced_ready_at(now, estimate or self._latest))
        return ready

    def reserve(self, now: float, estimate: Estimate) -> Reservation:
        """Take what a request needs, into debt if it is not there."""
        self._requests += 1
        self._input_tokens += estimate.input_tokens
        self._output_tokens += estimate.output_tokens
        self._latest, self._latest_at = estimate, now
        sent_in = self._learned.start(now)
        if not self._buckets:
            return Reservation(now, estimate, sent_in)
        units = _units(estimate)
        booked = tuple(bucket.take(now, units[index]) for index, bucket in self._buckets)
        return Reservation(now, estimate, sent_in, booked)

    def settle(
        self, reservation: Reservation, *, now: float, usage: Usage, quota: Quota | None
    ) -> None:
        """
        Replace the estimate by what the request really took, answered or refused.

        Tokens that the reply does not report stay as estimated. A 429 goes to `rate_limited` next.
        """
        if not self._release(reservation):
            return
        if self._buckets or self._announced:
            self._correct(reservation, now, _real(usage, reservation.estimate))
        if quota is not None:
            self._believe(quota, now, reservation.at)

    def refund(self, reservation: Reservation, *, now: float) -> None:
        """Give everything back: the request was certainly never sent."""
        if not self._release(reservation):
            return
        self._learned.withdraw(reservation.sent_in)
        units = _units(reservation.estimate)
        for (index, bucket), booked in zip(self._buckets, reservation.booked, strict=True):
            bucket.correct(now, booked, -units[index])

    def rate_limited(
        self, *, now: float, started: float, hint_s: float | None, draw: float
    ) -> None:
        """
        Take a 429 into account, after `settle` of its request, which was sent at `started`.

        `hint_s` is the server's wish to wait, `draw` uniform in 0..1.
        """
        self.cooldown.extend(now=now, started=started, hint_s=hint_s, draw=draw)
        if self._knows_request_rate():
            return
        self._learned.refuse(now=now, started=started, until=self.cooldown.until)
        self._is_adapted = True

    def start_over(self) -> None:
        """Forget what the server told and what it taught, on a person's word."""
        self.cooldown.forget()
        self._learned = LearnedRate(self._settings)
        self._announced.clear()
        self._is_adapted = False

    def reason(self, now: float) -> str | None:
        """Say for people why nothing may start now; None: something may."""
        if self.cooldown.until > now:
            return "rate limited"
        units = _units(self._latest)
        for index, bucket in self._buckets:
            if bucket.ready_at(now, units[index]) > now:
                return f"at {bucket.per_minute} {_NOUNS[index]} per minute"
        in_flight = self._in_flight()
        for index, announced in self._announced.items():
            at = announced.ready_at(
                now, units[index], in_flight=in_flight[index], last_start=self._latest_at
            )
            if at > now:
                return _announcement(announced.limit, _NOUNS[index])
        if self._learned.per_s is not None and self._learned.ready_at(now) > now:
            return f"learned limit {self._learned.per_s:.3g}/s"
        return None

    def _release(self, reservation: Reservation) -> bool:
        """Count the request out; False: it was already."""
        if not reservation.is_held:
            return False
        reservation.is_held = False
        self._requests -= 1
        self._input_tokens -= reservation.estimate.input_tokens
        self._output_tokens -= reservation.estimate.output_tokens
        return True

    def _correct(self, reservation: Reservation, now: float, real: Estimate) -> None:
        units, taken = _units(real), _units(reservation.estimate)
        for (index, bucket), booked in zip(self._buckets, reservation.booked, strict=True):
            if units[index] != taken[index]:
                bucket.correct(now, booked, units[index] - taken[index])
        for index, announced in self._announced.items():
            announced.spend(now, units[index], started=reservation.at)

    def _believe(self, quota: Quota, now: float, started: float) -> None:
        for index, (limit, left) in enumerate(_said(quota)):
            if left is not None:
                announced = self._announced.setdefault(index, Announced())
                announced.believe(now, started=started, limit=limit, left=left)
                self._is_adapted = True
        if self._knows_request_rate():
            self._learned.forget()

    def _knows_request_rate(self) -> bool:
        announced = self._announced.get(0)
        return self._has_request_rate or (announced is not None and announced.limit is not None)

    def _in_flight(self) -> Units:
        return _by_dimension(self._requests, self._input_tokens, self._output_tokens)

    def _announced_ready_at(self, now: float, estimate: Estimate) -> float:
        units, in_flight = _units(estimate), self._in_flight()
        return max(
            announced.ready_at(
                now, units[index], in_flight=in_flight[index], last_start=self._latest_at
            )
            for index, announced in self._announced.items()
        )


def _buckets(rates: RateLimits) -> tuple[tuple[int, Bucket], ...]:
    """Return a bucket for every configured limit, with the index of its dimension."""
    configured = (rates.requests, rates.tokens, rates.input_tokens, rates.output_tokens)
    return tuple(
        (index, Bucket(per_minute, burst=_TOKEN_BURST if index else _REQUEST_BURST))
        for index, per_minute in enumerate(configured)
        if per_minute is not None
    )


def _units(estimate: Estimate) -> Units:
    return _by_dimension(1, estimate.input_tokens, estimate.output_tokens)


def _by_dimension(requests: int, input_tokens: int, output_tokens: int) -> Units:
    return requests, input_tokens + output_tokens, input_tokens, output_tokens


def _real(usage: Usage, estimate: Estimate) -> Estimate:
    """Return what a reply reports; one that reports input alone has no output (an embedding)."""
    if usage.input_tokens is None:
        output = usage.output_tokens
        return Estimate(estimate.input_tokens, estimate.output_tokens if output is None else output)
    return Estimate(usage.input_tokens, usage.output_tokens or 0)


def _said(quota: Quota) -> tuple[tuple[int | None, int | None], ...]:
    return (
        (quota.requests_limit, quota.requests_left),
        (quota.tokens_limit, quota.tokens_left),
        (quota.input_tokens_limit, quota.input_tokens_left),
        (quota.output_tokens_limit, quota.output_tokens_left),
    )


def _announcement(limit: int | None, noun: str) -> str:
    return f"no {noun} left" if limit is None else f"at the announced {limit} {noun} per minute"
