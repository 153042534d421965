"""Streams that close, fill up or never were there: stdout is data, its end no error."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.fault_server import FaultServer
from tests.support.ledger import check_all_answered, prompts
from tests.support.lines import lines_of
from tests.support.process import Workplace

LONG = "x" * 2_000
"""With 200 of these an export is more than any pipe holds."""


def long_prompts() -> list[dict[str, str]]:
    return [{"id": f"p{number}", "prompt": f"p{number} {LONG}"} for number in range(200)]


async def test_a_reader_of_an_export_may_leave(tmp_path: Path) -> None:
    """`aiq export | head -1` is quiet, and the exit status of `aiq` stays 0."""
    async with FaultServer() as server, Workplace(tmp_path, a=server) as place:
        assert (await place.run("run", place.write(long_prompts()))).code == 0
        for format_, reader in (("flat", "head -1"), ("csv", "head -c 1"), ("openai", "true")):
            ended = await place.run(
                "export", "--format", format_, shell=f'{{ "$@"; echo $? > status; }} | {reader}'
            )
            assert (tmp_path / "status").read_text() == "0\n"
            assert ended.err == b""


async def test_streams_that_were_never_there_change_nothing(tmp_path: Path) -> None:
    """A cron job or a supervisor may close what it likes; no file takes a stream's number."""
    async with FaultServer() as server, Workplace(tmp_path, a=server) as place:
        file = place.write(prompts(20))
        ended = await place.run("run", file, "--json", shell='exec "$@" <&- >&- 2>&-')
        assert ended.code == 0
        check_all_answered(place.db, 20)
        header = place.db.read_bytes()[:16]
        assert header == b"SQLite format 3\0"
        for command in (["status"], ["status", "--json"], ["export"]):
            ended = await place.run(*command, shell='exec "$@" >&-')
            assert (ended.code, ended.err) == (0, b""), ended.text


async def test_stdout_closed_in_the_middle_of_a_run_does_not_stop_it(tmp_path: Path) -> None:
    """Nobody reads stdout or stderr any more: the answers are stored all the same."""
    async with FaultServer() as server, Workplace(tmp_path, a=server) as place:
        file = place.write(prompts(20))
        shell = '{ "$@"; echo $? > status; } 2>&1 | true'
        await place.run("run", file, "--json", shell=shell)
        assert (tmp_path / "status").read_text() == "0\n"
        check_all_answered(place.db, 20)


async def test_a_full_stdout_is_an_error(tmp_path: Path) -> None:
    """Data that could not be written must not look written."""
    async with FaultServer() as server, Workplace(tmp_path, a=server) as place:
        assert (await place.run("run", place.write(prompts(3)))).code == 0
        for command in (["status"], ["status", "--json"], ["export"], ["show", "p1"]):
            ended = await place.run(*command, shell='exec "$@" > /dev/full')
            assert ended.code == 1, ended.text
            assert "No space left on device" in ended.text
            assert ended.text.count("error: ") == 1
            assert "Traceback" not in ended.text
            assert "Exception" not in ended.text


async def test_a_full_stdout_is_an_error_of_a_run_whose_data_it_is(tmp_path: Path) -> None:
    """`run --json > /dev/full` has answered everything and still has to say what is lost."""
    async with FaultServer() as server, Workplace(tmp_path, a=server) as place:
        file = place.write(prompts(3))
        ended = await place.run("run", file, "--json", shell='exec "$@" > /dev/full')
        assert ended.code == 1
        assert "No space left on device" in ended.text
        check_all_answered(place.db, 3)
        ended = await place.run("run", file, shell='exec "$@" > /dev/full 2> /dev/full')
        assert ended.code == 0


async def test_stdin_becomes_a_batch_that_can_be_resumed_without_it(tmp_path: Path) -> None:
    """What came through a pipe is in the database; `aiq run` alone carries on with it."""
    async with FaultServer() as server, Workplace(tmp_path, a=server) as place:
        first = await place.start("run", "-", "--limit", "2", "--json", stdin=True)
        data = b"".join(json.dumps(one).encode() + b"\n" for one in prompts(5))
        await first.write(data, close=True)
        ended = await first.ended()
        assert ended.code == 0, ended.text
        assert (ended.json()["batch"], ended.json()["pending"]) == ("stdin", 3)
        assert (await place.run("run")).code == 0
        check_all_answered(place.db, 5)
        assert len(server.ledger) == 5


async def test_json_is_one_object_and_nothing_else(tmp_path: Path) -> None:
    """Bad lines, failures and notes go to stderr; stdout can be piped into any program."""
    async with FaultServer() as server, Workplace(tmp_path, a=server) as place:
        file = place.write([*prompts(3), b"not json", {"id": "é\u2028", "prompt": "💥"}])
        ended = await place.run("run", file, "--json", "-v", "-o", "out.csv", "--format", "csv")
        assert ended.code == 1
        assert ended.out.endswith(b"}\n")
        assert ended.out.count(b"\n") == 1
        assert ended.json()["exit_code"] == 1
        assert len(lines_of((tmp_path / "out.csv").read_text())) >= 5
