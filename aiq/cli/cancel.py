"""`aiq cancel`: jobs that are not wanted any more, through the run at work or without one."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Sequence

import msgspec
from rich.text import Text

from aiq.cli import streams
from aiq.cli.control_options import CancelOptions
from aiq.cli.followup import placed, put_back_commands, shown
from aiq.cli.text import visible
from aiq.errors import ExitCode
from aiq.run.cancelling import Cancelled, cancel
from aiq.run.operator import ask
from aiq.run.protocol import CancelJobs

UNDO_LENGTH = 500
"""Characters of commands to undo it that a person may want to see."""

NAMES_BYTES = 32 * 1024
"""Of the names in one order to a run, which takes no line of any length."""


def cancel_jobs(options: CancelOptions) -> int:
    """Do what `aiq cancel` promises; return the exit status."""
    found = _beside_run(options) or asyncio.run(
        cancel(options.db, options.names, options.batch, note=_note)
    )
    if options.json:
        streams.write_json(msgspec.to_builtins(found))
        return ExitCode.OK
    streams.talk([Text(visible(str(found), 1000))])
    streams.talk(_way_back(options, found))
    return ExitCode.OK


def _way_back(options: CancelOptions, found: Cancelled) -> list[Text]:
    """Say how to undo it, where that is a command that puts back just what was cancelled now."""
    if not found.cancelled:
        return []
    commands = put_back_commands(
        options,
        batches=found.batches,
        jobs=[name for name in options.names if name not in found.batches],
        of=options.batch,
    )
    if found.before or sum(map(len, commands)) > UNDO_LENGTH:
        note = "`aiq retry-failed --kind cancelled --no-run` puts back all that was ever cancelled"
        return [Text(placed(note, options), "dim")]
    return [Text.assemble(("undo     ", "dim"), (shown(one), "cyan")) for one in commands]


def _note(sentence: str) -> None:
    streams.talk([Text.assemble(("note: ", "cyan"), visible(sentence, 1000))])


def _beside_run(options: CancelOptions) -> Cancelled | None:
    """Let the run at work do it; None: there is none."""
    total = None
    for names in _portions(options.names):
        reply = ask(options.db, CancelJobs(names, options.batch), os.environ)
        if reply is None:
            return None
        found = reply.cancelled or Cancelled()
        total = found if total is None else _sum(total, found)
    return total


def _portions(names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    portion: list[str] = []
    size = 0
    for name in names:
        size += 6 * len(name) + 3  # as JSON, where it is all escapes
        if portion and size > NAMES_BYTES:
            yield tuple(portion)
            portion, size = [], 6 * len(name) + 3
        portion.append(name)
    yield tuple(portion)


def _sum(one: Cancelled, other: Cancelled) -> Cancelled:
    return Cancelled(
        cancelled=one.cancelled + other.cancelled,
        in_flight=one.in_flight + other.in_flight,
        ended=one.ended + other.ended,
        before=one.before + other.before,
        batches=one.batches + other.batches,
    )
