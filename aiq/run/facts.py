"""What is said of providers and of failures beside the figures."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from aiq.clock import rfc3339
from aiq.model import shown_key
from aiq.store.attempts import Failures


class ProviderFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A provider's name, what it is, and how it stands."""

    name: str
    kind: str
    model: str | None
    status: str
    reason: str | None
    until_us: int | None = None
    """The instant of the next try, where one is set."""

    def to_json(self) -> dict[str, object]:
        """Return kind, model, status, reason and the instant of the next try."""
        return {
            "kind": self.kind,
            "model": self.model,
            "status": self.status,
            "reason": self.reason,
            "next_try": None if self.until_us is None else rfc3339(self.until_us),
        }


class ErrorGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Failed jobs that failed alike, with one of them and its message as the sample."""

    kind: str
    provider: str | None
    count: int
    message: str | None
    job: str

    def to_json(self) -> dict[str, object]:
        """Return the contract's object."""
        return msgspec.structs.asdict(self)


def error_groups(failures: Iterable[Failures]) -> tuple[ErrorGroup, ...]:
    """Return groups as users see them."""
    return tuple(
        ErrorGroup(
            kind=one.kind,
            provider=one.provider,
            count=one.count,
            message=one.message,
            job=shown_key(one.job_key),
        )
        for one in failures
    )
