"""What `probe`, `monitor` and `doctor` are asked; see `aiq.cli.options`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from aiq.cli.options import ConfigPath, DatabasePath, Json

Names: TypeAlias = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="PROVIDER",
        help="Configured providers or presets; without any: what a run would use.",
    ),
]
AskedModel: TypeAlias = Annotated[
    str | None, typer.Option("--model", "-m", metavar="MODEL", help="The model to ask for.")
]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ProbeOptions:
    """What `probe` is asked."""

    providers: Names = None
    config: ConfigPath = None
    db: DatabasePath = Path("aiq.db")
    model: AskedModel = None
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
class MonitorOptions:
    """What `monitor` is asked."""

    providers: Names = None
    config: ConfigPath = None
    db: DatabasePath = Path("aiq.db")
    model: AskedModel = None
    interval: Annotated[
        float | None,
        typer.Option(
            "--interval",
            min=0.1,
            max=86_400,
            metavar="SECONDS",
            help="Probe each provider once in so many seconds. A time-out that has no"
            " room in that is cut, and the first line says so. [default: 60]",
        ),
    ] = None
    free: Annotated[
        bool,
        typer.Option("--free", help="Send nothing that costs: network and list of models only."),
    ] = False
    once: Annotated[bool, typer.Option("--once", help="Probe once, tell what is new, end.")] = False
    health_file: Annotated[
        Path | None,
        typer.Option(
            "--health-file",
            metavar="PATH",
            help="Keep the latest state there as JSON, for a supervisor.",
        ),
    ] = None
    json: Annotated[
        bool, typer.Option("--json", help="Write one JSON object an event to stdout.")
    ] = False
    no_progress: Annotated[bool, typer.Option("--no-progress", help="No live table.")] = False


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
