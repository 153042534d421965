"""What the commands that look back are asked."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from aiq.cli.options import BatchName, ConfigPath, DatabasePath


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ReportOptions:
    """What `report` is asked."""

    batch: BatchName = None
    db: DatabasePath = Path("aiq.db")
    config: ConfigPath = None
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Write the page there.")
    ] = Path("report.html")
