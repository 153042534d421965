"""Providers that fail, die, flap, slow down and come back."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from pathlib import Path

from aiq.model import JobState
from tests.benchmarks.measured import Row, at_least, at_most, exactly, told
from tests.benchmarks.scenarios.fleet_figures import all_succeeded, attempts, instant_of, rises
from tests.support.replies import Reply, Seen
from tests.support.scripted_fleet import (
    Temper,
    always,
    at_times,
    failing,
    faulty,
    scripted_fleet,
    steady,
)
from tests.support.sessions import prompts


async def half_open(directory: Path) -> list[Row]:
    """Fifty callers wait while a breaker is half-open: one trial, then three, then all."""
    gates = asyncio.Event(), asyncio.Event()
    trials: list[float] = []
    changed = asyncio.Event()

    def recovering(at: float, _seen: Seen) -> Reply:
        if at < 2.0:
            return Reply.error(500)
        trials.append(at)
        changed.set()
        return Reply(until=gates[len(trials) > 1])

    async with scripted_fleet(directory, {"a": recovering}, run={"concurrency": 50}) as fleet:
        running = asyncio.create_task(fleet.bench.run(prompts(200)))
        seen: list[int] = []
        for gate in gates:
            await changed.wait()
            await asyncio.sleep(1.0)
            changed.clear()
            seen.append(len(trials) - sum(seen))
            gate.set()
        result = await running
    return [exactly("trials at once, one after the other", [1, 3], seen), all_succeeded(result)]


async def random_errors(directory: Path) -> list[Row]:
    """
    20 % random errors on the only provider: 500s, resets, half bodies in equal shares.

    Replies take 200 ms, so that the shares of the machine and of new connections stay small.
    """
    tempers = {"clean": steady(0.2), "faulty": faulty(0.2, seed=1, latency_s=0.2)}
    rates: dict[str, float] = {}
    whole: dict[str, float] = {}
    for name, temper in tempers.items():
        run = {"concurrency": 32}
        async with scripted_fleet(directory / name, {"a": temper}, run=run) as fleet:
            result = await fleet.bench.run(prompts(10_000))
            until = instant_of(fleet, 0.95)
            rates[name] = fleet.good(0.0, until) / until
            whole[name] = fleet.good() / result.elapsed_s
            kinds = Counter(fleet.bench.failures().values())
            refused = attempts(fleet, "kind = 'cancelled'")
    allowed = {"interrupted", "bad_response", "server_error"}
    return [
        at_least("goodput of clean, to 95 % of all calls", 0.75, rates["faulty"] / rates["clean"]),
        told("the same with the last back-offs", f"{whole['faulty'] / whole['clean']:.4g}"),
        Row("failed by their own limits only", f"{dict(kinds)}", set(kinds) <= allowed),
        exactly("calls that an open breaker held back", 0, refused),
    ]


async def random_errors_on_both(directory: Path) -> list[Row]:
    """30 % on both of two, three 500s for each reset and each half body."""
    tempers = {name: faulty(0.3, seed=n, odds=(3, 1, 1)) for n, name in enumerate("ab")}
    async with scripted_fleet(directory, tempers, run={"concurrency": 32}) as fleet:
        result = await fleet.bench.run(prompts(5000))
    return [at_least("share that succeeded", 0.99, result.count(JobState.SUCCEEDED) / 5000)]


async def dies_and_returns(directory: Path) -> list[Row]:
    """A dies under load; B carries on; A comes back and takes over again bit by bit."""
    rows = []
    for name, dead in (("500", failing()), ("reset", always(Reply.reset()))):
        a = at_times(lambda at: at >= 0.8, dead, steady())
        async with scripted_fleet(
            directory / name, {"a": a, "b": steady()}, run={"concurrency": 64}
        ) as fleet:
            result = await fleet.bench.run(prompts(2000))
            death = next(call for call in fleet["a"].calls if not call.is_good)
            at_b = next(at for at, who in fleet.calls(death.at) if who == "b") - death.at
            in_flight = max(call.in_flight for call in fleet["a"].calls)
            rows += [
                at_most(f"{name}: seconds until B works", 3.0, at_b),
                at_most(
                    f"{name}: bad calls less {in_flight} in flight", 6, fleet["a"].bad() - in_flight
                ),
                all_succeeded(result),
            ]
    a = at_times(lambda at: 1.0 <= at < 12.0, failing(), steady())
    async with scripted_fleet(
        directory / "back", {"a": a, "b": steady()}, run={"concurrency": 64}
    ) as fleet:
        result = await fleet.bench.run(prompts(40_000))
        back = next(call.at for call in fleet["a"].calls if call.at > 12.0)
        ramp = [fleet["a"].good(back + n, back + n + 1) for n in range(6)]
        in_flight = max(call.in_flight for call in fleet["a"].calls)
    return [
        *rows,
        at_most("bad calls less in flight, of one outage", 7, fleet["a"].bad() - in_flight),
        Row("ramps up: calls per second after the return", f"{ramp}", rises(ramp[:4])),
        at_least("of them in the sixth second", 150, ramp[5]),
        all_succeeded(result),
    ]


async def flapping(directory: Path) -> list[Row]:
    """Up for five seconds, down for five, alone and beside a healthy one."""
    rows = []
    for name, count in (("alone", 4000), ("beside", 15_000)):
        tempers = {"a": at_times(lambda at: int(at / 5) % 2 == 1, failing(), steady(0.2))}
        if name == "beside":
            tempers["b"] = steady(0.2)
        async with scripted_fleet(directory / name, tempers, run={"concurrency": 64}) as fleet:
            result = await fleet.bench.run(prompts(count))
            rows += [
                at_most(f"{name}: share of all calls that fail", 0.1, fleet.bad_share()),
                all_succeeded(result),
            ]
    return rows


async def slows_down(directory: Path) -> list[Row]:
    """A 50 ms provider takes 1 s for ten seconds."""
    a = at_times(lambda at: 4.0 <= at < 14.0, steady(1.0), steady(0.05))
    keys = {"a": {"breaker": {"slow_min_s": 0.5}}}
    tempers = {"a": a, "b": steady(0.06)}
    run = {"concurrency": 16}
    async with scripted_fleet(directory, tempers, run=run, keys=keys) as fleet:
        result = await fleet.bench.run(prompts(5000))
        asked = len(fleet["a"].between(4.0, 9.0))
        used = attempts(fleet, "kind = 'ok' AND latency_us > 900000")
        slow = len(fleet["a"].between(4.0, 14.0))
        after = len(fleet["a"].between(16.0, 20.0))
    return [
        at_most("calls to it until it is demoted", 30, asked),
        exactly("slow answers that were used", slow, used),
        at_least("calls to it in 4 s, 2 s after it is well", 300, after),
        all_succeeded(result),
    ]


async def all_down(directory: Path) -> list[Row]:
    """Both providers are down from the fifth second to the twenty-fifth."""
    tempers: dict[str, Temper] = {
        name: at_times(lambda at: 5.0 <= at < 25.0, failing(), steady(0.1)) for name in "ab"
    }
    async with scripted_fleet(directory, tempers, run={"concurrency": 32}) as fleet:
        result = await fleet.bench.run(prompts(7000))
        before = fleet.good(2.0, 5.0) / 3
        trials = [[call.at for call in fleet[name].between(6.0, 25.0)] for name in tempers]
        closest = min(b - a for one in trials for a, b in itertools.pairwise(one))
        returned = {name: fleet[name].between(25.0)[0].at for name in tempers}
        burst = max(len(fleet[n].between(at, at + 1.0)) for n, at in returned.items())
        rate = max(fleet.good(float(n), n + 2.0) / 2 for n in range(26, 34))
    return [
        all_succeeded(result),
        at_least("seconds between trials of a provider", 5.0, closest),
        at_most("calls in a provider's first second", 16, burst),
        at_least("rate within 10 s of the return, of before", 0.8, rate / before),
    ]
