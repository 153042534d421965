"""What a command refuses, as a process shows it: exit status 2, one sentence, nothing written."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.fault_server import FaultServer
from tests.support.ledger import prompts
from tests.support.process import Workplace, contents

REFUSED = [
    ["run"],
    ["run", "."],
    ["run", "p.jsonl", "--budget", "0"],
    ["run", "p.jsonl", "--json", "-o", "-"],
    ["run", "p.jsonl", "-o", "p.jsonl"],
    ["run", "p.jsonl", "-p", "nobody"],
    ["status"],
    ["export"],
    ["show", "p0"],
    ["retry-failed", "--kind", "bad_respond"],
    ["init", "--config", "aiq.toml"],
    ["no-such-command"],
]


@pytest.mark.parametrize("command", REFUSED, ids=" ".join)
async def test_a_refusal_says_why_and_leaves_no_trace(tmp_path: Path, command: list[str]) -> None:
    """Nothing is sent, nothing on stdout, no answer file, and no database that was not there."""
    async with FaultServer() as server, Workplace(tmp_path, a=server) as place:
        place.write(prompts(2))
        before = contents(tmp_path)
        ended = await place.run(*command)
        assert (ended.code, ended.out) == (2, b""), ended.text
        assert "rror: " in ended.text
        assert "Traceback" not in ended.text
        assert server.ledger == []
        after = contents(tmp_path)
        allowed = {"aiq.db", "aiq.db.lock"} if command[0] == "run" else set()
        assert after.items() >= before.items()
        assert after.keys() - before.keys() <= allowed


async def test_an_unknown_batch_or_job_is_refused_with_what_there_is(tmp_path: Path) -> None:
    """A typo is answered with the names that exist."""
    async with FaultServer() as server, Workplace(tmp_path, a=server) as place:
        assert (await place.run("run", place.write(prompts(2)), "-n", "letters")).code == 0
        for command in ["status", "export", "retry-failed"]:
            ended = await place.run(command, "lettres")
            assert ended.code == 2, ended.text
            assert "`lettres`" in ended.text
        ended = await place.run("show", "p7")
        assert (ended.code, ended.out) == (2, b"")
        assert "`p7`" in ended.text


async def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    """A Latin-1 file name from another system, or a mistyped id: named, and no bug of ours."""
    async with FaultServer() as server, Workplace(tmp_path, a=server) as place:
        assert (await place.run("run", place.write(prompts(1)))).code == 0
        (tmp_path / "caf\udce9.jsonl").write_text('"a prompt"\n')
        for command in ("run", "check"):
            ended = await place.run(command, "caf\udce9.jsonl")
            assert ended.code == 2, ended.text
            assert "is not utf-8 text" in ended.text
        ended = await place.run("show", "\udcff")
        assert ended.code == 2, ended.text
        assert len(server.ledger) == 1
