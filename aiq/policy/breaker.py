"""
The circuit breaker of one model of one provider (`design` 7.2, 16).

    closed ──too many bad calls──▶ open ──a trial starts──▶ half-open ──3 good trials──▶ closed
                                    ▲                          │
                                    └───a bad or slow trial────┘

It has no timer: an open breaker becomes half-open when a trial is admitted. Every transition begins
a new generation; an outcome of an older one is recorded as a latency and never moves the present.

How long it stays open doubles with every opening until it has proven itself, by an answer after it
was closed for as long as it last had to stay open. A reset at every closing would let a provider
that flaps every few seconds cost a burst of failures every fifteen seconds for ever.
"""

from __future__ import annotations

import enum
import math

import msgspec

from aiq.policy.defaults import BreakerSettings
from aiq.policy.outbreak import Outbreak
from aiq.policy.window import Latencies, Window

TRIALS = 4
"""One, and after its success three more at once."""

GOOD_TRIALS = 3
"""So many of them close it: the slowest of the four is not waited for."""

_REMEMBERED_TRIALS = 4 * TRIALS
"""Trials whose outcome may still come; more only add up if outcomes get lost."""

_JITTER = 0.2
_MAX_DOUBLINGS = 32
_WISH_CAP_S = 3600.0
"""A server's wish beyond an hour is not believed (`design` 7.3)."""


class Verdict(enum.Enum):
    """What an outcome means for the breaker; `ignored` says nothing about the provider."""

    GOOD = enum.auto()
    BAD = enum.auto()
    IGNORED = enum.auto()


class State(enum.StrEnum):
    """Normal, refusing, or letting trials through."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Permit(msgspec.Struct, frozen=True):
    """The right to make one call, settled once; calls are numbered as they start, and trials."""

    generation: int
    number: int
    is_trial: bool
    at: float


class Breaker:
    """
    Admits calls while their outcomes are good enough.

    `openings` says how often it had opened in a row in an earlier process: if at all, it starts
    half-open, because only a trial can tell whether the provider is back.
    """

    def __init__(self, settings: BreakerSettings, *, openings: int = 0) -> None:
        self._settings = settings
        self._state = State.HALF_OPEN if openings else State.CLOSED
        self._openings = openings
        self._generation = 0
        self._latencies = Latencies()
        self._window = Window(settings, self._latencies)
        self._outbreak = Outbreak()
        self._connects_in_a_row = 0
        self._opened_at = self._open_until = -math.inf
        self._wished_until = -math.inf
        self._proven_at = math.inf
        self._reason = ""
        self._is_slow = False
        self._trials: dict[int, float] = {}
        self._next_number = 0
        self._good_trials = 0

    @property
    def state(self) -> State:
        """The present state; open until a trial starts, also when its time is over."""
        return self._state

    @property
    def generation(self) -> int:
        """Number of the present period; every transition adds exactly one."""
        return self._generation

    @property
    def openings(self) -> int:
        """
        How often it has opened without having proven itself since; what is kept across restarts.

        The open time is `open_s` * 2^(openings - 1).
        """
        return self._openings

    def limit_in_flight(self, limit: int) -> None:
        """Widen the window to what may be in flight, or one burst of calls would be all of it."""
        self._window.widen(limit)

    def ready_at(self, now: float, *, alone: bool = False) -> float:
        """
        Return the instant from which a call may be admitted, `now` if that is past.

        `alone` says that no candidate of the job is closed: an open breaker is then tried every
        `alone_s`, but never before the server's own wish. A half-open one with all trials out
        answers when the first of them expires; an outcome may free a place earlier.
        """
        if self._state is State.CLOSED:
            return now
        if self._state is State.OPEN:
            ready = self._open_until
            if alone:
                early = max(self._opened_at + self._settings.alone_s, self._wished_until)
                ready = min(ready, early)
            return max(ready, now)
        out = [expiry for expiry in self._trials.values() if expiry > now]
        places = TRIALS if self._good_trials else 1
        return now if self._good_trials + len(out) < places else min(out)

    def admit(self, now: float, *, alone: bool = False) -> Permit:
        """Admit a call; raises `RuntimeError` where `ready_at` has not come, a bug of ours."""
        if self._state is State.CLOSED:
            return Permit(self._generation, self._outbreak.start(), is_trial=False, at=now)
        if self.ready_at(now, alone=alone) > now:
            raise RuntimeError(f"a call was admitted by a breaker that is {self._state}")
        if self._state is State.OPEN:
            self._move(State.HALF_OPEN)
        if len(self._trials) >= _REMEMBERED_TRIALS:
            del self._trials[min(self._trials)]
        expiry_s = max(self._settings.trial_expiry_s, 2 * self._latencies.good_p95())
        number = self._next_number
        self._next_number += 1
        self._trials[number] = now + expiry_s
        return Permit(self._generation, number, is_trial=True, at=now)

    def settle(
        self,
        permit: Permit,
        verdict: Verdict,
        *,
        now: float,
        is_connect: bool = False,
        is_congestion: bool = False,
        is_slow: bool = False,
        retry_after_s: float | None = None,
        draw: float,
    ) -> None:
        """
        Give a permit back with its outcome.

        `is_connect` says that the server could not be reached, `is_congestion` that it may merely
        have too much to do, `is_slow` what the slow rule says of an answer (it matters for trials
        only), `retry_after_s` is the server's wish with a bad outcome, `draw` is uniform in 0..1.
        """
        if verdict is not Verdict.IGNORED:
            self._latencies.add(now - permit.at, is_good=verdict is Verdict.GOOD)
        if permit.generation != self._generation:
            return
        if verdict is Verdict.BAD and retry_after_s is not None and 0 < retry_after_s < math.inf:
            self._wished_until = max(self._wished_until, now + min(retry_after_s, _WISH_CAP_S))
        if permit.is_trial:
            self._settle_trial(permit, verdict, now, draw, is_slow=is_slow)
        elif verdict is Verdict.GOOD:
            self._connects_in_a_row = 0
            self._window.add(started=permit.at, now=now, is_bad=False)
            self._outbreak.good(permit.number)
            if self._openings and now >= self._proven_at:
                self._openings = 0
        elif verdict is Verdict.BAD:
            self._connects_in_a_row = self._connects_in_a_row + 1 if is_connect else 0
            self._window.add(started=permit.at, now=now, is_bad=True, is_congestion=is_congestion)
            self._outbreak.bad(permit.number, is_congestion=is_congestion)
            if reason := self._alarm(permit, now):
                self._open(now, draw, reason)
        else:
            self._outbreak.ignored(permit.number)

    def _alarm(self, permit: Permit, now: float) -> str | None:
        """Return why it has to open after a bad call, None if it need not."""
        if self._connects_in_a_row >= self._settings.connects_in_a_row:
            return f"{self._connects_in_a_row} failures to connect in a row"
        outbreak = self._outbreak
        if outbreak.size >= self._settings.first_bad and not outbreak.is_noise:
            return f"{outbreak.size} bad calls since the last good one"
        if self._window.alarm(now) is None:
            return None
        return self._window.alarm(now, overtaken=outbreak.overtaken(permit.number))

    def _settle_trial(
        self, permit: Permit, verdict: Verdict, now: float, draw: float, *, is_slow: bool
    ) -> None:
        """Judge a trial; one that had expired gave its place away, but is still evidence."""
        if self._trials.pop(permit.number, None) is None or verdict is Verdict.IGNORED:
            return
        # Slow again after another open time: that is how it is now. It is used, as degraded.
        is_too_slow = is_slow and verdict is Verdict.GOOD and not self._is_slow
        if verdict is Verdict.BAD or is_too_slow:
            self._is_slow = is_too_slow
            self._reopen(now, draw, "a slow trial" if is_too_slow else "a bad trial")
            return
        self._good_trials += 1
        if self._good_trials >= GOOD_TRIALS:
            self._close(now)

    def _reopen(self, now: float, draw: float, reason: str) -> None:
        """
        Open again; an early trial (`alone`) leaves the open time it was made in as it is.

        Only its end may not come sooner after that trial than another early one could.
        """
        if now >= self._open_until:
            self._open(now, draw, reason)
            return
        early = now + self._settings.alone_s
        self._open_until = max(self._open_until, self._wished_until, early)
        self._refuse(now, reason)

    def _open(self, now: float, draw: float, reason: str) -> None:
        self._openings += 1
        settings = self._settings
        open_s = self._nominal_open_s() * (1 - _JITTER + 2 * _JITTER * draw)
        self._open_until = max(now + min(open_s, settings.open_cap_s), self._wished_until)
        self._refuse(now, reason)

    def _nominal_open_s(self) -> float:
        """Return the open time before jitter; the exponent is bounded so it cannot overflow."""
        doublings = min(self._openings - 1, _MAX_DOUBLINGS)
        return min(self._settings.open_s * 2.0**doublings, self._settings.open_cap_s)

    def _refuse(self, now: float, reason: str) -> None:
        self._opened_at = now
        self._reason = reason
        self._move(State.OPEN)

    def _close(self, now: float) -> None:
        self._proven_at = now + self._nominal_open_s()
        self._window.clear()
        self._connects_in_a_row = 0
        self._wished_until = -math.inf
        self._is_slow = False
        self._move(State.CLOSED)

    def start_over(self) -> None:
        """Close as if it had never opened, on a person's word."""
        self._openings = 0
        self._open_until = self._proven_at = -math.inf
        self._close(-math.inf)

    def _move(self, state: State) -> None:
        self._state = state
        self._generation += 1
        self._trials.clear()
        self._good_trials = 0
        self._outbreak.clear()

    def reason(self, now: float) -> str | None:
        """Say to a person why not every call is admitted; None while it is closed."""
        if self._state is State.CLOSED:
            return None
        if self._state is State.HALF_OPEN:
            return f"half-open: {self._good_trials} of {TRIALS} trials good"
        if now >= self._open_until:
            return f"due for a trial after {self._reason}"
        return f"open after {self._reason}"

    def until(self, now: float) -> float | None:
        """Return the end of the open time, or None where there is none to wait for."""
        is_waiting = self._state is State.OPEN and now < self._open_until
        return self._open_until if is_waiting else None
