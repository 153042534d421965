"""
Orders about jobs of a database that a run is using: it is the only writer, so it carries them out.

Jobs leave the memory of the run before they leave the store, and come into the store before they
come into memory; in between nobody reads. All of it goes through the writer in pieces, behind
everything that was handed in before, so that commits of answers hardly wait.
"""

from __future__ import annotations

from functools import partial

from aiq.errors import Refused
from aiq.model import DAMAGED, JobState
from aiq.run.board import Board
from aiq.run.cancelling import Cancelled, counted, find
from aiq.run.feed import Feed
from aiq.run.hand import Hand
from aiq.run.intake import named_batches, named_jobs
from aiq.run.protocol import CancelJobs, Requeued, RequeueJobs
from aiq.store import cancelling, jobs, requeueing
from aiq.store.db import Database
from aiq.store.jobs import Scope
from aiq.store.writer import Writer


class JobOrders:
    """Carries out orders about the jobs of one run's database."""

    def __init__(
        self,
        *,
        hand: Hand,
        feed: Feed,
        writer: Writer,
        board: Board,
        database: Database,
        scope: Scope,
    ) -> None:
        """`database` is for reading; what is written goes through the writer."""
        self._hand = hand
        self._feed = feed
        self._writer = writer
        self._board = board
        self._database = database
        self._scope = scope

    async def cancel(self, order: CancelJobs) -> Cancelled:
        """
        Cancel what is pending; what is in flight finishes, and is not asked again.

        Raises:
            UnknownName: a name means nothing, or several jobs; nothing was changed.
            Refused: the run is ending, and not all was done.
        """
        moved = 0
        async with self._hand.changing_jobs():
            targets = await find(self._database, order.names, order.batch)
            self._hand.withdraw(batches=targets.batches, jobs=targets.jobs)
            await self._writer.run(partial(cancelling.withdraw_leased, targets=targets))
            cancel_page = partial(cancelling.cancel_page, targets=targets, scope=self._scope)
            while True:
                count, in_scope = await self._writer.run(cancel_page)
                self._board.moved(JobState.PENDING, JobState.CANCELLED, in_scope)
                moved += count
                if not count:
                    break
            states = await self._writer.run(partial(cancelling.states, targets=targets))
            given_up = self._hand.given_up
            self._hand.forget(await self._writer.run(partial(jobs.cancelled_of, jobs=given_up)))
        return counted(states, moved, targets)

    async def requeue(self, order: RequeueJobs) -> Requeued:
        """
        Make failed or cancelled jobs pending; the run takes those that are of its scope.

        Raises:
            UnknownName: there is no such batch, or job.
            Refused: damaged answers take a search through all there are; or the run is ending.
        """
        if order.kinds is not None and DAMAGED in order.kinds:
            raise Refused(
                "damaged answers are not looked for while a run is at work",
                hint="give the command again when it has ended",
            )
        requeued = taken = 0
        async with self._hand.changing_jobs():
            chosen = [batch.id for batch in await named_batches(self._database, order.batch)]
            only = await named_jobs(self._database, order.jobs, order.batch)
            is_read = not self._feed.is_limited
            page = partial(
                requeueing.requeue_page,
                batches=chosen,
                kinds=order.kinds,
                except_kinds=order.except_kinds,
                jobs=only,
                scope=self._scope,
                is_read=is_read,
            )
            while moved := await self._writer.run(page):
                requeued += len(moved)
                ours = [one for one in moved if one.in_scope]
                taken += len(ours)
                for state in (JobState.FAILED, JobState.CANCELLED):
                    count = sum(one.state is state for one in ours)
                    self._board.moved(state, JobState.PENDING, count)
                if is_read:
                    self._hand.take_again([one.id for one in moved])
                if self._hand.is_ending:
                    break
        is_taken = is_read and not self._hand.is_ending
        return Requeued(jobs=requeued, taken=taken if is_taken else 0)
