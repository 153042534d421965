"""The configuration file, read and checked, or its absence."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from aiq.config import toml_file
from aiq.config.checks import check
from aiq.config.tables import ConfigTable
from aiq.errors import ConfigError
from aiq.model import JsonObject

DEFAULT_FILE = "aiq.toml"


class Source(NamedTuple):
    """A file's tables, `[defaults]` as written, its path and how messages call it."""

    config: ConfigTable
    defaults: JsonObject
    path: Path | None
    shown: str | None


def read_source(config_path: Path | None, working_directory: Path) -> Source:
    """
    Return the file that was named, or `aiq.toml`, or where that is not there an empty one.

    Raises:
        ConfigError: the named file is not there, or what it holds is refused.
    """
    path = working_directory / (config_path or DEFAULT_FILE)
    shown = str(config_path or DEFAULT_FILE)
    try:
        config, defaults = toml_file.read(path, shown)
    except FileNotFoundError:
        if config_path is not None:
            message = f"{shown}: there is no such file"
            raise ConfigError(message, hint="`aiq init` writes one") from None
        return Source(ConfigTable(), {}, None, None)
    check(config, defaults, shown)
    return Source(config, defaults, path, shown)
