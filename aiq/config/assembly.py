"""
Puts file, environment and command line together into `Settings`.

The order of precedence: command line, configuration, preset, built-in default. Only providers that
are used need their key.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from aiq.config import toml_file
from aiq.config.alert_settings import AlertSettings
from aiq.config.alerts import WAYS, resolve_alerts
from aiq.config.base_url import is_loopback, is_plain, normalize
from aiq.config.checks import name_of
from aiq.config.environment import Environment, expand, read_environment, references
from aiq.config.selection import Choice, Configured, key_set, notes_hint, select
from aiq.config.settings import ProviderSettings, RunOverrides, RunSettings, Settings
from aiq.config.source import DEFAULT_FILE, Source, read_source
from aiq.config.tables import ProviderTable
from aiq.errors import ConfigError
from aiq.policy.defaults import RateLimits
from aiq.providers import azure
from aiq.providers.anthropic_requests import DEFAULT_CAP as ANTHROPIC_CAP
from aiq.providers.presets import PRESETS, Preset
from aiq.providers.simulated import SimulatedSettings
from aiq.redaction import Secret

_VERSION_AT_END = re.compile(r"/v[0-9]+[a-z0-9]*$")
CONNECT_TIMEOUT_S = 10.0

_BOUND = re.compile(r"expected (integer|number) (>=|>|<=|<) ([0-9.]+)")
_OPTIONS = {
    "concurrency": "--concurrency",
    "max_attempts": "--max-attempts",
    "timeout_s": "--timeout",
    "max_wait_s": "--max-wait",
    "on_unknown": "--on-unknown",
    "on_changed": "--on-changed",
    "budget_usd": "--budget",
}


def load(
    *,
    config_path: Path | None = None,
    providers: Sequence[str] = (),
    overrides: RunOverrides | None = None,
    environ: Mapping[str, str],
    working_directory: Path,
    needs_keys: bool = True,
    naming: str = "-p",
) -> Settings:
    """
    Return the settings of a run.

    Args:
        config_path: the file the user named, which must exist; None: `aiq.toml` of the working
            directory, if there is one.
        providers: names from the command line, in rank order.
        overrides: options of the command line that win over `[run]`.
        environ: the process's variables; `.env` is added beneath them.
        working_directory: where `aiq.toml` and `.env` are looked for.
        needs_keys: False for what only looks: a key that is not set is then noted at its provider
            (`missing_key`) instead of refused.
        naming: what stands before a provider's name on the command line, for hints.

    Raises:
        ConfigError: whatever is refused; nothing has been sent.
    """
    source = read_source(config_path, working_directory)
    environment = read_environment(environ, working_directory)
    overrides = overrides or RunOverrides()
    run = _override(source.config.run, overrides)
    configured = Configured(source.shown, source.config.providers)
    choices, notes = select(
        configured, providers, environment, prefer_region=run.prefer_region, naming=naming
    )
    timeouts = _Timeouts(overrides.timeout_s, run.timeout_s)
    return Settings(
        run=run,
        defaults=source.defaults,
        providers=tuple(
            _provider(choice, environment, timeouts, needs_keys=needs_keys) for choice in choices
        ),
        path=source.path,
        monitor=source.config.monitor,
        file=source.shown or DEFAULT_FILE,
        alerts=_alerts(source, environment, is_needed=needs_keys),
        notes=(*environment.notes, *notes),
    )


def _alerts(source: Source, environment: Environment, *, is_needed: bool) -> AlertSettings | None:
    table = source.config.alerts
    if table is None:
        return None
    file = source.shown or DEFAULT_FILE
    return resolve_alerts(table, environment, file, is_needed=is_needed)


def load_alerts(
    *, config_path: Path | None = None, environ: Mapping[str, str], working_directory: Path
) -> AlertSettings:
    """
    Return where alerts go, without asking whether there is any provider.

    Raises:
        ConfigError: the configuration is refused, or holds no `[alerts]`, or there is no way out.
    """
    source = read_source(config_path, working_directory)
    settings = _alerts(source, read_environment(environ, working_directory), is_needed=True)
    if settings is None:
        if (file := source.shown) is None:
            absent = f"there is no {DEFAULT_FILE} in {working_directory}, and none was named"
            raise ConfigError(absent, hint=f"`aiq init` writes one; add [alerts] to it; {WAYS}")
        raise ConfigError(f"{file}: there is no [alerts]", hint=f"add [alerts] to {file}; {WAYS}")
    return settings


def _override(run: RunSettings, overrides: RunOverrides) -> RunSettings:
    """Lay the command line over `[run]`, under the same checks, naming options where they fail."""
    fields = msgspec.structs.asdict(run)
    for name, value in msgspec.structs.asdict(overrides).items():
        if value is None:
            continue
        try:
            msgspec.convert({name: value}, RunSettings)
        except msgspec.ValidationError as error:
            fault = toml_file.explain(str(error))
            reason = _BOUND.sub(_bound, fault.reason)
            raise ConfigError(f"{_OPTIONS[name]}: {reason}", hint=fault.hint) from None
        fields[name] = value
    return RunSettings(**fields)


def _bound(found: re.Match[str]) -> str:
    """Say in words between which bounds a number has to be."""
    number = "a whole number" if found[1] == "integer" else "a number"
    words = {">=": "of at least", ">": "above", "<=": "of at most", "<": "below"}[found[2]]
    return f"needs {number} {words} {float(found[3]):,g}"


class _Timeouts(NamedTuple):
    """Limits of an attempt: the command line's wins over a provider's own, the run's is below."""

    command_line_s: float | None
    run_s: float


def _provider(
    choice: Choice, environment: Environment, timeouts: _Timeouts, *, needs_keys: bool
) -> ProviderSettings:
    """Resolve one provider."""
    table, name = choice.table, name_of(choice.table)
    preset = _preset_of(table)
    kind = table.kind or (preset.kind if preset else "openai")
    url = _url(choice, kind, preset)
    variable = _key_variable(table, preset, environment)
    key = _key(name, variable, environment, needs_keys=needs_keys)
    variables = _header_variables(name, table, environment)
    secrets = (*((key,) if key else ()), *variables.values())
    _refuse_unencrypted(choice, url, secrets)
    return ProviderSettings(
        name=name,
        kind=kind,
        preset=preset.name if preset else None,
        base_url=url,
        key=key,
        key_name=key.name if key else None,
        missing_key=None if key else variable,
        model=table.model or (preset.model if preset else None),
        models=table.models,
        strict_models=table.strict_models,
        rank=choice.rank,
        region=table.region,
        context_window=table.context_window,
        max_in_flight=table.max_in_flight,
        adaptive=table.adaptive,
        rates=_rates(table),
        breaker=table.breaker,
        limits=table.limits,
        probe=table.probe,
        timeout_s=timeouts.command_line_s or table.timeout_s or timeouts.run_s,
        connect_timeout_s=table.connect_timeout_s or CONNECT_TIMEOUT_S,
        max_tokens=table.max_tokens or (ANTHROPIC_CAP if kind == "anthropic" else None),
        cap_field=table.cap_field or _cap_field(kind, url, table.api_version, preset),
        price=table.price or (preset.price if preset else None),
        headers=_headers(table.headers, variables),
        api_version=table.api_version,
        account=table.account or (key.name if key else name),
        is_local=is_loopback(url),
        simulated=(table.simulated or SimulatedSettings()) if kind == "simulated" else None,
        secrets=secrets,
    )


def _cap_field(kind: str, url: str, api_version: str | None, preset: Preset | None) -> str:
    """Return the name of the output cap on the wire where the file gives none."""
    azures = azure.cap_field(url, api_version) if kind == "openai" else None
    known = preset or next((one for one in PRESETS.values() if one.base_url == url), None)
    return azures or (known.cap_field if known else "max_tokens")


def _rates(table: ProviderTable) -> RateLimits:
    return RateLimits(
        requests=table.requests_per_minute,
        tokens=table.tokens_per_minute,
        input_tokens=table.input_tokens_per_minute,
        output_tokens=table.output_tokens_per_minute,
    )


def _url(choice: Choice, kind: str, preset: Preset | None) -> str:
    """Return where to send; Azure's classic style begins at the resource, without a path."""
    table = choice.table
    url = normalize(table.base_url or (preset.base_url if preset else ""))
    if kind in ("anthropic", "gemini") and (found := _VERSION_AT_END.search(url)):
        raise ConfigError(
            f"{choice.where}.base_url: ends in a version, which this kind adds itself",
            hint=f"leave out {found[0]}; another version is named by `api_version`",
        )
    if kind != "openai" or table.api_version is None:
        return url
    try:
        return azure.resource_url(url)
    except ValueError as error:
        raise ConfigError(
            f"{choice.where}.api_version: {error}",
            hint="leave `api_version` out for a base_url that ends in /openai/v1",
        ) from None


def _refuse_unencrypted(choice: Choice, url: str, secrets: tuple[Secret, ...]) -> None:
    if secrets and is_plain(url) and not is_loopback(url) and not choice.table.allow_http:
        raise ConfigError(
            f"{choice.where}.base_url: would send {secrets[0].name} unencrypted",
            hint="use https://, or set allow_http = true for a network you trust",
        )


def _preset_of(table: ProviderTable) -> Preset | None:
    if table.kind == "simulated":
        return PRESETS["simulated"]
    return PRESETS[table.preset] if table.preset else None


def _key(
    name: str, variable: str | None, environment: Environment, *, needs_keys: bool
) -> Secret | None:
    """Return the key in a variable; None where there is none to have, or none is needed."""
    if variable is None or (not needs_keys and environment.secret(variable) is None):
        return None
    return _required(name, variable, environment)


def _key_variable(
    table: ProviderTable, preset: Preset | None, environment: Environment
) -> str | None:
    """Return where the key is: in what `api_key_env` names, else what its preset is used to."""
    if table.api_key_env:
        return table.api_key_env
    if preset is None:
        return None
    return key_set(preset, environment) or (preset.key_env[0] if preset.needs_key else None)


def _required(name: str, variable: str, environment: Environment, use: str = "") -> Secret:
    secret = environment.secret(variable)
    if secret is None:
        state = "is empty" if variable in environment.variables else "is not set"
        raise ConfigError(
            f"provider {toml_file.quoted(name)}: {variable} {state}{use}",
            hint=f"export {variable}=..., or put it into .env" + notes_hint(environment),
        )
    return secret


def _header_variables(
    name: str, table: ProviderTable, environment: Environment
) -> dict[str, Secret]:
    return {
        variable: _required(name, variable, environment, f" (headers.{header} needs it)")
        for header, template in table.headers.items()
        for variable in references(template)
    }


def _headers(
    templates: Mapping[str, str], variables: Mapping[str, Secret]
) -> tuple[tuple[str, Secret], ...]:
    return tuple(
        (name, Secret(f"headers.{name}", expand(template, variables)))
        for name, template in templates.items()
    )
