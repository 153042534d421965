"""Providers that limit what may be sent, told or not: what they see, and how many they refuse."""

from __future__ import annotations

from pathlib import Path

from aiq.errors import ExitCode
from tests.support.replies import Reply, Seen
from tests.support.scripted_fleet import Temper, limited, most_within, scripted_fleet, small
from tests.support.sessions import at_speed, hurried, prompts

MANY = {"concurrency": 64}

SHORT_MINUTE_S = 57.0
"""On a loaded machine requests arrive late by more than a hurried second."""


@at_speed(2.0)
async def test_balanced_uses_what_each_allows(tmp_path: Path) -> None:
    """5, 50 and 5 per second: everybody is asked for about what he gives."""
    tempers = {"a": limited(5), "b": limited(50), "c": limited(5)}
    run = MANY | {"strategy": "balanced"}
    async with scripted_fleet(tmp_path, tempers, run=run) as fleet:
        assert (await fleet.bench.run(prompts(450))).exit_code is ExitCode.OK
        assert fleet.bad_share(3.0) <= 0.05
        a, b, c = (fleet[name].good() for name in "abc")
    assert a >= 20
    assert c >= 20
    assert b >= 5 * max(a, c)


@hurried
async def test_configured_rates_are_never_exceeded(tmp_path: Path) -> None:
    """Requests at A, tokens at B: not in the opening burst, nor in any minute, by real usage."""
    booked: dict[str, list[int]] = {"a": [], "b": []}

    def talkative(name: str) -> Temper:
        def decide(_at: float, seen: Seen) -> Reply:
            usage = (10, 20 + seen.number * 37 % 40)
            booked[name].append(sum(usage))
            return Reply.chat("text", usage=usage, delay_s=0.2)

        return decide

    keys = {"a": {"requests_per_minute": 240}, "b": {"tokens_per_minute": 12_000}}
    run = {"concurrency": 16, "strategy": "balanced"}
    tempers = {name: talkative(name) for name in booked}
    async with scripted_fleet(tmp_path, tempers, run=run, keys=keys) as fleet:
        assert (await fleet.bench.run(prompts(650))).exit_code is ExitCode.OK
        a, b = ([call.at for call in fleet[name].calls] for name in "ab")
    assert 150 <= most_within(a, [1] * len(a), SHORT_MINUTE_S) <= 240
    assert 6000 <= most_within(b, booked["b"], SHORT_MINUTE_S) <= 12_000
    assert most_within(a, [1] * len(a), 1.0) <= 20


@at_speed(4.0)
async def test_a_small_server_is_filled_and_not_flooded(tmp_path: Path) -> None:
    """Eight at once and eight that wait: the limit settles there, few are shed, none is lost."""
    async with scripted_fleet(tmp_path, {"a": small(8, most=16)}, run=MANY) as fleet:
        assert (await fleet.bench.run(prompts(500))).exit_code is ExitCode.OK
        assert fleet.bad_share() <= 0.15
        in_flight = [call.in_flight for call in fleet["a"].calls[100:-20] if call.is_good]
    assert 4 <= sum(in_flight) / len(in_flight) <= 16
