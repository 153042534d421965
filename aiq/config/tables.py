"""
What `aiq.toml` may hold: one Struct per table, and why some keys are refused.

Types and ranges are checked by msgspec while it fills these; what a value means together with
others is judged in `checks`. A key whose effect does not exist yet is listed here, not accepted.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import msgspec

from aiq.config.alert_settings import AlertsTable, MinLevel, TriageTable
from aiq.config.settings import (
    Count,
    InFlight,
    OnChanged,
    OnUnknown,
    RunSettings,
    Seconds,
    Strategy,
)
from aiq.model import Price
from aiq.policy.defaults import (
    BreakerSettings,
    LimitSettings,
    MonitorSettings,
    PerMinute,
    ProbeSettings,
)
from aiq.providers.presets import PRESETS, ProviderKind
from aiq.providers.simulated import SimulatedSettings


class ProviderTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One `[[providers]]`; None stands for a key that is not there."""

    name: str | None = None
    kind: ProviderKind | None = None
    preset: str | None = None
    base_url: str | None = None
    api_key_env: str | None = None
    model: str | None = None
    models: dict[str, str] = msgspec.field(default_factory=dict)
    strict_models: bool = False
    rank: Count | None = None
    region: str | None = None
    context_window: Count | None = None
    max_in_flight: InFlight | None = None
    adaptive: bool = True
    requests_per_minute: PerMinute | None = None
    tokens_per_minute: PerMinute | None = None
    input_tokens_per_minute: PerMinute | None = None
    output_tokens_per_minute: PerMinute | None = None
    timeout_s: Seconds | None = None
    connect_timeout_s: Seconds | None = None
    max_tokens: Count | None = None
    cap_field: str | None = None
    price: Price | None = None
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    account: str | None = None
    api_version: str | None = None
    allow_http: bool | None = None
    breaker: BreakerSettings = BreakerSettings()
    limits: LimitSettings = LimitSettings()
    probe: ProbeSettings = ProbeSettings()
    simulated: SimulatedSettings | None = None


class DefaultsTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[defaults]`: read only to check names and types; the table itself is what gets merged."""

    system: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    max_tokens: Count | None = None
    max_completion_tokens: Count | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repetition_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    stop: str | list[str] | None = None
    n: Literal[1] | None = None
    seed: int | None = None
    logprobs: bool | int | None = None
    top_logprobs: int | None = None
    response_format: dict[str, Any] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: str | None = None
    verbosity: str | None = None
    service_tier: str | None = None
    store: bool | None = None
    prompt_cache_key: str | None = None
    prompt_cache_options: dict[str, Any] | None = None
    safety_identifier: str | None = None
    user: str | None = None
    moderation: Any = None
    modalities: list[str] | None = None
    audio: dict[str, Any] | None = None
    prediction: dict[str, Any] | None = None
    web_search_options: dict[str, Any] | None = None
    extra_body: dict[str, Any] | None = None


class ConfigTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    run: RunSettings = RunSettings()
    defaults: DefaultsTable = DefaultsTable()
    providers: tuple[ProviderTable, ...] = ()
    monitor: MonitorSettings = MonitorSettings()
    alerts: AlertsTable | None = None
    """None: there are no alerts."""


SECTIONS: dict[str, type[msgspec.Struct]] = {
    "": ConfigTable,
    "run": RunSettings,
    "defaults": DefaultsTable,
    "monitor": MonitorSettings,
    "providers[]": ProviderTable,
    "providers[].price": Price,
    "providers[].breaker": BreakerSettings,
    "providers[].limits": LimitSettings,
    "providers[].probe": ProbeSettings,
    "providers[].simulated": SimulatedSettings,
    "alerts": AlertsTable,
    "alerts.triage": TriageTable,
}
"""The tables by their path, list positions left out."""

CHOICES: dict[str, tuple[str, ...]] = {
    "strategy": get_args(Strategy),
    "on_unknown": get_args(OnUnknown),
    "on_changed": get_args(OnChanged),
    "kind": get_args(ProviderKind),
    "preset": tuple(PRESETS),
    "min_level": get_args(MinLevel),
}
"""The keys that take one of a few words."""

SECRET_KEYS = frozenset(
    {"api_key", "apikey", "key", "token", "api_token", "auth_token", "secret", "password"}
)
"""Names under which people write a key itself."""

MISPLACED: dict[str, dict[str, str]] = {
    "defaults": {
        "model": "name it with -m, or as the provider's `model`",
        "messages": "it belongs to a line of the prompt file",
        "prompt": "it belongs to a line of the prompt file",
        "input": "it belongs to a line of the prompt file",
        "metadata": "it belongs to a line of the prompt file",
        "stream": "answers are stored whole; nothing is streamed",
        "stream_options": "answers are stored whole; nothing is streamed",
    },
    "alerts": dict.fromkeys(
        ("url", "urls"),
        'it holds a secret: put it into the environment and name it: urls_env = "AIQ_ALERT_URLS"',
    ),
}
"""Keys that exist elsewhere or cannot exist, with what to do instead."""
