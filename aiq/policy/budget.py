"""
The hard budget: what may still be sent, so that the worst case stays within what was allowed.

Before a send its worst case is reserved; the outcome turns the reservation into money spent, into
money possibly paid (the outcome is unknown, so the worst case stays), or gives it back. At every
instant spent + possibly paid + reserved is within the limit, whatever the concurrency. All amounts
are nano-dollars.
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
        self.is_overrun = False
        """Whether a reply cost more than the worst case that was reserved for it."""
        self.refused_nano: int | None = None
        """The worst case that did not fit the last time one did not."""

    def reserve(self, bound_nano: int | None) -> bool:
        """
        Set the worst case of a send aside; False if it does not fit, now or at all.

        A worst case that nobody knows never fits.
        """
        if self.limit_nano is None:
            return True
        if bound_nano is None or self.is_overrun:
            return False
        if self.committed_nano + self.reserved_nano + bound_nano > self.limit_nano:
            self.refused_nano = bound_nano
            return False
        self.reserved_nano += bound_nano
        return True

    def settle(self, bound_nano: int | None, billed: Billed, cost_nano: int | None) -> None:
        """
        Replace a reservation by what is known of its outcome.

        A paid reply of unknown cost keeps its worst case, like one that was possibly paid.
        """
        if self.limit_nano is None or bound_nano is None:
            return
        self.reserved_nano -= bound_nano
        if billed is Billed.NO:
            return
        known = cost_nano if billed is Billed.YES else None
        self.committed_nano += bound_nano if known is None else known
        self.is_overrun = self.is_overrun or (known is not None and known > bound_nano)
