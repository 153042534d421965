"""Amounts of money as people read them, on a terminal and in a message."""

from __future__ import annotations

from aiq.model import NANO_PER_USD


def usd(amount: float) -> str:
    """Write dollars: cents from one dollar on, four digits below, two significant ones at least."""
    if amount == 0:
        return "$0"
    if amount >= 1:
        return f"${amount:,.2f}"
    if amount >= 0.001:
        return f"${amount:.4f}"
    return f"${amount:.2g}" if amount >= 0.0001 else f"${amount:.9f}".rstrip("0")


def nano(amount: int) -> str:
    """Write nano-dollars as dollars."""
    return usd(amount / NANO_PER_USD)
