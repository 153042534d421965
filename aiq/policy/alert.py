"""What somebody is told: an alert, by level, about a provider or about the run as a whole."""

from __future__ import annotations

import enum

import msgspec


class AlertLevel(enum.IntEnum):
    """How much an alert matters; only `CRITICAL` is worth waking somebody."""

    INFO = 1
    WARNING = 2
    CRITICAL = 3


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """
    One thing that somebody should know, before anything decides whether it is worth a message.

    `title` is stable and without figures, because provider, level and title together say whether
    two alerts are the same; `detail` has the figures and the cause, and may quote a provider.
    """

    at: float
    """Seconds since the epoch."""
    level: AlertLevel
    provider: str
    """Its configured name; empty: the run as a whole."""
    title: str
    detail: str
    is_recovery: bool = False
    """What an earlier alert of this provider told of is over."""
