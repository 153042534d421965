"""Alerts of a run, raised at the instant at which they are seen."""

from __future__ import annotations

from collections.abc import Callable

from aiq.clock import Clock
from aiq.policy.alert import Alert, AlertLevel


class Raising:
    """Raises alerts about a run as a whole, or about one of its providers."""

    def __init__(self, raise_alert: Callable[[Alert], None], clock: Clock) -> None:
        self._raise = raise_alert
        self._clock = clock

    def tell(self, level: AlertLevel, title: str, detail: str, *, of: str = "") -> None:
        """Tell what has begun; `of` is the provider, empty: the run as a whole."""
        self._raise(self._alert(level, title, detail, of))

    def recover(self, level: AlertLevel, title: str, detail: str, *, of: str = "") -> None:
        """Tell that it is over; `level` is that of what is over."""
        self._raise(self._alert(level, title, detail, of, is_recovery=True))

    def _alert(
        self, level: AlertLevel, title: str, detail: str, of: str, *, is_recovery: bool = False
    ) -> Alert:
        return Alert(
            at=self._clock.utc_us() / 1e6,
            level=level,
            provider=of,
            title=title,
            detail=detail,
            is_recovery=is_recovery,
        )
