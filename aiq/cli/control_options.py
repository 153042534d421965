"""What `ctl` and `cancel` are asked; see `aiq.cli.options`."""

from __future__ import annotations

import dataclasses
import enum
from pathlib import Path
from typing import Annotated

import typer

from aiq.cli.options import DatabasePath, Json


class Action(enum.StrEnum):
    """What `ctl` does."""

    STATUS = "status"
    PAUSE = "pause"
    RESUME = "resume"
    STOP = "stop"
    SET = "set"
    DISABLE = "disable"
    ENABLE = "enable"
    RESET = "reset"


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ControlOptions:
    """What `ctl` is asked."""

    action: Annotated[Action, typer.Argument(metavar="ACTION", help="One of those above.")]
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="WHAT",
            help="For set: concurrency=N, budget=USD or budget=none. For disable, enable and reset:"
            " a provider.",
        ),
    ] = None
    db: DatabasePath = Path("aiq.db")
    json: Json = False


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class CancelOptions:
    """What `cancel` is asked."""

    names: Annotated[
        list[str],
        typer.Argument(
            metavar="BATCH|JOB",
            help="Batches, whose pending jobs are all cancelled, and ids of single jobs.",
        ),
    ]
    batch: Annotated[
        str | None,
        typer.Option(
            "--batch",
            metavar="BATCH",
            help="All of them are ids of jobs in this batch; needed if an id is in several.",
        ),
    ] = None
    db: DatabasePath = Path("aiq.db")
    json: Json = False
