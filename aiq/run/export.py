"""
Results out of the database: flat JSON lines, the OpenAI Batch output format, or CSV.

Everything shown is derived from the stored reply at this moment. A stored reply whose digest no
longer matches comes out as a failed job, and is counted; it keeps no other back.
"""

from __future__ import annotations

import functools
import io
import shlex
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from aiq.errors import Refused, UnknownName
from aiq.model import DAMAGED, NANO_PER_USD, Content, Endpoint, JobState, shown_key
from aiq.prompts.shapes import BadLine, parse
from aiq.providers import json_text
from aiq.providers.dialect import Dialect
from aiq.providers.dialects import dialect_for
from aiq.run.damage import checked
from aiq.run.export_formats import csv_header, csv_row, openai_line
from aiq.run.replacement import refuse_overwrite, replaced
from aiq.store import batches, reading
from aiq.store.db import Database
from aiq.store.health import health_path
from aiq.store.opening import open_for_reading
from aiq.store.reading import FinishedJob

STATES = {
    "succeeded": (JobState.SUCCEEDED,),
    "failed": (JobState.FAILED,),
    "all": (JobState.SUCCEEDED, JobState.FAILED),
}
_OPENAI_KINDS = ("openai", "simulated")
"""Kinds whose stored replies have OpenAI's shape as they are."""
FORMATS = ("flat", "openai", "csv")


class Exported(NamedTuple):
    """What an export came to."""

    results: int
    """As many as were written."""
    damaged: int = 0
    """Stored answers met that are damaged, written as failed or left out."""
    vanished: int = 0
    """Those of them whose line is no longer in its file: nobody can ask again."""
    purged: int = 0
    """Answers written without their text, because `purge` has removed it."""


@functools.cache
def _dialect(kind: str | None) -> Dialect:
    """Return who reads the stored replies of a kind of provider."""
    return dialect_for(kind or "openai")


async def export(
    path: Path,
    *,
    batch: str | None,
    format: str,  # noqa: A002 - the option's name
    state: str,
    output: Path | None,
    protect: Sequence[Path],
    stream: BinaryIO,
    escape_controls: bool,
) -> Exported:
    """
    Write the finished jobs of a batch in order of first ingest.

    Args:
        output: replaced atomically when everything is written; None writes to `stream`.
        protect: files that must not be replaced; prompt files and database are added.
        escape_controls: a terminal reads it, so no control character may reach it.

    Raises:
        UnknownName: no such database or batch, or several batches and none named.
        InputError: the output is one of the protected files.
        Refused: texts are purged, and the output is there, perhaps with the only copy of them.
        StoreError: the database cannot be read.
    """
    if format not in FORMATS:
        raise Refused(f"there is no format `{format}`", hint="choose flat, openai or csv")
    if state not in STATES:
        raise Refused(f"there is no state `{state}`", hint="choose succeeded, failed or all")
    database = await open_for_reading(path)
    try:
        batch_id = await _batch_id(database, batch)
        if output is None:
            return await _write(database, batch_id, format, state, stream, escape=escape_controls)
        refuse_overwrite(output, [*protect, *await _own_files(database)])
        with replaced(output) as target:
            exported = await _write(database, batch_id, format, state, target, escape=False)
            if exported.purged:
                _refuse_loss(output, exported.purged)
        return exported
    finally:
        await database.close()


async def unfinished(path: Path, batch: str | None) -> int:
    """Return how many jobs of a batch have no result yet; raises as `export` does."""
    database = await open_for_reading(path)
    try:
        batch_id = await _batch_id(database, batch)
        found = await reading.batch_counts(database)
    finally:
        await database.close()
    states = next(one.states for one in found if one.id == batch_id)
    return sum(states.get(state, 0) for state in (JobState.PENDING, JobState.RUNNING))


_FILE_ENDS = ("", "-wal", "-shm", ".lock")


async def files_of(path: Path) -> list[Path]:
    """Return the files of a database that nothing may replace; raises as `export` does."""
    database = await open_for_reading(path)
    try:
        return await _own_files(database)
    finally:
        await database.close()


async def _own_files(database: Database) -> list[Path]:
    """Return both databases with the files beside them, and every prompt file that is known."""
    own = (database.path, health_path(database.path))
    beside = [path.with_name(path.name + end) for path in own for end in _FILE_ENDS]
    sources: list[str] = []
    for batch in await batches.batches(database):
        sources += await batches.source_paths(database, batch.id)
    return [*beside, *map(Path, sources)]


async def _batch_id(database: Database, name: str | None) -> int:
    everything = await batches.batches(database)
    found = [one for one in everything if name is None or one.name == name]
    names = ", ".join(f"`{one.name}`" for one in everything[:10]) or "none"
    if not found:
        raise UnknownName(f"there is no batch `{name}`", hint=f"the batches are: {names}")
    if len(found) > 1:
        raise UnknownName(
            f"the database holds {len(found)} batches: {names}",
            hint=f"name one: `aiq export {shlex.quote(found[0].name)}`",
        )
    return found[0].id


def _refuse_loss(output: Path, purged: int) -> None:
    """Raise `Refused` if a file with content would give way to one without the purged texts."""
    if not output.exists() or not output.stat().st_size:
        return
    answers = "answer whose text" if purged == 1 else "answers whose text"
    raise Refused(
        f"{output} is left as it is: the new results have {purged:,} {answers} `aiq purge` has"
        " removed, and it may hold the only copy",
        hint="name another file with `-o`, or move this one away first",
    )


async def _write(
    database: Database,
    batch_id: int,
    format: str,  # noqa: A002
    state: str,
    stream: BinaryIO,
    *,
    escape: bool,
) -> Exported:
    line, wanted = _LINES[format], STATES[state]
    if format == "csv":
        stream.write(_escaped(csv_header()) if escape else csv_header())
    results = damaged = vanished = purged = 0
    # What is damaged is failed, and only the answers tell.
    read = STATES["all"] if JobState.FAILED in wanted else wanted
    async for jobs in reading.finished_jobs(database, batch_id, read):
        page = io.BytesIO()
        for job in map(checked, jobs):
            if job.error_kind == DAMAGED:
                damaged += 1
                vanished += job.is_vanished
            if job.state in wanted:
                page.write(line(job))
                results += 1
                purged += job.is_purged
        text = page.getvalue()
        stream.write(_escaped(text) if escape else text)
    stream.flush()
    return Exported(results, damaged, vanished, purged)


def _escaped(text: bytes) -> bytes:
    """Make control and direction characters visible; JSON keeps its meaning, lines their ends."""
    shown = []
    for char in text.decode().replace("\r\n", "\n"):
        hidden = char != "\n" and unicodedata.category(char) in _HIDDEN_CATEGORIES
        shown.append(_utf_16_escapes(char) if hidden else char)
    return "".join(shown).encode()


def _utf_16_escapes(char: str) -> str:
    units = char.encode("utf-16-be")
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))


# Cc control, Cf direction marks and zero width, Zl and Zp line breaks.
_HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Zl", "Zp"})


def content_of(job: FinishedJob) -> Content:
    """Return what a person wants out of a job's stored reply; nothing of one that was purged."""
    if not job.body:
        return Content()
    return _dialect(job.provider_kind).content(_endpoint(job), job.body)


def _endpoint(job: FinishedJob) -> Endpoint:
    return Endpoint(job.endpoint or Endpoint.CHAT)


def flat(job: FinishedJob) -> dict[str, Any]:
    """Return the contract's flat object of a job."""
    is_answer = job.state is JobState.SUCCEEDED
    found = content_of(job) if is_answer else Content()
    row: dict[str, Any] = {
        "id": shown_key(job.key),
        "state": job.state.value,
        "text": found.text,
        "provider": job.provider,
        "model": job.served_model or job.model,
        "finish_reason": found.finish_reason,
        "usage": {
            "input_tokens": job.input_tokens,
            "output_tokens": job.output_tokens,
            "cached_tokens": job.cached_tokens,
        },
        "cost_usd": None if job.cost_nano is None else job.cost_nano / NANO_PER_USD,
        "latency_ms": None if job.latency_us is None else round(job.latency_us / 1000, 3),
        "attempts": job.attempts,
        "error": None
        if job.error_kind is None
        else {
            "kind": job.error_kind,
            "message": job.error_message,
            "status_code": job.status_code,
        },
        "metadata": _metadata(job.request),
        "line": job.number,
    }
    for name in ("tool_calls", "embedding", "refusal"):
        value = getattr(found, name)
        if value is not None:
            row[name] = value
    if job.is_purged:
        row["purged"] = True
    return row


def _metadata(line: bytes) -> dict[str, Any] | None:
    try:
        return parse(line).metadata
    except BadLine:
        return None


def _flat_line(job: FinishedJob) -> bytes:
    return json_text.encode(flat(job)) + b"\n"


def _openai_line(job: FinishedJob) -> bytes:
    body = None
    if job.body and job.provider_kind not in _OPENAI_KINDS:
        body = _dialect(job.provider_kind).completion(_endpoint(job), job.body)
    return json_text.encode(openai_line(job, body)) + b"\n"


def _csv_line(job: FinishedJob) -> bytes:
    return csv_row(flat(job))


_LINES: dict[str, Callable[[FinishedJob], bytes]] = {
    "flat": _flat_line,
    "openai": _openai_line,
    "csv": _csv_line,
}
