"""Which jobs of a run the user no longer wants, for those that are in flight when he says so."""

from __future__ import annotations

from collections.abc import Iterable

from aiq.run.job import Job


class Withdrawn:
    """Batches and jobs that were cancelled during a run; what is in flight then still finishes."""

    def __init__(self) -> None:
        self._batches: set[int] = set()
        self._jobs: set[int] = set()

    def add(self, *, batches: Iterable[int], jobs: Iterable[int]) -> None:
        """Want these no longer."""
        self._batches.update(batches)
        self._jobs.update(jobs)

    def discard(self, *, batches: Iterable[int] = (), jobs: Iterable[int] = ()) -> None:
        """Want these again."""
        self._batches.difference_update(batches)
        self._jobs.difference_update(jobs)

    def covers(self, job: Job) -> bool:
        """Whether a job that would need another attempt is not to have it."""
        return job.batch_id in self._batches or job.id in self._jobs
