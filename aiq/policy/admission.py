"""
A place for one request at everything that bounds it, and what they all learn from its outcome.

`access` says from when a candidate could take a request; `admit` takes the places: a permit of the
breaker, tokens of the rate limits, a slot of the concurrency. `withdraw` gives them back where
nothing was sent, `settle` where something was. Each place is taken once and returned once. All
instants are monotonic seconds.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import msgspec

from aiq.model import Kind, Outcome
from aiq.policy.breaker import Permit, State, Verdict
from aiq.policy.limits import Reservation
from aiq.policy.standing import Channel, Standing
from aiq.policy.tokens import Estimate

_VERDICTS = {
    Kind.OK: Verdict.GOOD,
    Kind.CONNECT: Verdict.BAD,
    Kind.INTERRUPTED: Verdict.BAD,
    Kind.SERVER_ERROR: Verdict.BAD,
    Kind.BAD_RESPONSE: Verdict.BAD,
}
"""What an outcome says about a provider's health (`design` 6); a client's faults say nothing."""

_ANSWERED = frozenset({Kind.OK, Kind.BAD_REQUEST, Kind.CONTEXT_TOO_LONG, Kind.BAD_RESPONSE})
"""Outcomes of a server that is not at the end of its strength."""


class Candidate(msgspec.Struct, frozen=True, eq=False):
    """A provider and the model it would be asked for; identity is what counts."""

    provider: str
    model: str
    standing: Standing
    channel: Channel
    context_window: int | None = None
    unit_cost: int | None = None
    """Nano-dollars of a typical request; None: unknown."""


class Access(NamedTuple):
    """
    From when a candidate can take a request: past means now, inf means when something ends.

    `is_own` says that it is merely at its own limit, which is worth waiting for.
    """

    at: float
    is_own: bool


_NOW = Access(-math.inf, is_own=False)
_CONGESTED = Access(math.inf, is_own=False)


class Admission(msgspec.Struct, frozen=True):
    """The places one request holds."""

    candidate: Candidate
    permit: Permit
    reservation: Reservation
    size: int


def access(
    candidate: Candidate,
    now: float,
    estimate: Estimate,
    *,
    alone: bool = False,
    is_only: bool = False,
) -> Access:
    """
    Return from when a candidate that is not out for good can take a request.

    `alone` says that the breakers of all who could take it are open, `is_only` that nobody else
    could: then a slow one keeps all its places, since there is no other to leave them to.
    """
    standing, channel = candidate.standing, candidate.channel
    limits, concurrency = standing.account.limits, standing.account.concurrency
    blocked = max(
        limits.other_ready_at(now, estimate),
        channel.breaker.ready_at(now, alone=alone),
        channel.ramp.ready_at(now),
    )
    if blocked > now:
        return Access(blocked, is_own=False)
    # Of one that is due for a trial nobody waits for the place that it would take.
    is_well = channel.breaker.state is State.CLOSED and not channel.slowness.is_degraded
    paced = limits.configured_ready_at(now, estimate)
    if paced > now:
        return Access(paced, is_own=is_well)
    if standing.in_flight >= standing.max_in_flight:
        return Access(math.inf, is_own=is_well)
    if not concurrency.has_room:
        concurrency.advance(now)  # a round may have ended of its own while nothing did
        if not concurrency.has_room:
            return Access(concurrency.grows_at, is_own=is_well and not concurrency.is_reduced)
    if (
        channel.slowness.is_degraded
        and not is_only
        and channel.in_flight >= max(1, concurrency.limit // 2)
    ):
        return _CONGESTED
    return _NOW


def admit(
    candidate: Candidate, now: float, estimate: Estimate, *, size: int, alone: bool = False
) -> Admission:
    """
    Take the places; `access` has just said that they are free.

    `size` is the prompt's bytes, by which the token estimate learns.
    """
    standing, channel = candidate.standing, candidate.channel
    account = standing.account
    if account.is_cooling:
        account.is_cooling = False
        account.concurrency.slow_start(now)
    account.concurrency.begin(now)
    standing.in_flight += 1
    channel.in_flight += 1
    channel.started = now
    channel.ramp.start(now)
    if channel.slowness.is_degraded:
        channel.slowness.trial_started(now)
    return Admission(
        candidate,
        channel.breaker.admit(now, alone=alone),
        account.limits.reserve(now, estimate),
        size,
    )


def why_not_send(admission: Admission, now: float) -> str | None:
    """Look again right before sending: the commit took time in which things may change."""
    candidate = admission.candidate
    standing, breaker = candidate.standing, candidate.channel.breaker
    if standing.is_out(candidate.model):
        return "not sent: the provider was switched off"
    if standing.account.limits.cooldown.until > now:
        return "not sent: the provider asked for a pause"
    if breaker.state is not State.CLOSED and breaker.generation != admission.permit.generation:
        return "not sent: the provider began to fail"
    return None


def withdraw(admission: Admission, now: float, draw: float) -> None:
    """Give all places back: the request was certainly never sent."""
    candidate = admission.candidate
    account = candidate.standing.account
    _leave(candidate)
    account.concurrency.end_neutral(now)
    account.limits.refund(admission.reservation, now=now)
    candidate.channel.breaker.settle(admission.permit, Verdict.IGNORED, now=now, draw=draw)


def settle(
    admission: Admission,
    outcome: Outcome,
    *,
    job_id: int,
    now: float,
    started: float,
    draw: float,
    is_suspect: bool = False,
) -> None:
    """
    Give the places back and let everybody learn; `started` is when the request was sent.

    `is_suspect` says that the job failed here before and others were answered since: another
    failure of its speaks of the job, and not of the provider, unless it did not even connect. A
    trial that fails has shown nothing of the provider, so the next one waits as after any other.
    """
    candidate = admission.candidate
    standing = candidate.standing
    _leave(candidate)
    standing.judge(candidate.model, outcome, job_id)
    _settle_limits(admission, outcome, now=now, started=started, draw=draw)
    _settle_concurrency(candidate, outcome, now=now, started=started)
    verdict = _VERDICTS.get(outcome.kind, Verdict.IGNORED)
    is_its_own = is_suspect and outcome.kind is not Kind.CONNECT
    if verdict is Verdict.BAD and is_its_own and not admission.permit.is_trial:
        verdict = Verdict.IGNORED
    _settle_channel(admission, outcome, verdict, now=now, started=started, draw=draw)


def _leave(candidate: Candidate) -> None:
    candidate.standing.in_flight -= 1
    candidate.channel.in_flight -= 1


def _settle_limits(
    admission: Admission, outcome: Outcome, *, now: float, started: float, draw: float
) -> None:
    account = admission.candidate.standing.account
    limits = account.limits
    if outcome.kind is Kind.CONNECT:
        limits.refund(admission.reservation, now=now)
        return
    limits.settle(admission.reservation, now=now, usage=outcome.usage, quota=outcome.quota)
    if outcome.kind is Kind.OK:
        limits.cooldown.clear(started=started)
        channel = admission.candidate.channel
        channel.tokens.learn(admission.size, outcome.usage)
        channel.largest = max(channel.largest, admission.size)
    elif outcome.kind is Kind.RATE_LIMITED:
        limits.rate_limited(now=now, started=started, hint_s=outcome.retry_after_s, draw=draw)
        account.is_cooling = True


def _settle_concurrency(
    candidate: Candidate, outcome: Outcome, *, now: float, started: float
) -> None:
    concurrency = candidate.standing.account.concurrency
    if _is_congestion(outcome):
        concurrency.end_congested(now, started=started)
    elif outcome.kind in _ANSWERED:
        concurrency.end_good(now, started=started)
    else:
        concurrency.end_neutral(now)


def _is_congestion(outcome: Outcome) -> bool:
    return outcome.kind is Kind.RATE_LIMITED or outcome.status_code == 503 or outcome.timed_out


def _settle_channel(
    admission: Admission,
    outcome: Outcome,
    verdict: Verdict,
    *,
    now: float,
    started: float,
    draw: float,
) -> None:
    channel = admission.candidate.channel
    is_slow = False
    if verdict is Verdict.BAD:
        channel.last_failure = outcome.message
    elif verdict is Verdict.GOOD:
        latency_s = now - started
        is_slow = channel.slowness.judge(latency_s)
        channel.slowness.note(latency_s, now=now, started=started)
        channel.answered(latency_s)
    was_closed = channel.breaker.state is State.CLOSED
    channel.breaker.settle(
        admission.permit,
        verdict,
        now=now,
        is_connect=outcome.kind is Kind.CONNECT,
        is_congestion=_is_congestion(outcome),
        is_slow=is_slow,
        retry_after_s=outcome.retry_after_s,
        draw=draw,
    )
    if channel.breaker.state is State.CLOSED and not was_closed:
        channel.ramp.begin(now)


def is_bad(outcome: Outcome) -> bool:
    """Whether an outcome speaks against its provider, if it is not the job's own doing."""
    return _VERDICTS.get(outcome.kind) is Verdict.BAD


def is_bad_trial(admission: Admission, outcome: Outcome) -> bool:
    """Whether it was a trial of a breaker that went wrong."""
    return admission.permit.is_trial and is_bad(outcome)
