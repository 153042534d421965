"""
How long a run goes on while no provider does any good.

Trouble begins with the first outcome that shows a provider unusable, or where all are in a cooldown
that an earlier run was told of, and ends with any outcome that shows one usable; patience runs out
when it has lasted too long. All instants are monotonic seconds.
"""

from __future__ import annotations

import math

from aiq.model import Kind, Outcome

FIRST_ANSWER_S = 60.0
"""The default until some provider has answered at all; afterwards there is no limit."""

_USABLE = frozenset({Kind.OK, Kind.BAD_REQUEST, Kind.CONTEXT_TOO_LONG})
_SILENT = frozenset({Kind.CANCELLED})


class Patience:
    """Watches outcomes; `max_wait_s` None is the default."""

    def __init__(self, max_wait_s: float | None) -> None:
        self._max_wait_s = max_wait_s
        self._since: float | None = None
        self._has_answer = False
        self._held_at: float | None = None
        self.last_trouble: str | None = None

    def note(self, provider: str, outcome: Outcome, now: float) -> None:
        """Take an outcome into account."""
        kind = outcome.kind
        if kind in _USABLE:
            self._since = None
            self._has_answer = self._has_answer or kind is Kind.OK
        elif kind not in _SILENT:
            self._trouble(f"{provider}: {kind}: {outcome.message}", now)

    def note_cooldown(self, provider: str, now: float, left_s: float) -> None:
        """Take a cooldown of an earlier run into account, as its 429 would be in this one."""
        said = f"an earlier run was told to wait, {math.ceil(left_s)} s from the start of this one"
        self._trouble(f"{provider}: {Kind.RATE_LIMITED}: {said}", now)

    def _trouble(self, what: str, now: float) -> None:
        self.last_trouble = what
        if self._since is None:
            self._since = now

    def hold(self, now: float) -> None:
        """Count no time from now on: it is a person who keeps the run from sending."""
        if self._held_at is None:
            self._held_at = now

    def go_on(self, now: float) -> None:
        """Count again; what passed since `hold` is left out."""
        if self._held_at is not None and self._since is not None:
            self._since += now - max(self._held_at, self._since)
        self._held_at = None

    @property
    def ends_at(self) -> float:
        """The instant at which it runs out; inf while held, without trouble or without limit."""
        if self._since is None or self._held_at is not None:
            return math.inf
        if self._max_wait_s is not None:
            return self._since + self._max_wait_s
        return math.inf if self._has_answer else self._since + FIRST_ANSWER_S
