"""`aiq init`: a configuration to start with."""

from __future__ import annotations

import os
import shlex
import tomllib
from pathlib import Path

from aiq.cli import streams
from aiq.cli.options import InitOptions
from aiq.cli.text import visible
from aiq.config.environment import read_environment
from aiq.config.source import DEFAULT_FILE
from aiq.errors import ExitCode, Refused
from aiq.run.starter import local_servers, starter_config


def write_starter(options: InitOptions) -> int:
    """Do what `aiq init` promises; return the exit status."""
    environment = read_environment(os.environ, Path.cwd())
    text = starter_config(environment.variables, local_servers())
    _write(options.config, text, replace=options.force)
    names = [provider["name"] for provider in tomllib.loads(text)["providers"]]
    for note in environment.notes:
        streams.say(f"note: {visible(note)}")
    streams.say(f"{visible(str(options.config))} written; {_found(names)}")
    streams.say(f"next: {visible(_next(options.config), 1000)}")
    return ExitCode.OK


def _write(path: Path, text: str, *, replace: bool) -> None:
    try:
        with path.open("w" if replace else "x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        raise Refused(f"{path} exists", hint="`aiq init --force` replaces it") from None
    except OSError as error:
        raise Refused(
            f"{path} cannot be written: {error.strerror}", hint="name another file with `--config`"
        ) from error


def _found(names: list[str]) -> str:
    if names == ["simulated"]:
        return "no key and no local server was found, so it starts with simulated answers"
    return f"found, in this order of rank: {', '.join(names)}"


def _next(path: Path) -> str:
    named = [] if path == Path(DEFAULT_FILE) else ["--config", str(path)]
    return shlex.join(["aiq", "run", "prompts.jsonl", *named])
