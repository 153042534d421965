"""
The health database: what probes found, in a file of its own beside the job database.

Of its own, so that probing never writes a database that a run owns. It has its own lock, and each
round of probes is one locked transaction that opens the file and closes it again, so that several
watchers can share it. Plain sqlite3 and SQLite's rollback journal: a few rows now and then need
neither a thread nor a write-ahead log. A series is what can be compared: one provider at one
address, asked for one model to one depth.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import msgspec

from aiq.errors import StoreError
from aiq.store.db import translated
from aiq.store.file_system import refuse_network_file_system
from aiq.store.lock import RunLock

KEPT = 100
"""How many results of a series are kept."""

APPLICATION_ID = 0x61697168
"""`aiqh`: tells a health database from a job database and from anybody else's."""

_FIRST = """
CREATE TABLE probe (
  id         INTEGER PRIMARY KEY,         -- order of probing
  provider   TEXT    NOT NULL,
  base_url   TEXT    NOT NULL,
  model      TEXT    NOT NULL,            -- '': whichever it has
  level      INTEGER NOT NULL CHECK (level BETWEEN 1 AND 4),
  checked_at INTEGER NOT NULL,            -- microseconds since the epoch, UTC
  status     TEXT    NOT NULL
             CHECK (status IN ('healthy', 'degraded', 'unhealthy', 'unknown', 'disabled')),
  reason     TEXT    NOT NULL,
  latency_us INTEGER CHECK (latency_us >= 0)
) STRICT;

CREATE INDEX probe_by_series ON probe (provider, base_url, model, level);
"""

MIGRATIONS = (_FIRST,)
SCHEMA_VERSION = len(MIGRATIONS)


class ProbeRow(msgspec.Struct, frozen=True, kw_only=True):
    """What one probe of one provider found; `level` is how deep it was told to look."""

    provider: str
    base_url: str
    model: str
    level: int
    checked_at: int
    status: str
    reason: str
    latency_us: int | None


class PastProbe(msgspec.Struct, frozen=True):
    """What history keeps of a probe."""

    status: str
    latency_us: int | None
    checked_at: int
    reason: str

    @property
    def latency_ms(self) -> float | None:
        """Return how long the answer took, None where there was none to measure."""
        return None if self.latency_us is None else self.latency_us / 1000


def health_path(database: Path) -> Path:
    """Return the health database that belongs to a job database: `aiq.health.db` to `aiq.db`."""
    real = database.resolve()
    return real.with_name(f"{real.stem}.health{real.suffix or '.db'}")


def record(database: Path, probes: Sequence[ProbeRow]) -> list[list[PastProbe]]:
    """
    Store one round of probes and return the last 100 of each one's series, the oldest first.

    Raises:
        StoreError: it cannot be stored: another probe is storing, the directory is read-only, the
            file is damaged, newer or another program's. Nothing was changed.
    """
    path = health_path(database)
    refuse_network_file_system(path)
    lock = RunLock(path)
    if not lock.acquire():
        raise StoreError(f"{path} is in use by another probe")
    with lock, translated(path), closing(_opened(path)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(_INSERT, [msgspec.structs.asdict(probe) for probe in probes])
        connection.execute(_FORGET, {"kept": KEPT})
        history = [_series(connection, probe) for probe in probes]
        connection.execute("COMMIT")
    return history


_INSERT = """
INSERT INTO probe (provider, base_url, model, level, checked_at, status, reason, latency_us)
VALUES (:provider, :base_url, :model, :level, :checked_at, :status, :reason, :latency_us)
"""
_FORGET = """
DELETE FROM probe WHERE id IN (
  SELECT id FROM (
    SELECT id, row_number() OVER newest AS age FROM probe
    WINDOW newest AS (PARTITION BY provider, base_url, model, level ORDER BY id DESC)
  ) WHERE age > :kept)
"""
_SERIES = """
SELECT status, latency_us, checked_at, reason FROM probe
WHERE provider = :provider AND base_url = :base_url AND model = :model AND level = :level
ORDER BY id
"""


def _series(connection: sqlite3.Connection, probe: ProbeRow) -> list[PastProbe]:
    rows = connection.execute(_SERIES, msgspec.structs.asdict(probe))
    return [PastProbe(*row) for row in rows]


def _opened(path: Path) -> sqlite3.Connection:
    """Open the file, made private and brought to the present schema; the caller holds the lock."""
    _create_private(path)
    connection = sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, isolation_level=None)
    try:
        version = _version(connection, path)
        for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
            connection.executescript(
                f"BEGIN IMMEDIATE; {script}"
                f"PRAGMA application_id = {APPLICATION_ID};"
                f"PRAGMA user_version = {number}; COMMIT;"
            )
    except BaseException:
        connection.close()
        raise
    return connection


def _create_private(path: Path) -> None:
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror or error}") from error


def _version(connection: sqlite3.Connection, path: Path) -> int:
    """Return the schema's version, 0 for an empty file; refuse what is not ours."""
    [(application_id,)] = connection.execute("PRAGMA application_id")
    [(version,)] = connection.execute("PRAGMA user_version")
    [(tables,)] = connection.execute("SELECT count(*) FROM sqlite_schema")
    if application_id != APPLICATION_ID and (application_id or tables):
        raise StoreError(f"{path} is not a health database of aiq; it was not touched")
    if version > SCHEMA_VERSION:
        raise StoreError(f"{path} was written by a newer aiq; it was not touched")
    return int(version)
