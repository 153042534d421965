"""`retry-failed` beside a run: the run puts the jobs back, because it is the only writer."""

from __future__ import annotations

import dataclasses
import os

import msgspec
from rich.text import Text

from aiq.cli import streams
from aiq.cli.options import RetryOptions, WorkOptions
from aiq.cli.text import visible
from aiq.errors import Refused
from aiq.run.operator import ask
from aiq.run.options import Requeue
from aiq.run.protocol import Requeued, RequeueJobs, Status

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
    order = RequeueJobs(requeue.batch, requeue.kinds, requeue.except_kinds)
    reply = ask(options.db, order, os.environ)
    if reply is None:
        return False
    requeued = reply.requeued or Requeued(0, 0)
    if options.json:
        streams.write_json(msgspec.to_builtins(requeued))
    elif not options.quiet:
        streams.talk([Text(visible(str(requeued), 1000))])
    return True


def _meant_for_a_run(options: RetryOptions) -> list[str]:
    return [
        f"`--{field.name.replace('_', '-')}`"
        for field in dataclasses.fields(WorkOptions)
        if field.name not in _HARMLESS and getattr(options, field.name) != field.default
    ]
