"""Files and batches: joined, moved between, vanished, refused, piped."""

from __future__ import annotations

import gzip
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aiq.errors import InputError
from aiq.run import chunks
from aiq.run.ingest import IngestReport
from aiq.store.db import Database
from tests.support.factories import dump, query
from tests.support.ingesting import answer_all, ingest, write_lines


def placed(database: Database) -> list[tuple[Any, ...]]:
    """Where each job's line stands: key, file name or None, line."""
    rows = query(
        database.path,
        "SELECT key, path, line FROM job LEFT JOIN source ON source.id = source_id ORDER BY job.id",
    )
    return [(key, path and Path(path).name, line) for key, path, line in rows]


def refuse(_: IngestReport) -> None:
    raise InputError("no")


async def test_a_vanished_line_is_named_and_withdrawn_and_may_come_back(
    database: Database, tmp_path: Path
) -> None:
    file = write_lines(tmp_path / "p.jsonl", {"id": "a", "prompt": "x"}, '"gone"', '"stays"')
    await ingest(database, file)
    write_lines(file, '"stays"')
    report = await ingest(database, file)
    assert (report.vanished, report.vanished_shown) == (2, ["a", "line 2"])
    assert [path for _, path, _ in placed(database)] == [None, None, "p.jsonl"]
    report = await ingest(database, file)
    assert report.vanished == 0, "it is named once"
    write_lines(file, '"stays"', '"gone"', {"id": "a", "prompt": "x"})
    report = await ingest(database, file)
    assert (report.added, report.known, report.vanished) == (0, 3, 0)
    assert [line for *_, line in placed(database)] == [3, 2, 1]


async def test_a_finished_job_whose_line_vanished_is_not_named_and_not_asked_again(
    database: Database, tmp_path: Path
) -> None:
    """Its answer stays; when the line comes back, it is known to be answered."""
    file = write_lines(tmp_path / "p.jsonl", '"x"', '"y"')
    await ingest(database, file)
    await answer_all(database)
    write_lines(file, '"y"')
    assert (await ingest(database, file)).vanished == 0
    write_lines(file, '"x"', '"y"')
    assert (await ingest(database, file)).added == 0
    assert query(database.path, "SELECT DISTINCT state FROM job") == [("succeeded",)]


async def test_files_joined_by_a_name_are_one_batch(database: Database, tmp_path: Path) -> None:
    files = [
        write_lines(tmp_path / f"{name}.jsonl", {"id": name, "prompt": "x"}, '"same"')
        for name in ("one", "two", "three")
    ]
    report = await ingest(database, *files, name="all")
    assert report.added == 6
    assert query(database.path, "SELECT name FROM batch") == [("all",)]
    before = dump(database.path)
    assert (await ingest(database, *files, name="all")).added == 0
    assert dump(database.path) == before


async def test_an_id_is_unique_over_the_files_of_a_batch(
    database: Database, tmp_path: Path
) -> None:
    one = write_lines(tmp_path / "one.jsonl", {"id": "a", "prompt": "x"})
    two = write_lines(tmp_path / "two.jsonl", {"id": "a", "prompt": "y"})
    report = await ingest(database, one, two, name="all")
    assert (report.added, report.invalid) == (1, 1)
    assert [(Path(bad.file).name, bad.line) for bad in report.invalid_shown] == [("two.jsonl", 1)]
    report = await ingest(database, one, two)
    assert (report.added, report.invalid) == (2, 0), "two batches, two jobs"


@pytest.mark.parametrize("line", ['{"id": "a", "prompt": "x"}', '"x"'])
async def test_a_line_that_moves_to_another_file_of_its_batch_is_the_same_job(
    database: Database, tmp_path: Path, line: str
) -> None:
    one = write_lines(tmp_path / "one.jsonl", '"stays"', line)
    two = write_lines(tmp_path / "two.jsonl", '"other"')
    await ingest(database, one, two, name="all")
    await answer_all(database)
    write_lines(one, '"stays"')
    write_lines(two, '"other"', line)
    report = await ingest(database, one, two, name="all")
    assert (report.added, report.known, report.vanished) == (0, 3, 0)
    assert [path for _, path, _ in placed(database)] == ["one.jsonl", "two.jsonl", "two.jsonl"]


async def test_a_moved_line_is_the_same_job_when_the_new_file_is_read_alone(
    database: Database, tmp_path: Path
) -> None:
    one = write_lines(tmp_path / "one.jsonl", {"id": "a", "prompt": "x"})
    await ingest(database, one, name="all")
    two = write_lines(tmp_path / "two.jsonl", {"id": "a", "prompt": "x"})
    report = await ingest(database, two, name="all")
    assert (report.added, report.known) == (0, 1)
    write_lines(one)
    report = await ingest(database, one, name="all")
    assert report.vanished == 0, "it is the other file's now"
    assert placed(database) == [("a", "two.jsonl", 1)]


async def test_reading_one_file_of_a_batch_leaves_the_others_alone(
    database: Database, tmp_path: Path
) -> None:
    one = write_lines(tmp_path / "one.jsonl", '"x"', "{")
    two = write_lines(tmp_path / "two.jsonl", '"y"', "{")
    await ingest(database, one, two, name="all")
    write_lines(two)
    report = await ingest(database, two, name="all")
    assert report.vanished == 1
    assert [path for _, path, _ in placed(database)] == ["one.jsonl", None]
    assert query(database.path, "SELECT count(*) FROM invalid_line") == [(1,)]


async def test_a_refused_ingest_of_a_new_file_leaves_no_trace(
    database: Database, tmp_path: Path
) -> None:
    file = write_lines(tmp_path / "p.jsonl", '"x"', "{")
    before = dump(database.path)
    with pytest.raises(InputError):
        await ingest(database, file, refuse=refuse)
    assert dump(database.path) == before


async def test_a_refused_ingest_of_a_known_file_leaves_it_as_it_was(
    database: Database, tmp_path: Path
) -> None:
    file = write_lines(tmp_path / "p.jsonl", '"x"', "{")
    await ingest(database, file)
    before = dump(database.path)
    write_lines(file, '"y"', '"z"')
    with pytest.raises(InputError):
        await ingest(database, file, refuse=refuse)
    assert dump(database.path) == before


async def test_one_bad_file_of_several_refuses_them_all(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Damage that shows late takes back what was read before it."""
    monkeypatch.setattr(chunks, "CHUNK_LINES", 10)
    good = write_lines(tmp_path / "good.jsonl", *[f'"{n}"' for n in range(50)])
    cut = tmp_path / "cut.jsonl.gz"
    cut.write_bytes(gzip.compress(b'"x"\n' * 100_000)[:-20])
    before = dump(database.path)
    with pytest.raises(InputError, match="truncated gzip"):
        await ingest(database, good, cut)
    assert dump(database.path) == before


async def test_a_missing_file_is_refused(database: Database, tmp_path: Path) -> None:
    before = dump(database.path)
    with pytest.raises(InputError, match="does not exist"):
        await ingest(database, tmp_path / "nowhere.jsonl")
    assert dump(database.path) == before


async def test_a_killed_ingest_leaves_a_file_that_must_be_read_again(
    database: Database, tmp_path: Path
) -> None:
    """The file is on record as unread before its first line is read."""
    file = write_lines(tmp_path / "p.jsonl", '"x"')
    seen: list[object] = []
    await ingest(
        database,
        file,
        advanced=lambda _: seen.extend(query(database.path, "SELECT sealed_at FROM source")),
    )
    assert seen == [(None,)]
    assert query(database.path, "SELECT sealed_at IS NULL FROM source") == [(0,)]


def appended(path: Path) -> None:
    with path.open("ab") as stream:
        stream.write(b'"late"\n"half of a li')


def truncated(path: Path) -> None:
    os.truncate(path, 1_300_000)


def rewritten(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"one", b"two"))


@pytest.mark.parametrize("change", [appended, truncated, rewritten])
@pytest.mark.parametrize("is_known", [False, True])
async def test_a_file_that_changes_while_it_is_read_is_refused_whole(
    database: Database, tmp_path: Path, change: Callable[[Path], None], *, is_known: bool
) -> None:
    """Nobody can say which part of it was read: neither half of it is taken for the whole."""
    file = tmp_path / "p.jsonl"
    if is_known:
        await ingest(database, write_lines(file, '"first"'))
    before = dump(database.path)
    write_lines(file, *[f'"one {number:5d}{" " * 500}"' for number in range(4000)])
    changed: list[int] = []

    def advanced(lines: int) -> None:
        if not changed:
            change(file)
        changed.append(lines)

    with pytest.raises(InputError, match="was written to while it was read"):
        await ingest(database, file, advanced=advanced)
    assert changed
    assert dump(database.path) == before
    write_lines(file, '"first"', '"whole"')
    assert (await ingest(database, file)).added == 2 - is_known


async def test_a_file_that_is_replaced_while_it_is_read_is_the_old_one(
    database: Database, tmp_path: Path
) -> None:
    """A rename puts another file in its place; the one that is open stays whole."""
    file = write_lines(tmp_path / "p.jsonl", *[f'"one {n:5d}{" " * 500}"' for n in range(4000)])
    other = write_lines(tmp_path / "new", '"two"')

    def advanced(_: int) -> None:
        if other.exists():
            other.rename(file)

    assert (await ingest(database, file, advanced=advanced)).added == 4000
    report = await ingest(database, file)
    assert (report.added, report.vanished) == (1, 4000)


async def test_standard_input_is_a_batch_of_its_own(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def piped(text: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))

    piped(b'"x"\n{\n"y"')
    report = await ingest(database, "-")
    assert (report.added, report.invalid) == (2, 1)
    assert report.invalid_shown[0].file == "stdin"
    assert query(database.path, "SELECT name, path FROM batch JOIN source") == [("stdin", "-")]
    piped(b'"x"\n"z"\n')
    report = await ingest(database, "-")
    assert (report.added, report.known, report.vanished) == (1, 1, 1)


async def test_a_file_given_twice_is_read_once(database: Database, tmp_path: Path) -> None:
    file = write_lines(tmp_path / "p.jsonl", {"id": "a", "prompt": "x"})
    report = await ingest(database, file, tmp_path / "." / "p.jsonl")
    assert (report.added, report.invalid) == (1, 0)
