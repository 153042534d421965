"""What `[alerts]` of aiq.toml may hold, and what it comes to; how, is decided in `alerts`."""

from __future__ import annotations

import re
from typing import Annotated, Literal, TypeAlias

import msgspec

from aiq.policy.alert import AlertLevel
from aiq.redaction import Secret

MinLevel: TypeAlias = Literal["info", "warning", "critical"]
Span: TypeAlias = Annotated[float, msgspec.Meta(gt=0, le=86_400)]

_SECRET_PART = re.compile(r"[^/?&=@:#,+]{12,}")


class TriageTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[alerts.triage]`: a short explanation of critical alerts, asked of a healthy provider."""

    enabled: bool = False
    """Off, because it costs money."""
    provider: str | None = None
    """Who is asked first; None: in the order of the configuration. A sick one never is."""
    budget_usd: Annotated[float, msgspec.Meta(gt=0, le=1000)] = 0.10
    """What all explanations of a day may cost, worst case included."""
    timeout_s: Annotated[float, msgspec.Meta(gt=0, le=120)] = 10.0
    """How long an alert waits for its explanation."""


class AlertsTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[alerts]` as written; None stands for a key that is not there."""

    urls_env: str | None = None
    webhook_env: str | None = None
    webhook: str | None = None
    allow_http: bool = False
    min_level: MinLevel = "info"
    dedup_s: Span = 300.0
    language: str = "English"
    error_share: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.25
    stall_s: Span = 300.0
    triage: TriageTable = TriageTable()


class AlertSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where alerts go and which, after every check."""

    urls: tuple[Secret, ...]
    """For the extra `alerts`; each is named after its variable and its place there."""
    webhook: Secret | None
    min_level: AlertLevel
    dedup_s: float
    language: str
    """Of explanations."""
    error_share: float
    """Of the last minutes' requests; a run that has more of them failing is told of."""
    stall_s: float
    """A run in which nothing is settled for so long while jobs wait is told of."""
    triage: TriageTable
    missing: str | None = None
    """Why there is no way to send, where only somebody looks; else None."""

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """What a redactor must know: the URLs, and what of them may be a secret by itself."""
        whole = [*self.urls, *((self.webhook,) if self.webhook else ())]
        parts = [Secret(one.name, part) for one in whole for part in _parts(one.reveal())]
        return (*whole, *parts)


def _parts(url: str) -> list[str]:
    """Return what of a URL may be a secret by itself: anything long, but the host of a webhook."""
    scheme, _, rest = url.partition("://")
    beyond_host = rest.partition("/")[2] if scheme in ("http", "https") else rest
    return _SECRET_PART.findall(beyond_host)
