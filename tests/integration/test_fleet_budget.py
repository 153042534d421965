"""A budget over real sockets: never exceeded, nearly used up, indifferent to restarts."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from aiq.errors import ExitCode
from tests.support.replies import Reply, Seen
from tests.support.scripted_fleet import ScriptedFleet, Temper, always, scripted_fleet
from tests.support.sessions import hurried, prompts

USAGE = (10, 40)
ANSWER_NANO = 10 * 1000 + 40 * 2000
ANSWER = Reply.chat("text", usage=USAGE, delay_s=0.1)
CAPPED = {"a": {"max_tokens": 256}}


def limit(answers: int) -> dict[str, float]:
    return {"budget_usd": answers * ANSWER_NANO / 1e9}


def taken(fleet: ScriptedFleet) -> int:
    """Return nano-dollars spent or possibly paid."""
    [(nano,)] = fleet.bench.rows(
        "SELECT coalesce(sum(CASE billed WHEN 'maybe' THEN bound_nano ELSE cost_nano END), 0)"
        " FROM attempt"
    )
    return int(nano)


@hurried
@pytest.mark.parametrize("stops", [(), (10, 25, 40)], ids=["in one go", "with three restarts"])
async def test_a_budget_buys_nearly_what_it_is_worth(
    tmp_path: Path, stops: tuple[int, ...]
) -> None:
    """The cost of 60 answers buys at least 54 of 200, whatever happens in between."""
    run = {"concurrency": 30} | limit(60)
    async with scripted_fleet(tmp_path, {"a": always(ANSWER)}, run=run, keys=CAPPED) as fleet:
        for stop_at in stops:
            running = asyncio.create_task(fleet.bench.run(prompts(200)))
            await fleet.servers["a"].seen(stop_at)
            signal.raise_signal(signal.SIGTERM)
            assert (await running).exit_code in (ExitCode.SIGTERM, ExitCode.BUDGET)
            assert taken(fleet) <= 60 * ANSWER_NANO
        result = await fleet.bench.run(prompts(200))
        assert result.exit_code is ExitCode.BUDGET
        bought = fleet.good()
        assert 54 <= bought <= 60
        assert taken(fleet) == bought * ANSWER_NANO
        assert fleet.bench.states() == {"succeeded": bought, "pending": 200 - bought}

        result = await fleet.bench.run(prompts(200), overrides=limit(220))
        assert result.exit_code is ExitCode.OK
        assert taken(fleet) == 200 * ANSWER_NANO


@hurried
async def test_what_was_possibly_paid_is_not_spent_twice(tmp_path: Path) -> None:
    """Every tenth reply is lost on the way; the worst that it can have cost stays set aside."""

    def losing(_at: float, seen: Seen) -> Reply:
        return Reply.reset(delay_s=0.1) if seen.number % 10 == 0 else ANSWER

    tempers: dict[str, Temper] = {"a": losing}
    run = {"concurrency": 30} | limit(60)
    async with scripted_fleet(tmp_path, tempers, run=run, keys=CAPPED) as fleet:
        result = await fleet.bench.run(prompts(200))
        assert result.exit_code is ExitCode.BUDGET
        told = result.to_json()
        assert told["possibly_paid"]["requests"] == fleet["a"].bad() > 0
        assert fleet.good() * ANSWER_NANO < taken(fleet) <= 60 * ANSWER_NANO
        assert told["cost_total_usd"] == fleet.good() * ANSWER_NANO / 1e9


@hurried
async def test_a_reply_dearer_than_its_worst_case_ends_all_sending(tmp_path: Path) -> None:
    """What was promised cannot be kept any more: the run stops, and says whose reply it was."""

    def dear(_at: float, seen: Seen) -> Reply:
        return Reply.chat("text", usage=(10, 100_000)) if seen.number == 3 else ANSWER

    tempers: dict[str, Temper] = {"a": dear}
    run = {"concurrency": 2} | limit(10_000)
    async with scripted_fleet(tmp_path, tempers, run=run, keys=CAPPED) as fleet:
        result = await fleet.bench.run(prompts(50))
        assert result.exit_code is ExitCode.BUDGET
        assert result.message == "a reply of a cost more than the worst case allows"
        assert len(fleet.servers["a"].ledger) <= 4
