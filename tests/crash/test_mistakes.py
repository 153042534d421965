"""A mistake of ours in the middle of a run: it is confessed, and costs no answer."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.crash.ordeal import Ordeal, check
from tests.support.fault_server import FaultServer
from tests.support.ledger import prompts, states
from tests.support.process import Workplace
from tests.support.replies import Reply, Seen
from tests.support.shims import shim

STUMBLES = """
import sys
from aiq.run.attempt import Sender
read = Sender._read
def broken(self, provider, request, response, **more):
    if b'"echo: p7"' in response.content:
        print("stumbled", file=sys.stderr, flush=True)
        raise LookupError("the canary sings")
    return read(self, provider, request, response, **more)
Sender._read = broken
"""
"""One worker raises over one answer."""


async def test_a_worker_that_raises_ends_the_run_after_what_is_in_flight(tmp_path: Path) -> None:
    """The pool does not shrink in silence: nothing new is sent, and what was bought is stored."""
    opened = asyncio.Event()

    def script(seen: Seen) -> Reply | None:
        return None if seen.prompt == "p7" else Reply(until=opened)

    async with FaultServer(script) as server, Workplace(tmp_path, a=server) as place:
        ordeal = Ordeal(place, server, prompts(60))
        running = await ordeal.start(env=shim(place, STUMBLES))
        await server.seen(16)
        await running.says("stumbled")
        opened.set()
        ended = await ordeal.struck(running, given_up=1)
        assert ended.code == 70
        assert "error: this is a bug in aiq: LookupError: the canary sings" in ended.text
        assert "what is stored is safe" in ended.text
        assert "Traceback" not in ended.text
        assert f"resume   aiq run {ordeal.file}" in ended.text
        assert len(server.ledger) == 16
        assert states(place.db) == {"succeeded": 15, "pending": 45}
        found = await ordeal.finish()
        check(found)
        assert (found.possibly_paid, found.seen_twice) == (1, 1)
