"""What `show` tells about one job: its line, its answer, and every attempt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from aiq.clock import rfc3339
from aiq.errors import UnknownName
from aiq.model import NANO_PER_USD, Content, JobState, shown_key
from aiq.run.damage import checked
from aiq.run.export import content_of, flat
from aiq.store import attempts, reading
from aiq.store.attempts import AttemptRow
from aiq.store.db import Database
from aiq.store.opening import open_for_reading
from aiq.store.reading import FoundJob


class JobDetails(msgspec.Struct, frozen=True, kw_only=True):
    """One job in full."""

    job: str
    batch: str
    state: str
    source: str | None
    line_number: int
    line: bytes
    content: Content | None
    is_purged: bool
    attempts: tuple[AttemptRow, ...]
    error_kind: str | None
    error_message: str | None
    result: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return the flat result with the request and the attempts."""
        return {
            **self.result,
            "batch": self.batch,
            "source": self.source,
            "request": self.line.decode(errors="replace"),
            "attempts": [_attempt(one) for one in self.attempts],
        }


def _attempt(one: AttemptRow) -> dict[str, Any]:
    return {
        "number": one.number,
        "provider": one.provider,
        "model": one.model,
        "served_model": one.served_model,
        "started_at": rfc3339(one.started_at),
        "kind": one.kind,
        "cause": one.cause,
        "status_code": one.status_code,
        "code": one.code,
        "message": one.message,
        "request_id": one.request_id,
        "latency_ms": None if one.latency_us is None else one.latency_us / 1000,
        "usage": {
            "input_tokens": one.input_tokens,
            "output_tokens": one.output_tokens,
            "cached_tokens": one.cached_tokens,
        },
        "billed": one.billed,
        "cost_usd": _usd(one.cost_nano),
        "max_usd": _usd(one.bound_nano),
        "price_source": one.price_source,
        "reply": None if one.bad_reply is None else one.bad_reply.decode(errors="replace"),
    }


def _usd(nano: int | None) -> float | None:
    return None if nano is None else nano / NANO_PER_USD


async def read_job(path: Path, job: str, batch: str | None) -> JobDetails:
    """
    Read one job by its id (or the 32 hex digits of a line without one).

    Raises:
        UnknownName: there is none, or several batches have one and none was named.
    """
    database = await open_for_reading(path)
    try:
        return await _read(database, job, batch)
    finally:
        await database.close()


async def find_job(database: Database, job: str, batch: str | None) -> FoundJob:
    """
    Return where one job is, by its id (or the 32 hex digits of a line without one).

    Raises:
        UnknownName: there is none, or several batches have one and none was named.
    """
    found = await reading.find_jobs(database, job, batch)
    if not found and (digest := _digest(job)) is not None:
        found = await reading.find_jobs(database, digest, batch)
    if not found:
        where = f" in batch `{batch}`" if batch else ""
        raise UnknownName(f"there is no job `{job}`{where}", hint="`aiq export` lists the ids")
    if len(found) > 1:
        names = ", ".join(f"`{one.batch}`" for one in found[:10])
        raise UnknownName(f"`{job}` is in several batches: {names}", hint="name one with `--batch`")
    return found[0]


async def _read(database: Database, job: str, batch: str | None) -> JobDetails:
    found = await find_job(database, job, batch)
    finished = await reading.job_by_id(database, found.id)
    if finished is None:
        raise UnknownName(f"there is no job `{job}`")
    finished = checked(finished)
    return JobDetails(
        job=shown_key(finished.key),
        batch=found.batch,
        state=finished.state.value,
        source=found.path,
        line_number=finished.number,
        line=finished.request,
        content=content_of(finished) if finished.state is JobState.SUCCEEDED else None,
        is_purged=finished.is_purged,
        attempts=tuple(await attempts.of_job(database, finished.id)),
        error_kind=finished.error_kind,
        error_message=finished.error_message,
        result=flat(finished),
    )


def _digest(job: str) -> bytes | None:
    try:
        return bytes.fromhex(job) if len(job) == 32 else None
    except ValueError:
        return None
