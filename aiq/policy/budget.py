"""
The hard budget: what may still be sent, so that the worst case stays within what was allowed.

Before a send its worst case is reserved; the outcome turns the reservation into money spent, into
money possibly paid (the outcome is unknown, so the worst case stays), or gives it back. At every
instant spent + possibly paid + reserved is within the limit, whatever the concurrency. The same is
counted while there is no limit, so that one can be set at any time. All amounts are nano-dollars.
"""

from __future__ import annotations

from aiq.model import Billed


class Budget:
    """Covers all attempts ever of the jobs in scope; `limit_nano` None bounds nothing."""

    def __init__(self, limit_nano: int | None, *, committed_nano: int = 0) -> None:
        """`committed_nano` is what earlier attempts have cost, and may have cost at most."""
        self.limit_nano = limit_nano
        self.committed_nano = committed_nano
        self.reserved_nano = 0
        self.uncounted = 0
        """Attempts that were, or may be, paid and of which nobody knows how much."""
        self.is_overrun = False
        """Whether a reply cost more than the worst case that was reserved for it."""
        self.refused_nano: int | None = None
        """The worst case that did not fit the last time one did not."""

    def limit(self, limit_nano: int | None) -> None:
        """Set another limit from now on; one below what is committed lets nothing more be sent."""
        self.limit_nano = limit_nano
        self.refused_nano = None

    def reserve(self, bound_nano: int | None) -> bool:
        """
        Set the worst case of a send aside; False if it does not fit, now or at all.

        A worst case that nobody knows never fits, unless there is no limit.
        """
        if self.limit_nano is not None and not self._fits(bound_nano, self.limit_nano):
            return False
        self.reserved_nano += bound_nano or 0
        return True

    def _fits(self, bound_nano: int | None, limit_nano: int) -> bool:
        if bound_nano is None or self.is_overrun:
            return False
        if self.committed_nano + self.reserved_nano + bound_nano > limit_nano:
            self.refused_nano = bound_nano
            return False
        return True

    def settle(self, bound_nano: int | None, billed: Billed, cost_nano: int | None) -> None:
        """
        Replace a reservation by what is known of its outcome.

        A paid reply of unknown cost keeps its worst case, like one that was possibly paid.
        """
        self.reserved_nano -= bound_nano or 0
        if billed is Billed.NO:
            return
        known = cost_nano if billed is Billed.YES else None
        taken = bound_nano if known is None else known
        if taken is None:
            self.uncounted += 1
            return
        self.committed_nano += taken
        if self.limit_nano is not None and bound_nano is not None:
            self.is_overrun = self.is_overrun or taken > bound_nano
