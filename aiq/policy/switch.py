"""Whether an operator lets a provider be asked."""

from __future__ import annotations

import enum


class Switch(enum.Enum):
    """
    Set by an operator, and by nothing that a provider does.

    Whoever switched it off in this run may switch it on again, so jobs that need it wait. One that
    was left off by an earlier run may be forgotten, and nobody waits for it.
    """

    ON = enum.auto()
    OFF = enum.auto()
    LEFT_OFF = enum.auto()

    @property
    def reason(self) -> str | None:
        """Say for people why the provider is not asked; None: it is."""
        return _REASONS.get(self)


_REASONS = {Switch.OFF: "by you", Switch.LEFT_OFF: "by you, in an earlier run"}
