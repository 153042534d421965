"""Files that are what they were are passed over; whatever could make a difference has them read."""

from __future__ import annotations

import gzip
import io
import os
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import aiq
from aiq.errors import InputError
from aiq.model import JsonObject
from aiq.run import readings as readings_module
from aiq.run.halt import Stopped
from aiq.run.ingest import IngestReport
from aiq.store import readings
from aiq.store.db import Database
from aiq.store.opening import open_for_run
from tests.support import factories
from tests.support.factories import query
from tests.support.ingesting import Line, answer_all, fail_all, ingest, write_lines

GOOD: Line = {"id": "a", "prompt": "x"}
BAD: Line = "no prompt"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_lines(tmp_path / "prompts.jsonl", GOOD, BAD, '"y"')


async def is_passed_over(
    database: Database, *files: Path, name: str | None = None, on_changed: str = "error"
) -> bool:
    """Whether an ingest reads no line: a wrong line number is put right only where one is read."""
    await database.rows("UPDATE job SET line = line + 100 WHERE source_id IS NOT NULL")
    await ingest(database, *files, name=name, on_changed=on_changed, is_compared=False)
    wrong = "source_id IS NOT NULL AND line > 100"
    is_wrong = bool(query(database.path, f"SELECT 1 FROM job WHERE {wrong}"))
    await database.rows("UPDATE job SET line = line - 100 WHERE line > 100")
    return is_wrong


async def test_an_unchanged_file_is_not_read_line_by_line(database: Database, file: Path) -> None:
    await ingest(database, file)
    await answer_all(database)
    assert await is_passed_over(database, file)


async def test_what_was_found_then_is_reported_again(database: Database, file: Path) -> None:
    first = await ingest(database, file)
    told: list[int] = []
    again = await ingest(database, file, advanced=told.append)
    assert (again.added, again.known, again.invalid) == (0, 2, 1)
    assert again.invalid_shown == first.invalid_shown
    assert told == [3]


async def test_a_refusal_of_bad_lines_is_a_refusal_again(database: Database, file: Path) -> None:
    await ingest(database, file)

    def strict(report: IngestReport) -> None:
        raise InputError(f"{report.invalid} bad")

    with pytest.raises(InputError, match="1 bad"):
        await ingest(database, file, refuse=strict)
    assert query(database.path, "SELECT opened_at FROM source") == [(None,)]


async def test_another_compression_of_the_same_lines_is_the_same(
    database: Database, tmp_path: Path
) -> None:
    packed = tmp_path / "p.jsonl.gz"
    packed.write_bytes(gzip.compress(b'"x"\n', mtime=0))
    await ingest(database, packed)
    packed.write_bytes(gzip.compress(b'"x"\n', compresslevel=1, mtime=1))
    assert await is_passed_over(database, packed)


@pytest.mark.parametrize("content", [b'"x"\n', b'"y"\n"x"\n', b'"x"\r\n"y"\n', b'\n"x"\n"y"\n'])
async def test_a_changed_file_is_read(database: Database, tmp_path: Path, content: bytes) -> None:
    file = write_lines(tmp_path / "p.jsonl", '"x"', '"y"')
    await ingest(database, file)
    file.write_bytes(content)
    assert not await is_passed_over(database, file)
    assert await is_passed_over(database, file)


async def test_files_of_one_batch_are_known_only_together(
    database: Database, tmp_path: Path
) -> None:
    """Which of two equal ids is the bad line depends on what is read, and in which order."""
    one = write_lines(tmp_path / "one.jsonl", GOOD)
    two = write_lines(tmp_path / "two.jsonl", GOOD, '"z"')
    await ingest(database, one, two, name="all")
    assert await is_passed_over(database, one, two, name="all")
    assert not await is_passed_over(database, two, one, name="all")
    assert not await is_passed_over(database, one, two, name="all")
    assert not await is_passed_over(database, two, name="all")
    assert not await is_passed_over(database, one, two, name="all")


async def test_of_several_batches_each_is_known_by_itself(
    database: Database, tmp_path: Path
) -> None:
    one = write_lines(tmp_path / "one.jsonl", GOOD)
    two = write_lines(tmp_path / "two.jsonl", GOOD)
    await ingest(database, one, two)
    write_lines(one, GOOD, '"new"')
    report = await ingest(database, one, two)
    assert (report.added, report.known) == (1, 2)
    assert await is_passed_over(database, two)


async def test_other_defaults_have_it_read(database: Database, file: Path) -> None:
    await ingest(database, file)
    await answer_all(database)
    with pytest.raises(InputError, match="has changed"):
        await ingest(database, file, defaults={"temperature": 1})


async def test_another_version_of_aiq_has_it_read(
    database: Database, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may think otherwise of the same line."""
    await ingest(database, file)
    monkeypatch.setattr(aiq, "__version__", "999")
    assert not await is_passed_over(database, file)


@pytest.mark.parametrize("on_changed", ["rerun", "keep"])
async def test_after_a_change_of_finished_jobs_it_is_read(
    database: Database, file: Path, on_changed: str
) -> None:
    """What is kept differs from its line for ever; what is asked anew is settled by the next."""
    await ingest(database, file)
    await answer_all(database)
    write_lines(file, {"id": "a", "prompt": "other"}, BAD, '"y"')
    await ingest(database, file, on_changed=on_changed)
    report = await ingest(database, file, on_changed=on_changed)
    assert report.changed == (on_changed == "keep")
    is_settled = await is_passed_over(database, file, on_changed=on_changed)
    assert is_settled == (on_changed == "rerun")


async def test_a_slip_of_the_pen_is_told_every_time(database: Database, tmp_path: Path) -> None:
    file = write_lines(tmp_path / "p.jsonl", {"prompt": "x", "max_token": 3})
    await ingest(database, file)
    assert (await ingest(database, file)).mistyped_keys == {"max_token": "max_tokens"}


async def test_standard_input_is_read_every_time(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    for added in (1, 0):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b'"x"\n')))
        assert (await ingest(database, "-")).added == added
    assert query(database.path, "SELECT * FROM reading") == []


async def test_a_pipe_with_a_name_is_read_once(database: Database, tmp_path: Path) -> None:
    """A file gave way to a pipe: looking at it first would leave nothing to read."""
    path = write_lines(tmp_path / "p.jsonl", '"x"')
    await ingest(database, path)
    path.unlink()
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(b'"x"\n"y"\n',))
    writer.start()
    report = await ingest(database, path, is_compared=False)
    writer.join()
    assert (report.added, report.known) == (1, 1)


@pytest.mark.parametrize("is_pipe", [False, True])
async def test_what_is_read_once_is_not_passed_over_with_what_is_known(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_pipe: bool
) -> None:
    """An unchanged file beside standard input, or beside a pipe with a name."""
    known = write_lines(tmp_path / "a.jsonl", '"x"')
    await ingest(database, known, name="all")
    piped: Path | str = "-"
    if is_pipe:
        piped = tmp_path / "pipe"
        os.mkfifo(piped)
        writer = threading.Thread(target=piped.write_bytes, args=(b'"new"\n',))
        writer.start()
    else:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b'"new"\n')))
    report = await ingest(database, known, piped, name="all", is_compared=False)
    if is_pipe:
        writer.join()
    assert (report.added, report.known) == (1, 1)


async def test_a_job_that_is_deleted_has_its_line_read(database: Database, file: Path) -> None:
    await ingest(database, file)
    await database.rows("DELETE FROM request WHERE job_id = 1")
    await database.rows("DELETE FROM job WHERE id = 1")
    assert (await ingest(database, file)).added == 1


async def test_a_run_that_asks_otherwise_has_it_read(database: Database, file: Path) -> None:
    await ingest(database, file)
    [(batch, overlay)] = query(database.path, "SELECT batch_id, overlay FROM reading")
    await readings.forget_unless(database, batch, overlay)
    assert await is_passed_over(database, file)
    await readings.forget_unless(database, batch, b"another overlay!")
    assert not await is_passed_over(database, file)


async def test_stopped_while_it_looks_nothing_remains(database: Database, file: Path) -> None:
    await ingest(database, file)
    before = query(database.path, "SELECT * FROM source")
    with pytest.raises(Stopped):
        await ingest(database, file, is_stopped=lambda: True)
    assert query(database.path, "SELECT * FROM source") == before


async def test_a_digest_that_says_otherwise_changes_nothing_but_the_time(
    database: Database, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing but speed may hang on being known again."""
    await ingest(database, file)
    monkeypatch.setattr(readings_module, "_digest", lambda _: bytes(16))
    assert not await is_passed_over(database, file)


LINES: list[Line] = [
    GOOD,
    {"id": "a", "prompt": "y"},
    {"id": "b", "prompt": "x", "model": "m"},
    '"x"',
    '"y"',
    BAD,
    "",
    {"prompt": "x", "max_token": 3},
]
STEPS = st.tuples(
    st.lists(st.integers(0, len(LINES) - 1), max_size=5),
    st.booleans(),  # the file stays as it is
    st.sampled_from(["rerun", "keep"]),
    st.sampled_from([{}, {}, {"temperature": 1}]),
    st.sampled_from(["answer", "fail", "cancel", "answer otherwise", "nothing"]),
)


@given(steps=st.lists(STEPS, min_size=2, max_size=6))
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
async def test_whatever_happened_passing_over_comes_to_the_same(
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[tuple[list[int], bool, str, JsonObject, str]],
) -> None:
    """`ingest` compares each time with a copy of the database that reads every line."""
    directory = tmp_path_factory.mktemp("steps")
    database = await open_for_run(directory / "aiq.db")
    await database.rows("PRAGMA synchronous = OFF")  # nothing is lost here but time
    await factories.begin(database)
    file = write_lines(directory / "p.jsonl", GOOD)
    try:
        for chosen, stays, on_changed, defaults, then in steps:
            if not stays:
                write_lines(file, *(LINES[number] for number in chosen))
            await ingest(database, file, on_changed=on_changed, defaults=defaults)
            await _go_on(database, then, defaults)
    finally:
        await database.close()


async def _go_on(database: Database, then: str, defaults: JsonObject) -> None:
    if then == "answer":
        await answer_all(database, defaults=defaults)
    elif then == "fail":
        await fail_all(database)
    elif then == "cancel":
        await database.rows(
            "UPDATE job SET state = 'cancelled', not_before = NULL WHERE state = 'pending'"
        )
    elif then == "answer otherwise":
        [(batch,)] = await database.rows("SELECT id FROM batch")
        await readings.forget_unless(database, batch, b"what is asked so")
        await answer_all(database, defaults={"seed": 1})
