"""
Jobs as a run reads them: recovery of what a dead run left, pages of pending jobs.

These run on the writing connection of the one run that owns the database. A scope says which jobs
a run is about: those whose line is in the given sources, or those chosen by `retry-failed`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

import msgspec

from aiq.model import JobState, Kind
from aiq.store.db import Database, Row

PAGE_JOBS = 512
PAGE_BYTES = 8 * 1024 * 1024


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """
    The jobs of a run.

    `batches` are tried in this order. With `sources`, only jobs whose line is in one of them; else
    every job whose line is still in some file. With `chosen`, only jobs that `requeue` chose.
    """

    batches: tuple[int, ...]
    sources: tuple[int, ...] | None = None
    chosen: bool = False


class PendingJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job as it is read ahead."""

    id: int
    batch_id: int
    key: str | bytes
    line: bytes
    priority: int
    attempts: int
    history: Counter[tuple[str, Kind]]


class Cursor(msgspec.Struct, frozen=True, kw_only=True):
    """Where reading ahead stands: pages come by batch, then priority, then order of ingest."""

    batch: int = 0
    fresh: bool = True
    """Jobs that a dead run left leased come after all fresh ones."""
    priority: int = 2**63 - 1
    """No prompt's is higher."""
    job_id: int = 0


async def cancelled_of(database: Database, jobs: Collection[int]) -> list[int]:
    """Return which of these jobs are cancelled."""
    return [one for (one,) in await database.rows(_CANCELLED_OF, (as_json([*jobs]),))]


_CANCELLED_OF = """
SELECT id FROM job WHERE id IN (SELECT value FROM json_each(?)) AND state = 'cancelled'
"""


async def candidate_ids(database: Database) -> dict[tuple[str, str, str], int]:
    """Return the rows of providers and models by provider, kind and model."""
    rows = await database.rows("SELECT provider, kind, model, id FROM candidate")
    return {(provider, kind, model): number for provider, kind, model, number in rows}


async def page(
    database: Database, scope: Scope, cursor: Cursor, *, before_us: int
) -> tuple[list[PendingJob], Cursor | None]:
    """
    Read the next pending jobs of the scope, and where to go on; None when there are no more.

    A page ends at 512 jobs or 8 MiB of lines, whichever comes first. `before_us` is when the run
    began: what it releases itself comes back through memory, not through here.
    """
    at: Cursor | None = cursor
    while at is not None and at.batch < len(scope.batches):
        heads = await database.rows(
            _FRESH_PAGE if at.fresh else _LATER_PAGE,
            {
                "batch": scope.batches[at.batch],
                "before": before_us,
                "priority": at.priority,
                "job": at.job_id,
                **scope_parameters(scope),
            },
        )
        if heads:
            taken = _within_bytes(heads)
            last = taken[-1]
            rest = msgspec.structs.replace(at, priority=last[2], job_id=last[0])
            return await _with_lines(database, scope.batches[at.batch], taken), rest
        at = _next_pass(at)
    return [], None


async def read_again(database: Database, job_ids: Sequence[int]) -> None:
    """Let `requeued_page` give jobs once more that this run has read, and let go of."""
    await database.rows(
        "INSERT OR IGNORE INTO temp.requeued SELECT value FROM json_each(?)", (as_json(job_ids),)
    )


async def requeued_page(database: Database) -> list[PendingJob]:
    """
    Read the next jobs that were put back beside this run, of one batch; each only once.

    Also when they stand where `page` has yet to come: it leaves out what was read here.
    """
    heads = await database.rows(_REQUEUED_PAGE)
    if not heads:
        return []
    taken = _within_bytes([head for head in heads if head[6] == heads[0][6]])
    ids = (as_json([head[0] for head in taken]),)
    await database.rows(_NOTE_REREAD, ids)
    await database.rows(_FORGET_REQUEUED, ids)
    return await _with_lines(database, heads[0][6], [head[:6] for head in taken])


_REQUEUED_PAGE = f"""
SELECT job.id, job.key, job.priority, job.attempts, job.fresh_from, length(request.line),
  job.batch_id
FROM temp.requeued CROSS JOIN job ON job.id = requeued.job_id
  JOIN request ON request.job_id = job.id
WHERE job.state = 'pending' ORDER BY job.batch_id, job.priority DESC, job.id LIMIT {PAGE_JOBS}
"""
_NOTE_REREAD = "INSERT OR IGNORE INTO temp.reread SELECT value FROM json_each(?)"
_FORGET_REQUEUED = "DELETE FROM temp.requeued WHERE job_id IN (SELECT value FROM json_each(?))"


def _next_pass(cursor: Cursor) -> Cursor:
    if cursor.fresh:
        return Cursor(batch=cursor.batch, fresh=False)
    return Cursor(batch=cursor.batch + 1)


def scope_parameters(scope: Scope) -> dict[str, object]:
    """Return the named parameters of `IN_SCOPE`, and the batches as JSON."""
    return {
        "batches": as_json(scope.batches),
        "chosen": scope.chosen,
        "sources": None if scope.sources is None else as_json(scope.sources),
    }


def as_json(values: Sequence[object]) -> str:
    """Hand a list to SQL, where `json_each` reads it."""
    return msgspec.json.encode(values).decode()


IN_SCOPE = """
CASE WHEN :chosen THEN job.id IN (SELECT job_id FROM temp.chosen)
  ELSE job.source_id IS NOT NULL
    AND (:sources IS NULL OR job.source_id IN (SELECT value FROM json_each(:sources))) END
"""
_HEADS = f"""
SELECT job.id, job.key, job.priority, job.attempts, job.fresh_from, length(request.line)
FROM job JOIN request ON request.job_id = job.id
WHERE job.batch_id = :batch AND job.state = 'pending' AND {{place}} AND {{which}} AND {IN_SCOPE}
  AND NOT EXISTS (SELECT 1 FROM temp.reread WHERE reread.job_id = job.id)
ORDER BY job.priority DESC, job.id LIMIT {PAGE_JOBS}
"""
_SAME_PRIORITY = "job.priority = :priority AND job.id > :job"
_LOWER_PRIORITY = "job.priority < :priority"
_FRESH = "job.not_before IS NULL"
_LATER = "job.not_before <= :before"


def _page_sql(which: str) -> str:
    """Two seeks in the index, first what is left of this priority: `OR` would read it all anew."""
    same = _HEADS.format(place=_SAME_PRIORITY, which=which)
    lower = _HEADS.format(place=_LOWER_PRIORITY, which=which)
    return f"SELECT * FROM ({same}) UNION ALL SELECT * FROM ({lower}) LIMIT {PAGE_JOBS}"


_FRESH_PAGE = _page_sql(_FRESH)
_LATER_PAGE = _page_sql(_LATER)


def _within_bytes(heads: Sequence[Row]) -> Sequence[Row]:
    size = 0
    for index, head in enumerate(heads):
        size += head[5]
        if size > PAGE_BYTES and index:
            return heads[:index]
    return heads


async def _with_lines(database: Database, batch_id: int, heads: Sequence[Row]) -> list[PendingJob]:
    lines: dict[int, bytes] = dict(
        await database.rows(_LINES, (as_json([head[0] for head in heads]),))
    )
    tried = [head[0] for head in heads if head[3] > head[4]]
    histories = await _histories(database, tried) if tried else {}
    return [
        PendingJob(
            id=job_id,
            batch_id=batch_id,
            key=key,
            line=lines[job_id],
            priority=priority,
            attempts=attempts,
            history=histories.get(job_id) or Counter(),
        )
        for job_id, key, priority, attempts, _, _ in heads
    ]


_LINES = """
SELECT job_id, line FROM request WHERE job_id IN (SELECT value FROM json_each(?))
"""


async def _histories(
    database: Database, job_ids: Sequence[int]
) -> dict[int, Counter[tuple[str, Kind]]]:
    """
    Rebuild what jobs remember, from the ledger; what we ended ourselves is not held against them.

    Nor is a bad trial of a breaker, nor `not_found`: the address may be right now, and another
    model may be asked for.
    """
    histories: dict[int, Counter[tuple[str, Kind]]] = {}
    for job_id, provider, kind, count in await database.rows(_HISTORIES, (as_json(job_ids),)):
        histories.setdefault(job_id, Counter())[provider, Kind(kind)] = count
    return histories


_HISTORIES = """
SELECT job.id, candidate.provider, attempt.kind, count(*)
FROM job JOIN attempt ON attempt.job_id = job.id AND attempt.number > job.fresh_from
  JOIN candidate ON candidate.id = attempt.candidate_id
WHERE job.id IN (SELECT value FROM json_each(?))
  AND attempt.cause IS NULL AND attempt.flags & 4 = 0
  AND attempt.kind IN ('connect', 'interrupted', 'auth', 'context_too_long', 'server_error',
                       'bad_response')
GROUP BY job.id, candidate.provider, attempt.kind
"""


async def counts(database: Database, scope: Scope) -> dict[JobState, int]:
    """Count the jobs of the scope by state."""
    found = await database.row(_COUNTS, scope_parameters(scope)) or ()
    return {state: count for state, count in zip(JobState, found, strict=True) if count}


# Not GROUP BY, which would sort all jobs first, and hold as many of them as the cache takes.
_COUNTS = f"""
SELECT {", ".join(f"count(*) FILTER (WHERE job.state = '{state}')" for state in JobState)}
FROM job WHERE job.batch_id IN (SELECT value FROM json_each(:batches)) AND {IN_SCOPE}
"""
