"""
Whether there is room for the answers that a run is about to buy: a word of warning, no more.

It need not be more: a lease that cannot be stored is not sent, and an answer that cannot be stored
is kept elsewhere.
"""

from __future__ import annotations

import shutil
from pathlib import Path

_MIB = 1024 * 1024
LOG_BYTES = 64 * _MIB
"""To which the write-ahead log may grow."""

JOB_BYTES = 4096
"""About what an answer of a few hundred words takes, with its row in the ledger."""


def why_tight(database: Path, jobs: int) -> str | None:
    """Return the sentence that warns of too little space for so many answers, if it is."""
    directory = database.resolve().parent
    try:
        free = shutil.disk_usage(directory).free
    except OSError:
        return None
    needed = LOG_BYTES + jobs * JOB_BYTES
    if free >= needed:
        return None
    return (
        f"{free // _MIB:,} MiB are free in {directory}, and this may need about"
        f" {needed // _MIB:,} MiB; a full disk stops the run, and loses nothing"
    )
