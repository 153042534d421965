"""What `status`, `export` and `show` read, on read-only connections, in short transactions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import msgspec

from aiq.model import JobState
from aiq.store.db import Database, Row

EXPORT_PAGE = 500
EXPORT_BYTES = 16 * 1024 * 1024


class BatchCounts(msgspec.Struct, frozen=True, kw_only=True):
    """One batch with its jobs by state."""

    id: int
    name: str
    states: dict[JobState, int]
    invalid: int
    unread: bool
    """One of its files was never read to its end."""


class FinishedJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job as it is exported, with its last attempt."""

    id: int
    key: str | bytes
    state: JobState
    number: int
    attempts: int
    error_kind: str | None
    error_message: str | None
    request: bytes
    endpoint: str | None
    digest: bytes | None
    body: bytes | None
    provider: str | None
    provider_kind: str | None
    model: str | None
    served_model: str | None
    kind: str | None
    status_code: int | None
    code: str | None
    request_id: str | None
    latency_us: int | None
    input_tokens: int | None
    output_tokens: int | None
    cached_tokens: int | None
    cost_nano: int | None
    is_vanished: bool
    """Its line is no longer in its file."""

    @property
    def is_purged(self) -> bool:
        """Whether its answer was removed on the user's word: no answer was ever empty."""
        return self.state is JobState.SUCCEEDED and self.body == b""


class FoundJob(msgspec.Struct, frozen=True, kw_only=True):
    """Where a job is."""

    id: int
    batch: str
    path: str | None


async def batch_counts(database: Database) -> list[BatchCounts]:
    """Return every batch with its counts, in order of creation."""
    states: dict[int, dict[JobState, int]] = {}
    for batch_id, state, count in await database.rows(
        "SELECT batch_id, state, count(*) FROM job GROUP BY batch_id, state"
    ):
        states.setdefault(batch_id, {})[JobState(state)] = count
    return [
        BatchCounts(
            id=number,
            name=name,
            states=states.get(number, {}),
            invalid=invalid,
            unread=bool(unread),
        )
        for number, name, invalid, unread in await database.rows(_BATCHES)
    ]


_BATCHES = """
SELECT batch.id, batch.name,
  (SELECT count(*) FROM source JOIN invalid_line ON invalid_line.source_id = source.id
   WHERE source.batch_id = batch.id),
  EXISTS (SELECT 1 FROM source WHERE source.batch_id = batch.id
          AND (sealed_at IS NULL OR opened_at IS NOT NULL))
FROM batch ORDER BY batch.id
"""


async def finished_jobs(
    database: Database, batch_id: int, states: Sequence[JobState]
) -> AsyncIterator[list[FinishedJob]]:
    """Yield jobs in order of first ingest, page by page, each page in a transaction of its own."""
    after = 0
    wanted = msgspec.json.encode(states).decode()
    while True:
        sizes = await database.rows(_PAGE, (batch_id, after, wanted, EXPORT_PAGE))
        if not sizes:
            return
        last = _last_within(sizes)
        rows = await database.rows(_FINISHED, (batch_id, after, last, wanted))
        yield [_finished(row) for row in rows]
        after = last


def _finished(row: Row) -> FinishedJob:
    fields = dict(zip(_COLUMNS, row, strict=True))
    fields["state"] = JobState(fields["state"])
    fields["is_vanished"] = bool(fields["is_vanished"])
    return FinishedJob(**fields)


def _last_within(sizes: Sequence[tuple[int, int]]) -> int:
    """Return the last job of a page that stays within its bytes; at least the first."""
    total = 0
    last = sizes[0][0]
    for job_id, size in sizes:
        total += size
        if total > EXPORT_BYTES and job_id != sizes[0][0]:
            break
        last = job_id
    return last


# The plus signs keep SQLite from the index by state, which would sort the batch for every page.
_COLUMNS = FinishedJob.__struct_fields__
_PAGE = """
SELECT job.id, coalesce(length(answer.body), 0) + length(request.line)
FROM job JOIN request ON request.job_id = job.id LEFT JOIN answer ON answer.job_id = job.id
WHERE +job.batch_id = ? AND job.id > ? AND +job.state IN (SELECT value FROM json_each(?))
ORDER BY job.id LIMIT ?
"""
_SELECT_FINISHED = """
SELECT job.id, job.key, job.state, job.line, job.attempts, job.error_kind, job.error_message,
  request.line, job.endpoint, answer.digest, answer.body,
  candidate.provider, candidate.kind, candidate.model, attempt.served_model, attempt.kind,
  attempt.status_code, attempt.code, attempt.request_id, attempt.latency_us,
  attempt.input_tokens, attempt.output_tokens, attempt.cached_tokens,
  (SELECT CASE WHEN sum(billed = 'yes' AND cost_nano IS NULL) THEN NULL
    WHEN sum(billed = 'maybe' AND bound_nano IS NOT 0) AND NOT sum(billed = 'yes') THEN NULL
    ELSE sum(cost_nano) END
   FROM attempt AS paid WHERE paid.job_id = job.id),
  job.source_id IS NULL
FROM job JOIN request ON request.job_id = job.id
  LEFT JOIN answer ON answer.job_id = job.id
  LEFT JOIN attempt ON attempt.id = CASE job.state WHEN 'succeeded' THEN answer.attempt_id
    ELSE (SELECT id FROM attempt WHERE job_id = job.id AND number = job.attempts) END
  LEFT JOIN candidate ON candidate.id = attempt.candidate_id
"""
_FINISHED = (
    _SELECT_FINISHED
    + """
WHERE +job.batch_id = ? AND job.id > ? AND job.id <= ?
  AND +job.state IN (SELECT value FROM json_each(?)) ORDER BY job.id
"""
)


async def job_by_id(database: Database, job_id: int) -> FinishedJob | None:
    """Return one job, whatever its state."""
    row = await database.row(_SELECT_FINISHED + " WHERE job.id = ?", (job_id,))
    return _finished(row) if row else None


async def batch_of_job(database: Database, job_id: int) -> str:
    """Return the name of the batch that a job is in."""
    row = await database.row(
        "SELECT name FROM batch WHERE id = (SELECT batch_id FROM job WHERE id = ?)", (job_id,)
    )
    return str(row[0]) if row else ""


async def find_jobs(database: Database, key: str | bytes, batch: str | None) -> list[FoundJob]:
    """Return the jobs with this key, in one batch or in all."""
    rows = await database.rows(
        "SELECT job.id, batch.name, source.path FROM batch"
        " JOIN job ON job.batch_id = batch.id AND job.key = ?"
        " LEFT JOIN source ON source.id = job.source_id"
        " WHERE ? IS NULL OR batch.name = ? ORDER BY job.id",
        (key, batch, batch),
    )
    return [FoundJob(id=number, batch=name, path=path) for number, name, path in rows]


async def lines_with(database: Database, text: bytes) -> AsyncIterator[tuple[str, int, bytes]]:
    """Yield (path, line number, line) of jobs whose line holds the text, in order of ingest."""
    after = 0
    while row := await database.row(_NEXT_WITH, (after, text)):
        after, *found = row
        path, number, line = found
        yield path, number, line


_NEXT_WITH = """
SELECT job.id, source.path, job.line, request.line
FROM request JOIN job ON job.id = request.job_id JOIN source ON source.id = job.source_id
WHERE request.job_id > ? AND instr(request.line, ?) ORDER BY request.job_id LIMIT 1
"""


async def invalid_lines(database: Database) -> list[tuple[str, int, str]]:
    """Return (path, line, reason) of every bad line."""
    rows = await database.rows(
        "SELECT source.path, invalid_line.line, invalid_line.reason"
        " FROM invalid_line JOIN source ON source.id = invalid_line.source_id"
        " ORDER BY source.id, invalid_line.line"
    )
    return [(path, line, reason) for path, line, reason in rows]
