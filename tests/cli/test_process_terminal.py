"""Terminals of every size, and what must never reach one: bytes that strangers chose."""

from __future__ import annotations

import asyncio
import re
import unicodedata
from pathlib import Path

import pytest

from tests.support.fault_server import FaultServer
from tests.support.ledger import check_all_answered, prompts
from tests.support.process import TERMINAL, Ended, Workplace
from tests.support.replies import Reply, Seen

OWN = re.compile(
    rb"\x1b\[[0-9;]*m"  # colours
    rb"|\x1b\[\?25[lh]"  # the cursor
    rb"|\x1b\[[0-9]*[AK]|\r"  # back to the first line of the view
)
"""The only sequences we may write ourselves, besides clearing a terminal that became narrower."""
CLEAR = re.compile(rb"\x1b\[2J|\x1b\[H")

HOSTILE = (
    "A\x1b]52;c;ZXZpbA==\x07B\x1b[2JC\x9b31mD\x9d0;evil\x9cE\rF\x08\x08G\u202eH\u2066I\u200bJ"
    "\x1b[?1049hK\ufeffL\x7fM\u2028N\x00O\x0bP\x1bPq#0\x1b\\Q[bold red]R[/]S[link=http://x]T"
)
"""Clipboard, title, screen, direction, zero width, C1, device control, markup."""


def strangers(out: bytes) -> list[str]:
    """Return what a terminal would obey or hide and we did not write ourselves."""
    text = OWN.sub(b"", out).decode()
    hidden = {"Cc", "Cf", "Cs", "Zl", "Zp"}
    return [char for char in text if unicodedata.category(char) in hidden and char != "\n"]


@pytest.mark.parametrize(
    ("env", "has_terminal"),
    [
        ({"FORCE_COLOR": "1", "CLICOLOR_FORCE": "1", "TTY_COMPATIBLE": "1"}, False),
        ({"NO_COLOR": "1"}, True),
        ({"TERM": "dumb"}, True),
        ({"CI": "true"}, True),
    ],
    ids=["forced", "NO_COLOR", "dumb", "CI"],
)
async def test_not_an_escape_byte_where_none_is_wanted(
    tmp_path: Path, env: dict[str, str], *, has_terminal: bool
) -> None:
    """A log file, a pager and a build server get plain lines, from every command."""
    terminal = TERMINAL if has_terminal else None
    slow = Reply(delay_s=0.05)
    async with FaultServer(slow) as server, Workplace(tmp_path, a=server) as place:
        file = place.write([*prompts(20), b"not a prompt at all"])
        for command in (["run", file], ["status"]):
            ended = await place.run(*command, terminal=terminal, env=env)
            assert ended.code == (1 if file in command else 0), ended
            assert b"\x1b" not in ended.out + ended.err
            assert b"\r" not in (ended.out + ended.err).replace(b"\r\n", b"\n")


@pytest.mark.parametrize("size", [(100, 30), (60, 20), (20, 5)], ids=str)
async def test_the_view_fits_any_terminal(tmp_path: Path, size: tuple[int, int]) -> None:
    """Usual, narrow or tiny: everything is done, and the cursor is there again."""
    async with FaultServer(Reply(delay_s=0.1)) as server:
        async with Workplace(tmp_path, a=server) as place:
            ended = await place.run("run", place.write(prompts(60)), "-c", "8", terminal=size)
        assert ended.code == 0, ended.out
        assert b"Traceback" not in ended.out
        assert b"view failed" not in ended.out
        assert ended.out.rfind(b"\x1b[?25h") >= ended.out.rfind(b"\x1b[?25l")
        assert strangers(ended.out) == []
        assert b"60 succeeded" in re.sub(rb"\s+", b" ", ended.out)
        check_all_answered(place.db, 60)


async def test_a_storm_of_resizes_is_survived(tmp_path: Path) -> None:
    """Dragging a window's edge changes nothing but the picture."""
    gate = asyncio.Event()
    async with FaultServer(lambda seen: Reply(until=gate) if seen.number > 4 else None) as server:
        async with Workplace(tmp_path, a=server) as place:
            running = await place.start("run", place.write(prompts(12)), terminal=TERMINAL)
            await server.seen(12)
            for step in range(60):
                running.resize(120 - 2 * step % 119, 1 + step % 40)
                if step % 15 == 0:
                    await running.writes()
            gate.set()
            ended = await running.ended()
        assert ended.code == 0, ended.out
        assert b"Traceback" not in ended.out
        assert b"view failed" not in ended.out
        assert strangers(CLEAR.sub(b"", ended.out)) == []
        check_all_answered(place.db, 12)


MARKUP = "[red]p[/b]:smile:"
"""The name of a provider: what can be printed is allowed in it."""


def hostile_replies(seen: Seen) -> Reply | None:
    """Answer with hostile text, fail with it, and refuse with it."""
    if seen.method == "GET":
        return Reply.json({"object": "list", "data": [{"id": HOSTILE}, {"id": "m"}]})
    if "slow" in seen.prompt:
        return Reply(delay_s=0.5)  # the live view gets its time
    if "fails" in seen.prompt:
        return Reply.error(400, code=HOSTILE, message=HOSTILE, headers={"x-request-id": "a\x9bb"})
    if "breaks" in seen.prompt:
        return Reply.html(500) if seen.nth == 1 else Reply.error(422, message=HOSTILE)
    return Reply.chat(HOSTILE + "\nsecond line\tafter a tab", finish=HOSTILE)


async def hostile_outputs(place: Workplace, *, terminal: bool) -> dict[str, Ended]:
    """Run every command on a batch of which each part was written by somebody hostile."""
    on = TERMINAL if terminal else None
    name = "evil\x1b[31m\u202e.jsonl"
    lines = [
        {"id": HOSTILE, "prompt": HOSTILE},
        {"id": "fails " + HOSTILE, "prompt": "fails"},
        {"id": "breaks", "prompt": "breaks", "max_token\x1b[5m": 1, "max_token": 2},
        {"id": "metadata", "prompt": "m", "metadata": {HOSTILE: HOSTILE}, "model": HOSTILE},
        {"id": "bad " + HOSTILE, "prompt": "x", "temperature": HOSTILE},
        {"id": HOSTILE, "prompt": "twice"},
        {"id": "slow", "prompt": "slow"},
    ]
    file = place.write(lines, name)
    commands = {
        "run": ["run", file, "-n", "b\x1b[7m\u202e", "-o", "out\x1b[7m\u202e.jsonl"],
        "status": ["status"],
        "show": ["show", HOSTILE.replace("\0", "")],
        "show failed": ["show", "breaks"],
    }
    if terminal:
        commands |= {
            "check": ["check", file],
            "unknown": ["status", HOSTILE.replace("\0", "")],
            "missing": ["run", "missing\x1b[31m\u202e.jsonl"],
            "retry-failed": ["retry-failed", "-m", HOSTILE.replace("\0", "")],
            "probe": ["probe", "-v", "-m", "gone\x1b[31m\u202e"],
            "doctor": ["doctor", "--db", "evil\x1b[31m\u202e.db"],
            "init": ["init", "--config", "evil\x1b]0;title\x07.toml"],
            "bad config": ["check", file, "--config", "bad\u202e.toml"],
            # To a file or a pipe an export is exact.
            "export": ["export"],
            "export csv": ["export", "--format", "csv"],
            "export openai": ["export", "--format", "openai"],
        }
    proxies = {"HTTPS_PROXY": "http://\x1b[31muser@[b]host\u202e:1"}
    (place.directory / "bad\u202e.toml").write_text('[run]\n"a\u202e\\u001b[2J[red]" = 1\n')
    return {
        what: await place.run(*command, terminal=on, env=proxies)
        for what, command in commands.items()
    }


@pytest.mark.parametrize("terminal", [True, False])
async def test_nothing_that_strangers_wrote_is_obeyed(tmp_path: Path, *, terminal: bool) -> None:
    """Ids, file names, answers, errors, options: shown as text, whatever bytes they hold."""
    async with FaultServer(hostile_replies) as server:
        table = {"base_url": server.url, "name": MARKUP}
        async with Workplace(tmp_path, a=table) as place:
            outputs = await hostile_outputs(place, terminal=terminal)
        for what, ended in outputs.items():
            out = ended.out + ended.err
            assert strangers(out) == [], (what, out)
            assert b"E\rF" not in out, what
            assert b"Traceback" not in out, what
            assert b"bug in aiq" not in out, (what, out)
            assert b"view failed" not in out, what
            assert "\N{SMILING FACE WITH OPEN MOUTH}".encode() not in out, what
        for what in {"run", "status", "show", "check", "retry-failed"} & outputs.keys():
            shown = OWN.sub(b"", outputs[what].out + outputs[what].err)
            assert b"[bold red]R[/]S[link=http://x]T" in shown, what
        for what in {"run", "status", "probe", "retry-failed"} & outputs.keys():
            assert MARKUP.encode() in outputs[what].out + outputs[what].err, what


async def test_a_poor_locale_costs_letters_and_nothing_else(tmp_path: Path) -> None:
    """In the C locale every command still works; what ASCII lacks is written in ASCII."""
    poor = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    async with (
        FaultServer(
            lambda seen: Reply.error(400, message="naïve 💥 日本") if seen.nth == 1 else None
        ) as server,
        Workplace(tmp_path, a=server) as place,
    ):
        lines = [{"id": "a", "prompt": "é"}, {"id": "日本 💥", "prompt": "n"}]
        file = place.write([*lines, b'{"id": "\xc3\xa9", "x": '])
        for command, terminal in (
            (["run", file], TERMINAL),
            (["status"], TERMINAL),
            (["show", "a"], None),
            (["check", file], None),
        ):
            ended = await place.run(*command, env=poor, terminal=terminal)
            assert ended.code in (0, 1), ended
            (ended.out + ended.err).decode("ascii")
        western = await place.run("status", env={"PYTHONIOENCODING": "latin-1"})
        assert "naïve \\U0001f4a5 \\u65e5\\u672c".encode("latin-1") in western.out
        exported = await place.run("export", env=poor)
        assert "日本 💥" in exported.out.decode()
