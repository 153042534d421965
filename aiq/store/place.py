"""
Whether there can be a database at a path, seen from the outside, before SQLite touches anything.

Nothing here writes, except that a new database begins as an empty private file.
"""

from __future__ import annotations

import os
from pathlib import Path

from aiq.errors import StoreError


def create_private(path: Path) -> None:
    """Make a new database file readable by its owner only; SQLite's own files inherit that."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        return
    except OSError as error:
        raise StoreError(
            f"database {path} cannot be created: {error.strerror or error}",
            hint="check that the directory exists and is writable, or use another `--db`",
        ) from error


def refuse_odd_file(path: Path) -> None:
    """Raise `StoreError` for what is no file, or a link to somebody else's."""
    another = "name another file with `--db`"
    if path.is_symlink() and not path.exists():
        raise StoreError(f"database {path} is a symbolic link to nothing", hint=another)
    if not path.exists():
        return
    if not path.is_file():
        raise StoreError(f"database {path} is not a regular file", hint=another)
    if path.is_symlink() and path.stat().st_uid != os.geteuid():
        raise StoreError(
            f"database {path} is a symbolic link to a file of another user", hint=another
        )


def refuse_orphaned_log(path: Path) -> None:
    """
    Raise `StoreError` if there is a write-ahead log whose database is missing or empty.

    The log may hold answers, and belongs to that database alone: a new one beside it would take it
    for its own, or delete it. A run that dies while it creates a database never leaves this.
    """
    log = log_path(path)
    size = size_of(log)
    if size and not size_of(path):
        raise StoreError(
            f"database {path} is missing or empty, but its log {log} holds {size:,} bytes",
            hint="put the database back beside its log; or, if both are of no use, remove the log",
        )


def is_frozen(path: Path) -> bool:
    """Whether nobody can be writing a database: we may not write there, and no log is in use."""
    return not _is_writable(path) and not size_of(log_path(path))


def is_locked_in(path: Path) -> bool:
    """Whether a log is in use that SQLite cannot read, because it would have to write beside it."""
    return not _is_writable(path) and size_of(log_path(path)) > 0


def _is_writable(path: Path) -> bool:
    is_effective = os.access in os.supports_effective_ids
    return os.access(path.resolve().parent, os.W_OK, effective_ids=is_effective)


def log_path(path: Path) -> Path:
    """Return where SQLite keeps the write-ahead log of a database."""
    real = path.resolve()
    return real.with_name(real.name + "-wal")


def size_of(path: Path) -> int:
    """Return the bytes of a file, 0 if there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return 0
