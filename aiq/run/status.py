"""What `status` shows: counts, cost and providers, out of the ledger, during a run or after it."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from aiq.clock import rfc3339
from aiq.errors import UnknownName
from aiq.model import JobState, Kind
from aiq.policy.switch import Switch
from aiq.run.facts import ErrorGroup, ProviderFacts, error_groups
from aiq.run.report import Ledger, provider_json, usd
from aiq.store import attempts, controls, providers, purging, reading, runs
from aiq.store.attempts import CandidateState
from aiq.store.db import Database
from aiq.store.lock import is_held
from aiq.store.opening import open_for_reading
from aiq.store.reading import BatchCounts
from aiq.store.writes import ProviderState

_STATUS_OF_KIND = {
    Kind.OK: "healthy",
    Kind.BAD_REQUEST: "healthy",
    Kind.CONTEXT_TOO_LONG: "healthy",
    Kind.RATE_LIMITED: "degraded",
    Kind.AUTH: "disabled",
    Kind.OUT_OF_CREDIT: "disabled",
    Kind.NOT_FOUND: "disabled",
}


_SWITCHED_OFF = frozenset(switch.reason for switch in Switch if switch is not Switch.ON)


class BatchStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One batch; `cost_usd` None means nothing of its cost is known."""

    name: str
    total: int
    pending: int
    running: int
    succeeded: int
    failed: int
    cancelled: int
    invalid: int
    cost_usd: float | None
    unread: bool = False
    purged: int = 0
    """Finished jobs ever removed from it, whose attempts its cost includes."""
    purged_texts: int = 0
    """Answers of it whose text alone was ever removed."""

    def to_json(self) -> dict[str, object]:
        """Return the batch's object of the JSON contract."""
        return msgspec.structs.asdict(self)


class RunInfo(msgspec.Struct, frozen=True):
    """The run that is at work on the database."""

    pid: int
    host: str
    started_at: str
    paused_since: str | None = None
    """None: it sends."""


class Told(msgspec.Struct, frozen=True):
    """Something that an operator told the newest run."""

    at: str
    command: str
    argument: str | None

    def __str__(self) -> str:
        if self.argument is None:
            return self.command
        return f"{self.command}{'=' if self.command.startswith('set ') else ' '}{self.argument}"


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """A database at a glance."""

    db: str
    batches: tuple[BatchStatus, ...]
    ledger: Ledger
    providers: tuple[ProviderFacts, ...]
    in_flight: dict[str, int]
    errors: tuple[ErrorGroup, ...]
    run: RunInfo | None
    told: tuple[Told, ...] = ()
    now_us: int

    def to_json(self) -> dict[str, Any]:
        """Return the contract's object (`design` 11)."""
        total = self.ledger.total
        return {
            "db": self.db,
            "batches": [batch.to_json() for batch in self.batches],
            "totals": {
                name: sum(getattr(batch, name) for batch in self.batches)
                for name in ("total", *(state.value for state in JobState), "invalid")
            },
            "cost_usd": total.cost_usd,
            "cost_complete": not total.unpriced,
            "possibly_paid": total.possibly_paid(),
            "tokens": total.tokens(),
            "latency_ms": total.latency.to_json(),
            "providers": [
                provider_json(
                    facts.name,
                    self.ledger.providers[facts.name],
                    facts.to_json(),
                    in_flight=self.in_flight.get(facts.name, 0),
                )
                for facts in self.providers
            ],
            "errors": [group.to_json() for group in self.errors],
            "run": msgspec.structs.asdict(self.run) if self.run else None,
            "told": [msgspec.structs.asdict(one) for one in self.told],
        }


async def read_status(path: Path, batch: str | None, *, now_us: int) -> Status:
    """
    Read the state of a database, of one batch or of all, as of `now_us`.

    Raises:
        UnknownName: there is no such database or batch.
        StoreError: the database cannot be read.
    """
    database = await open_for_reading(path)
    try:
        return await _read(database, path, batch, now_us)
    finally:
        await database.close()


async def _read(database: Database, path: Path, batch: str | None, now_us: int) -> Status:
    counts = await reading.batch_counts(database)
    wanted = None
    if batch is not None:
        counts = [one for one in counts if one.name == batch]
        if not counts:
            raise UnknownName(f"there is no batch `{batch}`", hint="`aiq status` lists them")
        wanted = [counts[0].id]
    costs = await attempts.cost_by_batch(database)
    gone, emptied = await purging.purged_jobs(database), await purging.purged_texts(database)
    candidates = await attempts.candidate_states(database)
    ledger = Ledger(dict.fromkeys(one.provider for one in candidates))
    for row in await attempts.sums(database, wanted):
        ledger.add(row)
    for provider, ms, count in await attempts.latencies(database, wanted):
        ledger.add_latency(provider, ms, count)
    is_running = is_held(path)
    seen = await providers.states(database)
    if not is_running:
        seen = {name: one for name, one in seen.items() if one.reason not in _SWITCHED_OFF}
    run = await runs.open_run(database) if is_running else None
    paused_us = await controls.paused_since(database) if is_running else None
    paused_since = None if paused_us is None else rfc3339(paused_us)
    return Status(
        db=str(path),
        batches=tuple(
            msgspec.structs.replace(
                _batch(one, *costs.get(one.id, (0, 0))),
                purged=gone.get(one.id, 0),
                purged_texts=emptied.get(one.id, 0),
            )
            for one in counts
        ),
        ledger=ledger,
        providers=tuple(
            _switched(_facts(candidates, seen, now_us), await controls.switched_off(database))
        ),
        in_flight=_in_flight(candidates) if is_running else {},
        errors=error_groups(await attempts.failures(database, wanted)),
        run=RunInfo(run.pid, run.host, rfc3339(run.started_at), paused_since) if run else None,
        told=told(await controls.of_last_run(database)),
        now_us=now_us,
    )


def told(rows: Iterable[controls.ControlRow]) -> tuple[Told, ...]:
    """Return orders as they are shown."""
    return tuple(Told(rfc3339(one.at), one.command, one.argument) for one in rows)


def _batch(counts: BatchCounts, cost_nano: int, unpriced: int) -> BatchStatus:
    states = {state.value: counts.states.get(state, 0) for state in JobState}
    return BatchStatus(
        name=counts.name,
        total=sum(states.values()),
        **states,
        invalid=counts.invalid,
        cost_usd=usd(cost_nano, unpriced),
        unread=counts.unread,
    )


def _facts(
    candidates: list[CandidateState], states: Mapping[str, ProviderState], now_us: int
) -> list[ProviderFacts]:
    """
    Return one entry a provider, as the run sees it, else by how its newest attempt ended.

    With several models, the one asked last in the list stands.
    """
    facts: dict[str, ProviderFacts] = {}
    for one in candidates:
        state = states.get(one.provider)
        if state is not None and _still_holds(state, now_us):
            facts[one.provider] = ProviderFacts(
                name=one.provider,
                kind=one.kind,
                model=one.model,
                status=state.status,
                reason=state.reason,
                until_us=state.until,
            )
            continue
        kind = Kind(one.last_kind) if one.last_kind else None
        status = "unknown" if kind is None else _STATUS_OF_KIND.get(kind, "unhealthy")
        facts[one.provider] = ProviderFacts(
            name=one.provider,
            kind=one.kind,
            model=one.model,
            status=status,
            reason=None if status in ("healthy", "unknown") else f"{kind}: {one.last_message}",
        )
    return list(facts.values())


def _switched(facts: Iterable[ProviderFacts], off: Container[str]) -> Iterator[ProviderFacts]:
    """Show who is switched off as such, also where no run has seen him since."""
    for one in facts:
        is_seen = one.name not in off or one.reason in _SWITCHED_OFF
        yield (
            one
            if is_seen
            else msgspec.structs.replace(
                one, status="disabled", reason=Switch.OFF.reason, until_us=None
            )
        )


def _still_holds(state: ProviderState, now_us: int) -> bool:
    """Whether a run saw something, and did not say that it lasts until an instant that is over."""
    return state.status != "unknown" and (state.until is None or state.until > now_us)


def _in_flight(candidates: list[CandidateState]) -> dict[str, int]:
    flying: dict[str, int] = {}
    for one in candidates:
        flying[one.provider] = flying.get(one.provider, 0) + one.in_flight
    return flying
