"""Reading ahead: pending jobs come out of the store in pages and become jobs in memory."""

from __future__ import annotations

from aiq.model import Prompt
from aiq.policy.admission import Candidate
from aiq.prompts.shapes import BadLine, parse
from aiq.run.fleet import Fleet
from aiq.run.job import Job
from aiq.run.request import Overlay
from aiq.store.db import Database
from aiq.store.jobs import Cursor, PendingJob, Scope, page, requeued_page


class Feed:
    """The pending jobs of a scope, in order: priority, then ingest, what died before last."""

    def __init__(
        self,
        database: Database,
        scope: Scope,
        *,
        fleet: Fleet,
        overlays: dict[int, Overlay],
        began_us: int,
        limit: int | None,
    ) -> None:
        self._database = database
        self._scope = scope
        self._fleet = fleet
        self._overlays = overlays
        self._began_us = began_us
        self._left = limit
        self._cursor: Cursor | None = Cursor()
        self._is_revisited = False
        self.pages = 0
        """How many were read."""

    @property
    def is_done(self) -> bool:
        """Whether everything has been read."""
        return not self._is_revisited and (self._cursor is None or self._left == 0)

    @property
    def is_limited(self) -> bool:
        """Whether it reads a given number of jobs, and so none again."""
        return self._left is not None

    def revisit(self) -> None:
        """Read what was put back beside this run, before anything else."""
        self._is_revisited = True

    async def read(self) -> list[Job]:
        """Return the next jobs, none when there are no more."""
        self.pages += 1
        if self._is_revisited:
            self._is_revisited = False
            if requeued := await requeued_page(self._database):
                self._is_revisited = True
                return [self._job(one) for one in requeued]
        if self._cursor is None or self._left == 0:
            return []
        pending, self._cursor = await page(
            self._database, self._scope, self._cursor, before_us=self._began_us
        )
        if self._left is not None:
            pending = pending[: self._left]
            self._left -= len(pending)
        return [self._job(one) for one in pending]

    def _job(self, pending: PendingJob) -> Job:
        overlay = self._overlays[pending.batch_id]
        candidates: tuple[Candidate, ...] = ()
        try:
            prompt = parse(pending.line)
        except BadLine:
            # A line that an older version took and this one does not: nobody can be asked.
            prompt = Prompt(body={"messages": []})
        else:
            candidates = self._fleet.candidates(overlay.named_model(prompt), prompt.endpoint)
        return Job(
            job_id=pending.id,
            batch_id=pending.batch_id,
            page=self.pages,
            size=len(pending.line),
            priority=pending.priority,
            attempts=pending.attempts,
            history=pending.history,
            request=overlay.request(prompt),
            names_model=prompt.model is not None,
            candidates=candidates,
        )
