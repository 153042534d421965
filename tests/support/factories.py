"""
Values for tests: each factory takes only what the test is about and fills in the rest.

`seed`, `write` and `dump` speak to a real store: the first two through its own functions, the last
through a connection of its own, so that what it sees is what was committed.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from aiq.config import ProviderSettings
from aiq.model import Endpoint, JobState, Kind, Outcome
from aiq.policy.account import Account
from aiq.policy.admission import Candidate
from aiq.policy.concurrency import Concurrency
from aiq.policy.defaults import BreakerSettings, LimitSettings, ProbeSettings, RateLimits
from aiq.policy.limits import Limits
from aiq.policy.retry import History
from aiq.policy.standing import Standing
from aiq.run.job import Job
from aiq.run.request import Request
from aiq.store import batches, ingesting, runs, writes
from aiq.store.db import Database
from aiq.store.ingesting import NewJob
from aiq.store.schema import TABLES
from aiq.store.writer import Write
from aiq.store.writes import Lease, NewCandidate, Reject, Settle, StoredAnswer

NOW_US = 1_700_000_000_000_000
FINGERPRINT = b"f" * 16

_PROVIDER = ProviderSettings(
    name="a",
    kind="openai",
    preset=None,
    base_url="https://models.example/v1",
    key=None,
    key_name=None,
    missing_key=None,
    model="m",
    models={},
    strict_models=False,
    rank=1,
    context_window=None,
    region=None,
    adaptive=True,
    rates=RateLimits(),
    breaker=BreakerSettings(),
    limits=LimitSettings(),
    probe=ProbeSettings(),
    api_version=None,
    max_in_flight=None,
    timeout_s=600.0,
    connect_timeout_s=10.0,
    max_tokens=None,
    cap_field="max_tokens",
    price=None,
    headers=(),
    account="a",
    is_local=False,
    simulated=None,
    secrets=(),
)


def provider(**changes: Any) -> ProviderSettings:
    return msgspec.structs.replace(_PROVIDER, **changes)


def outcome(kind: Kind, **facts: Any) -> Outcome:
    return Outcome(kind=kind, **facts)


def history(*errors: tuple[str, Kind]) -> History:
    return Counter(errors)


def account(
    *, ceiling: int = 1000, adaptive: bool = False, rates: RateLimits | None = None
) -> Account:
    return Account(
        Limits(LimitSettings(), rates or RateLimits()),
        Concurrency(LimitSettings(), ceiling=ceiling, adaptive=adaptive),
    )


def standing(
    *, limit: int = 8, of: Account | None = None, breaker: BreakerSettings | None = None
) -> Standing:
    return Standing(of or account(), max_in_flight=limit, breaker=breaker)


def candidate(
    name: str = "a",
    *,
    model: str = "m",
    limit: int = 8,
    window: int | None = None,
    of: Account | None = None,
    cost: int | None = None,
    breaker: BreakerSettings | None = None,
    openings: int = 0,
) -> Candidate:
    its = standing(limit=limit, of=of, breaker=breaker)
    its.remember({model: openings})
    return Candidate(
        provider=name,
        model=model,
        standing=its,
        channel=its.channel(model),
        context_window=window,
        unit_cost=cost,
    )


def job(job_id: int, *candidates: Candidate, priority: int = 0, past: History | None = None) -> Job:
    return Job(
        job_id=job_id,
        size=100,
        priority=priority,
        attempts=0,
        history=Counter() if past is None else past,
        request=Request(Endpoint.CHAT, {"messages": []}, None),
        names_model=False,
        candidates=candidates,
    )


def lease(attempt_id: int, job_id: int, *, number: int = 1) -> Lease:
    return Lease(
        attempt_id=attempt_id,
        job_id=job_id,
        number=number,
        candidate_id=1,
        started_at=NOW_US,
        bound_nano=None,
    )


def settle(attempt_id: int, job_id: int, state: JobState, **facts: Any) -> Settle:
    """End an attempt; a succeeded job gets an answer, whose body may be given."""
    is_answer = state is JobState.SUCCEEDED
    body = facts.pop("body", b'{"answer": true}')
    fields: dict[str, Any] = {
        "kind": Kind.OK.value if is_answer else Kind.SERVER_ERROR.value,
        "billed": "yes" if is_answer else "no",
        "latency_us": 1000,
        "answer": stored_answer(body) if is_answer else None,
    }
    return Settle(attempt_id=attempt_id, job_id=job_id, state=state, **fields | facts)


def stored_answer(body: bytes) -> StoredAnswer:
    return StoredAnswer(
        fingerprint=FINGERPRINT,
        digest=hashlib.sha256(body).digest(),
        body=body,
    )


async def seed(
    database: Database,
    keys: Sequence[str],
    *,
    batch: str = "b",
    priorities: Sequence[int] | None = None,
    line: bytes = b'"x"',
) -> list[int]:
    """Add jobs in a sealed file of their own; return their ids."""
    async with database.transaction():
        found = await batches.batch_named(database, batch) or await batches.add_batch(
            database, batch, flags=b"{}", now_us=NOW_US
        )
        source = await batches.open_source(database, found.id, f"/{batch}.jsonl", now_us=NOW_US)
        newest = await ingesting.begin_ingest(database)
        new = [
            NewJob(key, source, number, priority, None, None, line)
            for number, (key, priority) in enumerate(
                zip(keys, priorities or [0] * len(keys), strict=True), start=1
            )
        ]
        await ingesting.add_jobs(database, found.id, new, first_id=newest + 1)
        await database.rows("UPDATE source SET sealed_at = ?", (NOW_US,))
    return [newest + 1 + index for index in range(len(keys))]


async def begin(database: Database) -> None:
    """Record a run and a candidate, both with the id 1, for attempts to refer to."""
    await runs.begin_run(database, pid=1, host="host", now_us=NOW_US)
    await write(database, NewCandidate(1, "a", "openai", "m"))


async def write(database: Database, *group: Write) -> None:
    """Apply writes as one group, as the writer does."""
    await writes.apply(
        database,
        run_id=1,
        settles=[w for w in group if isinstance(w, Settle)],
        leases=[w for w in group if isinstance(w, Lease)],
        rejects=[w for w in group if isinstance(w, Reject)],
        candidates=[w for w in group if isinstance(w, NewCandidate)],
    )


async def failed(database: Database, kinds: dict[str, str]) -> list[int]:
    """Add jobs, by key, that failed at their first attempt with these kinds."""
    ids = await seed(database, list(kinds))
    for job_id, kind in zip(ids, kinds.values(), strict=True):
        await write(database, lease(job_id, job_id))
        await write(database, settle(job_id, job_id, JobState.FAILED, kind=kind))
    return ids


def query(path: Path, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
    """Read what is committed, on a connection of its own."""
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    try:
        return connection.execute(sql, parameters).fetchall()
    finally:
        connection.close()


def dump(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Return every committed row of every table."""
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    try:
        return {
            table: sorted(connection.execute(f"SELECT * FROM {table}").fetchall(), key=repr)
            for table in TABLES
        }
    finally:
        connection.close()
