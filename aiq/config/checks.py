"""
What a well-typed configuration may not say: values that make no sense alone or together.

Everything here is decided from the file alone, for every provider in it, used or not; what needs
the environment is decided in `assembly`. Each refusal names the key's path.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping

from aiq.config import base_url
from aiq.config.alerts import check_alerts
from aiq.config.environment import is_header_text, references
from aiq.config.tables import ConfigTable, ProviderTable
from aiq.config.toml_file import join, literal_key, nearest, quoted
from aiq.errors import ConfigError
from aiq.model import JsonObject, Price
from aiq.policy.defaults import MonitorSettings
from aiq.prompts.request_fields import CHAT
from aiq.providers.presets import PRESETS

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_API_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,39}")
_FIELD_NAME = re.compile(r"[a-z][a-z_]*")
# Text that reads as a key although no vendor's prefix gives it away. Names of variables have no
# small letters and digits in one long run; ids of organisations in headers stay under 32.
_LONG_RANDOM = re.compile(r"(?=.*[a-z])(?=.*[A-Z])(?=.*[0-9])[A-Za-z0-9_./+=-]{32,}")
_NO_VARIABLE = re.compile(r"(?=.*[a-z])(?=.*[0-9])[A-Za-z0-9]{20,}")

_OWN_HEADERS = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "host",
        "transfer-encoding",
    }
)
"""Headers that frame the request; a second one would break it."""

_CREDENTIAL_WORDS = ("authorization", "cookie", "token", "secret", "api-key", "apikey", "password")
_REQUEST_FIELDS = frozenset({"model", "messages", "prompt", "input", "stream", "n"})
_CAPS = (
    "max_completion_tokens",
    "max_tokens",
    "max_new_tokens",
    "max_output_tokens",
    "n_predict",
    "num_predict",
)
_NO_CAPS = _REQUEST_FIELDS.union(CHAT).difference(_CAPS)
_SOCKET_KEYS = ("base_url", "api_key_env", "headers", "allow_http", "connect_timeout_s")


def check(config: ConfigTable, defaults: JsonObject, file: str) -> None:
    """
    Refuse nonsense in a configuration that has the right types.

    Raises:
        ConfigError: the first value that makes no sense, or whose effect does not exist yet.
    """
    for field in sorted(_REQUEST_FIELDS & set(defaults.get("extra_body", {}))):
        raise ConfigError(
            f"{file}: defaults.extra_body.{field}: would overwrite the request itself",
            hint="leave it out",
        )
    for index, table in enumerate(config.providers):
        _check_provider(table, f"{file}: providers[{index}]")
    _check_names(config.providers, file)
    _check_monitor(config.monitor, f"{file}: monitor")
    if config.alerts is not None:
        names = [name_of(table) for table in config.providers]
        check_alerts(config.alerts, f"{file}: alerts", names)
    _check_text(config.run.prefer_region, f"{file}: run.prefer_region")
    if config.run.prefer_region is None:
        _check_ranks(config.providers, file)


def _check_monitor(monitor: MonitorSettings, where: str) -> None:
    """Refuse a critical alert that needs less than a warning."""
    for critical, warning in (("z_critical", "z_warning"), ("critical_in_a_row", "in_a_row")):
        if getattr(monitor, critical) < getattr(monitor, warning):
            raise ConfigError(
                f"{where}.{critical}: is smaller than {warning}",
                hint="what is critical is a warning first",
            )


def name_of(table: ProviderTable) -> str:
    """Return a provider's name: its own, else its preset's; `check` saw to it that there is one."""
    return table.name or table.preset or ""


def _check_provider(table: ProviderTable, where: str) -> None:
    if not name_of(table):
        raise ConfigError(f"{where}.name: is missing", hint='for example name = "primary"')
    for key in ("name", "model", "account", "region"):
        _check_text(getattr(table, key), f"{where}.{key}")
    for asked, served in table.models.items():
        _check_text(asked, f"{where}.models")
        _check_text(served, join(f"{where}.models", asked))
    if table.api_version is not None and not _API_VERSION.fullmatch(table.api_version):
        raise ConfigError(
            f"{where}.api_version: is not a version", hint='for example api_version = "2023-06-01"'
        )
    _check_kind(table, where)
    _check_connection(table, where)
    if table.strict_models and not (table.models or table.model):
        raise ConfigError(
            f"{where}.strict_models: leaves no model to serve", hint="name some in `models`"
        )
    cap_field = table.cap_field
    if cap_field is not None and (
        not _FIELD_NAME.fullmatch(cap_field)
        or cap_field in _NO_CAPS
        or (cap_field not in _CAPS and difflib.get_close_matches(cap_field, _CAPS, cutoff=0.9))
    ):
        raise ConfigError(
            f"{where}.cap_field: is not the name of a cap",
            hint=f"valid: {', '.join(_CAPS)}",
        )
    if max(table.breaker.min_calls, table.breaker.first_bad) > table.breaker.window_calls:
        raise ConfigError(
            f"{where}.breaker.window_calls: is smaller than min_calls or first_bad",
            hint="the breaker could never open",
        )
    if table.price is not None:
        _check_price(table.price, f"{where}.price")


def _check_text(text: str | None, where: str) -> None:
    if text is None:
        return
    if not text or text != text.strip():
        raise ConfigError(f"{where}: is empty, or starts or ends with a blank")
    if not text.isprintable():
        raise ConfigError(f"{where}: holds a character that cannot be printed")


def _check_kind(table: ProviderTable, where: str) -> None:
    if table.preset is not None and table.preset not in PRESETS:
        raise ConfigError(
            f"{where}.preset: no preset is named {quoted(table.preset)}",
            hint=nearest(table.preset, PRESETS),
        )
    preset = PRESETS[table.preset] if table.preset else None
    if preset and table.kind and table.kind != preset.kind:
        raise ConfigError(
            f"{where}.kind: the preset {preset.name} is of kind {preset.kind}",
            hint="leave `kind` out",
        )
    if "simulated" in {table.kind, table.preset}:
        _check_simulated(table, where)
        return
    if preset is None and table.base_url is None:
        hint = 'give `preset` or `base_url`, or kind = "simulated"'
        if table.name in PRESETS:
            hint = f'add preset = "{table.name}", or a `base_url`'
        raise ConfigError(f"{where}: says nowhere what to connect to", hint=hint)
    if table.simulated is not None:
        raise ConfigError(
            f"{where}.simulated: this provider is not simulated", hint='add kind = "simulated"'
        )


def _check_simulated(table: ProviderTable, where: str) -> None:
    for key in _SOCKET_KEYS:
        if getattr(table, key):
            raise ConfigError(
                f"{where}.{key}: a simulated provider connects to nothing", hint="leave it out"
            )


def _check_connection(table: ProviderTable, where: str) -> None:
    if table.base_url is not None:
        try:
            base_url.normalize(table.base_url)
        except base_url.BaseURLError as error:
            raise ConfigError(f"{where}.base_url: {error}", hint=error.hint) from None
    variable = table.api_key_env
    if variable is not None and _NO_VARIABLE.fullmatch(variable):
        raise literal_key(f"{where}.api_key_env")
    if variable is not None and not _VARIABLE.fullmatch(variable):
        raise ConfigError(
            f"{where}.api_key_env: is not the name of a variable",
            hint="write the variable's name, for example OPENAI_API_KEY; the key itself stays out",
        )
    _check_headers(table.headers, f"{where}.headers")


def _check_headers(headers: Mapping[str, str], where: str) -> None:
    seen: set[str] = set()
    for name, value in headers.items():
        place = join(where, name)
        if not _HEADER_NAME.fullmatch(name):
            raise ConfigError(f"{place}: is not a header name")
        if name.lower() in _OWN_HEADERS:
            raise ConfigError(f"{place}: aiq sets this header itself", hint="leave it out")
        if name.lower() in seen:
            raise ConfigError(f"{place}: is there twice; case does not matter in header names")
        seen.add(name.lower())
        try:
            variables = references(value)
        except ValueError as error:
            raise ConfigError(f"{place}: {error}", hint='write "${NAME}"') from None
        if not is_header_text(value):
            raise ConfigError(f"{place}: holds a character that is not printable ASCII")
        if not variables and _is_credential(name, value):
            raise literal_key(place)


def _is_credential(name: str, value: str) -> bool:
    """Judge a header without variables by its name and by the look of its value."""
    return any(word in name.lower() for word in _CREDENTIAL_WORDS) or bool(
        _LONG_RANDOM.fullmatch(value) or re.match(r"(?i)(bearer|basic)\s", value)
    )


def _check_price(price: Price, where: str) -> None:
    for key in ("input", "output", "cached_input"):
        amount = getattr(price, key)
        if amount is not None and not (math.isfinite(amount) and amount >= 0):
            raise ConfigError(f"{where}.{key}: must not be negative")


def _check_names(tables: tuple[ProviderTable, ...], file: str) -> None:
    seen: dict[str, int] = {}
    for index, table in enumerate(tables):
        first = seen.setdefault(name_of(table), index)
        if first != index:
            raise ConfigError(
                f"{file}: providers[{index}].name: {quoted(name_of(table))} is also the name of "
                f"providers[{first}]",
                hint="give each provider a name of its own",
            )


def _check_ranks(tables: tuple[ProviderTable, ...], file: str) -> None:
    seen: dict[int, int] = {}
    for index, table in enumerate(tables):
        if table.rank is None:
            continue
        first = seen.setdefault(table.rank, index)
        if first != index:
            raise ConfigError(
                f"{file}: providers[{index}].rank: {table.rank} is also the rank of "
                f"providers[{first}]",
                hint="give each provider a rank of its own, or none; with run.prefer_region, "
                "providers may share one",
            )
