"""What providers with one key share: limits, concurrency, and the state of the credential."""

from __future__ import annotations

from aiq.policy.concurrency import Concurrency
from aiq.policy.limits import Limits


class Account:
    """The account that one key belongs to."""

    __slots__ = ("concurrency", "disabled", "is_cooling", "limits", "shared_as")

    def __init__(
        self, limits: Limits, concurrency: Concurrency, *, shared_as: str | None = None
    ) -> None:
        """`shared_as` is its name where several providers share it, for people to understand."""
        self.limits = limits
        self.concurrency = concurrency
        self.shared_as = shared_as
        self.disabled: str | None = None
        self.is_cooling = False
        """Whether a cooldown has begun from which nobody has started again."""

    def remember(self, until: float) -> None:
        """Take up the cooldown that an earlier run had come to; it begins slowly after that too."""
        self.limits.cooldown.remember(until)
        self.is_cooling = True

    def all_of_it(self, reason: str) -> str:
        """Return a reason that says whom it concerns besides the provider that met it."""
        return reason if self.shared_as is None else f"{reason} (all of account {self.shared_as})"
