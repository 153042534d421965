"""What `probe` and `doctor` are asked; see `aiq.cli.options`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from aiq.cli.options import ConfigPath, DatabasePath, Json


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ProbeOptions:
    """What `probe` is asked."""

    providers: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PROVIDER",
            help="Configured providers or presets; without any: what a run would use.",
        ),
    ] = None
    config: ConfigPath = None
    db: DatabasePath = Path("aiq.db")
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", metavar="MODEL", help="The model to ask for."),
    ] = None
    level: Annotated[
        int | None,
        typer.Option(
            "--level",
            min=1,
            max=4,
            metavar="N",
            help="Stop after 1 network, 2 API (free), 3 function, 4 latency. [default: 4]",
        ),
    ] = None
    watch: Annotated[
        float | None,
        typer.Option(
            "--watch", min=1, metavar="SECONDS", help="Repeat until Ctrl-C, and show history."
        ),
    ] = None
    json: Annotated[
        bool, typer.Option("--json", help="Write one JSON object a round to stdout.")
    ] = False
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say what each level found.")] = (
        False
    )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class DoctorOptions:
    """What `doctor` is asked."""

    config: ConfigPath = None
    db: DatabasePath = Path("aiq.db")
    verify: Annotated[
        Path | None,
        typer.Option(
            "--verify",
            metavar="PATH",
            help="Read this database from end to end, check every rule that its jobs, attempts and"
            " answers keep, and look at nothing else; --db and --config play no part.",
        ),
    ] = None
    json: Json = False
