"""
The life of one batch: process after process works on it, most of them struck down, to its end.

A killed process does nothing more: its connection refuses every statement, its network every
request. What of it still runs is then cancelled, only so that Python can let go of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import math
import random
import signal
import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec

from aiq.config import ProviderSettings, Settings
from aiq.errors import AiqError, ExitCode
from aiq.model import NANO_PER_USD
from aiq.run.board import AttemptWatcher, Snapshot
from aiq.run.options import Requeue, RunOptions
from aiq.run.result import RunResult
from aiq.run.session import Session
from tests.simulation.bill import Bill
from tests.simulation.direct_store import Power, connected_directly
from tests.simulation.operator import Act, acts
from tests.simulation.scenario import BAD_LINE, Blow, Scenario
from tests.simulation.servers import Meter, Server
from tests.simulation.virtual_time import Standstill, VirtualClock, VirtualLoop
from tests.simulation.wire import Wire
from tests.support.sessions import Recorder

LONGEST_S = 2 * 3600.0
"""A process that has not ended by itself after so long never will."""

WRITTEN_AFTER_S = 2.5
"""What a process is told is on disk a second later, and the disk takes its time."""

_DISTURBING = ("commit", "suspend", "clock set")
"""Blows after which what a process was told may not have been written, or not be believed."""

LAST_TRIES = 3
"""Processes that nothing happens to, at the end: one may give up before its providers are back."""


class Ended(msgspec.Struct):
    """How a process ended: with a result, an error, or struck dead."""

    result: RunResult | None
    error: str | None
    is_killed: bool
    began: float
    ended: float
    after: int
    """The newest attempt before it."""
    is_requeue: bool
    blows: Counter[str]

    @property
    def is_short(self) -> bool:
        """Whether the budget ended it, which another process cannot change."""
        return self.result is not None and self.result.exit_code is ExitCode.BUDGET


class Witness(Recorder):
    """Compares what a view is shown with what is committed, and keeps nothing."""

    def __init__(self, bill: Bill, power: Power, clock: VirtualClock) -> None:
        super().__init__()
        self._bill = bill
        self._power = power
        self._clock = clock

    def tick(self, snapshot: Snapshot) -> None:
        shown = {"succeeded": snapshot.succeeded, "failed": snapshot.failed}
        if self._power.is_on:
            self._bill.shown(shown, self._clock.now())


class Life:
    """One scenario as it is played."""

    def __init__(self, scenario: Scenario, directory: Path) -> None:
        self.scenario = scenario
        self.database = directory / "aiq.db"
        self.now = 0.0
        self.processes: list[Ended] = []
        chance = random.Random(f"{scenario.seed} servers")
        meters: dict[str, Meter] = {}
        self.servers: dict[str, Server] = {}
        for one in scenario.providers:
            character = scenario.characters[one.name]
            if character.limit is not None:
                meters.setdefault(one.account, Meter(character.limit))
            self.servers[one.name] = Server(
                one.name, character, random.Random(chance.random()), meters.get(one.account)
            )
        budget = scenario.run.budget_usd
        self.bill = Bill(
            self.database,
            {one.name: one for one in scenario.providers},
            budget_nano=None if budget is None else round(budget * NANO_PER_USD),
        )
        self._chance = random.Random(f"{scenario.seed} process")
        self.clock = VirtualClock()
        self.watchers: list[AttemptWatcher] = []
        """Who is told of every attempt of every process."""
        self._longest_s = LONGEST_S
        self._prompts = directory / "prompts.jsonl"
        self._write_prompts()

    def play(self, *, until: float = LONGEST_S) -> Iterator[Ended]:
        """
        Let processes come and go until the batch is done or nobody can do more.

        No process lives longer than `until`, in virtual seconds.
        """
        self._longest_s = until
        for number, blows in enumerate(self.scenario.blows):
            yield self._process(blows, acts=acts(self.scenario, number))
            if self.bill.is_endless:
                return
            if self._is_done():
                break
            self.now += self._chance.choice((0.01, 1.0, 20.0)) * self._chance.random()
        for _ in range(LAST_TRIES):
            last = self._process(())
            yield last
            if self._is_done() or last.is_short:
                break
            self.now += 60.0
        if self.scenario.retries_failed and self._count("failed"):
            yield self._process((), requeue=Requeue())

    def _is_done(self) -> bool:
        last = self.processes[-1].result
        return last is not None and int(last.exit_code) in (0, 1)

    def _write_prompts(self) -> None:
        padding = random.Random(f"{self.scenario.seed} prompts")
        lines = [
            json.dumps({"id": f"j{n}", "prompt": f"j{n} " + "x" * padding.randint(0, 80)}).encode()
            for n in range(self.scenario.jobs)
        ]
        for _ in range(self.scenario.bad_lines):
            lines.insert(padding.randint(0, len(lines)), BAD_LINE)
        self._prompts.write_bytes(b"\n".join(lines) + b"\n")

    def _options(self, requeue: Requeue | None) -> RunOptions:
        is_read = self.processes and self.database.exists() and self._count("pending")
        carries_on = bool(is_read) and self._is_sealed() and self._chance.random() < 0.5
        files = () if requeue is not None or carries_on else (str(self._prompts),)
        return RunOptions(database=self.database, files=files, requeue=requeue)

    def _process(
        self,
        blows: tuple[Blow, ...],
        *,
        acts: tuple[Act, ...] = (),
        requeue: Requeue | None = None,
    ) -> Ended:
        """Let one process live until it ends, or is ended."""
        scenario, bill = self.scenario, self.bill
        options = self._options(requeue)
        after = self._last_attempt()
        bill.begin_process(remembered_until=self._remembered_until())
        loop = VirtualLoop(self.now)
        hand = _Hand(loop, blows, self.clock, longest_s=self._longest_s, commit_s=scenario.commit_s)
        hand.acts = acts

        def way(settings: ProviderSettings) -> httpx.AsyncBaseTransport:
            return Wire(self.servers[settings.name], bill, hand.power, scenario.poison)

        session = Session(
            options,
            Settings(
                run=scenario.run, defaults={}, providers=scenario.providers, path=None, notes=()
            ),
            observer=Recorder() if requeue else Witness(bill, hand.power, self.clock),
            clock=self.clock,
            environ={},
            draw=self._chance.random,
            transports_of=way,
            watchers=self.watchers,
        )
        began = self.now
        before = set(self.database.parent.iterdir())
        with connected_directly(hand.power), _closed(loop):
            result, error = hand.lead(session)
        if not hand.power.is_on:  # the dead write no files
            for one in set(self.database.parent.glob("*.rescue-*")) - before:
                one.unlink()
        self.now = max(self.now, hand.ended if hand.ended is not None else loop.time())
        ended = Ended(
            result=result,
            error=error,
            is_killed=not hand.power.is_on,
            began=began,
            ended=self.now,
            after=after,
            is_requeue=requeue is not None,
            blows=hand.struck,
        )
        self.processes.append(ended)
        code = None if result is None else int(result.exit_code)
        bill.note(self.now, "ended", ended.is_killed, code)
        return ended

    def _remembered_until(self) -> float:
        """
        Return up to when what the last process was told is known to the next one.

        All of it where it took its leave, nothing where it could not write or its clock was set;
        else what was told so long before its end that it was written meanwhile.
        """
        if not self.processes:
            return -math.inf
        last = self.processes[-1]
        is_disturbed = any(kind.startswith(_DISTURBING) for kind in last.blows)
        if is_disturbed or not (last.is_killed or last.result):
            return -math.inf
        is_orderly = last.result is not None and "interrupt twice" not in last.blows
        return last.ended - (0.0 if is_orderly else WRITTEN_AFTER_S)

    def _last_attempt(self) -> int:
        return self._ask("SELECT coalesce(max(id), 0) FROM attempt")

    def _count(self, state: str) -> int:
        return self._ask("SELECT count(*) FROM job WHERE state = ?", state)

    def _is_sealed(self) -> bool:
        return not self._ask("SELECT count(*) FROM source WHERE sealed_at IS NULL OR opened_at")

    def _ask(self, sql: str, *parameters: object) -> int:
        """Ask the database; 0 where it does not exist yet."""
        if not self.database.exists():
            return 0
        with contextlib.closing(sqlite3.connect(self.database)) as connection:
            try:
                [(found,)] = connection.execute(sql, parameters)
            except sqlite3.OperationalError:  # no tables yet
                return 0
            return int(found)


class _Hand:
    """Strikes one process as its blows say."""

    def __init__(
        self,
        loop: VirtualLoop,
        blows: tuple[Blow, ...],
        clock: VirtualClock,
        *,
        longest_s: float,
        commit_s: float,
    ) -> None:
        self.power = Power(self._trip, commit_s=commit_s)
        self.ended: float | None = None
        """When it was killed."""
        self.struck: Counter[str] = Counter()
        self.acts: tuple[Act, ...] = ()
        """What an operator tells it."""
        self._orders: set[asyncio.Task[None]] = set()
        self._signals = 0
        self._loop = loop
        self._longest_s = longest_s
        self._clock = clock
        self._task: asyncio.Task[RunResult] | None = None
        self._at_statement = [b for b in blows if b.kind == "kill at statement"]
        self._at_commit = [b for b in blows if b.kind.startswith("commit")]
        self._timed = [b for b in blows if b not in (*self._at_statement, *self._at_commit)]

    def lead(self, session: Session) -> tuple[RunResult | None, str | None]:
        """Run a session among its blows; return its result, or what it ended with."""
        loop = self._loop
        self._task = loop.create_task(session.run())
        for blow in self._timed:
            loop.call_later(blow.after, self._strike, blow)
        for act in self.acts:
            loop.call_later(act.after, self._operate, session, act)
        loop.call_later(self._longest_s, self._task.cancel)
        try:
            result = loop.run_until_complete(self._task)
        except AiqError as error:
            return None, f"{type(error).__name__}: {error}"
        except (asyncio.CancelledError, Standstill, sqlite3.Error) as error:
            if self.power.is_on:
                return None, f"never ended: {error!r}"
            return None, "killed"
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a finding
            if self.power.is_on:
                return None, f"failed: {error!r}"
            return None, "killed"
        # A process that was killed while it said goodbye has said nothing.
        return (result, None) if self.power.is_on else (None, "killed")

    def _operate(self, session: Session, act: Act) -> None:
        if self._task is None or self._task.done() or not self.power.is_on:
            return
        order = self._loop.create_task(self._order(session, act))
        self._orders.add(order)
        order.add_done_callback(self._orders.discard)

    async def _order(self, session: Session, act: Act) -> None:
        """Give an order; what is refused, or meets a dying process, has changed nothing."""
        with contextlib.suppress(AiqError, sqlite3.Error):
            await session.control.obey(act.order)
            self.struck["order"] += 1

    def _strike(self, blow: Blow) -> None:
        if self._task is None or self._task.done() or not self.power.is_on:
            return
        self.struck[blow.kind] += 1
        match blow.kind:
            case "kill":
                self._kill()
            case "terminate":
                self._signal(signal.SIGTERM)
            case "interrupt twice":
                self._signal(signal.SIGINT)
                self._loop.call_later(blow.lasts, self._signal, signal.SIGINT)
            case "suspend":
                self._loop.suspend(blow.lasts)
            case "clock set":
                self._clock.skew_us = round(blow.lasts * 1e6)

    def _signal(self, number: signal.Signals) -> None:
        """Deliver a signal; the third would end the real process at once, and this one too."""
        if not self.power.is_on:
            return
        self._signals += 1
        if self._signals > 2:
            self._kill()
        else:
            self._loop.deliver(number)

    def _kill(self) -> None:
        self.power.is_on = False
        self.ended = self._loop.time()
        if self._task is not None:
            self._loop.call_soon(self._task.cancel)

    def _trip(self, sql: str, is_after: bool) -> None:
        for blow in self._at_statement:
            # Half of them between the statement and the next, which matters after a COMMIT.
            if self.power.statements == blow.after and is_after == (int(blow.after) % 2 == 0):
                self.struck[blow.kind] += 1
                self._kill()
        if not sql.startswith("COMMIT"):
            return
        for blow in self._at_commit:
            is_due = self.power.statements >= blow.after
            if is_due and is_after == (blow.kind == "commit unheard"):
                self._at_commit.remove(blow)
                self.struck[blow.kind] += 1
                raise _full() if blow.kind == "commit fails" else _unsynced()


def _full() -> sqlite3.Error:
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode = sqlite3.SQLITE_FULL
    return error


def _unsynced() -> sqlite3.Error:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR
    return error


@contextlib.contextmanager
def _closed(loop: VirtualLoop) -> Iterator[None]:
    """Let go of a loop and of whatever still runs in it."""
    try:
        yield
    finally:
        with contextlib.suppress(Standstill):
            for _ in range(3):
                left = asyncio.all_tasks(loop)
                for task in left:
                    task.cancel()
                if left:
                    loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.set_exception_handler(lambda *_: None)
        loop.close()
        gc.collect(0)
