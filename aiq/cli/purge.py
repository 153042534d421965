"""`aiq purge`: says what will go, asks, and removes it."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from aiq.cli import figures, streams
from aiq.cli.history_options import PurgeOptions
from aiq.cli.text import NAME, visible
from aiq.cli.values import age_us
from aiq.clock import Clock, rfc3339
from aiq.errors import ExitCode, Refused
from aiq.model import NANO_PER_USD
from aiq.run.purge import Purge, Purged, carry_out, foreseen
from aiq.store.purging import Extent

TALK_S = 10.0
"""As often as a run says how far it is where there is no terminal."""

_MIB = 1024 * 1024


def purge_jobs(options: PurgeOptions) -> int:
    """Do what `aiq purge` promises; return the exit status."""
    clock = Clock()
    purge = Purge(
        database=options.db,
        batch=options.batch,
        before_us=clock.utc_us() - age_us("--older-than", options.older_than),
        answers_only=options.answers_only,
    )
    expected = asyncio.run(foreseen(purge))
    if options.dry_run or not expected.jobs:
        _tell(options, purge, expected, None)
        return ExitCode.OK
    if not options.yes:
        _ask(purge, expected)
    try:
        advanced = _Talk(clock, expected.jobs).advanced
        done = asyncio.run(carry_out(purge, clock, advanced=advanced))
    except KeyboardInterrupt:
        streams.say("stopped: what is removed stays so, and the same command goes on")
        return ExitCode.SIGINT
    _tell(options, purge, done.removed, done)
    return ExitCode.OK


class _Talk:
    """Says now and then how far a long purge is."""

    def __init__(self, clock: Clock, jobs: int) -> None:
        self._clock, self._jobs, self._done = clock, jobs, 0
        self._next = clock.now() + TALK_S

    def advanced(self, jobs: int) -> None:
        self._done += jobs
        if self._clock.now() >= self._next:
            self._next = self._clock.now() + TALK_S
            streams.say(f"{self._done:,} of {self._jobs:,} jobs")


def _tell(options: PurgeOptions, purge: Purge, extent: Extent, done: Purged | None) -> None:
    if options.json:
        streams.write_json(to_json(purge, extent, done))
        return
    for line in sentences(purge, extent, done):
        streams.say(line)


def _ask(purge: Purge, expected: Extent) -> None:
    """Raise `Refused` unless a person at a terminal agrees."""
    what = _removed(purge, expected)
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise Refused(
            f"this removes {what} for good; {_consequence(purge, expected)}",
            hint="`--yes` says that this is meant, `--dry-run` shows it and removes nothing",
        )
    streams.say(f"This removes {what} for good; {_consequence(purge, expected)}.")
    streams.say("Type yes to go on:")
    if sys.stdin.readline().strip().lower() != "yes":
        raise Refused("nothing was removed", hint="type yes, or give `--yes`")


def _removed(purge: Purge, extent: Extent) -> str:
    """Say what is removed, of what, from which instant back."""
    of = f"of {visible(purge.batch, NAME)} " if purge.batch is not None else ""
    since = f"finished before {rfc3339(purge.before_us)}"
    jobs = figures.plural(extent.jobs, "job")
    others = [
        f"{count:,} {how}"
        for count, how in ((extent.failed, "failed"), (extent.cancelled, "cancelled"))
        if count
    ]
    jobs += f" ({', '.join(others)})" if others else ""
    parts = [figures.plural(extent.answers, "answer")]
    if extent.replies:
        parts.append(figures.plural(extent.replies, "unusable reply", "unusable replies"))
    if purge.answers_only:
        return f"the text of {_listed(parts)} of {jobs} {of}{since}, {_mib(extent.bytes)}"
    parts.insert(0, figures.plural(extent.attempts, "attempt"))
    return f"{jobs} {of}{since}, with {_listed(parts)}, {_mib(extent.bytes)}"


def _listed(parts: list[str]) -> str:
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last


def _consequence(purge: Purge, expected: Extent) -> str:
    """Say what will be different afterwards."""
    if purge.answers_only:
        return "the jobs stay finished and are not sent again, and no export has their texts"
    new = "their lines are new to aiq then, so running their files again sends and pays them again"
    return f"{new}, those that were cancelled too" if expected.cancelled else new


def sentences(purge: Purge, extent: Extent, done: Purged | None) -> list[str]:
    """Return what is said of a purge; None: of one that did not happen."""
    if not extent.jobs:
        return [f"nothing to remove: {_absent(purge)} before {rfc3339(purge.before_us)}"]
    what = _removed(purge, extent)
    if done is None:
        return [f"would remove {what}; {_consequence(purge, extent)}", "nothing was removed"]
    said = [f"removed {what}"]
    if extent.cost_nano:
        said.append(f"their cost, {figures.nano(extent.cost_nano)}, stays part of every total")
    return [*said, _space(done)]


def _absent(purge: Purge) -> str:
    """Say what there is none of."""
    of = f" of {visible(purge.batch, NAME)}" if purge.batch is not None else ""
    if purge.answers_only:
        return f"no text is left of answers{of} to jobs that finished"
    return f"no job{of} finished"


def _space(done: Purged) -> str:
    """Say what became of the file."""
    if done.obstacle is not None:
        return f"note: the file keeps its {_mib(done.bytes_after)}: {visible(done.obstacle)}"
    if done.bytes_after < done.bytes_before:
        return f"the file went from {_mib(done.bytes_before)} to {_mib(done.bytes_after)}"
    return f"the file keeps its {_mib(done.bytes_after)}, in which later runs find room"


def _mib(size: int) -> str:
    return f"{size / _MIB:,.1f} MiB"


def to_json(purge: Purge, extent: Extent, done: Purged | None) -> dict[str, Any]:
    """Return the object of `--json`; `removed` says whether any of it happened."""
    return {
        "batch": purge.batch,
        "before": rfc3339(purge.before_us),
        "answers_only": purge.answers_only,
        "removed": done is not None,
        "jobs": extent.jobs,
        "failed": extent.failed,
        "cancelled": extent.cancelled,
        "attempts": extent.attempts,
        "answers": extent.answers,
        "bad_replies": extent.replies,
        "bytes": extent.bytes,
        "cost_usd": extent.cost_nano / NANO_PER_USD,
        "file_bytes": None
        if done is None
        else {
            "before": done.bytes_before,
            "after": done.bytes_after,
            "free": done.kept_bytes,
        },
        "obstacle": None if done is None else done.obstacle,
    }
