"""
The limit on open files: a run takes what it may have, and makes do with that.

Every request in flight holds a connection. With too few files for them, sockets would fail like a
provider that is down.
"""

from __future__ import annotations

import contextlib
import resource

import msgspec

from aiq.config import Settings

SPARE_FILES = 64
"""Open files of a run besides its connections: database, log, libraries, terminal."""


def needed(concurrency: int) -> int:
    """Return how many files a run may come to have open."""
    return concurrency + SPARE_FILES


def attainable() -> int | None:
    """Return how many files a run may open once it has asked for more; None: without a limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if hard == resource.RLIM_INFINITY else hard


def make_room(settings: Settings) -> Settings:
    """Raise this process's limit as far as a run needs it; lower the run where that is too low."""
    wanted = needed(settings.run.concurrency)
    # Connections to one provider stay open for a while when another takes over.
    _raise_to(needed(settings.run.concurrency * max(1, len(settings.providers))))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return settings
    lowered = max(soft - SPARE_FILES, soft // 4, 1)
    said = (
        f"only {soft:,} files may be open: concurrency is {lowered:,}"
        f" instead of {settings.run.concurrency:,} (`ulimit -n {wanted}`)"
    )
    return msgspec.structs.replace(
        settings,
        run=msgspec.structs.replace(settings.run, concurrency=lowered),
        notes=(*settings.notes, said),
    )


def _raise_to(wanted: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    with contextlib.suppress(OSError, ValueError):  # the kernel may have a limit of its own
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
