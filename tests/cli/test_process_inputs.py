"""Prompt files as strangers make them: bad lines among good ones, endless lines, odd places."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections import Counter
from pathlib import Path

from tests.support.bad_lines import BAD, ODD
from tests.support.fault_server import FaultServer
from tests.support.invariants import check_store, rows
from tests.support.process import FULL, Workplace

GOOD = 10_000
EVERY = 150
"""A bad line after so many good ones."""

TWICE = {
    b'{"id": "g3", "prompt": "good 3"}': "the id `g3` stands on an earlier line",
    b'{"id": "g6", "prompt": "something else"}': "the id `g6` stands on an earlier line",
    b'{"custom_id": 1, "prompt": "a number"}': "the id `1` stands on an earlier line",
}
MIB = 1024 * 1024


def mixture() -> tuple[list[bytes], dict[int, str]]:
    """Return the lines of a file, and of each bad one its number and the reason to be listed."""
    bad = list((BAD | TWICE).items())
    lines = [b'{"id": "1", "prompt": "the first of its id"}', *ODD]
    expected: dict[int, str] = {}
    good = 0
    while len(lines) - len(expected) < GOOD:
        good += 1
        if good % EVERY == 0 and bad:
            line, reason = bad.pop(0)
            lines += [line, b'{"priority": 1, "prompt": "right after %d"}' % len(lines)]
            expected[len(lines) - 1] = reason
        elif good % 3:
            lines.append(b'"good %d"' % good)
        else:
            lines.append(b'{"id": "g%d", "prompt": "good %d"}' % (good, good))
    assert not bad
    return lines, expected


async def test_exactly_the_bad_lines_of_a_file_are_listed_and_not_sent(tmp_path: Path) -> None:
    """Each good line is a job once, each bad one is named; `check` says the same as `run`."""
    lines, expected = mixture()
    limit = () if FULL else ("--limit", "150")
    async with FaultServer() as server, Workplace(tmp_path, a=server) as place:
        file = place.write(lines)
        checked = await place.run("check", file, "--json")
        assert (checked.code, server.ledger) == (1, [])
        ran = await place.run("run", file, "--json", *limit)
        assert ran.code == 1, ran.text
        sent = Counter(json.loads(one.body)["messages"][0]["content"] for one in server.ledger)
    told = checked.json()
    assert (told["lines"], told["valid"]) == (len(lines), GOOD)
    listed = {one["line"]: one["reason"] for one in told["invalid"]}
    assert listed.keys() == expected.keys()
    for number, reason in expected.items():
        assert re.search(reason, listed[number]), (number, listed[number])
    assert ran.json()["invalid"] == len(expected)
    assert dict(rows(place.db, "SELECT line, reason FROM invalid_line")) == listed
    check_store(place.db, lines=GOOD)
    jobs = {line for (line,) in rows(place.db, "SELECT line FROM job")}
    assert jobs == set(range(1, len(lines) + 1)) - expected.keys()
    assert len(sent) >= 150
    assert sent.most_common(1)[0][1] == 1
    assert all(f"right after {number - 1}" in sent for number in expected)
    assert sent.keys() <= {prompt(lines[number - 1]) for number in jobs}


def prompt(line: bytes) -> str:
    """Read a good line in the plainest way."""
    value = json.loads(line)
    return str(value["prompt"]) if isinstance(value, dict) else str(value)


async def test_memory_grows_with_neither_a_line_nor_a_file(tmp_path: Path) -> None:
    """A line of 200 MB is refused as it passes by, and after it come as many lines as you like."""
    count = 2_000_000 if FULL else 40_000
    async with Workplace(tmp_path, a="http://127.0.0.1:1/v1") as place:
        running = await place.start("check", place.fifo("pipe"), "--json")
        pipe = await place.opened("pipe")

        def write(data: bytes, times: int) -> None:
            for _ in range(times):
                view = memoryview(data)
                while view:
                    view = view[os.write(pipe, view) :]

        def lines(first: int, last: int) -> bytes:
            return b"".join(b'"prompt %d %s"\n' % (n, b"x" * 100) for n in range(first, last))

        await asyncio.to_thread(write, lines(0, 20_000), 1)
        before = peak_bytes(running.pid)
        await asyncio.to_thread(write, b"x" * MIB, 200)
        await asyncio.to_thread(write, b"\n", 1)
        grown_by_line = peak_bytes(running.pid) - before
        for start in range(20_000, count, 20_000):
            await asyncio.to_thread(write, lines(start, start + 20_000), 1)
        grown_by_file = peak_bytes(running.pid) - before
        os.close(pipe)
        ended = await running.ended()
    told = ended.json()
    assert (told["valid"], [one["line"] for one in told["invalid"]]) == (count, [20_001])
    assert told["invalid"][0]["reason"] == "longer than 8 MiB"
    assert grown_by_line < 64 * MIB
    assert grown_by_file < 64 * MIB


def peak_bytes(pid: int) -> int:
    """Return the most memory that a process has ever held."""
    [line] = re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(line) * 1024
