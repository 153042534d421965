"""
What `report` shows: the state of a database, how it came to it, and the jobs worth a look.

Counts, costs and percentiles are those of `status`, read by the same code. The rest is read a
moment later, each part in a transaction of its own, so beside a run it may be a moment ahead.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from aiq.model import Endpoint, shown_key
from aiq.prompts.shapes import BadLine, parse
from aiq.run.damage import checked
from aiq.run.export import content_of
from aiq.run.facts import ErrorGroup, error_groups
from aiq.run.status import Status, Told, read_status, told
from aiq.run.timeline import Timeline, Trouble, medians, slice_width, timeline, troubles
from aiq.store import attempts, batches, controls, history, reading
from aiq.store.db import Database
from aiq.store.opening import open_for_reading

JOBS = 10
"""How many of the slowest and of the dearest jobs are shown."""

GROUPS = 40
"""How many groups of failures get a sample."""

ORDERS = 50
"""How many of the operator's orders are shown."""

_EXCERPT = 2000
"""Characters of a prompt or an answer that are worth reading on a page about a million of them."""


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One job as an example, its texts cut short."""

    job: str
    batch: str
    provider: str | None
    model: str | None
    attempts: int
    latency_us: int | None
    cost_nano: int | None
    prompt: str
    answer: str | None
    error_kind: str | None
    error_message: str | None
    bad_reply: str | None


class Failed(msgspec.Struct, frozen=True, kw_only=True):
    """Jobs that failed alike, with one of them."""

    group: ErrorGroup
    sample: Sample | None


class History(msgspec.Struct, frozen=True, kw_only=True):
    """A database, or one batch of it, as it became what it is."""

    status: Status
    batch: str | None
    line: Timeline
    medians: dict[str, list[float | None]]
    troubles: tuple[Trouble, ...]
    slowest: tuple[Sample, ...]
    dearest: tuple[Sample, ...]
    failed: tuple[Failed, ...]
    """One entry a group, as many as are shown; `status.errors` has all groups."""
    orders: tuple[Told, ...]
    """What operators told all runs, the latest."""


async def read_history(path: Path, batch: str | None, *, now_us: int) -> History:
    """
    Read what happened in a database, in one batch or in all, as of `now_us`.

    Raises:
        UnknownName: there is no such database or batch.
        StoreError: the database cannot be read.
    """
    status = await read_status(path, batch, now_us=now_us)
    database = await open_for_reading(path)
    try:
        return await _read(database, status, batch)
    finally:
        await database.close()


async def _read(database: Database, status: Status, batch: str | None) -> History:
    names = {one.name: one.id for one in await batches.batches(database)}
    # Of the only batch there is, no attempt has to be asked whose it is.
    wanted = names[batch] if batch is not None and len(names) > 1 else None
    spans = await history.spans(database, wanted)
    width_us = slice_width(spans)
    cells = await history.cells(database, wanted, width_us=width_us)
    line = timeline(spans, cells, width_us=width_us)
    groups = await attempts.failures(database, None if wanted is None else [wanted])
    return History(
        status=status,
        batch=batch,
        line=line,
        medians=medians(line, cells),
        troubles=tuple(troubles(line)),
        slowest=await _ranked(database, await history.slowest(database, wanted, limit=JOBS)),
        dearest=await _ranked(database, await history.dearest(database, wanted, limit=JOBS)),
        failed=tuple([await _failed(database, group) for group in groups[:GROUPS]]),
        orders=told(await controls.latest(database, ORDERS)),
    )


async def _ranked(database: Database, ranked: Sequence[history.Ranked]) -> tuple[Sample, ...]:
    samples = [await _sample(database, one.job_id) for one in ranked]
    return tuple(one for one in samples if one is not None)


async def _failed(database: Database, group: attempts.Failures) -> Failed:
    return Failed(group=error_groups([group])[0], sample=await _sample(database, group.job_id))


async def _sample(database: Database, job_id: int) -> Sample | None:
    """Return a job cut short; None if it is gone since its id was read."""
    found = await reading.job_by_id(database, job_id)
    if found is None:
        return None
    job = checked(found)
    of_job = await attempts.of_job(database, job_id)
    bad_reply = next((one.bad_reply for one in reversed(of_job) if one.bad_reply), None)
    return Sample(
        job=shown_key(job.key),
        batch=await reading.batch_of_job(database, job_id),
        provider=job.provider,
        model=job.served_model or job.model,
        attempts=job.attempts,
        latency_us=job.latency_us,
        cost_nano=job.cost_nano,
        prompt=_prompt(job.request)[:_EXCERPT],
        answer=_answer(job),
        error_kind=job.error_kind,
        error_message=job.error_message,
        bad_reply=None if bad_reply is None else _text(bad_reply),
    )


def _prompt(line: bytes) -> str:
    """Return the last thing that a prompt says in plain text, else its line as it stands."""
    try:
        prompt = parse(line)
    except BadLine:
        return _text(line)
    if prompt.endpoint is not Endpoint.CHAT:
        return _text(line)
    said = prompt.body["messages"][-1].get("content")
    return said if isinstance(said, str) else _text(line)


def _answer(job: reading.FinishedJob) -> str | None:
    if job.is_purged:
        return "(purged)"
    found = content_of(job)
    said = found.text if found.text is not None else found.refusal
    return said[:_EXCERPT] if said is not None else None


def _text(raw: bytes) -> str:
    return raw[:_EXCERPT].decode(errors="backslashreplace")
