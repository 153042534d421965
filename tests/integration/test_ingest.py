"""Prompt files into jobs: identity, running a file again, and what a change means."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aiq.errors import InputError
from aiq.run import chunks, line_keys
from aiq.run.halt import Stopped
from aiq.run.ingest import IngestReport
from aiq.store.cancelling import Targets, cancel_page
from aiq.store.db import Database
from tests.support.factories import dump, query
from tests.support.ingesting import Line, answer_all, encoded, fail_all, ingest, write_lines

NEW: Line = {"id": "a", "prompt": "new"}
OLD: Line = {"id": "a", "prompt": "old"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "prompts.jsonl"


def jobs(database: Database) -> list[tuple[Any, ...]]:
    """Key, state and line number of every job whose line is in a file, by line."""
    return query(
        database.path,
        "SELECT key, state, line FROM job WHERE source_id IS NOT NULL ORDER BY source_id, line",
    )


def states(database: Database) -> list[str]:
    return [state for _, state, _ in jobs(database)]


async def test_every_good_line_is_a_job_in_order(database: Database, file: Path) -> None:
    write_lines(file, {"id": "a", "prompt": "x"}, "", '"plain"', {"id": 7, "prompt": "y"})
    report = await ingest(database, file)
    assert (report.added, report.known, report.invalid) == (3, 0, 0)
    (first, plain, third) = jobs(database)
    assert first == ("a", "pending", 1)
    assert third == ("7", "pending", 4)
    assert isinstance(plain[0], bytes)
    assert len(plain[0]) == 16


async def test_lines_are_stored_byte_for_byte(database: Database, file: Path) -> None:
    lines = [b'{ "prompt" :"\\ud800 \xe2\x80\xa8" }', b'"a\\u0000b"']
    write_lines(file, *lines)
    await ingest(database, file)
    assert [line for (line,) in query(database.path, "SELECT line FROM request")] == lines


async def test_the_same_file_again_adds_nothing(database: Database, file: Path) -> None:
    write_lines(file, {"id": "a", "prompt": "x"}, '"x"', '"x"', '"y"')
    await ingest(database, file)
    before = dump(database.path)
    report = await ingest(database, file)
    assert (report.added, report.known, report.vanished) == (0, 4, 0)
    assert dump(database.path) == before


async def test_an_empty_file_is_a_batch_without_jobs(database: Database, file: Path) -> None:
    write_lines(file)
    report = await ingest(database, file)
    assert report == IngestReport()
    assert query(database.path, "SELECT name FROM batch") == [("prompts",)]


@pytest.mark.parametrize("change", [0, 1, 2, 3, 4])
async def test_a_line_without_an_id_is_known_by_itself_wherever_it_stands(
    database: Database, file: Path, change: int
) -> None:
    """Adding a line anywhere asks for that line alone."""
    lines: list[Line] = ['"one"', '"two"', '"two"', '"three"']
    write_lines(file, *lines)
    await ingest(database, file)
    await answer_all(database)
    lines.insert(change, '"new"')
    write_lines(file, *lines)
    report = await ingest(database, file)
    assert (report.added, report.known, report.vanished) == (1, 4, 0)
    assert sorted(states(database)) == ["pending"] + ["succeeded"] * 4
    assert states(database)[change] == "pending"


async def test_equal_lines_without_ids_are_a_job_each(database: Database, file: Path) -> None:
    write_lines(file, *['"x"'] * 5)
    report = await ingest(database, file)
    assert report.added == 5
    await answer_all(database)
    write_lines(file, *['"x"'] * 7)
    report = await ingest(database, file)
    assert (report.added, report.known) == (2, 5)
    write_lines(file, *['"x"'] * 3)
    report = await ingest(database, file)
    assert (report.added, report.known, report.vanished) == (0, 3, 2)


@pytest.mark.parametrize("chunk", [1, 2, 3, 5, 2000])
@pytest.mark.parametrize("kept", [8, 100_000])
async def test_equal_lines_are_counted_across_chunks(
    database: Database, file: Path, monkeypatch: pytest.MonkeyPatch, chunk: int, kept: int
) -> None:
    """However the file is cut, and however little of the counting is kept in memory."""
    monkeypatch.setattr(chunks, "CHUNK_LINES", chunk)
    monkeypatch.setattr(line_keys, "ORDINALS_KEPT", max(kept, chunk))
    # Repeats in an irregular order: 12 different lines, 200 in all.
    lines = [f'"{(n * n * 7 + n // 3) % 12}"' for n in range(200)]
    write_lines(file, *lines)
    report = await ingest(database, file)
    assert (report.added, report.invalid) == (200, 0)
    monkeypatch.setattr(chunks, "CHUNK_LINES", 7)
    report = await ingest(database, file)
    assert (report.added, report.known, report.vanished) == (0, 200, 0)


async def test_a_count_that_is_forgotten_while_it_is_used_loses_no_line(
    database: Database, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest count goes first, but not that of a line which has just been met again."""
    monkeypatch.setattr(chunks, "CHUNK_LINES", 8)
    monkeypatch.setattr(line_keys, "ORDINALS_KEPT", 4)
    lines = [f'"{letter}"' for letter in "zzxxaabb" + "xccddxxq" + "zzxabcdx"]
    write_lines(file, *lines)
    report = await ingest(database, file)
    assert report.added == len(lines)
    report = await ingest(database, file)
    assert (report.added, report.known, report.vanished) == (0, len(lines), 0)


async def test_each_batch_counts_its_own_equal_lines(database: Database, tmp_path: Path) -> None:
    """Two files read together are the same jobs as when they are read alone."""
    one = write_lines(tmp_path / "one.jsonl", '"x"', '"x"')
    two = write_lines(tmp_path / "two.jsonl", '"x"')
    await ingest(database, one, two)
    await answer_all(database)
    report = await ingest(database, two)
    assert (report.added, report.known, report.vanished) == (0, 1, 0)
    assert states(database) == ["succeeded"] * 3


@pytest.mark.parametrize("chunk", [1, 2, 2000])
async def test_the_second_line_of_an_id_is_invalid(
    database: Database, file: Path, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    """Also when it says the same, and when the first was ingested by an earlier run."""
    monkeypatch.setattr(chunks, "CHUNK_LINES", chunk)
    lines: list[Line] = [{"id": 1, "prompt": "a"}, {"id": "1", "prompt": "b"}, '"c"']
    write_lines(file, *lines, {"id": "1", "prompt": "a"})
    for _ in range(2):
        report = await ingest(database, file)
        assert [(bad.line, bad.reason) for bad in report.invalid_shown] == [
            (2, "the id `1` stands on an earlier line"),
            (4, "the id `1` stands on an earlier line"),
        ]
        assert [line for _, _, line in jobs(database)] == [1, 3]


async def test_bad_lines_are_kept_with_number_and_reason_until_the_file_is_read_again(
    database: Database, file: Path
) -> None:
    write_lines(file, '"good"', "{", '""', b"\xff", '"also good"')
    report = await ingest(database, file)
    assert (report.added, report.invalid) == (2, 3)
    rows = query(database.path, "SELECT line, reason FROM invalid_line")
    assert [line for line, _ in rows] == [2, 3, 4]
    assert [(bad.line, bad.reason) for bad in report.invalid_shown] == rows
    write_lines(file, '"good"', '"mended"', '""', '"also good"')
    report = await ingest(database, file)
    assert (report.added, report.known, report.invalid) == (1, 2, 1)
    assert query(database.path, "SELECT line FROM invalid_line") == [(3,)]


async def test_a_report_names_the_first_and_counts_all(database: Database, file: Path) -> None:
    write_lines(file, *["{"] * 5000)
    report = await ingest(database, file)
    assert report.invalid == 5000
    assert [bad.line for bad in report.invalid_shown] == list(range(1, 21))
    assert query(database.path, "SELECT count(*) FROM invalid_line") == [(5000,)]


async def changed(database: Database, file: Path) -> None:
    """An answered file in which one of two requests is changed."""
    write_lines(file, OLD, {"id": "b", "prompt": "same"})
    await ingest(database, file)
    await answer_all(database)
    write_lines(file, NEW, {"id": "b", "prompt": "same"}, {"id": "c", "prompt": "added"})


async def test_a_changed_request_of_a_finished_job_is_refused_without_a_trace(
    database: Database, file: Path
) -> None:
    await changed(database, file)
    before = dump(database.path)
    with pytest.raises(InputError, match=r"1 finished job.*changed: `a`") as raised:
        await ingest(database, file)
    assert "--on-changed rerun" in (raised.value.hint or "")
    assert dump(database.path) == before


async def test_rerun_asks_again_and_keeps_the_old_answer_until_then(
    database: Database, file: Path
) -> None:
    await changed(database, file)
    report = await ingest(database, file, on_changed="rerun")
    assert (report.changed, report.changed_shown) == (1, ["a"])
    assert jobs(database) == [("a", "pending", 1), ("b", "succeeded", 2), ("c", "pending", 3)]
    answers = query(database.path, "SELECT body FROM answer ORDER BY job_id")
    assert answers[0] == (b'answer to {"id":"a","prompt":"old"}',)
    await answer_all(database)
    answers = query(database.path, "SELECT body FROM answer ORDER BY job_id")
    assert answers[0] == (b'answer to {"id":"a","prompt":"new"}',)
    report = await ingest(database, file)
    assert (report.added, report.known, report.changed) == (0, 3, 0)


async def test_a_rerun_that_was_not_answered_yet_stays_one(database: Database, file: Path) -> None:
    await changed(database, file)
    await ingest(database, file, on_changed="rerun")
    report = await ingest(database, file)
    assert report.changed == 0
    assert states(database) == ["pending", "succeeded", "pending"]


async def test_a_rerun_that_is_taken_back_has_its_answer_again(
    database: Database, file: Path
) -> None:
    """The answer to exactly this question is stored already, so nobody pays for another."""
    await changed(database, file)
    await ingest(database, file, on_changed="rerun")
    assert states(database)[0] == "pending"
    write_lines(file, OLD, {"id": "b", "prompt": "same"})
    report = await ingest(database, file)
    assert report.changed == 0
    assert states(database)[:2] == ["succeeded", "succeeded"]


async def test_a_rerun_that_was_cancelled_has_its_answer_again_when_it_is_taken_back(
    database: Database, file: Path
) -> None:
    """Cancelled it stays as long as the line asks the new question."""
    await changed(database, file)
    await ingest(database, file, on_changed="rerun")
    assert await cancel_page(database, Targets(jobs=(1,))) == (1, 0)
    await ingest(database, file, on_changed="rerun")
    assert states(database)[0] == "cancelled"
    write_lines(file, OLD, {"id": "b", "prompt": "same"})
    await ingest(database, file)
    assert states(database)[:2] == ["succeeded", "succeeded"]


async def test_keep_leaves_answer_and_line_as_they_are(database: Database, file: Path) -> None:
    await changed(database, file)
    for _ in range(2):
        report = await ingest(database, file, on_changed="keep")
        assert report.changed == 1
    assert states(database) == ["succeeded", "succeeded", "pending"]
    assert query(database.path, "SELECT line FROM request WHERE job_id = 1") == [
        (b'{"id":"a","prompt":"old"}',)
    ]
    with pytest.raises(InputError):
        await ingest(database, file)


async def test_changed_defaults_ask_again_exactly_where_they_apply(
    database: Database, file: Path
) -> None:
    write_lines(file, {"id": "a", "prompt": "x"}, {"id": "b", "prompt": "x", "temperature": 1})
    await ingest(database, file, defaults={"temperature": 0})
    await answer_all(database, defaults={"temperature": 0})
    report = await ingest(database, file, defaults={"temperature": 0.5}, on_changed="rerun")
    assert report.changed_shown == ["a"]
    assert states(database) == ["pending", "succeeded"]


@pytest.mark.parametrize(
    "line",
    [
        {"id": "a", "prompt": "old", "priority": 3},
        {"id": "a", "prompt": "old", "metadata": {"k": 1}, "note": "n"},
        '{ "prompt" : "\\u006fld", "id":"a" }',
        {"custom_id": "a", "prompt": "old"},
    ],
)
@pytest.mark.parametrize("finish", [answer_all, fail_all])
async def test_what_does_not_change_the_question_does_not_ask_again(
    database: Database, file: Path, line: Line, finish: Any
) -> None:
    """Priority, metadata and layout are taken over; the job stays as it ended."""
    write_lines(file, OLD)
    await ingest(database, file)
    await finish(database)
    before = states(database)
    write_lines(file, line)
    report = await ingest(database, file)
    assert (report.known, report.changed) == (1, 0)
    assert states(database) == before
    assert query(database.path, "SELECT line FROM request") == [(encoded(line),)]


async def test_a_new_priority_is_taken_over(database: Database, file: Path) -> None:
    write_lines(file, OLD)
    await ingest(database, file)
    write_lines(file, {"id": "a", "prompt": "old", "priority": 3})
    await ingest(database, file)
    assert query(database.path, "SELECT priority, fresh_from FROM job") == [(3, 0)]


@pytest.mark.parametrize("state", ["pending", "failed", "cancelled"])
async def test_a_changed_request_without_an_answer_starts_over(
    database: Database, file: Path, state: str
) -> None:
    write_lines(file, OLD)
    await ingest(database, file)
    if state != "pending":
        await fail_all(database)
    if state == "cancelled":
        async with database.transaction():
            await database.rows(
                "UPDATE job SET state = 'cancelled', error_kind = NULL, error_message = NULL"
            )
    write_lines(file, NEW)
    await ingest(database, file)
    attempts = int(state != "pending")
    assert query(database.path, "SELECT state, attempts, fresh_from, error_kind FROM job") == [
        ("pending", attempts, attempts, None)
    ]
    assert query(database.path, "SELECT line FROM request") == [(b'{"id":"a","prompt":"new"}',)]


async def test_a_failed_job_whose_line_did_not_change_stays_failed(
    database: Database, file: Path
) -> None:
    write_lines(file, OLD)
    await ingest(database, file)
    await fail_all(database)
    await ingest(database, file)
    assert states(database) == ["failed"]


async def test_a_stopped_ingest_leaves_no_trace(
    database: Database, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "CHUNK_LINES", 2)
    before = dump(database.path)
    write_lines(file, *[f'"{n}"' for n in range(10)])
    read: list[int] = []
    with pytest.raises(Stopped):
        await ingest(database, file, advanced=read.append, is_stopped=lambda: sum(read) >= 4)
    assert sum(read) == 4
    assert dump(database.path) == before
