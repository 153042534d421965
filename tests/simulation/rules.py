"""
What must hold when a life is over: the database against the bill, and the rules of the contract.

Rules about single requests are checked as they arrive (`bill`); these look at the whole.
"""

from __future__ import annotations

import itertools
import math
import traceback
from collections import Counter
from collections.abc import Iterator

from tests.simulation.bill import Entry
from tests.simulation.faults import Fault
from tests.simulation.life import Ended, Life
from tests.simulation.scenario import OUTPUT_CAP
from tests.support import invariants

FIRST_BAD, MOST_BAD = 5, 20
"""Calls that a death costs besides what was in flight: five where it is plain (`design` 7.2)."""

BY_CHANCE = 1e-9
"""After few calls more of them are needed, until so many bad ones are less likely than this."""

ALONE_S = 5.0
"""The shortest time between trials of a dead provider: where nobody else is left."""

MOST_INPUT = 300
"""Tokens that no prompt of ours exceeds, by the way a budget counts them."""

_SENT = "NOT (kind = 'cancelled' AND billed = 'no')"
_TOO_OFTEN = """
SELECT job_id, count(*) FROM attempt JOIN job ON job.id = job_id
WHERE number > fresh_from AND NOT flags & 4 AND {counted} GROUP BY job_id HAVING count(*) > {most}
"""


class Watch:
    """Looks on while a life is played, and over the whole at its end."""

    def __init__(self, life: Life) -> None:
        self._life = life
        self._finished: set[tuple[int, str]] = set()
        self.broken: list[str] = []

    def ended(self, process: Ended) -> None:
        """Check what must hold after each process, however it ended."""
        life = self._life
        if process.error is not None and process.error.startswith(("never", "failed")):
            self.broken.append(f"a process {process.error}")
        if not life.database.exists() or not _has_tables(life):
            return
        if process.result is not None:
            self._hold(life, process)
        finished = set(
            invariants.rows(
                life.database,
                "SELECT id, state FROM job WHERE state IN ('succeeded', 'failed')"
                " AND (state = 'succeeded' OR NOT ?)",
                process.is_requeue,
            )
        )
        kept = {one for one in self._finished if one[1] == "succeeded" or not process.is_requeue}
        if lost := kept - finished:
            self.broken.append(f"finished jobs are no longer what they were: {sorted(lost)[:5]}")
        self._finished = finished

    def _hold(self, life: Life, process: Ended) -> None:
        assert process.result is not None
        try:
            is_left = process.result.message == "stopped before anything was sent"
            if not is_left and not any(kind.startswith("commit") for kind in process.blows):
                # A run whose last write failed, or that was left, did end and could not say so.
                is_read = bool(process.result.counts)  # else it was stopped while reading
                lines = life.scenario.jobs if is_read else None
                invariants.check_store(life.database, lines=lines)
            # Totals of a requeue are of a part of the database, and who never read has none.
            if process.result.counts and not process.is_requeue:
                invariants.check_result(
                    life.database, process.result.to_json(), after=process.after
                )
        except AssertionError as error:
            line = traceback.extract_tb(error.__traceback__)[-1].line
            self.broken.append(f"an invariant does not hold: {line} {str(error)[:200]}")

    def over(self) -> list[str]:
        """Check the whole; return a sentence for each rule that did not hold."""
        life = self._life
        found = [*life.bill.broken, *self.broken]
        if not life.database.exists():
            return [*found, "there is no database"]
        for check in (_ledgers, _money, _attempts, _ends, _deaths, _trials, _pace):
            found += check(life)
        return found


def _has_tables(life: Life) -> bool:
    return bool(
        invariants.rows(life.database, "SELECT 1 FROM sqlite_schema WHERE name = 'provider_state'")
    )


def _ledgers(life: Life) -> Iterator[str]:
    """Every request has its own attempt, and what the ledger says was sent was received."""
    received = life.bill.received()
    twice = [n for n, count in Counter(e.attempt for e in received).items() if count > 1]
    if twice:
        yield f"attempts {twice[:5]} were sent more than once"
    sent = dict(
        invariants.rows(
            life.database,
            "SELECT attempt.id, provider FROM attempt JOIN candidate ON candidate.id = candidate_id"
            f" WHERE attempt.kind <> 'connect' AND {_SENT.replace('kind', 'attempt.kind')}",
        )
    )
    for entry in received:
        if sent.get(entry.attempt or 0) != entry.provider:
            yield f"{entry.job} at {entry.provider}, {entry.arrived:.3f} s, is not in the ledger"
            return
    unsure = {
        number
        for (number,) in invariants.rows(
            life.database, "SELECT id FROM attempt WHERE cause IS NOT NULL"
        )
    }
    unseen = set(sent) - {entry.attempt for entry in received} - unsure
    if unseen:
        yield f"attempts {sorted(unseen)[:5]} are said to be sent and nobody received them"


def _money(life: Life) -> Iterator[str]:
    """Who was paid is said to be paid, or perhaps; and nobody is said to be who was not."""
    billed = dict(invariants.rows(life.database, "SELECT id, billed FROM attempt"))
    for entry in life.bill.received():
        said = billed.get(entry.attempt)
        if entry.is_billed and said == "no":
            yield f"attempt {entry.attempt} ({entry.fault}) was paid and is said to be free"
            return
        if not entry.is_billed and said == "yes":
            yield f"attempt {entry.attempt} ({entry.fault}) was free and is said to be paid"
            return
    possibly = sum(1 for said in billed.values() if said == "maybe")
    if life.bill.seen_twice() > possibly:
        yield f"{life.bill.seen_twice()} answers were made twice, {possibly} possibly paid"


def _attempts(life: Life) -> Iterator[str]:
    """No job is asked for more often than its limits allow."""
    run = life.scenario.run
    unknown = 2 if run.on_unknown == "retry" else 1
    for counted, most in (
        ("kind IN ('server_error', 'bad_response')", run.max_attempts),
        ("kind = 'interrupted' AND cause IS NULL", unknown),
        ("kind = 'bad_request'", 1),
    ):
        if rows := invariants.rows(life.database, _TOO_OFTEN.format(counted=counted, most=most)):
            yield f"jobs with more than {most} of {counted}: {rows[:3]}"


def _ends(life: Life) -> Iterator[str]:
    """A run that says it is done is done; one that gives up has a reason; calm ones are quick."""
    scenario, last = life.scenario, life.processes[-1]
    states = dict(invariants.rows(life.database, "SELECT state, count(*) FROM job GROUP BY state"))
    open_jobs = states.get("pending", 0) + states.get("running", 0)
    for process in life.processes:
        yield from _end(life, process)
    if last.result is None:
        yield f"the last process, which nothing happened to, ended with {last.error}"
        return
    code = int(last.result.exit_code)
    if code in (0, 1) and open_jobs and not last.is_requeue:
        yield f"exit {code} and {open_jobs} jobs are open"
    if code == 0 and states.get("failed"):
        yield "exit 0 and jobs have failed"
    excused = _is_same_mistake(life) or _is_left_off(life)
    if code == 3 and scenario.has_refuge and not excused:
        yield f"gave up ({last.result.message}) although a provider is well"
    if code not in (0, 1, 3, 4):
        yield f"the last process ended with {code}"
    if scenario.is_calm:
        yield from _calm(life, last, states)


def _end(life: Life, process: Ended) -> Iterator[str]:
    """A budget ends a run only where the next request might not fit into it."""
    if process.result is None or not process.is_short:
        return
    left = process.result.budget.limit_nano
    if left is None:
        yield "exit 4 without a budget"
        return
    left -= process.result.budget.committed_nano
    dearest = max(
        MOST_INPUT * one.price.input + OUTPUT_CAP * one.price.output
        for one in life.scenario.characters.values()
    )
    if left > dearest * 1000:
        yield f"exit 4 although {left} nano are left"


def _is_same_mistake(life: Life) -> bool:
    """Whether the first jobs may all have been refused alike: the run stops then."""
    last = life.processes[-1].result
    return last is not None and "refused alike" in (last.message or "")


def _is_left_off(life: Life) -> bool:
    """Whether the operator did not come to enable a provider again, before he was struck down."""
    rows = invariants.rows(
        life.database,
        "SELECT command, max(id) FROM control WHERE command IN ('disable', 'enable')"
        " GROUP BY argument",
    )
    return any(command == "disable" for command, _ in rows)


def _calm(life: Life, last: Ended, states: dict[str, int]) -> Iterator[str]:
    scenario = life.scenario
    if states.get("succeeded", 0) != scenario.jobs - len(scenario.poison):
        yield f"nothing went wrong, and these are the states: {states}"
    slowest = max(one.latency.median_s for one in scenario.characters.values())
    places = min(
        scenario.run.concurrency,
        *(one.max_in_flight or scenario.run.concurrency for one in scenario.providers),
    )
    # It begins with 16 in flight and doubles, so that a few rounds are not full.
    rounds = math.ceil(scenario.jobs / places) + 4
    took = last.ended - last.began
    if took > rounds * (slowest + 0.4) + 1.0:
        yield f"a calm run of {rounds} rounds of {slowest} s took {took:.1f} s"


def _deaths(life: Life) -> Iterator[str]:
    """
    A provider that dies costs five calls, what was in flight, and its trials.

    One that was sick before is another matter: what looks like a death may be more of the same.
    """
    for name, server in life.servers.items():
        if not server.character.is_quiet:
            continue
        entries = [entry for entry in life.bill.entries if entry.provider == name]
        for phase in server.character.phases[:1]:
            if phase.weather not in ("down", "errors"):
                continue
            for process in life.processes:
                begins, ends = max(phase.begins, process.began), min(phase.ends, process.ended)
                if ends > begins:
                    yield from _death(life, name, entries, begins, ends)


def _death(
    life: Life, name: str, entries: list[Entry], begins: float, ends: float
) -> Iterator[str]:
    [settings] = [one for one in life.scenario.providers if one.name == name]
    places = min(settings.max_in_flight or math.inf, life.scenario.run.concurrency)
    asked = [entry for entry in entries if begins <= entry.started < ends]
    # A refused prompt says nothing of its provider, and makes what stands around it less plain.
    refused = sum(1 for entry in asked if entry.fault is Fault.BAD_REQUEST)
    cost = len(asked) - refused
    good = sum(1 for entry in entries if entry.started < begins and entry.is_delivered)
    plain = math.ceil(-math.log(BY_CHANCE) / math.log(good + 2))
    most = places + min(MOST_BAD, max(FIRST_BAD, plain)) + (ends - begins) / ALONE_S + 2 + refused
    if cost > most:
        yield f"{name} was dead for {ends - begins:.1f} s and cost {cost} calls, of {most:.0f}"


def _trials(life: Life) -> Iterator[str]:
    """Once a dead provider has been given up, it is tried by one request at a time."""
    for name, server in life.servers.items():
        if not server.character.is_quiet:
            continue
        for phase in server.character.phases:
            if phase.weather in ("down", "errors"):
                for number in range(1, len(life.processes) + 1):
                    starts = [
                        entry.started
                        for entry in life.bill.entries
                        if (entry.provider, entry.process) == (name, number)
                        and phase.begins <= entry.started < phase.ends
                        and entry.fault is not Fault.BAD_REQUEST  # says nothing, so the next may go
                    ]
                    yield from _spaced(name, starts)


def _spaced(name: str, starts: list[float]) -> Iterator[str]:
    """Everybody is in a pause when nobody has asked for so long; what follows are trials."""
    gaps = [later - earlier for earlier, later in itertools.pairwise(starts)]
    pause = next(
        (n for n, gap in enumerate(gaps) if n + 1 >= MOST_BAD and gap >= ALONE_S * 0.99), None
    )
    if pause is not None and min(gaps[pause:]) < ALONE_S * 0.99:
        yield f"{name} is dead, and trials came within {min(gaps[pause:]):.2f} s"


def _pace(life: Life) -> Iterator[str]:
    """In no 60 s does a batch, across processes, get more than a burst each above its limit."""
    for one in life.scenario.providers:
        if one.rates.requests is None:
            continue
        names = {p.name for p in life.scenario.providers if p.account == one.account}
        starts = sorted(e.started for e in life.bill.received() if e.provider in names)
        burst = max(1, one.rates.requests // 30) * (len(life.processes) - 1)
        first = 0
        for index, at in enumerate(starts):
            while at - starts[first] >= 60.0:
                first += 1
            if index - first + 1 > one.rates.requests + burst:
                yield f"{index - first + 1} requests to {one.account} within a minute"
                return
