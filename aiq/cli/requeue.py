"""`retry-failed` beside a run: the run puts the jobs back, because it is the only writer."""

from __future__ import annotations

import dataclasses
import os

import msgspec
from rich.text import Text

from aiq.cli import figures, streams
from aiq.cli.followup import placed
from aiq.cli.options import RetryOptions, WorkOptions
from aiq.errors import Refused
from aiq.model import DAMAGED, JobState
from aiq.run.operator import ask
from aiq.run.options import Requeue
from aiq.run.protocol import Requeued, RequeueJobs, Status
from aiq.run.result import RunResult

_HARMLESS = frozenset({"db", "config", "format", "json", "quiet", "verbose", "no_progress"})
"""Options that say nothing about how jobs are sent."""


def beside_run(options: RetryOptions, requeue: Requeue) -> bool:
    """
    Let the run at work put jobs back, and say what came of it; False: there is none.

    Raises:
        Refused: options that say how the jobs are sent, which is the run's own matter.
    """
    if ask(options.db, Status(), os.environ) is None:
        return False
    if given := _meant_for_a_run(options):
        raise Refused(
            f"a run is at work on {options.db} and would send the jobs in its own way,"
            f" without {', '.join(given)}",
            hint="leave that out, or wait until the run has ended",
        )
    order = RequeueJobs(requeue.batch, requeue.kinds, requeue.except_kinds, requeue.jobs)
    reply = ask(options.db, order, os.environ)
    if reply is None:
        return False
    requeued = reply.requeued or Requeued(0, 0)
    if options.json:
        streams.write_json(msgspec.to_builtins(requeued))
    elif not options.quiet:
        streams.talk([Text(placed(str(requeued), options))])
    return True


def put_back(requeue: Requeue, result: RunResult) -> str | None:
    """Say how many jobs were put back, where that is all that was done; else None."""
    kinds = set(requeue.kinds or ())
    noun = "job" if kinds & {DAMAGED, JobState.CANCELLED.value} else "failed job"
    noun = "cancelled job" if kinds == {JobState.CANCELLED.value} else noun
    if not result.total:
        is_part = requeue.kinds or requeue.except_kinds or requeue.jobs
        return f"no {noun}{' of those asked for' if is_part else ''} is left to put back"
    return None if requeue.run_them else f"{figures.plural(result.requeued, noun)} put back"


def _meant_for_a_run(options: RetryOptions) -> list[str]:
    return [
        f"`--{field.name.replace('_', '-')}`"
        for field in dataclasses.fields(WorkOptions)
        if field.name not in _HARMLESS and getattr(options, field.name) != field.default
    ]
