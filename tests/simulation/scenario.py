"""
What a seed means: jobs, providers with their characters, rules of the run, blows to the process.

Everything is drawn from one `random.Random(seed)`, so that a seed is a scenario, for ever as long
as the order of the draws here stays.
"""

from __future__ import annotations

import random
from typing import Literal, TypeAlias

import msgspec

from aiq.config import ProviderSettings
from aiq.config.settings import RunSettings
from aiq.model import Price
from aiq.policy.defaults import RateLimits
from tests.simulation.faults import Fault
from tests.simulation.servers import Character, Latency, Limit, Noise, Phase, Shape, Weather
from tests.support import factories

BlowKind: TypeAlias = Literal[
    "kill", "kill at statement", "terminate", "interrupt twice", "suspend", "clock set",
    "commit fails", "commit unheard",
]  # fmt: skip
BLOWS: tuple[BlowKind, ...] = (
    "kill", "kill", "kill at statement", "kill at statement", "terminate", "interrupt twice",
    "suspend", "clock set", "commit fails", "commit unheard",
)  # fmt: skip

_WEATHERS: tuple[Weather, ...] = (
    "down", "unreachable", "hang", "errors", "resets", "brown", "flapping", "busy", "html", "lossy",
)  # fmt: skip
_NOISES = (
    Fault.LOST, Fault.RESET, Fault.LATE, Fault.STALLED, Fault.TRUNCATED, Fault.NOT_JSON,
    Fault.HTML, Fault.EMPTY, Fault.SERVER_ERROR, Fault.BUSY, Fault.GATEWAY, Fault.HANG,
    Fault.LIMITED,
)  # fmt: skip
_SHAPES: tuple[Shape, ...] = ("fixed", "lognormal", "lognormal", "heavy")
OUTPUT_CAP = 48
BAD_LINE = b'{"prompt": '


class Blow(msgspec.Struct, frozen=True):
    """Something that happens to a process; `after` is in seconds or in statements of it."""

    kind: BlowKind
    after: float
    lasts: float = 0.0


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """All that a seed decides. Blows come one process at a time, in order."""

    seed: int
    jobs: int
    poison: frozenset[str]
    """Jobs whose prompt every server refuses."""
    bad_lines: int
    run: RunSettings
    providers: tuple[ProviderSettings, ...]
    characters: dict[str, Character]
    blows: tuple[tuple[Blow, ...], ...]
    commit_s: float
    """How long the disk takes over a commit."""
    retries_failed: bool
    """Whether what has failed is put back once, at the end."""

    @property
    def is_calm(self) -> bool:
        """Whether nothing ever goes wrong, so that all must be done, and soon."""
        return (
            not self.blows
            and self.run.budget_usd is None
            and all(one.is_steady for one in self.characters.values())
            and all(one.rates == RateLimits() for one in self.providers)
        )

    @property
    def has_refuge(self) -> bool:
        """Whether some provider is always there for whoever can wait."""
        return any(self.characters[one.name].is_steady for one in self.providers)


def of_seed(seed: int, *, jobs: int | None = None) -> Scenario:
    """Return the scenario of a seed; `jobs` replaces its number of jobs."""
    chance = random.Random(seed)
    drawn = chance.choice((20, 20, 40, 40, 60, 60, 100, 150, 400))
    if chance.random() < 0.01:
        drawn = 2000
    count = jobs or drawn
    number = chance.choice((1, 1, 2, 2, 3, 3, 4, 5))
    concurrency = chance.choice((1, 4, 8, 16, 16, 32, 64, 128))
    temper = chance.random()
    names = "abcde"[:number]
    shares_account = number > 1 and chance.random() < 0.2
    # What is too slow for these takes hours in which nothing new happens.
    quick = count / concurrency < 40
    characters = {
        name: _character(chance, temper=temper, quick=quick, scale=count) for name in names
    }
    providers = tuple(
        _provider(
            chance,
            name,
            rank,
            character=characters[name],
            concurrency=concurrency,
            jobs=count,
        )
        for rank, name in enumerate(names, start=1)
    )
    if shares_account:
        shared = {"account": providers[0].account, "rates": providers[0].rates}
        providers = (
            providers[0], msgspec.structs.replace(providers[1], **shared), *providers[2:]
        )  # fmt: skip
    poison_share = chance.choice((0.0, 0.0, 0.02, 0.1))
    poison = frozenset(f"j{n}" for n in range(count) if chance.random() < poison_share)
    run = _run(chance, count, concurrency, providers)
    return Scenario(
        seed=seed,
        jobs=count,
        poison=poison,
        bad_lines=chance.choice((0, 0, 0, 2)),
        run=run,
        providers=providers,
        characters=characters,
        blows=_blows(chance),
        commit_s=chance.choice((0.0, 0.0, 0.002, 0.01, 0.2)),
        retries_failed=chance.random() < 0.15,
    )


def _run(
    chance: random.Random, jobs: int, concurrency: int, providers: tuple[ProviderSettings, ...]
) -> RunSettings:
    budget = None
    if chance.random() < 0.3:
        dearest = max(one.price.output for one in providers if one.price is not None)
        # Between a tenth and five times of what the answers will be about.
        budget = jobs * dearest * OUTPUT_CAP / 2e6 * 10 ** chance.uniform(-1.0, 0.7)
    return RunSettings(
        concurrency=concurrency,
        max_attempts=chance.choice((1, 2, 3, 5, 5, 5)),
        max_wait_s=chance.choice((None, None, 30.0, 120.0)),
        on_unknown=chance.choice(("retry", "retry", "retry", "fail")),
        strategy=chance.choice(("rank", "rank", "latency", "cost", "balanced")),
        overflow=chance.random() < 0.3,
        budget_usd=budget,
    )


def _character(chance: random.Random, *, temper: float, quick: bool, scale: int) -> Character:
    """Draw a server; the fleet's `temper` goes from all well to all sick."""
    price = Price(input=chance.choice((0.1, 1.0, 3.0)), output=chance.choice((0.4, 2.0, 15.0)))
    shape = chance.choice(_SHAPES)
    median = chance.choice((0.05, 0.2, 0.5, 1.0, 3.0) if quick else (0.02, 0.05, 0.2))
    latency = Latency(median, shape, chance.choice((0.2, 0.6, 1.0)))
    if temper < 0.1 or chance.random() < 0.15:
        return Character(latency=latency, price=price)
    kind = chance.random()
    limit, capacity = None, None
    if kind < 0.3:
        per_s = chance.choice((2, 5, 10, 25)) * max(1, scale // 200)
        span = chance.choice((1.0, 1.0, 10.0, 60.0))
        limit = Limit(
            max(1, round(per_s * span)),
            span,
            chance.choice(("seconds", "milliseconds", "headers", "none")),
        )
    elif kind < 0.45:
        capacity = chance.choice((1, 2, 4, 8, 16))
    return Character(
        latency=latency,
        phases=_phases(chance) if chance.random() < 0.6 else (),
        noise=_noise(chance) if chance.random() < 0.4 + temper / 3 else (),
        limit=limit,
        capacity=capacity,
        sheds_with=chance.choice((503, 503, 429)),
        gone=_end(chance) if chance.random() < 0.08 else None,
        price=price,
    )


def _phases(chance: random.Random) -> tuple[Phase, ...]:
    phases, at = [], 0.0
    for _ in range(chance.choice((1, 1, 2, 3))):
        at += chance.choice((0.0, 0.5, 2.0, 5.0, 15.0)) * chance.random()
        lasts = chance.choice((1.0, 5.0, 10.0, 30.0, 60.0, 90.0)) * (0.5 + chance.random())
        phases.append(Phase(at, at + lasts, chance.choice(_WEATHERS)))
        at += lasts
    return tuple(phases)


def _noise(chance: random.Random) -> Noise:
    kinds = chance.sample(_NOISES, chance.choice((1, 2, 3, 5)))
    most = chance.choice((0.01, 0.05, 0.2, 0.4))
    return tuple((kind, most * chance.random() / len(kinds)) for kind in kinds)


def _end(chance: random.Random) -> tuple[float, Fault]:
    at = chance.choice((0.0, 1.0, 5.0, 20.0)) * chance.random()
    return at, chance.choice((Fault.KEY_REFUSED, Fault.NO_CREDIT, Fault.NO_MODEL))


def _provider(
    chance: random.Random,
    name: str,
    rank: int,
    *,
    character: Character,
    concurrency: int,
    jobs: int,
) -> ProviderSettings:
    rates = RateLimits()
    limit = character.limit
    if limit is not None and chance.random() < 0.4:
        # As the vendor says it: what the server allows per minute, never more.
        rates = RateLimits(requests=max(1, round(limit.requests * 60 / limit.span_s)))
    elif chance.random() < 0.1:
        rates = RateLimits(requests=max(60, jobs * chance.choice((1, 4))))
    return factories.provider(
        name=name,
        base_url=f"http://{name}.test/v1",
        rank=rank,
        rates=rates,
        adaptive=chance.random() < 0.85,
        max_in_flight=chance.choice((None, None, max(1, concurrency // 2), 4)),
        timeout_s=chance.choice((10.0, 20.0, 30.0)),
        max_tokens=OUTPUT_CAP,
        price=character.price,
        account=name,
    )


def _blows(chance: random.Random) -> tuple[tuple[Blow, ...], ...]:
    if chance.random() < 0.35:
        return ()
    processes = chance.choice((1, 1, 2, 3, 4)) if chance.random() < 0.95 else 15
    return tuple(
        tuple(_blow(chance) for _ in range(chance.choice((1, 1, 1, 2)))) for _ in range(processes)
    )


def _blow(chance: random.Random) -> Blow:
    kind = chance.choice(BLOWS)
    if kind in ("kill at statement", "commit fails", "commit unheard"):
        return Blow(kind, after=1 + int(10 ** chance.uniform(0.0, 2.7)))
    after = 10 ** chance.uniform(-2.5, 1.3)
    if kind == "suspend":
        return Blow(kind, after, lasts=chance.choice((1.0, 5.0, 30.0, 300.0)))
    if kind == "clock set":
        return Blow(kind, after, lasts=chance.choice((-86_400.0, -3_600.0, 3_600.0, 1e8)))
    if kind == "interrupt twice":
        return Blow(kind, after, lasts=chance.random())
    return Blow(kind, after)
