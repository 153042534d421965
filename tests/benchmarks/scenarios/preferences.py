"""Strategies and regions: who is asked while all is well, and when it is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.benchmarks.measured import Row, at_least, exactly
from tests.benchmarks.scenarios.fleet_figures import all_succeeded
from tests.support.scripted_fleet import at_times, failing, scripted_fleet, steady
from tests.support.sessions import prompts

EIGHT: dict[str, Any] = {"concurrency": 8}


async def latency_strategy(directory: Path) -> list[Row]:
    """Three of which one is fast; after a while it swaps with the slowest."""
    tempers = {
        "a": at_times(lambda at: at >= 6.0, steady(0.05), steady(0.4)),
        "b": at_times(lambda at: at >= 6.0, steady(0.4), steady(0.05)),
        "c": steady(0.25),
    }
    run = EIGHT | {"strategy": "latency"}
    async with scripted_fleet(directory, tempers, run=run) as fleet:
        result = await fleet.bench.run(prompts(1200))
        first = [who for _, who in fleet.calls(0.0, 6.0)][30:]
        then = [who for _, who in fleet.calls(6.0)][50:]
    return [
        at_least("share of the fast one after 30 calls", 0.85, first.count("b") / len(first)),
        at_least(
            "share of the new one, 50 calls after the swap", 0.85, then.count("a") / len(then)
        ),
        all_succeeded(result),
    ]


async def near_and_cheap(directory: Path) -> list[Row]:
    """`prefer_region` and `cost` pick the near, the cheap one, until it is sick."""
    near: dict[str, Any] = {"far": {"region": "us"}, "near": {"region": "eu"}}
    cheap: dict[str, Any] = {
        "far": {"price": {"input": 5, "output": 9}},
        "near": {"price": {"input": 1, "output": 2}},
    }
    rows = []
    for name, choice, keys in (
        ("near", {"prefer_region": "eu"}, near),
        ("cheap", {"strategy": "cost"}, cheap),
    ):
        sick = at_times(lambda at: 2.0 <= at < 6.0, failing(), steady())
        async with scripted_fleet(
            directory / name, {"far": steady(), "near": sick}, run=choice | EIGHT, keys=keys
        ) as fleet:
            result = await fleet.bench.run(prompts(4000))
            before = [who for _, who in fleet.calls(0.0, 2.0)]
            during = [who for _, who in fleet.calls(2.5, 6.0)]
            back = [who for _, who in fleet.calls(fleet.ended - 3.0)]
        rows += [
            exactly(f"{name}: asked at first", {"near"}, set(before)),
            exactly(f"{name}: asked while that is sick", {"far"}, set(during)),
            at_least(f"{name}: its share when it is back", 0.95, back.count("near") / len(back)),
            all_succeeded(result),
        ]
    return rows
