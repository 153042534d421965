"""
Rescue files: outcomes that could not be committed, kept outside the database for the next run.

The first line says which run of which database it was, each further line is one outcome, and every
line carries its own checksum, so that a damaged file gives back all that is whole. A file lies next
to the database, or where that is impossible in a directory for temporary files, under a name that
says which database it is for. One that has been renamed or moved since is known by its run. Only
the user's own private files are read.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, TypeVar

import msgspec

from aiq.errors import StoreError
from aiq.store.schema import APPLICATION_ID
from aiq.store.writes import Settle

FORMAT = 1
_SUM_DIGITS = 16
_HEADER_BYTES = 16 * 1024
"""More than any path and name of a machine; the first line of some other file may be endless."""
_TOKEN = "[0-9a-f]{8}"  # noqa: S105 - it makes a name unique, no more
_Line = TypeVar("_Line", bound=msgspec.Struct)


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Who wrote a file, beside the run's number and instant."""

    pid: int
    host: str


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """Where the outcomes come from: a run is known by its number and the instant it began."""

    run_id: int
    run_started_at: int
    outcomes: int
    origin: Origin | None = None
    """None: it was written by an aiq that did not say."""
    format: int = FORMAT
    application_id: int = APPLICATION_ID


class Rescued(msgspec.Struct, frozen=True, kw_only=True):
    """What could be read of a rescue file; `missing` outcomes of it could not."""

    path: Path
    header: Header
    settles: tuple[Settle, ...]
    missing: int


class UnreadableRescue(Exception):
    """A rescue file that says nothing; the text says why."""


def write_rescue(database: Path, header: Header, settles: Sequence[Settle]) -> Path:
    """Keep outcomes in a new private file, durably; raises `StoreError` if no place takes it."""
    refusals = []
    for directory, stem in _places(database):
        try:
            return _write_new(directory / f"{stem}{secrets.token_hex(4)}", header, settles)
        except OSError as error:
            refusals.append(f"{directory}: {error.strerror or error}")
    raise StoreError("; ".join(refusals))


def find_rescues(database: Path) -> list[Path]:
    """Return what may be rescue files of a database, by their names."""
    return _found((directory, re.escape(stem)) for directory, stem in _places(database))


def find_others(database: Path) -> list[Path]:
    """Return rescue files in the same places that have the names of other databases."""
    directory, *temporary = [directory for directory, _ in _places(database)]
    anybodys = rf"aiq-{os.geteuid()}-[0-9a-f]+\.rescue-"
    places = [(directory, r".+\.rescue-"), *((one, anybodys) for one in temporary)]
    ours = set(find_rescues(database))
    return [path for path in _found(places) if path not in ours]


def _found(places: Iterable[tuple[Path, str]]) -> list[Path]:
    """Return the files in directories whose names begin as a pattern says."""
    found: dict[Path, None] = {}
    for directory, stem in places:
        with contextlib.suppress(OSError):
            pattern = re.compile(stem + _TOKEN)
            named = [path for path in directory.iterdir() if pattern.fullmatch(path.name)]
            found |= dict.fromkeys(sorted(named))
    return list(found)


def read_header(path: Path) -> Header:
    """Read whose outcomes a file keeps; raises `UnreadableRescue`."""
    try:
        with _opened(path) as file:
            return _header(_checked(file.readline(_HEADER_BYTES)))
    except OSError as error:
        raise UnreadableRescue(error.strerror) from error


def read_rescue(path: Path) -> Rescued:
    """Read whatever is whole; raises `UnreadableRescue` if that is nothing, or not ours."""
    try:
        with _opened(path) as file:
            first, *others = [_checked(line) for line in file]
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is empty"
        raise UnreadableRescue(reason) from error
    header = _header(first)
    settles = tuple(s for line in others if (s := _decoded(line, Settle)) is not None)
    return Rescued(
        path=path, header=header, settles=settles, missing=header.outcomes - len(settles)
    )


def _header(line: bytes | None) -> Header:
    header = _decoded(line, Header)
    if header is None:
        raise UnreadableRescue("its first line is damaged, or of another version of aiq")
    if (header.format, header.application_id) != (FORMAT, APPLICATION_ID):
        raise UnreadableRescue("it was written by another version of aiq")
    return header


def remove_rescue(rescued: Rescued) -> Path | None:
    """Take a file away whose outcomes are stored; a damaged one is kept under the name returned."""
    if not rescued.missing:
        rescued.path.unlink(missing_ok=True)
        return None
    return rescued.path.rename(rescued.path.with_name(rescued.path.name + ".damaged"))


def temporary_directories() -> list[Path]:
    """Return where files may lie that have no better place, in the order to be tried."""
    named = [os.environ.get("TMPDIR") or "/tmp", "/tmp", "/var/tmp"]  # noqa: S108 - O_EXCL, 0600
    return list(dict.fromkeys(Path(name).absolute() for name in named))


def private_name(database: Path) -> str:
    """Return the beginning of a file name that tells whose and which database a file is for."""
    real = database.resolve()
    digest = hashlib.sha256(os.fsencode(real)).hexdigest()[:16]
    return f"aiq-{os.geteuid()}-{digest}"


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _places(database: Path) -> Iterator[tuple[Path, str]]:
    real = database.resolve()
    yield real.parent, f"{real.name}.rescue-"
    for directory in temporary_directories():
        yield directory, f"{private_name(database)}.rescue-"


def _write_new(path: Path, header: Header, settles: Sequence[Settle]) -> Path:
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(_line(header))
            for settle in settles:
                file.write(_line(msgspec.structs.replace(settle, memo=None)))
            file.flush()
            os.fsync(file.fileno())
        sync_directory(path.parent)
    except OSError:
        path.unlink(missing_ok=True)
        raise
    return path


def _opened(path: Path) -> BinaryIO:
    """Open a file of our own; raises OSError for anything else."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    info = os.fstat(descriptor)
    is_regular, is_ours = stat.S_ISREG(info.st_mode), info.st_uid == os.geteuid()
    if is_regular and is_ours and not info.st_mode & 0o022:
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    raise PermissionError(0, "it is not a private file of yours")


def _line(value: msgspec.Struct) -> bytes:
    return _sealed(msgspec.json.encode(value))


def _checked(line: bytes) -> bytes | None:
    """Return what a line says, or None if it is damaged or cut."""
    text = line[_SUM_DIGITS + 1 : -1]
    return text if line == _sealed(text) else None


def _sealed(text: bytes) -> bytes:
    return b"%s %s\n" % (_checksum(text), text)


def _checksum(text: bytes) -> bytes:
    return hashlib.blake2b(text, digest_size=_SUM_DIGITS // 2).hexdigest().encode()


def _decoded(text: bytes | None, kind: type[_Line]) -> _Line | None:
    if text is None:
        return None
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.DecodeError:
        return None
