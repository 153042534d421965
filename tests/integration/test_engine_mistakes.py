"""What goes wrong inside of the engine itself: it ends, and keeps what was paid."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from aiq.errors import StoreError
from aiq.run.attempt import Sender
from aiq.run.feed import Feed
from tests.support.fault_server import FaultServer
from tests.support.replies import Reply, Seen
from tests.support.sessions import Bench, prompts, provider


async def test_a_mistake_in_one_worker_ends_the_run_after_what_is_in_flight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answers that are on their way are paid, and are stored before the run ends."""
    gate = asyncio.Event()
    send = Sender.send

    async def sometimes(self: Sender, provider: object, request: object, *rest: object) -> object:
        if "p7" in str(request):
            await server.seen(7)
            gate.set()
            raise LookupError("a mistake")
        return await send(self, provider, request, *rest)  # type: ignore[arg-type]

    def script(_seen: Seen) -> Reply:
        return Reply(until=gate, delay_s=0.1)

    monkeypatch.setattr(Sender, "send", sometimes)
    async with FaultServer(script) as server, asyncio.timeout(20):
        bench = Bench(tmp_path, a=provider(server), run={"concurrency": 8})
        with pytest.raises(LookupError):
            await bench.run(prompts(30))
        assert bench.states() == {"succeeded": 7, "pending": 23}
        assert bench.rows("SELECT kind, billed, count(*) FROM attempt GROUP BY kind, billed") == [
            ("cancelled", "maybe", 1),
            ("ok", "yes", 7),
        ]


async def test_a_database_that_cannot_be_read_on_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading ahead fails while answers are on their way; they are stored, and the run says so."""
    gate, reads = asyncio.Event(), 0
    read = Feed.read

    async def twice(self: Feed) -> object:
        nonlocal reads
        reads += 1
        if reads > 1:
            await server.seen(8)
            gate.set()
            raise StoreError("database disk image is malformed")
        return await read(self)

    def script(_seen: Seen) -> Reply:
        return Reply(until=gate, delay_s=0.1)

    monkeypatch.setattr(Feed, "read", twice)
    async with FaultServer(script) as server, asyncio.timeout(20):
        bench = Bench(tmp_path, a=provider(server), run={"concurrency": 8})
        with pytest.raises(StoreError, match="malformed"):
            await bench.run(prompts(600))
        assert bench.states()["succeeded"] == len(server.ledger)
