"""What a line means beside what the store knows under its key: decided here, done elsewhere."""

from __future__ import annotations

import enum
from collections.abc import Callable

from aiq.model import JobState
from aiq.store.ingesting import KnownJob


class Disposition(enum.Enum):
    """What a line with this key is to the store."""

    NEW = "new"
    DUPLICATE = "duplicate"
    SAME = "same"
    REPLACED = "replaced"
    CONFLICT = "conflict"
    RERUN = "rerun"
    KEPT = "kept"
    RESTORED = "restored"


_ON_CHANGED = {
    "error": Disposition.CONFLICT,
    "rerun": Disposition.RERUN,
    "keep": Disposition.KEPT,
}


def disposition(
    known: KnownJob | None,
    *,
    line: bytes,
    asked: Callable[[], bytes],
    was_asked: Callable[[], bytes],
    on_changed: str,
) -> Disposition:
    """
    Decide what a line means beside what is known under its key.

    `asked` gives the fingerprint of the line's question, `was_asked` that of the stored line's.
    """
    if known is None:
        return Disposition.NEW
    if known.is_seen:
        return Disposition.DUPLICATE
    if known.state is JobState.SUCCEEDED:
        return Disposition.SAME if known.fingerprint == asked() else _ON_CHANGED[on_changed]
    if known.fingerprint is not None and known.fingerprint == asked():
        return Disposition.RESTORED
    if known.line == line or asked() == was_asked():
        return Disposition.SAME
    return Disposition.REPLACED
