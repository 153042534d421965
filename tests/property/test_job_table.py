"""
The job table, in any order of events, against a model that knows nothing of SQL.

Real files, real transactions: each example has a database of its own, which crashes, is closed and
opened again. The model is written from the contract and imports no code that it judges.
"""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
)

from aiq.errors import StoreError
from aiq.model import JobState
from aiq.prompts.shapes import parse
from aiq.run.diagnosis import Gravity
from aiq.run.request import Flags, Overlay, fingerprint
from aiq.run.verification import verify
from aiq.store import cancelling, purging, requeueing, runs
from aiq.store.cancelling import Targets
from aiq.store.db import Database
from aiq.store.opening import open_for_run
from aiq.store.purging import Selection
from aiq.store.rows import StaleWrite
from aiq.store.writes import Reject, Settle
from tests.support import factories
from tests.support.ingesting import ingest, write_lines


class Job:
    """What the model knows of a job."""

    def __init__(self) -> None:
        self.state = "pending"
        self.attempts: list[str | None] = []  # how each ended; None while it is open
        self.lease: int | None = None
        self.body: bytes | None = None


STATES = st.sampled_from(["succeeded", "succeeded", "failed", "pending"])
EVENTS = [
    *("lease", "lease", "lease", "settle", "settle", "settle"),
    *("settle_any", "settle_any", "lease_again", "reject"),
    *("grow", "ingest_again", "requeue", "reopen", "crash", "cancel", "bring_back", "empty"),
]


class JobTable(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.Runner()
        self.directory = tempfile.TemporaryDirectory()
        self.path = Path(self.directory.name) / "aiq.db"
        self.file = Path(self.directory.name) / "p.jsonl"
        self.jobs: dict[int, Job] = {}
        self.lines: list[str] = []
        self.next_attempt = 1
        self.leases: list[tuple[int, int]] = []
        """(attempt, job) of every lease ever given, also those that are over."""
        self.open()
        self.run(factories.begin(self.database))

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run(work)

    def open(self) -> None:
        """Open the store, and a connection of the test's own that sees what is committed."""
        self.database: Database = self.run(open_for_run(self.path))
        self.reader = sqlite3.connect(f"{self.path.as_uri()}?mode=ro", uri=True)

    def select(self, sql: str) -> list[tuple[Any, ...]]:
        return self.reader.execute(sql).fetchall()

    def teardown(self) -> None:
        """Whatever happened, the product's own checker has nothing against it."""
        self.reader.close()
        self.run(self.database.close())
        found = self.run(verify(self.path))
        assert [check.text for check in found.checks if check.gravity is Gravity.FINDING] == []
        self.loop.close()
        self.directory.cleanup()

    def some(self, data: st.DataObject, ids: list[int]) -> list[int]:
        """Choose up to four, in any order."""
        return data.draw(st.permutations(ids))[: data.draw(st.integers(1, 4))]

    def in_state(self, state: str) -> list[int]:
        return [job_id for job_id, job in self.jobs.items() if job.state == state]

    @initialize(number=st.integers(1, 4))
    def first_ingest(self, number: int) -> None:
        self.add(number)

    def grow(self, data: st.DataObject) -> None:
        """More lines in the file: they, and only they, become jobs, pending and in order."""
        self.add(data.draw(st.integers(1, 3)))

    def add(self, number: int) -> None:
        for _ in range(number):
            self.jobs[len(self.lines) + 1] = Job()
            self.lines.append(f'"line {len(self.lines) // 2}"')  # every line stands there twice
        report = self.run(self.ingest())
        assert (report.added, report.known) == (number, len(self.lines) - number)

    def ingest_again(self, _: st.DataObject) -> None:
        """The same file a second time adds nothing and moves nothing."""
        report = self.run(self.ingest())
        assert (report.added, report.known, report.vanished) == (0, len(self.lines), 0)

    def ingest(self) -> Coroutine[Any, Any, Any]:
        write_lines(self.file, *self.lines)
        return ingest(self.database, self.file)

    @rule(event=st.sampled_from(EVENTS), data=st.data())
    def happen(self, event: str, data: st.DataObject) -> None:
        """One rule with weights, so that most steps are attempts and the rare stays rare."""
        getattr(self, event)(data)

    def lease(self, data: st.DataObject) -> None:
        """A group of pending jobs begins an attempt each."""
        group = []
        for job_id in self.some(data, self.in_state("pending")):
            job, attempt = self.jobs[job_id], self.next_attempt
            self.next_attempt += 1
            job.attempts.append(None)
            job.state, job.lease = "running", attempt
            group.append(factories.lease(attempt, job_id, number=len(job.attempts)))
            self.leases.append((attempt, job_id))
        self.run(factories.write(self.database, *group))

    def settle_any(self, data: st.DataObject) -> None:
        """A lease that holds its job ends it; one that is over is refused with its whole group."""
        if not self.leases:
            return
        attempt, job_id = data.draw(st.sampled_from(self.leases))
        state = data.draw(STATES)
        job = self.jobs[job_id]
        body = b"answer of attempt %d" % attempt
        ends = self.ends(attempt, job_id, state, body)
        if job.lease == attempt:
            self.run(factories.write(self.database, ends))
            self.end(job, state, "ok" if state == "succeeded" else "server_error", body)
            return
        good = [(j.lease, i) for i, j in self.jobs.items() if j.lease is not None]
        group = [ends]
        if good:
            its_attempt, its_job = data.draw(st.sampled_from(good))
            group.insert(
                data.draw(st.integers(0, 1)),
                factories.settle(its_attempt, its_job, JobState.SUCCEEDED),
            )
        with pytest.raises(StaleWrite):
            self.run(factories.write(self.database, *group))

    def ends(self, attempt: int, job_id: int, state: str, body: bytes) -> Settle:
        """Return the write that ends an attempt, its answer to what the line really asks."""
        settled = factories.settle(attempt, job_id, JobState(state), body=body)
        if settled.answer is None:
            return settled
        asked = Overlay({}, Flags()).request(parse(self.lines[job_id - 1].encode()))
        answer = msgspec.structs.replace(settled.answer, fingerprint=fingerprint(asked))
        return msgspec.structs.replace(settled, answer=answer)

    def end(self, job: Job, state: str, kind: str, body: bytes | None) -> None:
        job.attempts[-1] = kind
        job.state, job.lease = state, None
        if state == "succeeded":
            job.body = body

    def settle(self, data: st.DataObject) -> None:
        """Several running jobs end in one group."""
        state = data.draw(STATES)
        chosen = [(self.jobs[i].lease or 0, i) for i in self.some(data, self.in_state("running"))]
        bodies = {job_id: b"answer of attempt %d" % attempt for attempt, job_id in chosen}
        group = [self.ends(attempt, job_id, state, bodies[job_id]) for attempt, job_id in chosen]
        self.run(factories.write(self.database, *group))
        for _, job_id in chosen:
            kind = "ok" if state == "succeeded" else "server_error"
            self.end(self.jobs[job_id], state, kind, bodies[job_id])

    def lease_again(self, data: st.DataObject) -> None:
        """The number of an attempt is never given twice."""
        if not self.leases:
            return
        attempt, job_id = data.draw(st.sampled_from(self.leases))
        with pytest.raises((StaleWrite, StoreError)):
            self.run(
                factories.write(
                    self.database,
                    factories.lease(attempt, job_id, number=len(self.jobs[job_id].attempts) + 1),
                )
            )

    def reject(self, data: st.DataObject) -> None:
        job_id = data.draw(st.sampled_from(sorted(self.jobs)))
        job = self.jobs[job_id]
        rejects = factories.write(self.database, Reject(job_id, "not_found", "nobody has it"))
        if job.state == "pending":
            self.run(rejects)
            job.state = "failed"
        else:
            with pytest.raises(StaleWrite):
                self.run(rejects)

    def requeue(self, _: st.DataObject) -> None:
        """All failed jobs, and no others, go back."""
        failed = self.in_state("failed")
        count = self.run(requeueing.requeue(self.database, [1], kinds=None, except_kinds=()))
        assert count == len(failed)
        for job_id in failed:
            self.jobs[job_id].state = "pending"

    def cancel(self, data: st.DataObject) -> None:
        """What is pending among them is cancelled, and nothing else is moved."""
        chosen = self.some(data, sorted(self.jobs))
        targets = Targets(jobs=tuple(chosen))
        pending = [job_id for job_id in chosen if self.jobs[job_id].state == "pending"]
        moved, _ = self.run(cancelling.cancel_page(self.database, targets))
        assert moved == len(pending)
        for job_id in pending:
            self.jobs[job_id].state = "cancelled"

    def bring_back(self, _: st.DataObject) -> None:
        """Cancelled jobs, and no failed ones, go back."""
        cancelled = self.in_state("cancelled")
        count = self.run(
            requeueing.requeue(self.database, [1], kinds=["cancelled"], except_kinds=())
        )
        assert count == len(cancelled)
        for job_id in cancelled:
            self.jobs[job_id].state = "pending"

    def empty(self, _: st.DataObject) -> None:
        """Answers of finished jobs lose their text, and nothing else of any job changes."""
        every = Selection(batches=(1,), before_us=2**62, last_ended_us=0, answers_only=True)
        chosen = [job for job in self.jobs.values() if job.state in ("succeeded", "failed")]
        chosen = [job for job in chosen if job.body]
        chunk = self.run(purging.purge_some(self.database, every, after=0))
        assert (chunk.removed.answers if chunk else 0) == len(chosen)
        for job in chosen:
            job.body = b""

    def reopen(self, _: st.DataObject) -> None:
        """Nothing that was committed needs the connection it was written on."""
        self.reader.close()
        self.run(self.database.checkpoint())
        self.run(self.database.close())
        self.open()

    def crash(self, data: st.DataObject) -> None:
        """The process dies in the middle of a transaction; the next one settles what it left."""
        fail_unknown = data.draw(st.booleans())
        self.reader.close()
        self.run(self.die())
        self.open()
        left = self.run(
            runs.recover(self.database, now_us=factories.NOW_US, fail_unknown=fail_unknown)
        )
        running = self.in_state("running")
        assert left == len(running)
        for job_id in running:
            self.end(
                self.jobs[job_id], "failed" if fail_unknown else "pending", "interrupted", None
            )

    async def die(self) -> None:
        await self.database.rows("BEGIN IMMEDIATE")
        await self.database.rows("UPDATE job SET priority = 99")
        await self.database.close()

    @invariant()
    def the_store_is_the_model(self) -> None:
        """State and lease of every job; every attempt, numbered without gaps; every answer."""
        assert self.select("SELECT id, state, lease, attempts, priority FROM job ORDER BY id") == [
            (job_id, job.state, job.lease, len(job.attempts), 0)
            for job_id, job in self.jobs.items()
        ]
        assert self.select("SELECT job_id, number, kind FROM attempt ORDER BY job_id, number") == [
            (job_id, number, kind)
            for job_id, job in self.jobs.items()
            for number, kind in enumerate(job.attempts, start=1)
        ]
        assert self.select("SELECT job_id, body, digest FROM answer ORDER BY job_id") == [
            (job_id, job.body, hashlib.sha256(job.body).digest())
            for job_id, job in self.jobs.items()
            if job.body is not None
        ]

    @invariant()
    def succeeded_is_having_an_answer(self) -> None:
        succeeded = self.select("SELECT id FROM job WHERE state = 'succeeded' ORDER BY id")
        assert succeeded == self.select("SELECT job_id FROM answer ORDER BY job_id")

    @invariant()
    def one_open_attempt_holds_each_running_job(self) -> None:
        held = self.select("SELECT lease, id FROM job WHERE lease IS NOT NULL ORDER BY lease")
        assert held == self.select("SELECT id, job_id FROM attempt WHERE kind IS NULL ORDER BY id")


TestJobTable = JobTable.TestCase
# Without shrinking, which takes minutes over real files: a failure is shown as it was found.
TestJobTable.settings = settings(
    max_examples=settings().max_examples // 5,
    stateful_step_count=20,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)
