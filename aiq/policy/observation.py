"""A provider seen once, be it by a probe or by an attempt of a run."""

from __future__ import annotations

import msgspec

from aiq.model import Kind
from aiq.policy.health import USABLE, status_of
from aiq.policy.standing import Status

_NOT_ITS_FAULT = frozenset({Kind.BAD_REQUEST, Kind.CONTEXT_TOO_LONG, Kind.CANCELLED})


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen; `reason` says why it is in that status, and may quote the provider."""

    status: Status
    latency_ms: float | None = None
    """None: there was no answer to measure."""
    reason: str = ""

    @property
    def is_good(self) -> bool:
        """Whether the provider can be used; one that limits the rate is alive."""
        return self.status in USABLE

    @property
    def is_failure(self) -> bool:
        """Whether it cannot; a status that is unknown is neither."""
        return not self.is_good and self.status is not Status.UNKNOWN

    @property
    def is_final(self) -> bool:
        """Whether it cannot until somebody does something about it: key, credit, model."""
        return self.status is Status.DISABLED


def attempted(kind: Kind, latency_ms: float, message: str | None = None) -> Observation | None:
    """Return what an attempt of a run says about its provider; None: nothing."""
    if kind in _NOT_ITS_FAULT:
        return None
    return Observation(
        status=status_of(kind),
        latency_ms=latency_ms if kind is Kind.OK else None,
        reason=message or kind.value,
    )
