"""
The settings of one run, after every check: what the rest of the program reads.

Frozen values with the unit in their name. None means exactly one thing, said at the field; zero is
never a synonym for it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import msgspec

from aiq.config.alert_settings import AlertSettings
from aiq.model import JsonObject, Price
from aiq.policy.defaults import (
    BreakerSettings,
    LimitSettings,
    MonitorSettings,
    ProbeSettings,
    RateLimits,
)
from aiq.providers.presets import ProviderKind
from aiq.providers.simulated import SimulatedSettings
from aiq.redaction import Secret

# The upper bounds only catch slips of the keyboard; they also keep NaN and infinity out.
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=1_000_000_000)]
Seconds: TypeAlias = Annotated[float, msgspec.Meta(gt=0, le=1_000_000_000)]
InFlight: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=100_000)]
Dollars: TypeAlias = Annotated[float, msgspec.Meta(gt=0, le=1_000_000_000)]

OnUnknown: TypeAlias = Literal["retry", "fail"]
OnChanged: TypeAlias = Literal["error", "rerun", "keep"]
Strategy: TypeAlias = Literal["rank", "latency", "cost", "balanced"]


class RunSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a run behaves: `[run]` of the configuration under the options of the command line."""

    concurrency: InFlight = 128
    """Jobs in flight over all providers."""
    max_attempts: Count = 5
    """Counted attempts per job over all providers."""
    timeout_s: Seconds = 600.0
    """Wall-clock limit of one attempt, where the provider sets none of its own."""
    max_wait_s: Seconds | None = None
    """Give up after this long without a usable provider; None: 60 s until the first answer of the
    run, then never."""
    on_unknown: OnUnknown = "retry"
    """What happens to a job whose request left and whose answer never came."""
    on_changed: OnChanged = "error"
    """What happens when the request of a succeeded job has changed."""
    strategy: Strategy = "rank"
    """What orders the providers that could take a job."""
    overflow: bool = False
    """Whether a lower rank is used while a better one is merely at its own limit."""
    prefer_region: str | None = None
    """Providers in this region come first among equals; None: no preference."""
    budget_usd: Dollars | None = None
    """What all attempts ever of the jobs in scope may cost; None: no bound."""


class RunOverrides(msgspec.Struct, frozen=True, kw_only=True):
    """The command line's say over `RunSettings`; None leaves the configuration's value."""

    concurrency: int | None = None
    max_attempts: int | None = None
    timeout_s: float | None = None
    """Wins over the time-outs of providers too."""
    max_wait_s: float | None = None
    on_unknown: str | None = None
    on_changed: str | None = None
    budget_usd: float | None = None


class ProviderSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One provider that this run may use."""

    name: str
    kind: ProviderKind
    preset: str | None
    base_url: str
    """Without a slash at its end."""
    key: Secret | None
    key_name: str | None
    """The variable the key came from; safe to show."""
    missing_key: str | None
    """The variable that should hold the key and does not, where only somebody looks; else None."""
    model: str | None
    """For prompts that name none; None: `-m`, the prompt, or a local server's only model."""
    models: dict[str, str]
    """A prompt's model name to this provider's; `*` matches any."""
    strict_models: bool
    rank: int
    region: str | None
    context_window: int | None
    """Tokens; None: unknown, and never a reason to prefer this provider."""
    max_in_flight: int | None
    """None: bounded by the run's concurrency alone."""
    adaptive: bool
    """Whether the account's concurrency follows what its server bears."""
    rates: RateLimits
    """The account's configured limits per minute."""
    breaker: BreakerSettings
    limits: LimitSettings
    probe: ProbeSettings
    timeout_s: float
    connect_timeout_s: float
    max_tokens: int | None
    """Output cap sent when the prompt has none; None: no cap is sent (anthropic always has one)."""
    cap_field: str
    price: Price | None
    """None: the reply's own cost, else the price table, else unknown."""
    headers: tuple[tuple[str, Secret], ...]
    api_version: str | None
    """anthropic and gemini: None is the dialect's default; openai: given means Azure's classic
    style."""
    account: str
    """Providers of one account share limits, cooldowns and the state of their credential."""
    is_local: bool
    simulated: SimulatedSettings | None
    """None for every kind but `simulated`."""
    secrets: tuple[Secret, ...]
    """
    What a redactor must know: the key and the variables used in headers. Header values written in
    the file itself are public and not among them: redacting "nightly" would damage answers.
    """

    def name_of(self, asked: str | None, *, own: str | None) -> str | None:
        """
        Return this provider's name for the model a prompt asks for; None: it cannot serve it.

        `own` is for prompts that ask for none.
        """
        if asked is None:
            return own
        mapped = self.models.get(asked) or self.models.get("*")
        if mapped is not None:
            return mapped
        return None if self.strict_models and asked != own else asked


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the configuration, the environment and the command line decided together."""

    run: RunSettings
    defaults: JsonObject
    """`[defaults]` as written: `system` and request fields, merged under every prompt."""
    providers: tuple[ProviderSettings, ...]
    """By rank, best first; never empty."""
    path: Path | None
    """The configuration file that was read; None: there is none."""
    monitor: MonitorSettings = MonitorSettings()
    file: str = "aiq.toml"
    """What messages call the configuration; where there is none, the one that would be read."""
    alerts: AlertSettings | None = None
    """None: nobody is told of anything."""
    notes: tuple[str, ...]
    """Sentences for the user about choices made for him."""

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """What must not be shown: keys, variables of headers, URLs of alerts."""
        own = self.alerts.secrets if self.alerts is not None else ()
        return (*(secret for one in self.providers for secret in one.secrets), *own)
