"""
Where a run and its operator meet: a socket in a private directory of the user.

Not beside the database: there the path may be longer than a socket's may be (about a hundred
bytes), the file system may know no sockets, and whoever may write there could put another one in
its place. The directory belongs to the user alone, and the name of a socket follows from the real
path of the database, so that both sides find it without asking anybody.

A run takes the first directory that it can have, an operator looks in all of them: a run that was
started by `cron` has no `XDG_RUNTIME_DIR`, and the terminal it is looked at from has one. For that
reason the directory for temporary files is `/tmp` whatever `TMPDIR` says.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

PATH_BYTES = 100
"""The shortest that systems allow for the path of a socket is 104, with the zero at its end."""

TEMPORARY = Path("/tmp")  # noqa: S108 - in it only a directory that was checked to be ours


class NotPrivate(OSError):
    """A directory in which others could listen instead of us."""


def places(database: Path, environ: Mapping[str, str]) -> Iterator[Path]:
    """Yield where the socket of a database's run may be, the best place first."""
    name = hashlib.blake2b(os.fsencode(database.resolve()), digest_size=8).hexdigest() + ".sock"
    for directory in _directories(environ):
        path = directory / name
        if len(os.fsencode(path)) <= PATH_BYTES:
            yield path


def _directories(environ: Mapping[str, str]) -> Iterator[Path]:
    named = environ.get("XDG_RUNTIME_DIR", "")
    if named.startswith("/"):
        yield Path(named) / "aiq"
    usual = Path(f"/run/user/{os.geteuid()}")
    if usual.is_dir() and str(usual) != named.rstrip("/"):
        yield usual / "aiq"
    yield TEMPORARY / f"aiq-{os.geteuid()}"


def make_private(directory: Path) -> None:
    """
    Make a directory that is ours alone, or check that it is; raises `OSError` where it is not.

    A link is not followed: it may lead to where somebody else can write.
    """
    with contextlib.suppress(FileExistsError):
        directory.mkdir(mode=0o700)
    refuse_shared(directory)


def refuse_shared(directory: Path) -> None:
    """Raise `OSError` unless it is a directory of ours that nobody else may enter."""
    found = os.lstat(directory)
    if not stat.S_ISDIR(found.st_mode):
        raise NotPrivate(f"{directory} is not a directory")
    if found.st_uid != os.geteuid():
        raise NotPrivate(f"{directory} belongs to another user")
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise NotPrivate(f"{directory} may be entered by others (`chmod 700` it)")
