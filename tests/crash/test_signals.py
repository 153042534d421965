"""Signals: the first drains, the second aborts, the third ends; nothing is ever left open."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests.crash.stops import until_owned, until_stopping
from tests.support.fault_server import FaultServer
from tests.support.invariants import check_store, rows
from tests.support.ledger import check_all_answered, check_requests, outcomes, prompts, states
from tests.support.process import TERMINAL, Ended, Process, Workplace
from tests.support.replies import Reply, Seen

SHOW_CURSOR = b"\x1b[?25h"
HIDE_CURSOR = b"\x1b[?25l"
AT_ONCE_S = 8
"""Less than any of the waits that are not made, on a machine that does other things as well."""


class Gate:
    """A script that answers up to some number and lets all later requests wait."""

    def __init__(self, opens_for: int) -> None:
        self.opened = asyncio.Event()
        self._opens_for = opens_for

    def __call__(self, seen: Seen) -> Reply | None:
        return None if seen.number <= self._opens_for else Reply(until=self.opened)


async def timed_end(running: Process) -> tuple[Ended, float]:
    began = time.monotonic()
    ended = await running.ended()
    return ended, time.monotonic() - began


async def test_one_sigint_stores_what_is_in_flight_and_the_resume_command_finishes(
    tmp_path: Path,
) -> None:
    """Nothing new is sent, every answer that was bought is kept, and the way on is printed."""
    gate = Gate(20)
    async with FaultServer(gate) as server, Workplace(tmp_path, a=server) as place:
        file = place.write(prompts(60), "two words.jsonl")
        running = await place.start("run", file, "-c", "8", "-n", "it's one")
        await server.seen(28)
        running.send(signal.SIGINT)
        await running.says("stopping: 8 in flight")
        gate.opened.set()
        ended = await running.ended()

        assert ended.code == 130
        assert "28 succeeded" in ended.text
        assert "32 pending" in ended.text
        assert len(server.ledger) == 28
        assert states(place.db) == {"succeeded": 28, "pending": 32}
        check_store(place.db, lines=60)
        resumed = await place.resume(ended)
        assert resumed.code == 0, resumed.text
        check_all_answered(place.db, 60)
        assert len(server.ledger) == 60


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_hardly_a_request_arrives_after_a_signal(
    tmp_path: Path, number: signal.Signals
) -> None:
    """
    Sending stops while requests flow at full rate, and the exit status names the signal.

    What arrives later was on its way: a round of all workers or two, of sixty that were left.
    """
    async with FaultServer(Reply(delay_s=0.02)) as server:
        async with Workplace(tmp_path, a=server) as place:
            running = await place.start("run", place.write(prompts(2_000)), "-c", "30")
            await server.seen(200)
            seen = len(server.ledger)
            running.send(number)
            ended = await running.ended()
        assert ended.code == (130 if number is signal.SIGINT else 143)
        assert len(server.ledger) <= seen + 3 * 30
        assert states(place.db)["succeeded"] == len(server.ledger)
        check_store(place.db)
        check_requests(place.db, server)


async def test_two_sigints_give_up_what_is_in_flight_at_once(tmp_path: Path) -> None:
    """Each attempt given up is recorded as possibly paid, and its job is asked again."""
    gate = Gate(10)
    async with FaultServer(gate) as server, Workplace(tmp_path, a=server) as place:
        file = place.write(prompts(30))
        running = await place.start("run", file, "-c", "8", "--json")
        await server.seen(18)
        running.send(signal.SIGINT)
        await running.says("stopping: 8 in flight")
        running.send(signal.SIGINT)
        ended, took_s = await timed_end(running)

        assert ended.code == 130
        assert took_s < AT_ONCE_S
        assert ended.json()["possibly_paid"]["requests"] == 8
        assert (ended.json()["running"], ended.json()["pending"]) == (0, 20)
        check_store(place.db)
        assert outcomes(place.db) == {"ok": 10, "cancelled": 8}
        gate.opened.set()
        assert (await place.resume(ended)).code == 0
        check_all_answered(place.db, 30)


async def test_a_third_signal_ends_it_even_if_the_database_hangs(tmp_path: Path) -> None:
    """Whoever holds the database cannot hold the user; the next run settles what is open."""
    async with FaultServer(Reply.hang()) as server, Workplace(tmp_path, a=server) as place:
        file = place.write(prompts(4))
        running = await place.start("run", file)
        await server.seen(4)
        holder = sqlite3.connect(place.db, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        running.send(signal.SIGINT)
        await running.says("stopping: 4 in flight")
        running.send(signal.SIGINT)
        await server.idle()  # it gave up the requests, and now waits for the database
        assert running.is_running
        running.send(signal.SIGINT)
        ended, took_s = await timed_end(running)
        holder.close()
        assert (ended.code, took_s < AT_ONCE_S) == (130, True)
        server.load(None)
        assert (await place.run("run", file)).code == 0
        check_all_answered(place.db, 4)


@pytest.mark.parametrize(
    "reply",
    [
        Reply.error(429, headers={"retry-after": "60"}),
        Reply.error(500),
    ],
    ids=["rate limited", "server error"],
)
async def test_nobody_waits_for_a_cooldown_to_leave(tmp_path: Path, reply: Reply) -> None:
    """With nothing in flight one signal is enough, whatever the run was waiting for."""
    async with FaultServer(reply) as server, Workplace(tmp_path, a=server) as place:
        running = await place.start("run", place.write(prompts(3)), "--max-wait", "100", "-c", "1")
        await server.answered(1)
        running.send(signal.SIGINT)
        ended, took_s = await timed_end(running)
        assert (ended.code, took_s < AT_ONCE_S) == (130, True)
        assert states(place.db) == {"pending": 3}
        server.load(None)
        place.configure(b=server)  # an account that nobody told to wait
        assert (await place.resume(ended)).code == 0


async def test_sigint_while_a_pipe_is_read_keeps_nothing(tmp_path: Path) -> None:
    """A pipe that nobody closes does not keep the process, and half a stream is no batch."""
    async with FaultServer() as server, Workplace(tmp_path, a=server) as place:
        running = await place.start("run", "-", stdin=True)
        await running.write(b'"a prompt like any other"\n' * 20_000)
        running.send(signal.SIGINT)
        ended, took_s = await timed_end(running)
        assert (ended.code, took_s < AT_ONCE_S) == (130, True)
        assert "Traceback" not in ended.text
        assert rows(place.db, "SELECT count(*) FROM job") == [(0,)]
        assert rows(place.db, "SELECT count(*) FROM batch") == [(0,)]
        assert server.ledger == []


async def test_sigint_while_another_program_holds_the_database_leaves_at_once(
    tmp_path: Path,
) -> None:
    """Nothing has been sent yet, so there is nothing that is worth a wait of ten seconds."""
    async with FaultServer() as server, Workplace(tmp_path, a=server) as place:
        file = place.write(prompts(6))
        assert (await place.run("run", file, "--limit", "2")).code == 0
        with closing(sqlite3.connect(place.db, isolation_level=None)) as holder:
            holder.execute("BEGIN IMMEDIATE")
            running = await place.start("run", file)
            await until_owned(place.db)
            running.send(signal.SIGINT)
            ended, took_s = await timed_end(running)
        assert (ended.code, took_s < AT_ONCE_S) == (130, True), ended.text
        assert f"aiq run {file}" in ended.text
        assert len(server.ledger) == 2
        assert (await place.resume(ended)).code == 0
        check_all_answered(place.db, 6)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_nobody_waits_for_a_list_of_models_to_leave(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    """A local server that is asked which model it has, and hangs, has nothing in flight to keep."""
    async with FaultServer(Reply.hang()) as server:
        local = {"base_url": server.url, "model": None, "connect_timeout_s": 100}
        async with Workplace(tmp_path, a=local) as place:
            running = await place.start("run", place.write(prompts(5)))
            await server.seen(1)
            running.send(number)
            ended, took_s = await timed_end(running)
            assert (ended.code, took_s < AT_ONCE_S) == (code, True), ended.text
            assert "5 pending" in ended.text
            assert [seen.method for seen in server.ledger] == ["GET"]
            assert states(place.db) == {"pending": 5}
            check_store(place.db, lines=5)
            place.configure(a=server)
            server.load(None)
            assert (await place.resume(ended)).code == 0
            check_all_answered(place.db, 5)


async def test_sigint_before_anything_has_begun_is_quiet(tmp_path: Path) -> None:
    """Ctrl-C has one exit status and never a traceback, however early it comes."""
    async with Workplace(tmp_path) as place:
        fifo = place.fifo("slow.toml")
        running = await place.start("run", "p.jsonl", "--config", fifo)
        pipe = await place.opened(fifo)
        running.send(signal.SIGINT)
        os.close(pipe)  # a signal right before a read begins is only seen when that ends
        ended = await running.ended()
        assert ended.code == 130
        assert "Traceback" not in ended.text


@pytest.mark.parametrize("name", ["HUP", "INT"])
async def test_a_signal_that_the_caller_ignores_stays_ignored(tmp_path: Path, name: str) -> None:
    """`nohup aiq run` outlives its terminal, and a script's background job its Ctrl-C."""
    gate = Gate(0)
    async with FaultServer(gate) as server, Workplace(tmp_path, a=server) as place:
        file = place.write(prompts(20))
        ignoring = f"trap '' {name}; exec \"$@\""
        running = await place.start("run", file, "-c", "2", shell=ignoring)
        await server.seen(2)
        running.send(signal.Signals[f"SIG{name}"])
        gate.opened.set()
        ended = await running.ended()
        assert ended.code == 0, ended.text
        check_all_answered(place.db, 20)


async def test_a_stopped_process_keeps_what_arrives_meanwhile(tmp_path: Path) -> None:
    """After SIGSTOP and SIGCONT past every deadline, the answers in the sockets count."""
    gate = Gate(0)
    async with FaultServer(gate) as server, Workplace(tmp_path, a=server) as place:
        running = await place.start("run", place.write(prompts(4)), "--timeout", "1")
        await server.seen(4)
        running.send(signal.SIGSTOP)
        gate.opened.set()
        await server.answered(4)
        await asyncio.sleep(2.6)  # the fault under test is time that passes
        running.send(signal.SIGCONT)
        ended = await running.ended()
        assert ended.code == 0, ended.text
        assert outcomes(place.db) == {"ok": 4}


async def test_ctrl_c_twice_on_a_terminal_gives_the_cursor_back(tmp_path: Path) -> None:
    """The view hides the cursor while it draws; no way out leaves it hidden."""
    gate = Gate(0)
    async with FaultServer(gate) as server, Workplace(tmp_path, a=server) as place:
        running = await place.start("run", place.write(prompts(9)), terminal=TERMINAL)
        await server.seen(9)
        running.press(b"\x03")
        await running.says("Ctrl-C aborts")
        running.press(b"\x03")
        ended, took_s = await timed_end(running)
        assert (ended.code, took_s < AT_ONCE_S) == (130, True)
        assert b"Traceback" not in ended.out
        if HIDE_CURSOR in ended.out:
            assert ended.out.rindex(SHOW_CURSOR) > ended.out.rindex(HIDE_CURSOR)
        check_store(place.db)


async def test_a_closed_terminal_drains_like_sigterm(tmp_path: Path) -> None:
    """What the closed window still had in flight is stored, though nobody can be told."""
    gate = Gate(4)
    async with FaultServer(gate) as server, Workplace(tmp_path, a=server) as place:
        file = place.write(prompts(40))
        running = await place.start("run", file, "-c", "4", terminal=TERMINAL)
        await server.seen(8)
        running.hang_up()
        await until_stopping(place)
        gate.opened.set()
        ended = await running.ended()
        assert ended.code == 143
        assert states(place.db) == {"succeeded": 8, "pending": 32}
        check_store(place.db)
