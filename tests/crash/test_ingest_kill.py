"""SIGKILL while a file is read: every line is there once, half a file is never taken for whole."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import signal
from collections.abc import Iterator
from pathlib import Path

from tests.support.fault_server import FaultServer
from tests.support.invariants import check_store, rows
from tests.support.ledger import prompts, states
from tests.support.process import FULL, Workplace

LINES = 500_000 if FULL else 100_000


def lines(count: int) -> Iterator[bytes]:
    for number in range(count):
        yield b'{"id": "r%d", "prompt": "what is thing %d?"}\n' % (number, number)


async def killed_while_reading(place: Workplace, name: str, data: bytes, *words: str) -> None:
    """Run a named pipe as a file, feed it this, and kill before its end."""
    fifo = place.fifo(name)
    running = await place.start("run", fifo, *words)
    pipe = await place.opened(fifo)
    await asyncio.to_thread(_write_all, pipe, data)
    running.send(signal.SIGKILL)
    assert (await running.ended()).code == -signal.SIGKILL
    os.close(pipe)
    (place.directory / fifo).unlink()


def _write_all(pipe: int, data: bytes) -> None:
    """Return when all but what the kernel holds, 64 KiB, has been read."""
    view = memoryview(data)
    while view:
        view = view[os.write(pipe, view) :]


async def test_a_killed_ingest_starts_over(tmp_path: Path) -> None:
    """The file has to be given again, and then each of its lines is there once."""
    whole = b"".join(lines(LINES))
    async with FaultServer() as server, Workplace(tmp_path, a=server) as place:
        await killed_while_reading(place, "big.jsonl", whole[: len(whole) * 7 // 10])
        halfway = await place.run("run")
        assert halfway.code == 2
        assert "big.jsonl" in halfway.text
        assert server.ledger == []
        status = (await place.run("status", "--json")).json()
        assert status["totals"]["total"] == 0

        (place.directory / "big.jsonl").write_bytes(whole)
        ended = await place.run("run", "big.jsonl", "--limit", "5", "--json")
        assert ended.code == 0, ended.text
        assert ended.json()["total"] == LINES
        assert len(server.ledger) == 5
        assert rows(place.db, "SELECT count(*), count(DISTINCT key) FROM job") == [(LINES, LINES)]
        assert rows(place.db, "SELECT count(*), max(line) FROM job") == [(LINES, LINES)]
        assert rows(place.db, "PRAGMA integrity_check") == [("ok",)]


async def test_a_killed_second_ingest_leaves_the_first_as_it_was(tmp_path: Path) -> None:
    """What was not read to its end adds nothing and takes nothing, and has to be given again."""
    async with FaultServer() as server, Workplace(tmp_path, a=server) as place:
        file = place.write(prompts(20), "grows.jsonl")
        assert (await place.run("run", file, "--limit", "12")).code == 0
        (place.directory / file).unlink()
        await killed_while_reading(place, file, b"".join(lines(20_000)))
        assert states(place.db) == {"succeeded": 12, "pending": 8}
        refused = await place.run("run")
        assert refused.code == 2
        assert "grows.jsonl was not read to its end" in refused.text
        place.write(prompts(20), "grows.jsonl")
        assert (await place.run("run", file)).code == 0
        check_store(place.db, lines=20)
        assert states(place.db) == {"succeeded": 20}
        assert len(server.ledger) == 20


async def test_a_batch_that_was_never_read_stops_only_itself(tmp_path: Path) -> None:
    """Another file can be run while one still has to be given again."""
    async with FaultServer() as server, Workplace(tmp_path, a=server) as place:
        await killed_while_reading(place, "half.jsonl", b"".join(lines(5_000)))
        ended = await place.run("run", place.write(prompts(3), "whole.jsonl"), "--json")
        assert ended.code == 0, ended.text
        assert ended.json()["total"] == 3
        assert (await place.run("run")).code == 2
        assert len(server.ledger) == 3


async def test_a_file_is_to_be_given_again_to_its_own_batch(tmp_path: Path) -> None:
    """By its stem it would become another one, and all its answers would be paid again."""
    async with FaultServer() as server, Workplace(tmp_path, a=server) as place:
        file, named = place.write(prompts(3), "grows.jsonl"), ("-n", "my own")
        assert (await place.run("run", file, *named)).code == 0
        (place.directory / file).unlink()
        await killed_while_reading(place, file, b"".join(lines(20_000)), *named)
        refused = await place.run("run")
        assert refused.code == 2
        place.write(prompts(3), "grows.jsonl")
        [typed] = re.findall("`aiq ([^`]+)`", refused.text)
        assert (await place.run(*shlex.split(typed))).code == 0
        assert states(place.db) == {"succeeded": 3}
        assert len(server.ledger) == 3
