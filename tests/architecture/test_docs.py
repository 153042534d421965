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

from aiq.cli.app import app
from aiq.errors import ExitCode

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"<!-- run -->\n+```(?:console|sh)\n(.*?)```", re.DOTALL)
MAY_FAIL = 1
"""A run over simulated providers may leave failed jobs, which is no fault of README."""


def readme() -> str:
    return (ROOT / "README.md").read_text(encoding="utf-8")


def commands() -> list[str]:
    """Return the commands that README says can be typed as they stand."""
    lines = [line for block in BLOCK.findall(readme()) for line in block.splitlines()]
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]


def environment(directory: Path) -> dict[str, str]:
    """Put an `aiq` on the path that is this checkout, and nothing of the developer's."""
    program = directory / "bin" / "aiq"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m aiq "$@"\n')
    program.chmod(0o755)
    return {
        "PATH": f"{program.parent}:{os.defpath}",
        "PYTHONPATH": str(ROOT),
        "HOME": str(directory),
        "LC_ALL": "C.UTF-8",
    }


@pytest.mark.timeout(240)
def test_the_commands_in_readme_work_one_after_the_other(tmp_path: Path) -> None:
    """Each block marked to be run is typed in, in order, beside a copy of the examples."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    env = environment(tmp_path)
    assert commands(), "no block of README is marked to be run"
    for command in commands():
        done = subprocess.run(
            ["sh", "-c", command],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        said = f"{command}\n{done.stdout[-1000:]}{done.stderr[-2000:]}"
        assert done.returncode in (0, MAY_FAIL), said
        assert "Traceback" not in said


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
    """Scripts rely on the numbers, so a table has each of them."""
    tables = "\n".join(re.findall(r"^\|.*\|$", readme(), re.MULTILINE))
    assert [code for code in ExitCode if not re.search(rf"\b{int(code)}\b", tables)] == []
