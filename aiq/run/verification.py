"""
`doctor --verify`: every rule between jobs, attempts, answers and money, in words.

What only the providers could tell (that each request they saw is in the ledger) is not asked here:
this is what the database alone can say. Nothing is written, and a run that is at work is not
disturbed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

from aiq.errors import StoreError, UnknownName
from aiq.model import shown_key
from aiq.run.diagnosis import Check, Diagnosis, Gravity, finding, note, ok
from aiq.run.report import Tally
from aiq.store import verification
from aiq.store.db import Database
from aiq.store.lock import is_held
from aiq.store.opening import open_for_reading
from aiq.store.rules import Rule
from aiq.store.verification import Extent, Sample, Sums

_WORDS = {
    Rule.REFERENCES: ("references", "whatever a row refers to is there"),
    Rule.LINES: ("lines", "a line of a prompt file is one job, or is noted as invalid"),
    Rule.PROMPTS: ("prompts", "every job has its prompt, from a file of its own batch"),
    Rule.STATES: ("states", "a job's state, lease, error and counts fit together"),
    Rule.NUMBERS: ("numbers", "the attempts of a job are numbered 1 to n, without a gap"),
    Rule.LEASES: ("leases", "a job is running if its newest attempt is open, and only then"),
    Rule.ANSWERED: ("answers", "a succeeded job has its answer"),
    Rule.UNANSWERED: ("no answers", "an unfinished or failed job has none, or one from before"),
    Rule.KEPT: ("kept answers", "every attempt that was answered left an answer"),
    Rule.OWNERS: ("owners", "an answer is that of the newest answered attempt of its own job"),
    Rule.ONCE: ("once", "no job was answered twice, unless it was put back to be asked again"),
    Rule.DIGESTS: ("digests", "every answer is, byte for byte, what was stored"),
    Rule.FAILURES: ("failures", "a failed job has the kind of its last attempt that was sent"),
    Rule.OUTCOMES: ("outcomes", "an attempt's outcome, billing, cause and flags fit together"),
    Rule.COSTS: ("costs", "only what is billed has a cost; no figure is below zero"),
    Rule.BOUNDS: ("bounds", "no attempt cost more than the worst case set aside for it"),
    Rule.BAD_REPLIES: ("bad replies", "an unusable reply is kept for its own attempt, cut short"),
    Rule.RUNS: ("runs", "whatever an earlier run began has ended"),
    Rule.TIMES: ("times", "all times lie between 2020 and now"),
}
_HINTS = {
    Rule.DIGESTS: "the file was damaged outside of aiq: restore a copy, or ask (and pay) again with"
    " `aiq retry-failed --kind damaged`, where the line is still in its file",
    Rule.BOUNDS: "a budget stops at such a reply; check `price` in the configuration",
    Rule.TIMES: "a clock was wrong; nothing is decided by these times",
}
_NOTES = frozenset({Rule.BOUNDS, Rule.TIMES})
"""What may happen without anybody's mistake."""

_DAMAGED = "restore a copy, or salvage it with `sqlite3 FILE .recover`"
_MISTAKE = "this is a bug in aiq, or the file was changed by another program: please report it"


async def verify(path: Path) -> Diagnosis:
    """Read a database from end to end; what is wrong is a finding, never an exception."""
    try:
        database = await open_for_reading(path)
    except (StoreError, UnknownName) as error:
        return Diagnosis((finding("database", str(error), error.hint),))
    try:
        await verification.prepare(database)
        return Diagnosis(tuple([check async for check in _Verification(database).checks()]))
    except asyncio.CancelledError:
        await database.interrupt()  # or leaving would wait for the statement at work
        raise
    finally:
        await database.close()


class _Verification:
    """One look at one database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._has_batches = False

    async def checks(self) -> AsyncIterator[Check]:
        """Yield what was found, rule by rule."""
        path = self._database.path
        was_running = is_held(path)
        try:
            found = await verification.extent(self._database)
        except StoreError as error:
            yield finding("database", str(error), error.hint)
            return
        is_running = was_running or is_held(path)
        self._has_batches = found.batches > 1
        yield ok("database", _extent(path, found, is_running=is_running))
        yield await self._file()
        for rule in Rule:
            yield await self._rule(rule)
        yield await self._totals()
        yield _left(found, is_running=is_running)

    async def _file(self) -> Check:
        try:
            found = await verification.faults(self._database)
        except StoreError as error:
            return finding("file", f"it cannot be read: {error}", _DAMAGED)
        if not found.count:
            return ok("file", "SQLite's integrity_check finds nothing")
        samples = tuple(sample.detail for sample in found.samples)
        text = f"SQLite's integrity_check finds {_listed(found.count, samples)}"
        return Check("file", Gravity.FINDING, text, _DAMAGED, found.count, samples)

    async def _rule(self, rule: Rule) -> Check:
        name, words = _WORDS[rule]
        try:
            found = await verification.breaches(self._database, rule)
        except StoreError as error:
            return finding(name, f"{words}: this cannot be read: {error}", _DAMAGED)
        if not found.count:
            return Check(name, Gravity.OK, words, count=0)
        gravity = Gravity.NOTE if rule in _NOTES else Gravity.FINDING
        samples = tuple(self._shown(sample) for sample in found.samples)
        text = f"{words}; not so: {_listed(found.count, samples)}"
        return Check(name, gravity, text, _HINTS.get(rule, _MISTAKE), found.count, samples)

    def _shown(self, sample: Sample) -> str:
        if sample.key is None:
            return sample.detail
        job = shown_key(sample.key)
        if self._has_batches and sample.batch is not None:
            job = f"{job} of {sample.batch}"
        return f"{job} ({sample.detail})" if sample.detail else job

    async def _totals(self) -> Check:
        words = "the figures of `aiq status` are the sums of the ledger"
        try:
            found = await verification.sums(self._database)
        except StoreError as error:
            return finding("totals", f"{words}: this cannot be read: {error}", _DAMAGED)
        wrong = tuple(_differences(found))
        if not wrong:
            return Check("totals", Gravity.OK, words, count=0)
        text = f"{words}; not so: {_listed(len(wrong), wrong)}"
        return Check("totals", Gravity.FINDING, text, _MISTAKE, len(wrong), wrong)


def _listed(count: int, samples: Sequence[str]) -> str:
    more = ", ..." if count > len(samples) else ""
    return f"{count:,}: {', '.join(samples)}{more}"


def _extent(path: Path, found: Extent, *, is_running: bool) -> str:
    text = (
        f"{path}, schema {found.schema_version}: {found.jobs:,} jobs, {found.attempts:,} attempts,"
        f" {found.answers:,} answers"
    )
    return f"{text}; a run is going, so each rule has an instant of its own" if is_running else text


def _left(found: Extent, *, is_running: bool) -> Check:
    """Say what nobody has ended: in flight while a run is going, else left by one that died."""
    jobs = "1 job" if found.leased == 1 else f"{found.leased:,} jobs"
    if is_running or not (found.leased or found.unended_runs):
        return ok("in flight", jobs)
    text = f"the last run died with {jobs} in flight"
    return note("in flight", text, "`aiq run` settles them and carries on")


def _differences(found: Sums) -> Iterator[str]:
    """Say which of the figures that are shown differ from the bare sums."""
    shown = Tally()
    for row in found.by_provider:
        shown.add(row)
    unsent = sum(row.count for row in found.by_provider) - shown.requests
    pairs = {
        "jobs": (found.jobs_by_batch, found.jobs),
        "attempts": (shown.requests + unsent, found.ended),
        "cost": (shown.cost_nano, found.cost_nano),
        "cost by batch": (found.cost_by_batch, found.cost_nano),
        "cost unknown": (shown.unpriced, found.unpriced),
        "possibly paid": (shown.maybe_paid, found.possibly_paid),
        "possibly paid at most": (shown.maybe_nano, found.possibly_paid_nano),
        "input tokens": (shown.input_tokens, found.input_tokens),
        "output tokens": (shown.output_tokens, found.output_tokens),
        "cached tokens": (shown.cached_tokens, found.cached_tokens),
    }
    for name, (figure, total) in pairs.items():
        if figure != total:
            yield f"{name} {figure:,} for {total:,}"
