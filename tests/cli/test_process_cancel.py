"""`aiq cancel` and `retry-failed` beside a run in another process, and without one."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Aiq
from tests.support.fault_server import FaultServer
from tests.support.invariants import check_store
from tests.support.ledger import prompts, states
from tests.support.process import Workplace
from tests.support.replies import Reply, Seen

SLOW = Reply(delay_s=0.25)
RULES = {"concurrency": 40}
"""At most 160 answers a second, so that a run outlasts the commands that it gets."""
MANY = 1200


async def test_cancel_beside_a_run(tmp_path: Path) -> None:
    """The run ends well with what it had in flight, and `retry-failed` brings the rest back."""
    async with FaultServer(SLOW) as server, Workplace(tmp_path, a=server, run=RULES) as place:
        running = await place.start("run", place.write(prompts(MANY)))
        await server.seen(100)
        cancelled = await (await place.start("cancel", "p1190", "p1191")).ended()
        assert cancelled.code == 0
        assert cancelled.text.startswith("2 jobs cancelled\nundo")
        told = (await (await place.start("cancel", "p", "--json")).ended()).json()
        ended = await running.ended()
        count = len(server.ledger)
        assert ended.code == 0
        assert f"{MANY - count:,} cancelled" in ended.text
        assert (told["cancelled"], told["before"]) == (MANY - count - 2, 2)
        assert states(place.db) == {"succeeded": count, "cancelled": MANY - count}
        again = await (await place.start("run", "p.jsonl")).ended()
        assert (again.code, len(server.ledger)) == (0, count)
        back = await (await place.start("retry-failed", "--kind", "cancelled", "--no-run")).ended()
        assert back.code == 0
        assert states(place.db) == {"succeeded": count, "pending": MANY - count}
        check_store(place.db)


def first_fails(seen: Seen) -> Reply:
    """Refuse at first every prompt that ends in 7."""
    return Reply.error(400) if seen.nth == 1 and seen.prompt.endswith("7") else SLOW


async def test_retry_failed_beside_a_run(tmp_path: Path) -> None:
    """The run takes them; what would say how is refused, because that is its own matter."""
    async with (
        FaultServer(first_fails) as server,
        Workplace(tmp_path, a=server, run=RULES) as place,
    ):
        running = await place.start("run", place.write(prompts(MANY)))
        await server.answered(100)
        refused = await (await place.start("retry-failed", "--budget", "5", "-m", "x")).ended()
        assert refused.code == 2
        assert "without `--model`, `--budget`" in refused.text
        put_back = await (await place.start("retry-failed", "p", "--kind", "bad_request")).ended()
        assert put_back.code == 0
        assert "put back, the run at work takes them" in put_back.text
        ended = await running.ended()
        assert "note: `aiq retry-failed`:" in ended.text
        assert ended.code == 1
        assert len(server.ledger) > MANY
        final = await (await place.start("retry-failed")).ended()
        assert final.code == 0
        assert states(place.db) == {"succeeded": MANY}
        check_store(place.db)


def test_cancel_without_a_run(aiq: Aiq) -> None:
    missing = aiq("cancel", "prompts")
    assert (missing.exit_code, "no database" in missing.stderr) == (2, True)
    aiq("run", "prompts.jsonl", "-p", "quick", "--limit", "1")
    for words, said in (
        (["nothing"], "no batch and no job `nothing`"),
        (["prompts", "--batch", "prompts"], "no job `prompts` in batch `prompts`"),
    ):
        ended = aiq("cancel", *words)
        assert (ended.exit_code, said in ended.stderr) == (2, True)
    ended = aiq("cancel", "prompts")
    assert ended.stderr.startswith("2 jobs cancelled, 1 had ended already\nundo")
    ended = aiq("cancel", "prompts")
    assert ended.stderr == "0 jobs cancelled, 1 had ended already, 2 were cancelled before\n"
