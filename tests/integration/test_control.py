"""What an operator tells a run: in force at once, written down, and undone as it was done."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from aiq.errors import ExitCode, Refused
from aiq.policy.control import (
    Disable,
    Enable,
    Pause,
    Reset,
    Resume,
    SetBudget,
    SetConcurrency,
    Stop,
)
from aiq.policy.standing import Status as Condition
from aiq.run.protocol import Status
from tests.support.fault_server import FaultServer
from tests.support.operating import bench_has, going, recorded, told
from tests.support.replies import Reply, Seen
from tests.support.sessions import Bench, hurried, prompts, provider

QUICK = Reply(delay_s=0.005)


def asked(server: FaultServer, numbers: Iterable[int]) -> list[str]:
    return [server.ledger[number].prompt for number in numbers]


async def test_a_paused_run_sends_nothing_and_goes_on_where_it_was(tmp_path: Path) -> None:
    """What is in flight is answered; the pause is no reason to end, nor to fail anything."""
    async with FaultServer(QUICK) as server:
        bench = Bench(tmp_path, a=provider(server))
        async with going(bench, prompts(60)) as running:
            await server.seen(10)
            await told(bench, Pause())
            await server.idle()
            count = len(server.ledger)
            for _ in range(5):  # each goes through the run's own loop and its database
                assert (await told(bench, Pause())).said == "the run is paused already"
                await told(bench, SetConcurrency(3))
                await told(bench, SetConcurrency(4))
            assert len(server.ledger) == count
            report = (await told(bench, Status())).report
            assert report is not None
            assert (report.phase, report.in_flight) == ("paused", 0)
            await told(bench, Resume())
            result = await running
        assert result.exit_code is ExitCode.OK
        assert bench.states() == {"succeeded": 60}
        assert len(server.ledger) == 60
        assert recorded(bench)[0] == ("pause", None)
        assert recorded(bench)[-1] == ("resume", None)


@hurried
async def test_a_pause_is_not_what_max_wait_counts(tmp_path: Path) -> None:
    """A person takes as long as he likes: only time in which the run might have sent counts."""
    async with FaultServer(lambda seen: Reply.error(500) if seen.number == 1 else None) as server:
        bench = Bench(tmp_path, a=provider(server), run={"max_wait_s": 2.0, "concurrency": 1})
        async with going(bench, prompts(3)) as running:
            await server.answered(1)
            await told(bench, Pause())
            assert bench.session is not None
            await bench.session._clock.sleep(30.0)
            await told(bench, Resume())
            assert (await running).exit_code is ExitCode.OK


async def test_a_lower_concurrency_lets_what_is_in_flight_finish(tmp_path: Path) -> None:
    """From then on no request finds more than that in flight; a higher one holds at once too."""
    async with FaultServer(QUICK) as server:
        bench = Bench(tmp_path, a=provider(server, adaptive=False), run={"concurrency": 16})
        async with going(bench, prompts(400)):
            await server.seen(40)
            await told(bench, SetConcurrency(2))
            first = len(server.ledger) + 16
            await server.seen(first + 40)
            lowered = server.ledger[first:]
            assert max(seen.in_flight for seen in lowered) <= 2
            before = len(server.ledger)
            await told(bench, SetConcurrency(16))
            await server.seen(before + 100)
            assert max(seen.in_flight for seen in server.ledger[before:]) > 2
            with pytest.raises(Refused, match="1 to 16, not 17"):
                await told(bench, SetConcurrency(17))


async def test_a_retry_at_once_needs_a_place_too(tmp_path: Path) -> None:
    """A worker that is too many does not go on with the job that nobody could be asked."""
    patient = {"connects_in_a_row": 1000, "first_bad": 1000, "min_calls": 1000}
    patient["window_calls"] = 2000
    async with FaultServer(QUICK) as good:
        bench = Bench(
            tmp_path,
            a=provider("http://127.0.0.1:9/v1", adaptive=False, breaker=patient),
            b=provider(good, adaptive=False),
            run={"concurrency": 16},
        )
        async with going(bench, prompts(200)):
            await good.seen(20)
            await told(bench, SetConcurrency(1))
            before = len(good.ledger) + 16
            await good.seen(before + 20)
            assert max(seen.in_flight for seen in good.ledger[before:]) <= 1


async def test_a_disabled_provider_gets_nothing_more_and_the_next_one_all(tmp_path: Path) -> None:
    async with FaultServer(QUICK) as a, FaultServer(QUICK) as b:
        bench = Bench(tmp_path, a=provider(a), b=provider(b))
        async with going(bench, prompts(300)) as running:
            await a.seen(20)
            await told(bench, Disable("a"))
            await a.idle()
            count = len(a.ledger)
            await b.seen(50)
            assert len(a.ledger) == count
            assert bench.rows("SELECT status, reason FROM provider_state WHERE provider = 'a'") == [
                ("disabled", "by you")
            ]
            await told(bench, Enable("a"))
            await a.seen(count + 20)
            result = await running
        assert result.exit_code is ExitCode.OK
        assert recorded(bench) == [("disable", "a"), ("enable", "a")]


async def test_with_nobody_left_but_who_is_disabled_jobs_wait(tmp_path: Path) -> None:
    """The run does not end: whoever disabled the last one is there to enable him."""
    async with FaultServer(QUICK) as a:
        bench = Bench(tmp_path, a=provider(a), run={"max_wait_s": 0.01})
        async with going(bench, prompts(60)) as running:
            await a.seen(10)
            said = (await told(bench, Disable("a"))).said
            assert "so all jobs wait" in said
            await a.idle()
            report = (await told(bench, Status())).report
            assert report is not None
            assert report.providers[0].status == Condition.DISABLED
            assert not running.done()
            await told(bench, Enable("a"))
            assert (await running).exit_code is ExitCode.OK


async def test_a_later_run_keeps_to_it_and_says_so(tmp_path: Path) -> None:
    """Until it is enabled; and with nobody else, the run ends and says what to do."""
    async with FaultServer(QUICK) as a, FaultServer(QUICK) as b:
        bench = Bench(tmp_path, a=provider(a), b=provider(b))
        async with going(bench, prompts(100)):
            await a.seen(5)
            await told(bench, Disable("a"))
            await told(bench, Stop())
        count = len(a.ledger)
        result = await bench.run(limit=10)
        assert (result.exit_code, len(a.ledger)) == (ExitCode.OK, count)
        assert bench.recorder.plans[-1].disabled == {"a"}
        bench.configure(a=provider(a))
        result = await bench.run()
        assert result.exit_code is ExitCode.NO_PROVIDER
        assert "a: disabled by you, in an earlier run" in (result.message or "")
        assert len(a.ledger) == count
        bench.configure(a=provider(a), b=provider(b))
        async with going(bench) as running:
            await b.seen(len(b.ledger) + 5)
            await told(bench, Enable("a"))
            await a.seen(count + 5)
            assert (await running).exit_code is ExitCode.OK


async def test_stop_is_what_the_first_sigint_does(tmp_path: Path) -> None:
    async with FaultServer(QUICK) as server:
        bench = Bench(tmp_path, a=provider(server))
        async with going(bench, prompts(500)) as running:
            await server.seen(10)
            await told(bench, Stop())
            with pytest.raises(Refused, match="stopping"):
                await told(bench, Pause())
            result = await running
        assert result.exit_code is ExitCode.SIGINT
        assert bench.states().get("running") is None
        assert recorded(bench) == [("stop", None)]


def scarce(seen: Seen) -> Reply:
    """Refuse the key once, then know it."""
    return Reply.error(401) if seen.number == 1 else QUICK


async def test_enable_does_not_undo_what_a_provider_did_and_reset_does(tmp_path: Path) -> None:
    async with FaultServer(scarce) as a, FaultServer(QUICK) as b:
        bench = Bench(tmp_path, a=provider(a), b=provider(b), run={"concurrency": 1})
        async with going(bench, prompts(300)) as running:
            await b.seen(5)
            with pytest.raises(Refused, match="stays out for another reason: auth"):
                await told(bench, Enable("a"))
            assert len(a.ledger) == 1
            await told(bench, Reset("a"))
            await a.seen(10)
            assert (await running).exit_code is ExitCode.OK


async def test_a_reset_brings_back_jobs_that_nobody_else_could_take(tmp_path: Path) -> None:
    """They had left memory when their provider's key was refused."""
    gate = asyncio.Event()
    async with FaultServer(scarce) as a, FaultServer(Reply(until=gate)) as b:
        bench = Bench(
            tmp_path,
            a=provider(a, model="x", strict_models=True),
            b=provider(b, model="y", strict_models=True),
        )
        lines = [{"id": "x", "model": "x", "prompt": "x"}, {"id": "y", "model": "y", "prompt": "y"}]
        async with going(bench, lines) as running:
            await b.seen(1)
            await a.answered(1)
            await bench_has(bench, "SELECT 1 FROM attempt WHERE kind = 'auth'")
            await told(bench, Reset("a"))
            await a.seen(2)
            await told(bench, Reset("a"))
            gate.set()
            assert (await running).exit_code is ExitCode.OK
        assert bench.states() == {"succeeded": 2}
        assert (len(a.ledger), len(b.ledger)) == (2, 1)


async def test_a_reset_ends_a_cooldown_also_for_the_next_run(tmp_path: Path) -> None:
    """An hour that the server asked for is not served when a person knows better."""

    def script(seen: Seen) -> Reply:
        return Reply.error(429, headers={"retry-after": "3000"}) if seen.number == 1 else QUICK

    async with FaultServer(script) as a:
        bench = Bench(tmp_path, a=provider(a), run={"max_wait_s": 600.0})
        async with going(bench, prompts(40)) as running:
            await a.answered(1)
            await bench_has(bench, "SELECT 1 FROM cooldown WHERE until > noted_at + 1000000")
            await told(bench, Reset("a"))
            assert (await running).exit_code is ExitCode.OK
        assert bench.rows("SELECT until - noted_at FROM cooldown") == [(0,)]


PRICED: dict[str, Any] = {"price": {"input": 0.0, "output": 10.0}, "max_tokens": 100}
BOUND_NANO = 100 * 10_000
"""The worst case of a request at that price."""


async def test_a_budget_that_is_set_holds_at_once(tmp_path: Path) -> None:
    """Reached, the run ends with 4; what it took is what all attempts ever took."""
    async with FaultServer(QUICK) as server:
        bench = Bench(tmp_path, a=provider(server, **PRICED), run={"concurrency": 2})
        await bench.run(prompts(400), limit=20)
        [(before,)] = bench.rows("SELECT sum(cost_nano) FROM attempt")
        async with going(bench, partial=True) as running:
            await server.seen(40)
            limit = before + 100 * before // 20 + BOUND_NANO
            said = (await told(bench, SetBudget(limit))).said
            assert "of it left" in said
            result = await running
        assert result.exit_code is ExitCode.BUDGET
        [(spent,)] = bench.rows("SELECT sum(cost_nano) FROM attempt")
        assert limit - 2 * BOUND_NANO < spent <= limit
        assert result.budget.committed_nano == spent


async def test_a_budget_below_what_was_spent_is_reached(tmp_path: Path) -> None:
    async with FaultServer(QUICK) as server:
        bench = Bench(tmp_path, a=provider(server, **PRICED), run={"concurrency": 2})
        async with going(bench, prompts(400)) as running:
            await server.answered(20)
            assert "it is reached" in (await told(bench, SetBudget(5))).said
            assert (await running).exit_code is ExitCode.BUDGET
        assert bench.states()["pending"] > 100


async def test_a_paused_run_that_has_no_budget_left_waits_for_a_higher_one(tmp_path: Path) -> None:
    async with FaultServer(QUICK) as server:
        bench = Bench(tmp_path, a=provider(server, **PRICED), run={"concurrency": 2})
        async with going(bench, prompts(200)) as running:
            await server.answered(20)
            await told(bench, Pause())
            await told(bench, SetBudget(5))
            await server.idle()
            await told(bench, SetBudget(10**9))
            await told(bench, SetBudget(None))
            await told(bench, Resume())
            assert (await running).exit_code is ExitCode.OK


async def test_a_budget_that_cannot_bound_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    async with FaultServer(QUICK) as server:
        bench = Bench(tmp_path, a=provider(server))
        async with going(bench, prompts(100)) as running:
            await server.seen(5)
            with pytest.raises(Refused, match="lets answers grow without a cap"):
                await told(bench, SetBudget(10**9))
            result = await running
        assert result.exit_code is ExitCode.OK
        assert result.budget.limit_nano is None
        assert recorded(bench) == []


async def test_a_budget_that_is_set_leaves_jobs_to_those_that_it_can_bound(tmp_path: Path) -> None:
    """Jobs that were read before it came know a provider whose price nobody knows."""
    gate = asyncio.Event()
    async with FaultServer(Reply(until=gate)) as a, FaultServer(QUICK) as b:
        bench = Bench(
            tmp_path,
            a=provider(a, model=None, models={"m": "unheard-of"}, price=None, max_tokens=100),
            b=provider(b, **PRICED),
            run={"concurrency": 2},
        )
        async with going(bench, [one | {"model": "m"} for one in prompts(20)]) as running:
            await a.seen(2)
            await told(bench, SetBudget(10**9))
            gate.set()
            assert (await running).exit_code is ExitCode.OK
        assert bench.states() == {"succeeded": 20}
        assert (len(a.ledger), len(b.ledger)) == (2, 18)
