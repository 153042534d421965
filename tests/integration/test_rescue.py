"""Rescue files: every field comes back, whatever is whole comes back, and nobody else's is read."""

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
from aiq.model import JobState
from aiq.run.rescue import bring_home, kept_for
from aiq.store import readings, rescue, runs
from aiq.store.db import Database
from aiq.store.opening import open_for_run
from aiq.store.rescue import (
    Header,
    Origin,
    UnreadableRescue,
    find_rescues,
    private_name,
    read_header,
    read_rescue,
    remove_rescue,
    write_rescue,
)
from aiq.store.writes import Settle
from tests.support import factories
from tests.support.factories import NOW_US, lease, query, settle

HEADER = Header(run_id=1, run_started_at=NOW_US, outcomes=2)
ANSWERED = settle(
    1,
    1,
    JobState.SUCCEEDED,
    body=bytes(range(256)) * 9,
    status_code=200,
    request_id="r\u2028\n\x1b",
    served_model="m-2",
    input_tokens=1,
    output_tokens=2**40,
    cached_tokens=0,
    cost_nano=123,
    price_source="config",
    flags=3,
    memo=object(),
)
BROKEN = settle(
    2,
    2,
    JobState.PENDING,
    kind="bad_response",
    billed="maybe",
    cause="abort",
    code="c",
    message='"quoted", 漢字 \x00',
    not_before=NOW_US,
    bad_reply=b"<html>\xff\n",
)
BOTH = [ANSWERED, BROKEN]


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The first of the places for files that have no better one."""
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setenv("TMPDIR", str(place))
    return place


def without_memo(settles: list[Settle]) -> list[Settle]:
    return [msgspec.structs.replace(one, memo=None) for one in settles]


def test_every_field_comes_back(database_path: Path) -> None:
    path = write_rescue(database_path, HEADER, BOTH)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.parent == database_path.parent
    assert find_rescues(database_path) == [path]
    found = read_rescue(path)
    assert (found.header, list(found.settles), found.missing) == (HEADER, without_memo(BOTH), 0)
    assert remove_rescue(found) is None
    assert find_rescues(database_path) == []


def test_where_the_database_lies_on_a_full_disk_another_place_takes_it(
    tmp_path: Path, temporary: Path
) -> None:
    """Under a name that tells whose and which database it is for, also by another path to it."""
    database = tmp_path / "gone" / "aiq.db"
    path = write_rescue(database, HEADER, BOTH)
    assert path.parent == temporary
    assert find_rescues(database) == [path]
    assert find_rescues(tmp_path / "gone" / ".." / "gone" / "aiq.db") == [path]
    assert find_rescues(tmp_path / "gone" / "other.db") == []


def test_a_place_that_fails_half_way_keeps_no_half_file(
    database_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"No space left on device; .*: No space"):
        write_rescue(database_path, HEADER, BOTH)
    assert find_rescues(database_path) == []
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("name", ["[a-z]*.db", "a.db.rescue-", "with space"])
def test_odd_names_find_their_own_files_and_no_others(tmp_path: Path, name: str) -> None:
    paths = [write_rescue(tmp_path / name, HEADER, BOTH) for _ in range(3)]
    write_rescue(tmp_path / "b.db", HEADER, BOTH)
    (tmp_path / f"{name}.rescue-12345678.damaged").write_text("x")
    assert find_rescues(tmp_path / name) == sorted(paths)


def test_whatever_byte_is_damaged_the_other_lines_come_back(database_path: Path) -> None:
    """A flipped byte, or an end cut off, costs the line it is in, and that is told."""
    path = write_rescue(database_path, HEADER, BOTH)
    data = path.read_bytes()
    whole = without_memo(BOTH)
    starts = [0, data.index(b"\n") + 1]
    starts.append(data.index(b"\n", starts[1]) + 1)
    for at in range(starts[1], len(data), 31):
        for damaged in (data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :], data[:at]):
            path.write_bytes(damaged)
            found = read_rescue(path)
            assert all(settle in whole for settle in found.settles)
            assert found.missing == 2 - len(found.settles) > 0
            if at >= starts[2]:
                assert list(found.settles) == whole[:1]
    for at in range(starts[1]):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(UnreadableRescue, match="damaged"):
            read_rescue(path)


def test_only_private_files_of_our_own_are_read(database_path: Path) -> None:
    """A link, a pipe, a file that others may write, an empty one: none is opened and believed."""
    real = write_rescue(database_path, HEADER, BOTH)
    link = real.with_name("aiq.db.rescue-00000001")
    link.symlink_to(real)
    pipe = real.with_name("aiq.db.rescue-00000002")
    os.mkfifo(pipe, 0o600)
    empty = real.with_name("aiq.db.rescue-00000003")
    empty.touch(0o600)
    shared = write_rescue(database_path, HEADER, BOTH)
    shared.chmod(0o622)
    for path in (link, pipe, empty, shared):
        with pytest.raises(UnreadableRescue):
            read_rescue(path)
    assert read_rescue(real).missing == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file of another user")
def test_a_file_of_another_user_is_not_read(database_path: Path) -> None:
    path = write_rescue(database_path, HEADER, BOTH)
    os.chown(path, 65534, 65534)
    with pytest.raises(UnreadableRescue, match="not a private file of yours"):
        read_rescue(path)


@pytest.mark.parametrize("change", [{"format": 2}, {"application_id": 7}])
def test_another_version_is_not_read(database_path: Path, change: dict[str, int]) -> None:
    path = write_rescue(database_path, msgspec.structs.replace(HEADER, **change), BOTH)
    with pytest.raises(UnreadableRescue, match="another version"):
        read_rescue(path)


async def leased(database: Database) -> None:
    """Leave two jobs leased by run 1, and a third one pending."""
    ids = await factories.seed(database, ["one", "two", "three"])
    await factories.write(database, *[lease(job_id, job_id) for job_id in ids[:2]])


def jobs(path: Path) -> list[str]:
    return [state for (state,) in query(path, "SELECT state FROM job ORDER BY id")]


async def test_what_is_brought_home_is_stored_once(database: Database, database_path: Path) -> None:
    """However many files say the same, and however often; each is gone when its outcomes are in."""
    await leased(database)
    for _ in range(2):
        write_rescue(database_path, HEADER, BOTH)
    notes: list[str] = []
    await bring_home(database, notes.append)
    assert notes == ["2 outcomes that an earlier run could not store were taken in"]
    assert find_rescues(database_path) == []
    assert jobs(database_path) == ["succeeded", "pending", "pending"]
    assert query(database_path, "SELECT body FROM answer") == [(bytes(range(256)) * 9,)]
    assert query(database_path, "SELECT body FROM bad_reply") == [(b"<html>\xff\n",)]
    before = factories.dump(database_path)
    write_rescue(database_path, HEADER, BOTH)
    await bring_home(database, notes.append)
    assert factories.dump(database_path) == before


async def test_what_is_brought_home_has_the_files_read_again(
    database: Database, database_path: Path
) -> None:
    """The answers may be to questions that were asked with other defaults."""
    await leased(database)
    await readings.keep(database, 1, bytes(16), bytes(16))
    write_rescue(database_path, HEADER, BOTH)
    await bring_home(database, lambda _: None)
    assert await readings.last(database, 1) is None


async def test_an_outcome_needs_its_attempt_its_job_and_its_run(
    database: Database, database_path: Path
) -> None:
    """Numbers that a later run gave out again are that run's; what was never leased stays so."""
    await leased(database)
    strangers = [
        settle(1, 2, JobState.SUCCEEDED),
        settle(3, 3, JobState.SUCCEEDED),
        settle(99, 99, JobState.SUCCEEDED),
    ]
    later = await runs.begin_run(database, pid=1, host="host", now_us=NOW_US + 1)
    before = factories.dump(database_path)
    assert await take_in(database, run_id=1, started_at=NOW_US, settles=strangers) == 0
    assert await take_in(database, run_id=later.id, started_at=NOW_US + 1, settles=BOTH) == 0
    assert factories.dump(database_path) == before


async def take_in(
    database: Database, *, run_id: int, started_at: int, settles: list[Settle]
) -> int | None:
    return await runs.take_in(database, run_id=run_id, started_at=started_at, settles=settles)


async def test_the_file_of_another_database_is_left_alone(
    database: Database, database_path: Path
) -> None:
    """It is named, kept, and its outcomes are nobody's here, though the numbers may fit."""
    await leased(database)
    other = msgspec.structs.replace(HEADER, run_started_at=NOW_US + 1)
    path = write_rescue(database_path, other, BOTH)
    notes: list[str] = []
    await bring_home(database, notes.append)
    assert notes == [f"{path} was left alone: it belongs to another database"]
    assert find_rescues(database_path) == [path]
    assert jobs(database_path) == ["running", "running", "pending"]


async def test_of_a_damaged_file_the_rest_is_kept_aside(
    database: Database, database_path: Path
) -> None:
    """Its whole lines are stored, and no later run meets it again."""
    await leased(database)
    path = write_rescue(database_path, HEADER, BOTH)
    path.write_bytes(path.read_bytes()[:-1])
    notes: list[str] = []
    await bring_home(database, notes.append)
    assert notes[0].startswith(f"1 outcome in {path}.damaged cannot be read")
    assert notes[1].startswith("1 outcome that an earlier run")
    assert find_rescues(database_path) == []
    assert jobs(database_path) == ["succeeded", "running", "pending"]


async def test_where_there_is_still_no_room_every_file_stays(
    database: Database, database_path: Path
) -> None:
    await leased(database)
    path = write_rescue(database_path, HEADER, BOTH)
    data = path.read_bytes()
    (pages,) = await database.row("PRAGMA page_count") or (0,)
    await database.rows(f"PRAGMA max_page_count = {pages}")
    large = msgspec.structs.replace(ANSWERED, answer=factories.stored_answer(b"x" * 1_000_000))
    larger = write_rescue(database_path, HEADER, [large, BROKEN])
    path.unlink()
    before = factories.dump(database_path)
    with pytest.raises(StoreError, match="is still there") as raised:
        await bring_home(database, lambda _: None)
    assert "free some space" in (raised.value.hint or "")
    assert find_rescues(database_path) == [larger]
    assert factories.dump(database_path) == before
    await database.rows("PRAGMA max_page_count = 1000000")
    larger.unlink()
    path.write_bytes(data)
    path.chmod(0o600)
    await bring_home(database, lambda _: None)
    assert jobs(database_path) == ["succeeded", "pending", "pending"]


def header(**changes: Any) -> Header:
    """Return the header of a file that the run of `leased` wrote."""
    who: dict[str, Any] = {"pid": 1, "host": "host"} | changes
    return msgspec.structs.replace(HEADER, origin=Origin(**who))


@pytest.fixture(params=["beside", "in the temporary directory"])
def earlier(request: pytest.FixtureRequest, database_path: Path, tmp_path: Path) -> Path:
    """Where the database lay before it was renamed; or, with its directory gone, moved."""
    if request.param == "beside":
        return database_path.with_name("earlier.db")
    return tmp_path / "gone" / "earlier.db"


async def test_a_database_that_was_renamed_or_moved_finds_its_file(
    database: Database, database_path: Path, earlier: Path
) -> None:
    """By the run that wrote it; and it stays, which is told once, for a copy may need it too."""
    await leased(database)
    path = write_rescue(earlier, header(), BOTH)
    assert find_rescues(database_path) == []
    assert await kept_for(database) == [path]
    for expected in (
        [
            "2 outcomes that an earlier run could not store were taken in",
            f"{path} stays; delete it when no copy of the database needs it",
        ],
        [],
    ):
        notes: list[str] = []
        await bring_home(database, notes.append)
        assert notes == expected
        assert jobs(database_path) == ["succeeded", "pending", "pending"]
        assert path.exists()


async def test_every_copy_takes_the_outcomes_in(
    database: Database, database_path: Path, earlier: Path
) -> None:
    """Also where none has the name any more that the file is for."""
    await leased(database)
    write_rescue(earlier, header(), BOTH)
    copies = [database_path.with_name(f"copy{number}.db") for number in range(2)]
    for copy in copies:
        await database.copy(copy)
    for copy in copies:
        copied = await open_for_run(copy)
        try:
            await bring_home(copied, lambda _: None)
        finally:
            await copied.close()
        assert jobs(copy) == ["succeeded", "pending", "pending"]


async def test_of_a_damaged_file_that_stays_it_is_told_once_too(
    database: Database, earlier: Path
) -> None:
    await leased(database)
    path = write_rescue(earlier, header(), BOTH)
    path.write_bytes(path.read_bytes()[:-1])
    for told in (3, 0):
        notes: list[str] = []
        await bring_home(database, notes.append)
        assert len(notes) == told
        assert all(f"1 outcome in {path} cannot be read" in note for note in notes[:1])
        assert path.exists()


async def test_a_database_with_an_old_name_is_not_nagged(
    database: Database, database_path: Path
) -> None:
    """It cannot use the file, and the database that can finds it."""
    await leased(database)
    changed = msgspec.structs.replace(header(), run_started_at=NOW_US + 1)
    path = write_rescue(database_path, changed, BOTH)
    notes: list[str] = []
    await bring_home(database, notes.append)
    assert notes == []
    assert find_rescues(database_path) == [path]


@pytest.mark.parametrize("change", [{"pid": 2}, {"host": "other"}, {"run_started_at": NOW_US + 1}])
async def test_the_file_of_another_run_is_not_even_mentioned(
    database: Database, database_path: Path, earlier: Path, change: dict[str, Any]
) -> None:
    """Also if it has the same number; nor is one that does not say where it comes from."""
    await leased(database)
    changes = dict(change)
    began = changes.pop("run_started_at", NOW_US)
    other = msgspec.structs.replace(header(**changes), run_started_at=began)
    others = [write_rescue(earlier, other, BOTH), write_rescue(earlier, HEADER, BOTH)]
    notes: list[str] = []
    await bring_home(database, notes.append)
    assert notes == []
    assert all(path.exists() for path in others)
    assert jobs(database_path) == ["running", "running", "pending"]


async def test_a_copy_takes_the_outcomes_and_leaves_the_file_to_the_database(
    database: Database, database_path: Path, tmp_path: Path
) -> None:
    """Both have the run, both have the answers in the end, and nothing is asked for twice."""
    await leased(database)
    copy = tmp_path / "copies" / "aiq.db"
    copy.parent.mkdir()
    await database.copy(copy)
    path = write_rescue(tmp_path / "gone" / "aiq.db", header(), BOTH)
    path = path.rename(path.with_name(f"{private_name(database_path)}.rescue-12345678"))
    copied = await open_for_run(copy)
    try:
        for _ in range(2):
            await bring_home(copied, lambda _: None)
            assert path.exists()
        assert jobs(copy) == ["succeeded", "pending", "pending"]
    finally:
        await copied.close()
    await bring_home(database, lambda _: None)
    assert jobs(database_path) == ["succeeded", "pending", "pending"]
    assert not path.exists()


def test_a_database_whose_name_is_no_text_has_its_file(tmp_path: Path) -> None:
    database = tmp_path / os.fsdecode(b"\xff.db")
    path = write_rescue(database, header(), [])
    assert find_rescues(database) == [path]
    assert read_header(path) == header()


def test_the_places_are_the_usual_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TMPDIR")
    assert rescue.temporary_directories() == [Path("/tmp"), Path("/var/tmp")]


@pytest.mark.parametrize("fail_unknown", [False, True])
async def test_an_outcome_that_is_found_after_a_recovery_is_stored_all_the_same(
    database: Database, *, fail_unknown: bool
) -> None:
    """A run that did not see the file has called its attempt possibly paid; the answer is kept."""
    (job_id,) = await factories.seed(database, ["a"])
    await factories.write(database, lease(1, job_id))
    await runs.recover(database, now_us=NOW_US + 1, fail_unknown=fail_unknown)
    assert query(database.path, "SELECT billed FROM attempt") == [("maybe",)]
    outcome = settle(1, job_id, JobState.SUCCEEDED, cost_nano=7)
    for missing in (1, 0):
        taken = await runs.take_in(database, run_id=1, started_at=NOW_US, settles=[outcome])
        assert taken == missing
    assert query(database.path, "SELECT state, error_kind FROM job") == [("succeeded", None)]
    assert query(database.path, "SELECT kind, billed, cause FROM attempt") == [("ok", "yes", None)]
    assert query(database.path, "SELECT kind, count, cost_nano FROM tally") == [("ok", 1, 7)]


async def test_an_outcome_of_a_job_that_went_on_changes_nothing(database: Database) -> None:
    (job_id,) = await factories.seed(database, ["a"])
    await factories.write(database, lease(1, job_id))
    await runs.recover(database, now_us=NOW_US + 1, fail_unknown=False)
    await factories.write(database, lease(2, job_id, number=2))
    outcome = settle(1, job_id, JobState.SUCCEEDED)
    assert await runs.take_in(database, run_id=1, started_at=NOW_US, settles=[outcome]) == 0
    assert query(database.path, "SELECT state, lease FROM job") == [("running", 2)]


async def test_a_file_stays_until_its_outcomes_are_in_the_database_itself(
    database: Database, database_path: Path
) -> None:
    """A reader keeps them in the log, of which a failed sync may have lost a page."""
    await leased(database)
    await database.rows("PRAGMA busy_timeout = 0")
    path = write_rescue(database_path, HEADER, BOTH)
    with closing(sqlite3.connect(database_path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM job").fetchall()
        for number in (2, 1):
            notes: list[str] = []
            await bring_home(database, notes.append)
            assert path.exists()
            assert len(notes) == number
            assert f"{path} stays until no other program reads the database" in notes[-1]
    assert jobs(database_path) == ["succeeded", "pending", "pending"]
    await bring_home(database, lambda _: None)
    assert not path.exists()
    assert jobs(database_path) == ["succeeded", "pending", "pending"]
