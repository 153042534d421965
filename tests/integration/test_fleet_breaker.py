"""Providers that fail, die, flap and slow down: what reaches them, and what becomes of the jobs."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path

import pytest

from aiq.errors import ExitCode
from aiq.model import JobState
from tests.support.replies import Reply, Seen
from tests.support.scripted_fleet import (
    ScriptedFleet,
    Temper,
    always,
    at_times,
    failing,
    faulty,
    scripted_fleet,
    steady,
)
from tests.support.sessions import at_speed, hurried, prompts

SIXTEEN = {"concurrency": 16}

TO_NOTICE = 6
"""A row of bad calls after many good ones is taken for a death at the fifth or sixth."""


def held_back(fleet: ScriptedFleet) -> int:
    """Count the attempts that were taken back, because a breaker had opened."""
    return int(fleet.bench.rows("SELECT count(*) FROM attempt WHERE kind = 'cancelled'")[0][0])


@hurried
async def test_half_open_lets_one_through_then_three(tmp_path: Path) -> None:
    """Fifty callers wait; the server sees one trial, and when that is good three more."""
    gates = asyncio.Event(), asyncio.Event()
    arrived = asyncio.Event()
    trials: list[float] = []

    def recovering(at: float, _seen: Seen) -> Reply:
        if at < 2.0:
            return Reply.error(500)
        trials.append(at)
        arrived.set()
        return Reply(until=gates[len(trials) > 1])

    async with scripted_fleet(tmp_path, {"a": recovering}, run={"concurrency": 50}) as fleet:
        running = asyncio.create_task(fleet.bench.run(prompts(100)))
        for gate, expected in zip(gates, (1, 4), strict=True):
            await arrived.wait()
            await asyncio.sleep(10.0)  # of the hurried clock: whoever may start has started
            assert len(trials) == expected
            arrived.clear()
            gate.set()
        assert (await running).exit_code is ExitCode.OK


@hurried
async def test_noise_opens_nothing(tmp_path: Path) -> None:
    """20 % random errors on the only provider: jobs fail by their own limits or not at all."""
    tempers = {"a": faulty(0.2, seed=1)}
    async with scripted_fleet(tmp_path, tempers, run={"concurrency": 32}) as fleet:
        result = await fleet.bench.run(prompts(800))
        assert result.providers[0].status == "healthy"
        assert held_back(fleet) == 0
        [(openings,)] = fleet.bench.rows("SELECT coalesce(max(openings), 0) FROM breaker")
    assert openings == 0
    assert set(fleet.bench.failures().values()) <= {"interrupted", "bad_response", "server_error"}
    assert result.count(JobState.SUCCEEDED) >= 0.95 * 800


@hurried
async def test_noise_on_both_is_survived(tmp_path: Path) -> None:
    """30 % of either provider's calls fail: hardly any job does."""
    tempers = {name: faulty(0.3, seed=n, odds=(1, 0, 0)) for n, name in enumerate("ab")}
    async with scripted_fleet(tmp_path, tempers, run=SIXTEEN) as fleet:
        result = await fleet.bench.run(prompts(400))
    assert result.count(JobState.SUCCEEDED) >= 0.98 * 400


@hurried
@pytest.mark.parametrize(
    "dead",
    [failing(), always(Reply.reset()), always(Reply.truncated()), always(Reply.html(502))],
    ids=["500", "reset", "half a body", "502"],
)
async def test_a_death_under_load_costs_what_was_in_flight(tmp_path: Path, dead: Temper) -> None:
    """A few bad calls beyond those in flight, then the next one does all the work."""
    tempers = {"a": at_times(lambda at: at >= 3.0, dead, steady(0.2)), "b": steady(0.2)}
    async with scripted_fleet(tmp_path, tempers, run=SIXTEEN) as fleet:
        result = await fleet.bench.run(prompts(300))
        assert result.exit_code is ExitCode.OK
        trials = 1 + int(fleet.ended / 12)  # 15 s, less a fifth
        assert 0 < fleet["a"].bad() <= 16 + TO_NOTICE + trials
    assert len(fleet["b"].calls) >= 50


@hurried
async def test_a_server_that_sheds_for_good_is_noticed(tmp_path: Path) -> None:
    """503s may mean mere congestion, so a longer row of them is needed."""
    dead = always(Reply.error(503))
    tempers = {"a": at_times(lambda at: at >= 3.0, dead, steady(0.2)), "b": steady(0.2)}
    async with scripted_fleet(tmp_path, tempers, run=SIXTEEN) as fleet:
        assert (await fleet.bench.run(prompts(300))).exit_code is ExitCode.OK
        assert 0 < fleet["a"].bad() <= 16 + 20


@hurried
async def test_who_comes_back_is_used_again_bit_by_bit(tmp_path: Path) -> None:
    """The first second brings no more than sixteen calls, and in the end most go there again."""
    tempers = {"a": at_times(lambda at: 1.0 <= at < 7.0, failing(), steady(0.2)), "b": steady(0.2)}
    keys = {"a": {"breaker": {"open_s": 3.0}}}
    async with scripted_fleet(tmp_path, tempers, run=SIXTEEN, keys=keys) as fleet:
        assert (await fleet.bench.run(prompts(900))).exit_code is ExitCode.OK
        back = fleet["a"].between(7.0)[0].at
        assert len(fleet["a"].between(back, back + 1.0)) <= 16
        last = [who for _, who in fleet.calls()][-100:]
    assert last.count("a") >= 90


@hurried
async def test_flapping_costs_a_burst_per_outage_and_no_job(tmp_path: Path) -> None:
    """Down for five seconds of every ten, and tried again soon."""
    tempers = {"a": at_times(lambda at: at % 10 >= 5, failing(), steady(0.2)), "b": steady(0.2)}
    keys = {"a": {"breaker": {"open_s": 2.0}}}
    async with scripted_fleet(tmp_path, tempers, run=SIXTEEN, keys=keys) as fleet:
        assert (await fleet.bench.run(prompts(900))).exit_code is ExitCode.OK
        outages = 1 + int(fleet.ended / 10)
        trials = 1 + int(fleet.ended / 1.6)  # 2 s, less a fifth
        assert 0 < fleet["a"].bad() <= outages * (16 + TO_NOTICE) + trials
        assert fleet["a"].good() > 0


@at_speed(4.0)
async def test_a_slow_down_demotes_and_is_forgiven(tmp_path: Path) -> None:
    """Twenty times slower: within thirty calls it comes last; its answers count; it comes back."""
    tempers = {
        "a": at_times(lambda at: 2.0 <= at < 8.0, steady(1.0), steady(0.05)),
        "b": steady(0.06),
    }
    keys = {"a": {"breaker": {"slow_min_s": 0.5}}}
    async with scripted_fleet(tmp_path, tempers, run={"concurrency": 6}, keys=keys) as fleet:
        assert (await fleet.bench.run(prompts(900))).exit_code is ExitCode.OK
        slow = len(fleet["a"].between(2.0, 8.0))
        assert slow <= 30
        [(used,)] = fleet.bench.rows(
            "SELECT count(*) FROM attempt WHERE kind = 'ok' AND latency_us >= 1000000"
        )
        assert used >= slow
        last = [who for _, who in fleet.calls()][-60:]
    assert last.count("a") >= 50


@hurried
async def test_all_down_is_waited_for(tmp_path: Path) -> None:
    """No job fails; each provider is tried every five seconds, and is not flooded afterwards."""
    tempers: dict[str, Temper] = {
        name: at_times(lambda at: 3.0 <= at < 23.0, failing(), steady(0.2)) for name in "ab"
    }
    async with scripted_fleet(tmp_path, tempers, run=SIXTEEN) as fleet:
        assert (await fleet.bench.run(prompts(700))).exit_code is ExitCode.OK
        for name in "ab":
            bad = [call.at for call in fleet[name].calls if not call.is_good]
            close = [after for at, after in itertools.pairwise(bad) if after - at < 5.0]
            assert len(close) < 16 + TO_NOTICE, "those in flight; then one trial at a time"
            assert len(bad) - len(close) <= 1 + 20 / 5
            for back in fleet[name].between(23.0)[:1]:
                assert len(fleet[name].between(back.at, back.at + 1.0)) <= 16
