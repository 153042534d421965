"""What waits for the store, for a provider or for its reader has a bound, not the size of a run."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from aiq.cli.plain import SilentView
from aiq.model import JobState
from aiq.policy.strategy import Strategy
from aiq.providers import simulated
from aiq.run import line_keys, pool, read_ahead
from aiq.run.feed import Feed
from aiq.run.halt import Halt
from aiq.run.job import Job
from aiq.run.options import RunOptions
from aiq.run.read_ahead import ReadAhead
from aiq.run.waiting import Waiting
from aiq.store import attempts, reading, writer
from aiq.store.db import Database
from aiq.store.opening import open_for_reading
from aiq.store.writer import Write, Writer
from aiq.store.writes import Lease, Reject, apply
from tests.support import factories
from tests.support.factories import candidate, job, lease, settle, write
from tests.support.fault_server import FaultServer
from tests.support.ingesting import ingest, write_lines
from tests.support.reach import reachable
from tests.support.replies import Reply
from tests.support.sessions import Bench, hurried, made_up, prompts, provider

# Read ahead


class Endless(Feed):
    """Pages of five jobs, for ever."""

    def __init__(self) -> None:
        self._read = 0

    @property
    def is_done(self) -> bool:
        return False

    async def read(self) -> list[Job]:
        self._read += 5
        return [job(self._read - n, candidate()) for n in range(5)]


async def read_on(waiting: Waiting) -> None:
    """Let a reader, which is to hold some twenty jobs, read until it has no more room."""
    reader = asyncio.create_task(ReadAhead(Endless(), waiting, Halt(), jobs=20).run())
    for _ in range(200):
        await asyncio.sleep(0)
    reader.cancel()


@pytest.mark.parametrize(("is_blocked", "jobs"), [(False, 20), (True, 20 * 16)])
async def test_no_more_jobs_wait_than_were_asked_for(is_blocked: bool, jobs: int) -> None:
    """While none of them can go it is sixteen times as many."""
    waiting = Waiting(Strategy())
    waiting.is_blocked = is_blocked
    await read_on(waiting)
    assert len(waiting) == jobs


async def test_those_that_back_off_count_as_well() -> None:
    waiting = Waiting(Strategy())
    for number in range(18):
        waiting.back_off(job(number, candidate()), until=100.0 + number)
    await read_on(waiting)
    assert len(waiting) == 18 + 5


async def test_their_lines_have_a_bound_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is exceeded by a page at most."""
    monkeypatch.setattr(read_ahead, "LOOK_AHEAD_BYTES", 701)
    waiting = Waiting(Strategy())
    await read_on(waiting)
    assert waiting.bytes == 1000


# Waiting for the store

LARGE = {"choices": [{"message": {"content": "x" * 4_000}, "finish_reason": "stop"}]}


class Gauge(Writer):
    """A writer that notes how much it holds when more is handed in."""

    def __init__(
        self, *arguments: Any, committed: Callable[[Sequence[Write]], None], **named: Any
    ) -> None:
        super().__init__(*arguments, committed=self._told, **named)
        self._tell = committed
        self._rejects = 0
        self.unsaved_at_leases: list[int] = []
        self.most_rejects = 0
        self.most_bytes = 0

    def _told(self, writes: Sequence[Write]) -> None:
        self._rejects -= sum(type(write) is Reject for write in writes)
        self._tell(writes)

    def submit(self, *writes: Write) -> None:
        super().submit(*writes)
        self._rejects += sum(type(write) is Reject for write in writes)
        self.most_rejects = max(self.most_rejects, self._rejects)
        self.most_bytes = max(self.most_bytes, self.unsaved_bytes)

    def lease(self, *writes: Write) -> asyncio.Future[None]:
        if [type(write) for write in writes] == [Lease]:
            self.unsaved_at_leases.append(self.unsaved_bytes)
        return super().lease(*writes)


@pytest.fixture
def gauges(monkeypatch: pytest.MonkeyPatch) -> list[Gauge]:
    """The writers of the runs to come; before each of their commits others have the connection."""
    made: list[Gauge] = []

    def new_gauge(*arguments: Any, **named: Any) -> Gauge:
        made.append(Gauge(*arguments, **named))
        return made[-1]

    async def apply_late(database: Database, **named: Any) -> None:
        for _ in range(30):
            await database.rows("SELECT 1")
        await apply(database, **named)

    monkeypatch.setattr("aiq.run.sending.Writer", new_gauge)
    monkeypatch.setattr(writer, "apply", apply_late)
    return made


async def test_nothing_is_bought_while_too_much_is_unsaved(
    tmp_path: Path, gauges: list[Gauge], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is in flight then comes on top, and no more."""
    monkeypatch.setattr(pool, "UNSAVED_BYTES", 10_000)
    async with FaultServer(lambda _: Reply.json(LARGE)) as server:
        bench = Bench(tmp_path, a=provider(server), run={"concurrency": 8})
        await bench.run(prompts(100))
    (gauge,) = gauges
    assert bench.states() == {"succeeded": 100}
    assert 10_000 < gauge.most_bytes < 10_000 + 8 * 5_000
    assert max(gauge.unsaved_at_leases) < 10_000


async def test_jobs_that_nobody_takes_wait_for_the_store_too(
    tmp_path: Path, gauges: list[Gauge]
) -> None:
    """They fail without a worker, so that nothing else would hold them back."""
    async with FaultServer() as server:
        bench = Bench(tmp_path, a=provider(server, strict_models=True), run={"concurrency": 2})
        await bench.run([one | {"model": "gone"} for one in prompts(3000)])
    assert bench.states() == {"failed": 3000}
    assert gauges[0].most_rejects <= 256


# The whole of a run


@hurried
async def test_what_a_run_has_at_its_end_does_not_grow_with_its_jobs(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that hangs on the session is counted, after answers, failures and failovers."""
    monkeypatch.setattr(simulated, "FAILURES_KEPT", 20)
    faulty = {"error_rate": 0.3, "latency_ms": 20}
    sizes = []
    for jobs in (700, 1400):
        bench = Bench(
            tmp_path_factory.mktemp("run"),
            run={"concurrency": 32, "strategy": "balanced"},
            a=made_up(**faulty),
            b=made_up(**faulty, seed=1),
        )
        file = bench.write(prompts(jobs))
        options = RunOptions(database=bench.database, files=(file,))
        session = bench.new_session(options, observer=SilentView())
        result = await session.run()
        assert sum(result.counts.values()) == jobs
        gc.collect()
        sizes.append(reachable(session))
    assert sizes[1] - sizes[0] < 200


# Ingest and reading


async def test_repeated_lines_are_counted_up_to_a_number(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line_keys, "ORDINALS_KEPT", 5)
    held: list[int] = []
    count = line_keys.LineKeys._count

    def counted(self: line_keys.LineKeys, first: bytes, ordinal: int) -> None:
        count(self, first, ordinal)
        held.append(len(self._ordinals))

    monkeypatch.setattr(line_keys.LineKeys, "_count", counted)
    lines = [f'"text {n}"' for n in range(50)] * 2
    report = await ingest(database, write_lines(tmp_path / "p.jsonl", *lines))
    assert report.added == 100
    assert max(held) == 5


async def test_scratch_tables_and_sorting_go_to_disk(database: Database) -> None:
    """Two tables hold ids of all jobs, and a SQLite may be built to keep such in memory."""
    reader = await open_for_reading(database.path)
    try:
        for one in (database, reader):
            assert await one.row("PRAGMA temp_store") == (1,)
    finally:
        await reader.close()
    assert await database.row("PRAGMA cache_size") == (-64 * 1024,)


async def test_an_export_reads_pages_of_so_many_jobs_and_bytes(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One job at least, however large."""
    monkeypatch.setattr(reading, "EXPORT_PAGE", 4)
    monkeypatch.setattr(reading, "EXPORT_BYTES", 1000)
    sizes = [10, 10, 10, 10, 10, 400, 400, 400, 5000, 10]
    ids = await factories.seed(database, [str(n) for n in range(len(sizes))])
    for job_id, size in zip(ids, sizes, strict=True):
        await write(database, lease(job_id, job_id))
        await write(database, settle(job_id, job_id, JobState.SUCCEEDED, body=b"x" * size))
    pages = [len(page) async for page in reading.finished_jobs(database, 1, [JobState.SUCCEEDED])]
    assert pages == [4, 3, 1, 1, 1]


async def test_figures_of_the_past_are_groups(database: Database) -> None:
    """Failures by kind and provider, whatever their words, latencies by their first digits."""
    ids = await factories.seed(database, [str(n) for n in range(600)])
    for job_id in ids:
        await write(database, lease(job_id, job_id))
    ends = [
        settle(
            job_id,
            job_id,
            JobState.FAILED if job_id % 2 else JobState.SUCCEEDED,
            latency_us=100_000 + 10 * job_id,
            message=f"no {job_id}",
        )
        for job_id in ids
    ]
    await write(database, *ends)
    assert [one.count for one in await attempts.failures(database)] == [300]
    assert len(await attempts.sums(database)) == 2
    latencies = [ms for _, ms, _ in await attempts.latencies(database)]
    assert latencies == [100.0, 101.0, 102.0, 103.0, 104.0, 105.0, 106.0]
