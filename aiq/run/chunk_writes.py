"""What one chunk of lines changes in the store, sorted into statements and then written."""

from __future__ import annotations

from aiq.run.disposition import Disposition
from aiq.store import ingesting
from aiq.store.db import Database
from aiq.store.ingesting import KnownJob, NewJob


class ChunkWrites:
    """Collects, then writes; the whole ingest is one transaction, not this one's to end."""

    def __init__(self) -> None:
        self.new: list[NewJob] = []
        self.met: list[int] = []
        self.moved: list[tuple[int, NewJob]] = []
        self.kept: list[tuple[int, NewJob]] = []
        self.replaced: list[int] = []
        self.rerun: list[int] = []
        self.restored: list[int] = []

    def add(self, what: Disposition, job: NewJob, known: KnownJob | None) -> None:
        if known is None:
            self.new.append(job)
            return
        self.met.append(known.id)
        if what is Disposition.KEPT:
            self.kept.append((known.id, job))
        elif (known.source_id, known.number, known.line) != (job.source_id, job.number, job.line):
            self.moved.append((known.id, job))
        if what is Disposition.REPLACED:
            self.replaced.append(known.id)
        elif what is Disposition.RERUN:
            self.rerun.append(known.id)
        elif what is Disposition.RESTORED:
            self.restored.append(known.id)

    async def write(self, database: Database, batch_id: int, *, first_id: int) -> None:
        """Write the chunk; new jobs are numbered from `first_id`."""
        if not await ingesting.add_jobs(database, batch_id, self.new, first_id=first_id):
            raise RuntimeError("a new line has a key that is known")
        await ingesting.meet_again(database, self.met)
        await ingesting.move_lines(database, self.moved)
        await ingesting.keep_lines(database, self.kept)
        await ingesting.replace_requests(database, self.replaced)
        await ingesting.rerun(database, self.rerun)
        await ingesting.restore(database, self.restored)
