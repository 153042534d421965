"""
Puts file, environment and command line together into `Settings`.

The order of precedence: command line, configuration, preset, built-in default. Only providers that
are used need their key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from aiq.config import toml_file
from aiq.config.base_url import is_loopback, is_plain, normalize
from aiq.config.checks import check, name_of
from aiq.config.environment import Environment, expand, read_environment, references
from aiq.config.selection import Choice, Configured, key_set, notes_hint, select
from aiq.config.settings import ProviderSettings, RunOverrides, RunSettings, Settings
from aiq.config.tables import ConfigTable, ProviderTable
from aiq.errors import ConfigError
from aiq.model import JsonObject
from aiq.providers.presets import PRESETS, Preset
from aiq.providers.simulated import SimulatedSettings
from aiq.redaction import Secret

DEFAULT_FILE = "aiq.toml"
CONNECT_TIMEOUT_S = 10.0

_OPTIONS = {
    "concurrency": "--concurrency",
    "max_attempts": "--max-attempts",
    "timeout_s": "--timeout",
    "max_wait_s": "--max-wait",
    "on_unknown": "--on-unknown",
    "on_changed": "--on-changed",
}


def load(
    *,
    config_path: Path | None = None,
    providers: Sequence[str] = (),
    overrides: RunOverrides | None = None,
    environ: Mapping[str, str],
    working_directory: Path,
) -> Settings:
    """
    Return the settings of a run.

    Args:
        config_path: the file the user named, which must exist; None: `aiq.toml` of the working
            directory, if there is one.
        providers: names from `-p`, in rank order.
        overrides: options of the command line that win over `[run]`.
        environ: the process's variables; `.env` is added beneath them.
        working_directory: where `aiq.toml` and `.env` are looked for.

    Raises:
        ConfigError: whatever is refused; nothing has been sent.
    """
    source = _read(config_path, working_directory)
    environment = read_environment(environ, working_directory)
    overrides = overrides or RunOverrides()
    run = _override(source.config.run, overrides)
    configured = Configured(source.shown, source.config.providers)
    choices, notes = select(configured, providers, environment)
    return Settings(
        run=run,
        defaults=source.defaults,
        providers=tuple(
            _provider(choice, environment, overrides.timeout_s, run.timeout_s) for choice in choices
        ),
        path=source.path,
        notes=(*environment.notes, *notes),
    )


class _Source(NamedTuple):
    config: ConfigTable
    defaults: JsonObject
    path: Path | None
    shown: str | None


def _read(config_path: Path | None, working_directory: Path) -> _Source:
    path = working_directory / (config_path or DEFAULT_FILE)
    shown = str(config_path or DEFAULT_FILE)
    try:
        config, defaults = toml_file.read(path, shown)
    except FileNotFoundError:
        if config_path is not None:
            message = f"{shown}: there is no such file"
            raise ConfigError(message, hint="aiq init writes one") from None
        return _Source(ConfigTable(), {}, None, None)
    check(config, defaults, shown)
    return _Source(config, defaults, path, shown)


def _override(run: RunSettings, overrides: RunOverrides) -> RunSettings:
    """Lay the command line over `[run]`, under the same checks, naming options where they fail."""
    fields = {name: getattr(run, name) for name in _OPTIONS}
    for name, value in msgspec.structs.asdict(overrides).items():
        if value is None:
            continue
        try:
            msgspec.convert({name: value}, RunSettings)
        except msgspec.ValidationError as error:
            fault = toml_file.explain(str(error))
            raise ConfigError(f"{_OPTIONS[name]}: {fault.reason}", hint=fault.hint) from None
        fields[name] = value
    return RunSettings(**fields)


def _provider(
    choice: Choice, environment: Environment, timeout_s: float | None, run_timeout_s: float
) -> ProviderSettings:
    """Resolve one provider; `timeout_s` is the command line's, which wins over its own."""
    table, name = choice.table, name_of(choice.table)
    preset = _preset_of(table)
    kind = table.kind or (preset.kind if preset else "openai")
    url = normalize(table.base_url or (preset.base_url if preset else ""))
    key = _key(name, table, preset, environment)
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
        model=table.model or (preset.model if preset else None),
        models=table.models,
        strict_models=table.strict_models,
        rank=choice.rank,
        context_window=table.context_window,
        max_in_flight=table.max_in_flight,
        timeout_s=timeout_s or table.timeout_s or run_timeout_s,
        connect_timeout_s=table.connect_timeout_s or CONNECT_TIMEOUT_S,
        max_tokens=table.max_tokens,
        cap_field=table.cap_field or (preset.cap_field if preset else "max_tokens"),
        price=table.price or (preset.price if preset else None),
        headers=_headers(table.headers, variables),
        account=table.account or (key.name if key else name),
        is_local=is_loopback(url),
        simulated=(table.simulated or SimulatedSettings()) if kind == "simulated" else None,
        secrets=secrets,
    )


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
    name: str, table: ProviderTable, preset: Preset | None, environment: Environment
) -> Secret | None:
    """Return the key that `api_key_env` names, else the one its preset customarily uses."""
    if table.api_key_env:
        return _required(name, table.api_key_env, environment)
    if preset is None:
        return None
    variable = key_set(preset, environment)
    if variable is None and preset.needs_key:
        return _required(name, preset.key_env[0], environment)
    return environment.secret(variable) if variable else None


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
