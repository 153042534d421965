"""
Whole runs in one process: a directory, a configuration as TOML, a session, and what it told.

In a test:

    async with FaultServer() as server:
        bench = Bench(tmp_path, a=provider(server), run={"concurrency": 1})
        result = await bench.run(prompts(20))

Every run that ends with a result is checked against `invariants` before the test sees the result.
`hurried` runs a test in a loop whose clock goes `SPEED` times as fast, for rules about seconds.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import io
import json
import selectors
from collections.abc import Callable, Coroutine, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from aiq.clock import Clock
from aiq.config import RunOverrides, Settings, load
from aiq.run.board import Snapshot
from aiq.run.export import Exported, export
from aiq.run.ingest import IngestReport
from aiq.run.observer import Observer, Plan
from aiq.run.options import Requeue, RunOptions
from aiq.run.request import Flags
from aiq.run.result import RunResult
from aiq.run.session import Session
from tests.support import invariants
from tests.support.fault_server import FaultServer
from tests.support.lines import lines_of

PRICE = {"input": 1.0, "output": 2.0}
KEY = "sk-test-4711-0815-abcdef"

SPEED = 20.0


class LoopClock(Clock):
    """The event loop's own clock, so that a hurried loop hurries the run as a whole."""

    def now(self) -> float:
        return asyncio.get_running_loop().time()


class _HurriedSelector(selectors.DefaultSelector):
    def __init__(self, speed: float) -> None:
        super().__init__()
        self._speed = speed

    def select(self, timeout: float | None = None) -> Any:
        return super().select(timeout / self._speed if timeout else timeout)


class _HurriedLoop(asyncio.SelectorEventLoop):
    def __init__(self, speed: float) -> None:
        self._speed = speed
        super().__init__(_HurriedSelector(speed))

    def time(self) -> float:
        return super().time() * self._speed


_Test: TypeAlias = Callable[..., Coroutine[Any, Any, None]]


def at_speed(speed: float) -> Callable[[_Test], Callable[..., None]]:
    """
    Run an async test in a loop whose clock goes so many times as fast.

    Sockets are as real as ever. Arrival times of the fault server stay real seconds: multiply. What
    the machine itself takes is multiplied too, so rules about rates want a low speed.
    """

    def decorate(test: _Test) -> Callable[..., None]:
        @functools.wraps(test)
        def run(*arguments: Any, **named: Any) -> None:
            with asyncio.Runner(loop_factory=lambda: _HurriedLoop(speed)) as runner:
                runner.run(test(*arguments, **named))

        return run

    return decorate


hurried = at_speed(SPEED)
"""For rules about seconds and counts."""


class Recorder:
    """An observer that keeps all it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.lines = 0
        self.reports: list[IngestReport] = []
        self.plans: list[Plan] = []
        self.snapshots: list[Snapshot] = []

    def note(self, sentence: str) -> None:
        self.notes.append(sentence)

    def reading(self, lines: int) -> None:
        self.lines += lines

    def ingested(self, report: IngestReport) -> None:
        self.reports.append(report)

    def plan(self, plan: Plan) -> None:
        self.plans.append(plan)

    def tick(self, snapshot: Snapshot) -> None:
        self.snapshots.append(snapshot)

    def close(self) -> None:
        pass


@dataclasses.dataclass(frozen=True)
class ProviderSpec:
    """A `[[providers]]` table and, where there is one, the server behind it."""

    server: FaultServer | None
    keys: dict[str, Any]


def provider(server: FaultServer | str, **keys: Any) -> ProviderSpec:
    """
    Describe a provider at a fault server (or a URL); a key that is None is left out.

    A connection may take 200 s: the 10 s that are usual pass in half a second of a hurried loop.
    """
    is_server = isinstance(server, FaultServer)
    url = server.url if isinstance(server, FaultServer) else server
    table = {"base_url": url, "model": "m", "price": PRICE, "connect_timeout_s": 200.0} | keys
    return ProviderSpec(
        server if is_server else None,  # type: ignore[arg-type] # a str is none
        {key: value for key, value in table.items() if value is not None},
    )


def made_up(**simulated: Any) -> ProviderSpec:
    """Describe a provider whose replies `aiq` makes up itself, as its table `simulated` says."""
    return ProviderSpec(
        None, {"kind": "simulated", "simulated": simulated, "model": "m", "price": PRICE}
    )


def prompts(count: int, *, prefix: str = "p") -> list[dict[str, Any]]:
    """Return that many prompts, `p0` to `pN`, each with its text as its id."""
    return [{"id": f"{prefix}{n}", "prompt": f"{prefix}{n}"} for n in range(count)]


def batch_line(identity: str, url: str, body: dict[str, Any]) -> dict[str, Any]:
    """Return a line of an OpenAI Batch file."""
    return {"custom_id": identity, "method": "POST", "url": url, "body": body}


class Bench:
    """A directory with a configuration, prompt files and a database, and the runs made in it."""

    def __init__(
        self,
        directory: Path,
        *,
        run: dict[str, Any] | None = None,
        defaults: dict[str, Any] | None = None,
        environ: dict[str, str] | None = None,
        **providers: ProviderSpec,
    ) -> None:
        self.directory = directory
        self.database = directory / "aiq.db"
        self.recorder = Recorder()
        self.session: Session | None = None
        self._environ = environ or {}
        self.configure(run=run, defaults=defaults, **providers)

    def configure(
        self,
        *,
        run: dict[str, Any] | None = None,
        defaults: dict[str, Any] | None = None,
        **providers: ProviderSpec,
    ) -> None:
        """Write another aiq.toml; the database stays."""
        tables = [("[run]", {"concurrency": 4, "max_wait_s": 10.0} | (run or {}))]
        tables += [("[defaults]", defaults or {})]
        tables += [("[[providers]]", {"name": n} | one.keys) for n, one in providers.items()]
        (self.directory / "aiq.toml").write_text("\n".join(_toml(*table) for table in tables))
        self._servers: dict[FaultServer, list[str]] = {}
        for name, one in providers.items():
            if one.server is not None:
                self._servers.setdefault(one.server, []).append(name)

    def settings(self, **overrides: Any) -> Settings:
        """Load the configuration as the command line does."""
        return load(
            overrides=RunOverrides(**overrides),
            environ=self._environ,
            working_directory=self.directory,
        )

    def write(self, lines: Iterable[Any], name: str = "prompts.jsonl") -> str:
        """Write a prompt file and return its path."""
        path = self.directory / name
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return str(path)

    def new_session(
        self, options: RunOptions, *, observer: Observer | None = None, **overrides: Any
    ) -> Session:
        """Build a session as the command line does; `run` is the way to run one."""
        return Session(
            options,
            self.settings(**overrides),
            observer=observer or Recorder(),
            clock=LoopClock(),
            environ=self._environ,
        )

    async def run(
        self,
        lines: Iterable[Any] | None = None,
        *,
        files: Sequence[str] = (),
        flags: Flags | None = None,
        requeue: Requeue | None = None,
        observer: Observer | None = None,
        overrides: dict[str, Any] | None = None,
        aborted: bool = False,
        partial: bool = False,
        **options: Any,
    ) -> RunResult:
        """
        Run one session to its end and check the invariants.

        Args:
            lines: prompts for `prompts.jsonl`, or `files` by their paths, or neither.
            aborted: we give up on requests, so that not each reached its server.
            partial: the run is about a part of the database; its totals are the test's to check.
        """
        given = [self.write(lines)] if lines is not None else list(files)
        self.session = self.new_session(
            RunOptions(
                database=self.database,
                files=tuple(given),
                flags=flags or Flags(),
                requeue=requeue,
                **options,
            ),
            observer=observer or self.recorder,
            **(overrides or {}),
        )
        after = self._last_attempt()
        seen = {server: len(server.ledger) for server in self._servers}
        try:
            result = await self.session.run()
        finally:
            if self.database.exists():
                invariants.check_store(self.database)
        if not partial:
            invariants.check_result(self.database, result.to_json(), after=after)
        for server, names in self._servers.items():
            requests = server.ledger[seen[server] :]
            invariants.check_server(
                self.database, names, requests, after=after, exactly=not aborted
            )
        return result

    def _last_attempt(self) -> int:
        if not self.database.exists():
            return 0
        return int(self.rows("SELECT coalesce(max(id), 0) FROM attempt")[0][0])

    def rows(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Ask the database."""
        return invariants.rows(self.database, sql, *parameters)

    def states(self) -> dict[str, int]:
        """Count the jobs by state."""
        return dict(self.rows("SELECT state, count(*) FROM job GROUP BY state"))

    def attempts(self, job: str) -> list[tuple[str, str]]:
        """Return (provider, kind) of a job's attempts in order."""
        return self.rows(
            "SELECT provider, attempt.kind FROM attempt"
            " JOIN candidate ON candidate.id = candidate_id JOIN job ON job.id = job_id"
            " WHERE job.key = ? ORDER BY number",
            job,
        )

    def failures(self) -> dict[str, str]:
        """Return the kind of each failed job by its id."""
        return dict(self.rows("SELECT key, error_kind FROM job WHERE state = 'failed'"))

    async def export(self, **options: Any) -> bytes:
        """Return what `aiq export` writes to its standard output."""
        return (await self.export_counted(**options))[1]

    async def export_counted(self, **options: Any) -> tuple[Exported, bytes]:
        """Return what an export came to, and what it wrote."""
        stream = io.BytesIO()
        exported = await export(self.database, **_EXPORT | {"stream": stream} | options)
        return exported, stream.getvalue()

    async def exported(self, **options: Any) -> dict[str, dict[str, Any]]:
        """Return the rows of a JSON export by job id."""
        found = [json.loads(line) for line in lines_of(await self.export(**options))]
        by_id = {row.get("custom_id") or row["id"]: row for row in found}
        assert len(by_id) == len(found)
        return by_id


_EXPORT: dict[str, Any] = {
    "batch": None,
    "format": "flat",
    "state": "all",
    "output": None,
    "protect": (),
    "escape_controls": False,
}


def _toml(header: str, keys: dict[str, Any]) -> str:
    return "\n".join([header, *(f"{name} = {_value(value)}" for name, value in keys.items()), ""])


def _value(value: Any) -> str:
    if isinstance(value, dict):
        pairs = (f"{json.dumps(key)} = {_value(one)}" for key, one in value.items())
        return "{ " + ", ".join(pairs) + " }"
    return json.dumps(value)
