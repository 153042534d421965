"""Why a pool stops, known to everybody who may send, and the bell that wakes whoever decides."""

from __future__ import annotations

import asyncio
import enum


class End(enum.Enum):
    """Why a pool stopped."""

    DONE = "done"
    STOPPED = "stopped"
    NO_PROVIDER = "no_provider"
    WAITED = "waited"
    SAME_MISTAKE = "same_mistake"
    BUDGET = "budget"


class Stopped(Exception):
    """The user stopped the reading of files; nothing of it remains."""


GIVEN_UP_KEPT = 100_000
"""Jobs that nobody can take which an operator may still bring back; more wait for the next run."""


class Halt:
    """The first reason to stop wins; `refusal` is what stood in the way, as far as known."""

    def __init__(self) -> None:
        self.why: End | None = None
        self.is_abort = False
        self.is_paused = False
        """Whether an operator wants nothing new to be sent for now."""
        self.refusal: str | None = None
        self.given_up: set[int] = set()
        """Jobs that stay pending because nobody is left who could take them."""
        self._has_more_given_up = False
        self.changed = asyncio.Event()

    def give_up(self, job_id: int, refusal: str | None) -> None:
        """Note a job that stays pending, and why."""
        if len(self.given_up) < GIVEN_UP_KEPT:
            self.given_up.add(job_id)
        else:
            self._has_more_given_up = True
        self.refusal = refusal or self.refusal

    @property
    def leaves_jobs(self) -> bool:
        """Whether jobs stay pending because nobody can take them."""
        return bool(self.given_up) or self._has_more_given_up

    def end(self, why: End, refusal: str | None = None) -> None:
        """Send nothing new from now on; only the first call rings, so that it may be repeated."""
        if self.why is None:
            self.why = why
            self.refusal = refusal or self.refusal
            self.changed.set()

    @property
    def why_not(self) -> str | None:
        """Why nothing new is to be sent now; None: it may."""
        if self.why is not None:
            return "the run was stopped"
        return "the run is paused" if self.is_paused else None

    def nudge(self) -> None:
        """Look again: something happened that may allow, or forbid, the next step."""
        self.changed.set()
