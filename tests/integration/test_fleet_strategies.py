"""Whom a strategy prefers over real sockets, how soon it notices, and what it does in need."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from aiq.errors import ExitCode
from tests.support.replies import Reply, Seen
from tests.support.scripted_fleet import Temper, failing, scripted_fleet, steady
from tests.support.sessions import at_speed, hurried, prompts

SWAP = 80
"""Calls after which the fast one is slow and a slow one fast."""


@at_speed(2.0)
async def test_latency_prefers_the_fast_one_and_notices_a_swap(tmp_path: Path) -> None:
    """After thirty calls most go to the fast one of three; fifty after a swap, to the new one."""
    asked = 0

    def swapping(before: Temper, after: Temper) -> Temper:
        def decide(at: float, seen: Seen) -> Reply:
            nonlocal asked
            asked += 1
            return (before if asked <= SWAP else after)(at, seen)

        return decide

    fast, slow, middling = steady(0.1), steady(1.0), steady(0.6)
    tempers = {
        "a": swapping(slow, fast),
        "b": swapping(fast, slow),
        "c": swapping(middling, middling),
    }
    run = {"concurrency": 4, "strategy": "latency"}
    async with scripted_fleet(tmp_path, tempers, run=run) as fleet:
        assert (await fleet.bench.run(prompts(260))).exit_code is ExitCode.OK
        calls = [who for _, who in fleet.calls()]
    first, then = calls[30:SWAP], calls[SWAP + 50 :]
    assert first.count("b") >= 0.75 * len(first)
    assert then.count("a") >= 0.75 * len(then)


CHOICES: dict[str, tuple[dict[str, Any], dict[str, dict[str, Any]]]] = {
    "near": (
        {"prefer_region": "eu"},
        {"other": {"region": "us"}, "best": {"region": "eu"}},
    ),
    "cheap": (
        {"strategy": "cost"},
        {
            "other": {"price": {"input": 5.0, "output": 9.0}},
            "best": {"price": {"input": 1.0, "output": 2.0}},
        },
    ),
}


@hurried
@pytest.mark.parametrize("choice", CHOICES)
async def test_the_best_is_asked_until_it_is_sick(tmp_path: Path, choice: str) -> None:
    """The near and the cheap one stand last in the file, and come first while they are well."""
    run, keys = CHOICES[choice]
    keys["best"]["breaker"] = {"open_s": 3.0}
    well, sick = steady(0.2), failing()
    asked: Counter[str] = Counter()

    def other(at: float, seen: Seen) -> Reply:
        asked["other"] += 1
        return well(at, seen)

    def best(at: float, seen: Seen) -> Reply:
        """Sick from its 61st call until somebody else has had thirty."""
        asked["best"] += 1
        return (sick if asked["best"] > 60 and asked["other"] < 30 else well)(at, seen)

    tempers = {"other": other, "best": best}
    async with scripted_fleet(tmp_path, tempers, run={"concurrency": 8} | run, keys=keys) as fleet:
        assert (await fleet.bench.run(prompts(700))).exit_code is ExitCode.OK
        calls = [who for _, who in fleet.calls()]
    assert set(calls[:60]) == {"best"}
    until_well = calls[60 : [n for n, who in enumerate(calls) if who == "other"][29]]
    assert until_well.count("best") <= 8 + 6 + 3, "in flight, to notice, trials"
    last = calls[-50:]
    assert last.count("best") >= 45
