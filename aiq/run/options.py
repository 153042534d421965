"""What the user asked a run to do, beyond the settings."""

from __future__ import annotations

from pathlib import Path

import msgspec

from aiq.run.request import Flags


class Requeue(msgspec.Struct, frozen=True, kw_only=True):
    """
    What `retry-failed` puts back: all kinds unless named; `run_them` False only requeues.

    With `jobs`, only those of these ids.
    """

    batch: str | None = None
    kinds: tuple[str, ...] | None = None
    except_kinds: tuple[str, ...] = ()
    jobs: tuple[str, ...] = ()
    run_them: bool = True


class RunOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the user asked for, beyond the settings."""

    database: Path
    files: tuple[str, ...] = ()
    name: str | None = None
    """Of the batch of the files; without files, of the batch to carry on with."""
    flags: Flags = Flags()
    limit: int | None = None
    strict: bool = False
    dry_run: bool = False
    requeue: Requeue | None = None
