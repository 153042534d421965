"""A run that may open fewer files than it was told to have requests in flight."""

from __future__ import annotations

from pathlib import Path

from tests.support.fault_server import FaultServer
from tests.support.invariants import check_store, rows
from tests.support.ledger import prompts
from tests.support.process import Workplace
from tests.support.replies import Reply

JOBS = 90


async def test_too_few_open_files_cost_no_request(tmp_path: Path) -> None:
    """The concurrency is lowered to what they allow, and the run says so."""
    async with FaultServer(Reply.answer(delay_s=0.05)) as server:
        provider = {"base_url": server.url, "adaptive": False}
        async with Workplace(tmp_path, a=provider, run={"concurrency": JOBS}) as place:
            file = place.write(prompts(JOBS))
            ended = await place.run("run", file, shell='ulimit -n 70; exec "$@"')
        assert (ended.code, len(server.ledger)) == (0, JOBS)
        assert server.in_flight_max <= 17
    assert "only 70 files may be open: concurrency is 17 instead of 90" in ended.text
    assert rows(place.db, "SELECT DISTINCT kind FROM attempt") == [("ok",)]
    check_store(place.db, lines=JOBS)
