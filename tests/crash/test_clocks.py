"""A wall clock that jumps, lies or stands in another zone: waits and figures stay true."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from tests.crash.ordeal import Ordeal, check
from tests.support.fault_server import FaultServer
from tests.support.invariants import rows
from tests.support.ledger import check_all_answered, outcomes, prompts
from tests.support.process import WAIT_S, Workplace
from tests.support.replies import Reply, Seen
from tests.support.shims import SHIFTED_CLOCK, shift_clock, shim

HOUR_S = 3_600.0
DECADE_S = 10 * 365 * 24 * HOUR_S
PEACE_S = 0.4
"""What the server asks for in its 429s."""


async def test_waits_do_not_follow_a_clock_that_jumps(tmp_path: Path) -> None:
    """Forward, back, ten years on: each cooldown lasts what was asked, and no duration is odd."""
    jumps = {2: HOUR_S, 4: -HOUR_S, 6: DECADE_S, 8: 600.0}

    def script(seen: Seen) -> Reply | None:
        if seen.number not in jumps:
            return None
        shift_clock(place, jumps[seen.number])
        if seen.number == 8:  # as a date, by the server's clock, from which ours is ten minutes off
            there = datetime.now(UTC).replace(microsecond=0)
            dates = {
                "date": format_datetime(there, usegmt=True),
                "retry-after": format_datetime(there + timedelta(seconds=1), usegmt=True),
            }
            return Reply.error(429, headers=dates)
        return Reply.error(429, headers={"retry-after-ms": str(PEACE_S * 1000)})

    async with FaultServer(script) as server, Workplace(tmp_path) as place:
        # With a rate of its own, no 429 teaches it a lower one, and the test is quick.
        place.configure(a={"base_url": server.url, "requests_per_minute": 60_000})
        began = time.time()
        ended = await place.run(
            *("run", place.write(prompts(8)), "-c", "1", "--json"),
            env={**shim(place, SHIFTED_CLOCK), "TZ": "Pacific/Apia"},
        )
        assert ended.code == 0, ended.text
        check_all_answered(place.db, 8)
        waits = [b.at - a.at for a, b in zip(server.ledger, server.ledger[1:], strict=False)]
        for number in jumps:
            assert PEACE_S <= waits[number - 1] < 20 * PEACE_S
        assert 4 * PEACE_S <= ended.json()["elapsed_s"] < 60
        assert outcomes(place.db) == {"ok": 8, "rate_limited": 4}
        stored = [at / 1e6 for (at,) in rows(place.db, "SELECT started_at FROM attempt")]
        assert abs(stored[0] - began) < 60, "stored times are UTC, whatever the zone"
        assert abs(stored[-1] - began - 600) < 60
        assert (await place.run("status")).code == 0


async def test_a_wait_that_a_wrong_clock_wrote_down_keeps_nobody(tmp_path: Path) -> None:
    """A job that may be asked again in ten years is asked by the next run, at the right time."""
    async with FaultServer(Reply.error(500)) as server, Workplace(tmp_path, a=server) as place:
        ordeal = Ordeal(place, server, prompts(3))
        shift_clock(place, DECADE_S)
        running = await ordeal.start("run", ordeal.file, "-c", "1", env=shim(place, SHIFTED_CLOCK))
        await server.seen(4)  # each has been put back once
        running.send(signal.SIGKILL)
        await ordeal.struck(running)
        [(latest,)] = rows(place.db, "SELECT max(not_before) FROM job")
        assert latest / 1e6 > time.time() + DECADE_S / 2
        server.load(None)
        check(await ordeal.finish())


STOPS = pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["stopped", "killed"])


def tired_at_first(wait_s: float) -> Callable[[Seen], Reply | None]:
    """Answer the first request by a 429, all others well."""
    tired = Reply.error(429, headers={"retry-after": str(wait_s)})
    return lambda seen: tired if seen.number == 1 else None


@STOPS
async def test_a_restart_in_a_cooldown_waits_for_its_end(
    tmp_path: Path, how: signal.Signals
) -> None:
    """Nothing reaches the account before it, whatever ended the run that was told to wait."""
    wait_s = 2.5
    script = tired_at_first(wait_s)
    async with FaultServer(script) as server, Workplace(tmp_path, a=server) as place:
        ordeal = Ordeal(place, server, prompts(6))
        command = ("run", ordeal.file, "-c", "1")
        await ended_in_a_cooldown(place, server, how, *command)
        check(await ordeal.finish(command), faults=0)
        assert outcomes(place.db) == {"rate_limited": 1, "ok": 6}
        assert server.ledger[1].at - server.ledger[0].at >= wait_s


@STOPS
async def test_in_a_cooldown_a_restart_asks_another_account_at_once(
    tmp_path: Path, how: signal.Signals
) -> None:
    """One that the configuration has got meanwhile; and it says why the first is not asked."""
    async with (
        FaultServer(tired_at_first(3600)) as server,
        FaultServer() as other,
        Workplace(tmp_path, a=server) as place,
    ):
        command = ("run", place.write(prompts(6)), "-c", "1")
        await ended_in_a_cooldown(place, server, how, *command)
        place.configure(a=server, b=other)
        ended = await place.run(*command, "--json")
        assert ended.code == 0, ended.text
        check_all_answered(place.db, 6)
        assert (len(server.ledger), len(other.ledger)) == (1, 6)
        assert ended.json()["providers"][0]["reason"] == "rate limited"


async def ended_in_a_cooldown(
    place: Workplace, server: FaultServer, how: signal.Signals, *command: str
) -> None:
    """Let a run be told to wait, and end it; a killed one has had the second that it needs."""
    running = await place.start(*command)
    await server.answered(1)
    if how is signal.SIGKILL:
        async with asyncio.timeout(WAIT_S):
            while not rows(place.db, "SELECT 1 FROM cooldown"):  # noqa: ASYNC110 - only this tells
                await asyncio.sleep(0.01)
    running.send(how)
    await running.ended()


async def test_a_clock_set_back_in_a_cooldown_keeps_a_restart_no_longer(tmp_path: Path) -> None:
    """A clock that was a decade ahead when the wait was noted: it lasts what was asked, once."""
    async with FaultServer(tired_at_first(2)) as server, Workplace(tmp_path, a=server) as place:
        command = ("run", place.write(prompts(3)), "-c", "1")
        clock = shim(place, SHIFTED_CLOCK)
        shift_clock(place, DECADE_S)
        running = await place.start(*command, env=clock)
        await server.answered(1)
        running.send(signal.SIGINT)
        assert (await running.ended()).code == 130
        shift_clock(place, 0)
        ended = await place.run(*command, "--json", env=clock)
        assert ended.code == 0, ended.text
        assert ended.json()["elapsed_s"] < 20 * PEACE_S
        [(until,)] = rows(place.db, "SELECT until FROM cooldown")
        assert until / 1e6 < time.time(), "noted anew, so that no later run waits again"
