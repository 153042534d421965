"""`aiq doctor`: what could stand in the way of a run, a line a check, or JSON."""

from __future__ import annotations

import asyncio
import dataclasses
import os
from pathlib import Path

from rich.text import Text

from aiq.cli import figures, streams
from aiq.cli.followup import placed
from aiq.cli.health_options import DoctorOptions
from aiq.cli.text import visible
from aiq.run.diagnosis import Check, Diagnosis, Gravity
from aiq.run.doctor import diagnose
from aiq.run.verification import verify

_STYLES = {Gravity.OK: "green", Gravity.NOTE: "yellow", Gravity.FINDING: "bold red"}
_LIMIT = 1000


def show_diagnosis(options: DoctorOptions) -> int:
    """Do what `aiq doctor` promises; return the exit status."""
    diagnosis = asyncio.run(_diagnosis(options))
    if options.json:
        streams.write_json(diagnosis.to_json())
    else:
        streams.write_lines(diagnosis_lines(diagnosis, options))
    return diagnosis.exit_code


async def _diagnosis(options: DoctorOptions) -> Diagnosis:
    if options.verify is not None:
        return await verify(options.verify)
    return await diagnose(
        config_path=options.config,
        database=options.db,
        environ=os.environ,
        working_directory=Path.cwd(),
    )


def diagnosis_lines(diagnosis: Diagnosis, options: DoctorOptions) -> list[Text]:
    """Return a line a check, and how many of them found something to be put right."""
    width = max(len(check.name) for check in diagnosis.checks)
    findings = diagnosis.findings
    last = figures.plural(findings, "finding") if findings else "nothing to be put right"
    place = dataclasses.replace(options, db=options.verify or options.db)
    lines = [_line(check, width, place) for check in diagnosis.checks]
    return [*lines, Text(), Text(last, "bold red" if findings else "green")]


def _line(check: Check, width: int, place: DoctorOptions) -> Text:
    hint = f" ({visible(placed(check.hint, place), _LIMIT)})" if check.hint else ""
    return Text.assemble(
        (f"{check.gravity.value:<7}", _STYLES[check.gravity]),
        f"  {check.name:<{width}}  {visible(check.text, _LIMIT)}",
        (hint, "dim"),
    )
