"""
Which providers a run uses, and in which order.

`-p` decides alone; without it every provider of the configuration is used; without any, the one
preset whose key is in the environment. Where that is not one, the answer is a refusal: prompts are
never sent to a vendor nobody named.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

from aiq.config.checks import name_of
from aiq.config.environment import Environment
from aiq.config.tables import ProviderTable
from aiq.config.toml_file import looks_like_key, nearest, quoted, typed_key
from aiq.errors import ConfigError
from aiq.providers.presets import PRESETS, Preset


class Choice(NamedTuple):
    """A provider that is used; `where` is its place for error messages."""

    where: str
    table: ProviderTable
    rank: int


class Configured(NamedTuple):
    """The `[[providers]]` of a file; `file` is None where there is no file."""

    file: str | None
    tables: tuple[ProviderTable, ...]


def select(
    configured: Configured,
    names: Sequence[str],
    environment: Environment,
    *,
    prefer_region: str | None = None,
    naming: str = "-p",
) -> tuple[list[Choice], list[str]]:
    """
    Return the providers to use, best first, and notes about choices nobody spelled out.

    With `prefer_region`, providers in that region stand first among those that share a rank or
    give none; the order of `-p` is an order of ranks. `naming` is what stands before a name on the
    command line, for what is to be typed instead.

    Raises:
        ConfigError: an unknown or repeated name, or no name and not exactly one key.
    """
    if names:
        return _by_name(configured, names, naming)
    if configured.tables:
        return _by_rank(configured, prefer_region), []
    return _by_key(configured.file, environment, naming)


def _by_name(
    configured: Configured, names: Sequence[str], naming: str
) -> tuple[list[Choice], list[str]]:
    by_name = {name_of(table): index for index, table in enumerate(configured.tables)}
    choices: list[Choice] = []
    notes: list[str] = []
    for rank, name in enumerate(names, start=1):
        if name in names[: rank - 1]:
            raise ConfigError(f"{naming} {name}: is given twice", hint="name each provider once")
        index = by_name.get(name)
        if index is not None:
            where = f"{configured.file}: providers[{index}]"
            choices.append(Choice(where, configured.tables[index], rank))
            continue
        choices.append(_preset_choice(_preset(name, list(by_name)), rank, naming))
        if by_name:
            notes.append(_bypass_note(configured, name, names))
    return choices, notes


def _preset(name: str, configured: list[str]) -> Preset:
    if looks_like_key(name):
        raise typed_key("the name of a provider")
    if name not in PRESETS:
        known = f"configured: {', '.join(map(quoted, configured)) or 'none'}"
        presets = f"presets: {', '.join(PRESETS)}"
        guess = nearest(name, [*configured, *PRESETS])
        guess = f"{guess} " if guess.startswith("did you") else ""
        raise ConfigError(
            f"no provider or preset is named {quoted(name)}", hint=f"{guess}{known}; {presets}"
        )
    return PRESETS[name]


def _bypass_note(configured: Configured, name: str, names: Sequence[str]) -> str:
    count = len(configured.tables)
    plural = "provider" if count == 1 else "providers"
    if {name_of(table) for table in configured.tables}.isdisjoint(names):
        verb = "is" if count == 1 else "are"
        return f"`{name}` is the preset; the {count} {plural} of {configured.file} {verb} not used"
    return f"`{name}` is the preset, not one of the {count} {plural} of {configured.file}"


def _by_rank(configured: Configured, prefer_region: str | None) -> list[Choice]:
    """
    Give ranks as written; providers without one fill the gaps in the order of the file.

    Where a region is preferred, those without a rank share the first gap instead.
    """
    taken = {table.rank for table in configured.tables}
    gaps = [rank for rank in range(1, 2 * len(configured.tables) + 1) if rank not in taken]
    free = iter(gaps) if prefer_region is None else itertools.repeat(gaps[0])
    choices = [
        Choice(f"{configured.file}: providers[{index}]", table, table.rank or next(free))
        for index, table in enumerate(configured.tables)
    ]
    return sorted(choices, key=lambda one: (one.rank, one.table.region != prefer_region))


def _by_key(
    file: str | None, environment: Environment, naming: str
) -> tuple[list[Choice], list[str]]:
    found = [(preset, key) for preset in PRESETS.values() if (key := key_set(preset, environment))]
    if not found:
        source = f"{file} names none" if file else "there is no aiq.toml"
        raise ConfigError(
            f"no provider: {source}, and no provider's key is in the environment",
            hint=f"try {naming} simulated (needs no key), {naming} ollama (a local server), "
            "export OPENAI_API_KEY=..., or `aiq init`" + notes_hint(environment),
        )
    if len(found) > 1:
        listed = ", ".join(f"{key} ({preset.name})" for preset, key in found)
        raise ConfigError(
            f"the keys of {len(found)} providers are set, and none is named: {listed}",
            hint=f"name one, or several in rank order: {naming} {found[0][0].name}",
        )
    preset, key = found[0]
    note = f"{key} is the only key set: using the preset {preset.name}"
    return [_preset_choice(preset, 1, naming)], [note]


def key_set(preset: Preset, environment: Environment) -> str | None:
    """Return the preferred variable of a preset that is set, None where none is."""
    return next((name for name in preset.key_env if environment.is_set(name)), None)


def notes_hint(environment: Environment) -> str:
    """Return what could not be read of `.env`, as the end of a hint about a missing variable."""
    return "".join(f"; {note}" for note in environment.notes)


def _preset_choice(preset: Preset, rank: int, naming: str) -> Choice:
    return Choice(f"{naming} {preset.name}", ProviderTable(preset=preset.name), rank)
