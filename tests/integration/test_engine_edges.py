"""Where the engine's rules meet: patience, what is in flight, budgets, odd jobs, bad trials."""

from __future__ import annotations

import asyncio
import selectors
from pathlib import Path
from typing import Any

from aiq.errors import ExitCode
from aiq.run.request import Flags
from tests.support.fault_server import FaultServer
from tests.support.replies import Reply
from tests.support.sessions import Bench, batch_line, hurried, prompts, provider


class CountingSelector(selectors.DefaultSelector):
    """Counts the turns of its loop."""

    turns = 0

    def select(self, timeout: float | None = None) -> Any:
        self.turns += 1
        return super().select(timeout)


def test_a_run_out_of_patience_sleeps_until_what_is_in_flight_has_ended(tmp_path: Path) -> None:
    """Nothing may start any more, so the instant at which something could have is no alarm."""

    async def run() -> None:
        replies = [Reply(delay_s=1.0), *[Reply.error(429, headers={"retry-after": "1"})] * 9]
        async with FaultServer(replies) as server:
            bench = Bench(tmp_path, a=provider(server), run={"max_wait_s": 0.2})
            await bench.run(prompts(8))

    selector = CountingSelector()
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selector)) as runner:
        runner.run(run())
    assert selector.turns < 2000


async def test_one_job_that_no_budget_can_bound_does_not_stop_the_others(tmp_path: Path) -> None:
    """It stays pending, and the run says why; the budget is not what was reached."""
    async with FaultServer() as server:
        bench = Bench(tmp_path, a=provider(server), run={"budget_usd": 10.0})
        odd = batch_line("odd", "/v1/completions", {"prompt": "no cap"})
        result = await bench.run([odd, *prompts(9)], flags=Flags(params={"max_tokens": 50}))
        assert result.exit_code is ExitCode.NO_PROVIDER
        assert "a budget cannot bound a request for `m` to a" in (result.message or "")
        assert bench.states() == {"succeeded": 9, "pending": 1}


async def test_a_model_without_a_price_is_not_the_job_s_fault(tmp_path: Path) -> None:
    """Under a budget nobody is asked, and nothing fails: without one it could be done."""
    async with FaultServer() as server:
        url = "https://api.openai.com/v1"
        priced = provider(server, base_url=url, price=None, model="gpt-4.1-mini", max_tokens=9)
        bench = Bench(tmp_path, a=priced, run={"budget_usd": 10.0})
        result = await bench.run([{"id": "1", "prompt": "x", "model": "nobody-knows"}])
        assert result.exit_code is ExitCode.NO_PROVIDER
        assert bench.states() == {"pending": 1}


@hurried
async def test_a_trial_of_unknown_outcome_is_not_repeated_if_the_user_forbids_it(
    tmp_path: Path,
) -> None:
    """A bad trial excuses its job, but nobody may pay twice who said so."""
    replies = [*[Reply.error(500)] * 5, *[Reply.reset()] * 20]
    async with FaultServer(replies) as server:
        run = {"concurrency": 1, "on_unknown": "fail", "max_wait_s": 60.0}
        bench = Bench(tmp_path, a=provider(server), run=run)
        await bench.run(prompts(2))
        asked = bench.rows(
            "SELECT job_id, count(*) FROM attempt WHERE billed = 'maybe' AND flags & 4"
            " GROUP BY job_id HAVING count(*) > 1"
        )
        assert asked == []
        assert bench.rows("SELECT count(*) FROM attempt WHERE kind = 'interrupted'")[0][0] >= 1


@hurried
async def test_trials_are_not_all_made_with_one_job(tmp_path: Path) -> None:
    """A bad trial is not held against its job, so one job could be asked for all of them."""
    async with FaultServer([Reply.error(500)] * 45) as server:
        run = {"concurrency": 1, "max_wait_s": 60.0}
        bench = Bench(tmp_path, a=provider(server), run=run)
        await bench.run(prompts(40))
        trials = bench.rows("SELECT job_id, count(*) FROM attempt WHERE flags & 4 GROUP BY job_id")
        asked = [count for _, count in trials]
        assert sum(asked) >= 5
        assert len(asked) >= 2
        assert max(asked) <= 0.75 * sum(asked)


@hurried
async def test_jobs_behind_those_of_a_sick_provider_are_reached(tmp_path: Path) -> None:
    """3,000 prompts for a model that has to wait do not keep 50 for another one from theirs."""
    tired = Reply.error(429, headers={"retry-after": "30"})
    async with FaultServer(tired) as sick, FaultServer() as well:
        bench = Bench(
            tmp_path,
            run={"concurrency": 8, "max_wait_s": 5},
            a=provider(sick, model="x", strict_models=True),
            b=provider(well, model="y", strict_models=True),
        )
        named = [("x", 3000), ("y", 50)]
        lines = [
            {"id": f"{model}{n}", "prompt": f"{model}{n}", "model": model}
            for model, count in named
            for n in range(count)
        ]
        result = await bench.run(lines)
    assert result.exit_code is ExitCode.NO_PROVIDER
    assert bench.states() == {"pending": 3000, "succeeded": 50}
