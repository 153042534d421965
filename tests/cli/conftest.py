"""A working directory of its own, a provider that answers at once, and the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest
from typer.testing import CliRunner, Result

from aiq.cli.app import app

Aiq: TypeAlias = Callable[..., Result]

CONFIG = """\
[[providers]]
name = "quick"
kind = "simulated"
model = "sim-1"
price = { input = 1.0, output = 2.0 }
simulated = { latency_ms = 0, error_rate = 0.0 }

[[providers]]
name = "broken"
kind = "simulated"
model = "sim-2"
price = { input = 1.0, output = 2.0 }
simulated = { latency_ms = 0, error_rate = 1.0 }
"""

PROMPTS = """\
{"id": "one", "prompt": "Name a river."}
{"id": "two", "prompt": "Name a mountain."}
{"id": "three", "prompt": "Name a lake."}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: a configuration and three prompts."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "aiq.toml").write_text(CONFIG)
    (tmp_path / "prompts.jsonl").write_text(PROMPTS)
    return tmp_path


@pytest.fixture
def aiq(folder: Path) -> Aiq:
    """Call the command line; `stdin` is its standard input."""

    def call(*words: str, stdin: str | None = None) -> Result:
        assert Path.cwd() == folder
        return CliRunner().invoke(app, list(words), input=stdin, prog_name="aiq")

    return call
