"""Which jobs of a run the user no longer wants, for those that are in flight when he says so."""

from __future__ import annotations

from collections.abc import Iterable

from aiq.run.job import Job


class Withdrawn:
    """
    Batches and jobs that were cancelled during a run; what is in flight then still finishes.

    Only what had been read by then is meant: whatever is put back is read anew, and wanted.
    """

    def __init__(self) -> None:
        self._batches: dict[int, int] = {}
        self._jobs: dict[int, int] = {}

    def add(self, *, batches: Iterable[int], jobs: Iterable[int], page: int) -> None:
        """Want these no longer, as far as they were read with this page or an earlier one."""
        self._batches.update(dict.fromkeys(batches, page))
        self._jobs.update(dict.fromkeys(jobs, page))

    def covers(self, job: Job) -> bool:
        """Whether a job that would need another attempt is not to have it."""
        last = max(self._batches.get(job.batch_id, -1), self._jobs.get(job.id, -1))
        return job.page <= last
