"""The health database: what is kept, for how long, and that nobody's way is barred by it."""

from __future__ import annotations

import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from aiq.errors import StoreError
from aiq.store.health import (
    APPLICATION_ID,
    KEPT,
    SCHEMA_VERSION,
    PastProbe,
    ProbeRow,
    health_path,
    record,
)
from aiq.store.lock import RunLock
from tests.support.process import contents

ROW = ProbeRow(
    provider="a",
    base_url="http://127.0.0.1/v1",
    model="m",
    level=4,
    checked_at=1_700_000_000_000_000,
    status="healthy",
    reason="answered in 5 ms",
    latency_us=5_000,
)

PAST = PastProbe("healthy", 5_000, ROW.checked_at, ROW.reason)


def row(**fields: Any) -> ProbeRow:
    return msgspec.structs.replace(ROW, **fields)


def asked(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


@pytest.mark.parametrize(
    ("database", "expected"),
    [("aiq.db", "aiq.health.db"), ("jobs", "jobs.health.db"), ("a.b.sqlite", "a.b.health.sqlite")],
)
def test_it_lies_beside_the_job_database(tmp_path: Path, database: str, expected: str) -> None:
    assert health_path(tmp_path / database) == tmp_path / expected


def test_every_way_to_name_a_job_database_has_one_history(tmp_path: Path) -> None:
    (tmp_path / "real.db").touch()
    (tmp_path / "link.db").symlink_to(tmp_path / "real.db")
    assert health_path(tmp_path / "link.db") == tmp_path / "real.health.db"


def test_a_new_one_is_private_and_says_whose_it_is(database_path: Path) -> None:
    """It is made whole, and the job database is not."""
    old = os.umask(0)
    try:
        assert record(database_path, [ROW]) == [[PAST]]
    finally:
        os.umask(old)
    path = health_path(database_path)
    files = sorted(database_path.parent.iterdir())
    assert [file.name for file in files] == ["aiq.health.db", "aiq.health.db.lock"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert asked(path, "PRAGMA application_id") == [(APPLICATION_ID,)]
    assert asked(path, "PRAGMA user_version") == [(SCHEMA_VERSION,)]
    assert asked(path, "PRAGMA quick_check") == [("ok",)]


def test_the_last_hundred_of_each_series_are_kept(database_path: Path) -> None:
    """What is compared is one provider at one address, asked for one model to one depth."""
    others = [row(provider="b"), row(base_url="http://b/v1"), row(model=""), row(level=2)]
    for number in range(KEPT + 5):
        [history, *rest] = record(
            database_path, [row(latency_us=number), *(others if number == 0 else [])]
        )
        assert [len(series) for series in rest] == [1] * len(rest)
    assert [past.latency_us for past in history] == list(range(5, KEPT + 5))
    [(count,)] = asked(health_path(database_path), "SELECT count(*) FROM probe")
    assert count == KEPT + len(others)


def test_a_probe_without_a_latency_is_one_too(database_path: Path) -> None:
    [history] = record(database_path, [row(status="unhealthy", latency_us=None)])
    assert history == [PastProbe("unhealthy", None, ROW.checked_at, ROW.reason)]


@pytest.mark.parametrize(
    "fields", [{"status": "fine"}, {"level": 5}, {"latency_us": -1}, {"reason": None}]
)
def test_nonsense_is_refused_whole(database_path: Path, fields: dict[str, Any]) -> None:
    """The database itself sees to it; of a round, all or nothing is stored."""
    record(database_path, [ROW])
    with pytest.raises(StoreError, match="constraint"):
        record(database_path, [ROW, row(**fields)])
    assert record(database_path, [ROW]) == [[PAST] * 2]


def test_while_another_probe_stores_nothing_is_changed(database_path: Path) -> None:
    record(database_path, [ROW])
    before = contents(database_path.parent)
    with RunLock(health_path(database_path)) as lock:
        assert lock.acquire(wait_s=0)
        with pytest.raises(StoreError, match="in use by another probe"):
            record(database_path, [ROW])
    assert contents(database_path.parent) == before


def make_foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE bookmark (url TEXT)")


def make_newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")


def make_garbage(path: Path) -> None:
    path.write_bytes(b"no database, although it is long enough to be one" * 100)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (make_foreign, "not a health database"),
        (make_newer, "newer aiq"),
        (make_garbage, "not a database"),
        (Path.mkdir, "cannot be written"),
    ],
)
def test_what_is_not_ours_is_left_alone(database_path: Path, make: Any, words: str) -> None:
    path = health_path(database_path)
    make(path)
    before = contents(path.parent)
    with pytest.raises(StoreError, match=words):
        record(database_path, [ROW])
    assert contents(path.parent).items() >= before.items()
    assert not path.with_name(path.name + "-journal").exists()


def test_a_directory_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="missing does not exist"):
        record(tmp_path / "missing" / "aiq.db", [ROW])
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_probe_left_half_made_is_finished(database_path: Path) -> None:
    """An empty file is all that dying before the first transaction leaves."""
    health_path(database_path).touch()
    assert record(database_path, [ROW]) == [[PAST]]
