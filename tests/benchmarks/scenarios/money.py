"""Accounts that run out of credit, and a budget that is not exceeded."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

from aiq.errors import ExitCode
from aiq.model import JobState
from tests.benchmarks.measured import Row, at_least, at_most, exactly
from tests.benchmarks.scenarios.fleet_figures import all_succeeded
from tests.support.replies import Reply
from tests.support.scripted_fleet import ScriptedFleet, always, scripted_fleet, steady
from tests.support.sessions import prompts

OUT_OF_CREDIT = {
    "429 code": Reply.error(429, code="insufficient_quota"),
    "402": Reply.error(402),
    "400 text": Reply.error(400, message="Your credit balance is too low to access the API"),
    "per day": Reply.error(429, message="quota metric GenerateRequestsPerDayPerModel exceeded"),
}


async def out_of_credit(directory: Path) -> list[Row]:
    """In each of its forms, with another provider left and without."""
    rows = []
    for form, reply in OUT_OF_CREDIT.items():
        late = always(Reply(status=reply.status, body=reply.body, delay_s=0.05))
        for tempers in ({"a": late}, {"a": late, "b": steady()}):
            where = directory / f"{form} {len(tempers)}"
            async with scripted_fleet(where, tempers, run={"concurrency": 32}) as fleet:
                result = await fleet.bench.run(prompts(300))
                calls = len(fleet["a"].calls)
                in_flight = max(call.in_flight for call in fleet["a"].calls)
            rows.append(exactly(f"{form}: calls to it, those in flight", in_flight, calls))
            if len(tempers) > 1:
                rows.append(all_succeeded(result))
            else:
                end = (result.exit_code, result.count(JobState.PENDING), bool(result.message))
                want = (ExitCode.NO_PROVIDER, 300, True)
                rows.append(exactly(f"{form}: exit, pending, advice", want, end))
    return rows


async def budget(directory: Path) -> list[Row]:
    """The cost of 300 answers for 1,000 jobs, with three restarts in between."""
    one_nano = 10 * 1000 + 40 * 2000
    answer = always(Reply.chat("text", usage=(10, 40), delay_s=0.05))
    rows: list[Row] = []
    run = {"concurrency": 100, "budget_usd": 300 * one_nano / 1e9}
    keys = {"a": {"max_tokens": 256}}
    async with scripted_fleet(directory, {"a": answer}, run=run, keys=keys) as fleet:
        for stop_at in (60, 120, 180):
            running = asyncio.create_task(fleet.bench.run(prompts(1000)))
            await fleet.servers["a"].seen(stop_at)
            signal.raise_signal(signal.SIGTERM)
            rows.append(exactly("a restart", ExitCode.SIGTERM, (await running).exit_code))
        result = await fleet.bench.run(prompts(1000))
        bought = fleet.good()
        rows += [
            exactly("exit", ExitCode.BUDGET, result.exit_code),
            at_most(
                "spent and possibly paid, of what 300 answers cost", 300, _taken(fleet) / one_nano
            ),
            at_least("answers bought", 270, bought),
            exactly("the ledger's sum", bought * one_nano, _taken(fleet)),
        ]
        more = {"budget_usd": 1100 * one_nano / 1e9}
        result = await fleet.bench.run(prompts(1000), overrides=more)
        rows += [
            exactly("exit with a higher budget", ExitCode.OK, result.exit_code),
            exactly("the ledger's sum then", 1000 * one_nano, _taken(fleet)),
        ]
    return rows


def _taken(fleet: ScriptedFleet) -> int:
    """Return nano-dollars spent or possibly paid."""
    [(nano,)] = fleet.bench.rows(
        "SELECT sum(CASE billed WHEN 'maybe' THEN bound_nano ELSE cost_nano END) FROM attempt"
    )
    return int(nano)
