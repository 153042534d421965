"""Providers that limit what may be sent, told or not, and one that is merely small."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.benchmarks.measured import Row, at_least, at_most, told
from tests.benchmarks.scenarios.fleet_figures import all_succeeded, instant_of
from tests.support.replies import Reply, Seen
from tests.support.scripted_fleet import Temper, limited, most_within, scripted_fleet, small
from tests.support.sessions import prompts

MANY: dict[str, Any] = {"concurrency": 64}


async def hinted_limit(directory: Path) -> list[Row]:
    """25 in any second, sliding; a 429 says how long to wait."""
    async with scripted_fleet(directory, {"a": limited(25)}, run=MANY) as fleet:
        result = await fleet.bench.run(prompts(1500))
        until = instant_of(fleet, 0.99)
        rate = fleet.good(3.0, until) / (until - 3.0)
    return [
        at_least("answers per second after 3 s", 0.9 * 25, rate),
        at_most("429 share after 3 s", 0.02, fleet.bad_share(3.0)),
        all_succeeded(result),
    ]


async def unhinted_limit(directory: Path) -> list[Row]:
    """The same limit, and a 429 says nothing."""
    async with scripted_fleet(directory, {"a": limited(25, hint=False)}, run=MANY) as fleet:
        result = await fleet.bench.run(prompts(1000))
        until = instant_of(fleet, 0.99)
        rate = fleet.good(until - 15.0, until) / 15
    return [
        at_least("answers per second over 1,000 jobs", 0.6 * 25, fleet.good() / fleet.ended),
        at_most("429 share", 0.15, fleet.bad_share()),
        at_least("grown towards the limit: answers per second, last 15 s", 0.7 * 25, rate),
        all_succeeded(result),
    ]


async def configured_limits(directory: Path) -> list[Row]:
    """Requests per minute at A, tokens per minute at B; each answer is of another length."""
    booked: dict[str, list[int]] = {"a": [], "b": []}

    def talkative(name: str) -> Temper:
        def decide(_at: float, seen: Seen) -> Reply:
            usage = (10, 20 + seen.number * 37 % 40)
            booked[name].append(sum(usage))
            return Reply.chat("text", usage=usage, delay_s=0.2)

        return decide

    keys = {"a": {"requests_per_minute": 300}, "b": {"tokens_per_minute": 15_000}}
    run = MANY | {"strategy": "balanced"}
    tempers = {name: talkative(name) for name in booked}
    async with scripted_fleet(directory, tempers, run=run, keys=keys) as fleet:
        result = await fleet.bench.run(prompts(1500))
        instants = {name: [call.at for call in fleet[name].calls] for name in booked}
    requests = most_within(instants["a"], [1] * len(instants["a"]), 60.0)
    tokens = most_within(instants["b"], booked["b"], 60.0)
    return [
        at_most("requests in any 60 s", 300, requests),
        at_most("tokens in any 60 s", 15_000, tokens),
        at_least("requests in the best 60 s", 270, requests),
        at_least("tokens in the best 60 s", 12_000, tokens),
        all_succeeded(result),
    ]


async def small_server(directory: Path) -> list[Row]:
    """Eight at once, eight more in the queue, the rest shed with a 503: 80 answers per second."""
    async with scripted_fleet(directory, {"a": small(8, most=16)}, run=MANY) as fleet:
        result = await fleet.bench.run(prompts(4000))
        until = instant_of(fleet, 0.98)
        settled = [call.in_flight for call in fleet["a"].between(5.0, until) if call.is_good]
        mean = sum(settled) / len(settled)
    return [
        Row("in flight between 6 and 16, mean after 5 s", f"{mean:.3g}", 6 <= mean <= 16),
        at_least("answers per second, of 80", 0.85, fleet.good(0.0, until) / until / 80),
        all_succeeded(result),
    ]


async def balanced_limits(directory: Path) -> list[Row]:
    """Three providers that allow 5, 50 and 5 per second."""
    tempers = {"a": limited(5), "b": limited(50), "c": limited(5)}
    run = MANY | {"strategy": "balanced"}
    async with scripted_fleet(directory, tempers, run=run) as fleet:
        result = await fleet.bench.run(prompts(4000))
        until = instant_of(fleet, 0.98)
    return [
        at_least("answers per second together", 54.0, fleet.good(0.0, until) / until),
        at_most("429 share after 3 s", 0.02, fleet.bad_share(3.0)),
        told("429 share of the whole run", f"{fleet.bad_share():.3g}"),
        all_succeeded(result),
    ]
