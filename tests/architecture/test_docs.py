"""README is kept by the machine: its commands are run, and it names all there is."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from aiq.cli.app import app
from aiq.errors import ExitCode
from tests.support.lines import lines_of

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"<!-- run -->\n+```(?:console|sh)\n(.*?)```", re.DOTALL)
NEEDS_SHELL = re.compile(r"[^\w\s./=-]")
"""Matches what is more than a program and its words."""

MAY_FAIL = ("run", "retry-failed", "probe", "monitor", "doctor")
"""Simulated providers fail now and then, and a machine may lack something: status 1."""

FAILS = ("aiq alerts test",)
"""README says so: nobody listens there."""


def readme() -> str:
    return (ROOT / "README.md").read_text(encoding="utf-8")


def commands() -> list[str]:
    """Return the commands that README says can be typed as they stand."""
    lines = [line for block in BLOCK.findall(readme()) for line in lines_of(block)]
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]


def program(directory: Path) -> Path:
    """Put an `aiq` that is this checkout into a directory for programs; return that."""
    path = directory / "bin" / "aiq"
    path.parent.mkdir()
    path.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m aiq "$@"\n')
    path.chmod(0o755)
    return path.parent


def typed(command: str) -> tuple[int, str]:
    """
    Do what a command says; return its exit status and the end of what it said.

    A plain one is carried out in this process, which spares most of the test's time; whatever needs
    a shell gets one, and real processes.
    """
    if not NEEDS_SHELL.search(command):
        name, *words = shlex.split(command)
        assert name == "aiq"
        result = CliRunner().invoke(app, words, prog_name="aiq", catch_exceptions=False)
        return result.exit_code, f"{result.stdout[-1000:]}{result.stderr[-2000:]}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    return done.returncode, f"{done.stdout[-1000:]}{done.stderr[-2000:]}"


def expected(command: str) -> tuple[int, ...]:
    """Return how the command may end."""
    if command.startswith(FAILS):
        return (1,)
    return (0, 1) if command.split()[1] in MAY_FAIL else (0,)


@pytest.mark.timeout(240)
def test_the_commands_in_readme_work_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each block marked to be run is typed in, in order, beside a copy of the examples."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    for name, value in {
        "PATH": f"{program(tmp_path)}:{os.defpath}",
        "PYTHONPATH": str(ROOT),
        "HOME": str(tmp_path),
        "LC_ALL": "C.UTF-8",
    }.items():
        monkeypatch.setenv(name, value)
    assert commands(), "no block of README is marked to be run"
    for command in commands():
        code, said = typed(command)
        assert code in expected(command), f"{command}\n{said}"
        assert "Traceback" not in said, command


def test_readme_names_every_command_and_option() -> None:
    """What can be typed can be looked up."""
    text = readme()
    group = typer.main.get_command(app)
    missing = []
    for name, command in group.commands.items():  # type: ignore[attr-defined] # it is a group
        wanted = [f"aiq {name}", *(option for p in command.params for option in p.opts)]
        missing += [
            f"{name}: {one}"
            for one in wanted
            if one.startswith(("aiq ", "-")) and not re.search(rf"{re.escape(one)}(?![\w-])", text)
        ]
    assert missing == []


def test_readme_explains_every_exit_status() -> None:
    """Scripts rely on the numbers, so a table has each of them and no other."""
    _, _, section = readme().partition("\n### Exit status\n")
    rows = re.findall(r"^\| ([\d /]+) \|", section.partition("\n#")[0], re.MULTILINE)
    assert sorted(int(code) for row in rows for code in row.split("/")) == sorted(ExitCode)
