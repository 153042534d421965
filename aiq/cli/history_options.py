"""What the commands that look back are asked."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from aiq.cli.options import BatchName, ConfigPath, DatabasePath, Json


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ReportOptions:
    """What `report` is asked."""

    batch: BatchName = None
    db: DatabasePath = Path("aiq.db")
    config: ConfigPath = None
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FILE", help="Write the page there; - is stdout."),
    ] = Path("report.html")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class PurgeOptions:
    """What `purge` is asked."""

    batch: BatchName = None
    db: DatabasePath = Path("aiq.db")
    older_than: Annotated[
        str,
        typer.Option(
            "--older-than",
            metavar="AGE",
            help="Finished jobs whose last attempt ended so long ago: 30m, 12h or 7d.",
        ),
    ]
    answers_only: Annotated[
        bool,
        typer.Option(
            "--answers-only",
            help="Remove the texts of answers and of unusable replies; jobs, prompts and the ledger"
            " stay.",
        ),
    ] = False
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be removed, and remove nothing.")
    ] = False
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False
    json: Json = False
