"""The settings of commands that look at providers, and may lack their keys."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from aiq.cli.failure import Failure
from aiq.config import Settings, load


def looked_at(
    config: Path | None, providers: Sequence[str] | None, failure: Failure, *, naming: str
) -> Settings:
    """
    Load the providers to look at, and keep their secrets out of whatever is shown of a failure.

    `naming` is the command as hints name it. Raises `ConfigError`.
    """
    settings = load(
        config_path=config,
        providers=tuple(providers or ()),
        environ=os.environ,
        working_directory=Path.cwd(),
        needs_keys=False,
        naming=naming,
    )
    failure.protect(secret for one in settings.providers for secret in one.secrets)
    return settings
