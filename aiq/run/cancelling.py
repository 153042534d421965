"""Which jobs a user means by names, and cancelling them where no run is at work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from aiq.errors import UnknownName
from aiq.model import JobState
from aiq.run.ownership import owned_database
from aiq.run.rescue import bring_home
from aiq.run.show import find_job
from aiq.store import batches, cancelling
from aiq.store.cancelling import Targets
from aiq.store.db import Database


class Cancelled(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the jobs that were meant."""

    cancelled: int = 0
    in_flight: int = 0
    """They finish."""
    ended: int = 0
    """They had succeeded or failed before, and stay so."""
    before: int = 0
    """They were cancelled before."""
    batches: tuple[str, ...] = ()
    """The names that were those of batches."""

    def __str__(self) -> str:
        """Say what was cancelled and what was not."""
        parts = [f"{self.cancelled:,} job{'' if self.cancelled == 1 else 's'} cancelled"]
        if self.in_flight:
            parts.append(f"{self.in_flight:,} in flight finish{_es(self.in_flight)}")
        if self.ended:
            parts.append(f"{self.ended:,} had ended already")
        if self.before:
            verb = "was" if self.before == 1 else "were"
            parts.append(f"{self.before:,} {verb} cancelled before")
        return ", ".join(parts)


def _es(count: int) -> str:
    return "es" if count == 1 else ""


async def find(database: Database, names: Sequence[str], batch: str | None) -> Targets:
    """
    Return what is meant by names: batches, and ids of jobs; with `batch`, ids of jobs in it.

    Raises:
        UnknownName: one means nothing, or several jobs.
    """
    whole: dict[int, str] = {}
    jobs: list[int] = []
    for name in names:
        named = None if batch is not None else await batches.batch_named(database, name)
        if named is not None:
            whole[named.id] = name
            continue
        try:
            jobs.append((await find_job(database, name, batch)).id)
        except UnknownName as error:
            if batch is not None or "several" in str(error):
                raise
            raise UnknownName(
                f"there is no batch and no job `{name}`",
                hint="`aiq status` lists the batches, `aiq export` ids of finished jobs",
            ) from None
    return Targets(batches=tuple(whole), jobs=tuple(jobs), batch_names=tuple(whole.values()))


def counted(states: dict[JobState, int], moved: int, targets: Targets) -> Cancelled:
    """Return what became of jobs that now are in these states, `moved` of them just now."""
    return Cancelled(
        cancelled=moved,
        in_flight=states.get(JobState.RUNNING, 0),
        ended=states.get(JobState.SUCCEEDED, 0) + states.get(JobState.FAILED, 0),
        before=states.get(JobState.CANCELLED, 0) - moved,
        batches=targets.batch_names,
    )


async def cancel(
    path: Path, names: Sequence[str], batch: str | None, *, note: Callable[[str], None]
) -> Cancelled:
    """
    Cancel pending jobs of a database at which no run is at work.

    What a dead run left in flight is no exception: it is closed as possibly paid, as the next run
    would have done, and not asked again.

    Raises:
        UnknownName: a name means nothing, or several jobs; nothing was changed.
        StoreError: the database cannot be used, or a run is at work.
    """
    async with owned_database(path, None, may_be_new=False, wants_files=False) as database:
        targets = await find(database, names, batch)
        await bring_home(database, note)
        await cancelling.release_dead(database, targets)
        moved = 0
        while count := (await cancelling.cancel_page(database, targets))[0]:
            moved += count
        return counted(await cancelling.states(database, targets), moved, targets)
