"""The key is in its header and nowhere else, whatever a server does with it."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path

import pytest

from tests.support.canary import BOTH, ENV, HEADER, KEY, PLACES, leaks
from tests.support.fault_server import FaultServer
from tests.support.ledger import outcomes
from tests.support.process import TERMINAL, Process, Workplace, contents
from tests.support.replies import Reply, Seen


def echoing(seen: Seen) -> Reply | None:
    """Give the key back in every place where a server can."""
    if seen.nth > 1:
        return None
    replies = {
        "refused": Reply.error(401, message=f"Incorrect API key provided: {BOTH}"),
        "broken": Reply.error(500, code=KEY, message=f"upstream said no to {BOTH}"),
        "odd": Reply.error(400, kind=KEY, message=f"bad header {BOTH}"),
        "answered": Reply.chat(f"Your key is {BOTH}"),
        "escaped": Reply.text(
            b'{"choices": [{"message": {"content": "the key %s!"}, "finish_reason": "stop"}]}'
            % KEY.replace("/", "\\/").encode()
        ),
        "page": Reply.html(200, body=f"<html>{BOTH}</html>".encode()),
        "cut": Reply.truncated(body=f'{{"choices": "{BOTH}", "rest": "{"x" * 500}"}}'.encode()),
        "moved": Reply.html(302, headers={"location": f"http://127.0.0.1/?key={KEY}"}),
        "numbered": Reply.chat("fine", headers={"x-request-id": KEY}),
        "named": Reply.json(
            {
                "model": KEY,
                "choices": [{"message": {"content": "x"}, "finish_reason": KEY}],
                "system_fingerprint": HEADER,
            }
        ),
    }
    return replies.get(seen.prompt)


JOBS = ["first", "answered", "refused", "broken", "odd", "escaped", "page", "cut", "moved"]
JOBS += ["numbered", "named", "last"]


def workplace(tmp_path: Path, server: FaultServer) -> Workplace:
    place = Workplace(tmp_path, run={"concurrency": 1}, a={"base_url": server.url, **PLACES})
    place.env |= ENV
    return place


async def test_a_key_that_servers_echo_is_found_nowhere(tmp_path: Path) -> None:
    """Not in the database or an export, not on a stream, in none of the ways to look at it."""
    async with FaultServer(echoing) as server, workplace(tmp_path, server) as place:
        file = place.write([{"id": name, "prompt": name} for name in JOBS])
        ended = [await place.run("run", file, "-v", "--json", "-o", "out.jsonl")]
        assert ended[0].code in (1, 3), ended[0].text
        assert {"ok", "auth", "server_error", "bad_response"} <= set(outcomes(place.db))
        assert server.ledger[0].headers["authorization"] == f"Bearer {KEY}"
        assert server.ledger[0].headers["x-gate"] == HEADER
        assert all(KEY not in seen.path for seen in server.ledger)
        ended += [await place.run("show", name) for name in ("answered", "escaped", "cut")]
        for command in (["status"], ["export"], ["export", "--format", "openai"]):
            ended.append(await place.run(*command))
        ended.append(await place.run("run", file, "-v", terminal=TERMINAL))
        assert leaks(tmp_path, *ended) == []


async def test_while_it_runs_every_file_is_private_and_clean(tmp_path: Path) -> None:
    """The log and the shared memory beside the database are ours alone, and so is the lock."""
    gate = asyncio.Event()

    def script(seen: Seen) -> Reply | None:
        return Reply(until=gate) if seen.prompt == "last" else echoing(seen)

    async with FaultServer(script) as server, workplace(tmp_path, server) as place:
        file = place.write([{"id": name, "prompt": name} for name in ["answered", "cut", "last"]])
        running = await place.start("run", file, shell='umask 000; exec "$@"')
        await server.seen(3)
        beside = [name for name in contents(tmp_path) if name.startswith("aiq.db")]
        modes = {name: stat.S_IMODE((tmp_path / name).stat().st_mode) for name in beside}
        assert modes == dict.fromkeys(["aiq.db", "aiq.db-wal", "aiq.db-shm", "aiq.db.lock"], 0o600)
        assert leaks(tmp_path) == []
        assert_not_in_arguments(running)
        gate.set()
        ended = await running.ended()
        assert ended.code == 0, ended.text
        assert stat.S_IMODE(place.db.stat().st_mode) == 0o600


def modes(directory: Path) -> dict[str, int]:
    return {one.name: stat.S_IMODE(one.stat().st_mode) for one in directory.iterdir()}


async def test_whatever_is_written_is_private_and_nothing_is_left_behind(tmp_path: Path) -> None:
    """With no umask at all: only what was asked for with `-o` is for others to read."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    open_door = 'umask 000; exec "$@"'
    async with FaultServer() as server, Workplace(tmp_path, a=server) as place:
        place.env["TMPDIR"] = str(scratch)
        file = place.write([{"id": name, "prompt": name} for name in "ab"])
        before = modes(tmp_path)
        for command in (["run", file, "-o", "out.jsonl"], ["probe"], ["doctor"]):
            ended = await place.run(*command, shell=open_door)
            assert ended.code in (0, 1), ended
        made = {name: mode for name, mode in modes(tmp_path).items() if name not in before}
        assert made.pop("out.jsonl") == 0o666
        assert made.keys() >= {"aiq.db", "aiq.db.lock", "aiq.health.db", "aiq.health.db.lock"}
        assert set(made.values()) == {0o600}, made
        running = await place.start("check", place.fifo("pipe"), shell=open_door)
        pipe = await place.opened("pipe")
        [folder] = scratch.iterdir()
        assert modes(scratch) == {folder.name: 0o700}
        os.close(pipe)
        assert (await running.ended()).code == 0
        assert modes(scratch) == {}


async def test_a_netrc_is_no_key(tmp_path: Path) -> None:
    """Nor is a cookie jar: a server gets what the configuration says, and no more."""
    async with FaultServer(Reply(headers={"set-cookie": "seen=1; Path=/"})) as server:
        async with Workplace(tmp_path, a=server) as place:
            netrc = "machine 127.0.0.1 login me password x1\ndefault login me password x2\n"
            (tmp_path / ".netrc").write_text(netrc)
            (tmp_path / ".netrc").chmod(0o600)
            ended = await place.run("run", place.write(["a", "b", "c"]), "-c", "1")
            assert ended.code == 0, ended.text
        assert len(server.ledger) == 3
        for seen in server.ledger:
            assert not {"authorization", "cookie", "proxy-authorization"} & seen.headers.keys()


TEXT = "canary of a prompt"
ANSWER = "canary of an answer"
SECRET_LINES: list[object] = [
    {"id": "good", "prompt": TEXT, "system": TEXT, "metadata": {"note": TEXT}},
    {"id": "two\nlines \x1b[31m", "prompt": f"fails {TEXT}"},
    {"id": "bad", "prompt": TEXT, "temperature": TEXT},
    {"id": "worse", "messages": [{"role": TEXT, "content": [TEXT]}]},
    {"prompt": [TEXT]},
    f'{{"prompt": "{TEXT}", }}'.encode(),
    f'{{"prompt": "{TEXT}'.encode(),
    f'"{TEXT}'.encode() + b'\xff"',
    [TEXT],
]


async def test_no_prompt_and_no_answer_is_told_to_a_screen_or_a_log(tmp_path: Path) -> None:
    """However much shall be said: what was asked is for `show` and `export` alone."""

    def script(seen: Seen) -> Reply | None:
        if seen.method == "GET":
            return None
        return Reply.html(500) if "fails" in seen.prompt else Reply.chat(ANSWER)

    async with FaultServer(script) as server, Workplace(tmp_path, a=server) as place:
        file = place.write(SECRET_LINES)
        run = ["run", file, "-vv", "--max-attempts", "1", "-m", "m"]
        ended = [await place.run(*run), await place.run("check", file)]
        assert (ended[0].code, ended[1].code) == (1, 1), ended[0].text
        assert "two\\x0alines \\x1b[31m" in ended[0].text, "one line for one job"
        ended.append(await place.run("retry-failed", "-vv", "--json", terminal=TERMINAL))
        shim = {"PYTHONPATH": f"{broken(tmp_path)}:{place.env['PYTHONPATH']}"}
        ended.append(await place.run("retry-failed", "-vv", env=shim))
        assert ended[-1].code == 70, ended[-1].text
        assert b"Traceback" in ended[-1].err
        for one in ended:
            for canary in (TEXT, ANSWER):
                assert canary.encode() not in one.out + one.err, one


def broken(directory: Path) -> Path:
    """Make a module that plants a bug, with a prompt among the variables where it happens."""
    shim = directory / "broken"
    shim.mkdir()
    (shim / "sitecustomize.py").write_text(
        "from aiq.run.attempt import Sender\n"
        "async def broken(self, provider, request, model):\n"
        "    held = repr(request.body) + repr(provider)\n"
        "    raise RuntimeError('planted')\n"
        "Sender.send = broken\n"
    )
    return shim


def assert_not_in_arguments(running: Process) -> None:
    arguments = Path(f"/proc/{running.pid}/cmdline")
    if arguments.exists():
        assert KEY.encode() not in arguments.read_bytes()


@pytest.mark.parametrize("how", ["typo", "bug"])
async def test_an_error_shows_no_key(tmp_path: Path, how: str) -> None:
    """Neither a key pasted into the configuration nor a traceback of ours repeats it."""
    async with FaultServer() as server, workplace(tmp_path, server) as place:
        file = place.write(["a"])
        if how == "typo":
            config = (tmp_path / "aiq.toml").read_text()
            (tmp_path / "aiq.toml").write_text(config.replace('"CANARY_KEY"', f'"{KEY}"'))
            ended = await place.run("run", file, "-v")
            assert ended.code == 2, ended.text
            assert KEY not in ended.text
            return
        shim = tmp_path / "shim"
        shim.mkdir()
        (shim / "sitecustomize.py").write_text(
            "from aiq.run.attempt import Sender\n"
            "async def broken(self, provider, *_):\n"
            "    raise RuntimeError(f'lost with {provider.headers} and {provider.settings}')\n"
            "Sender.send = broken\n"
        )
        path = f"{shim}:{place.env['PYTHONPATH']}"
        ended = await place.run("run", file, "-v", env={"PYTHONPATH": path})
        assert ended.code == 70, ended.text
        assert leaks(tmp_path, ended) == []
