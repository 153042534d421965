"""`aiq ctl` against a run in another process, judged by what the server sees."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from tests.cli.conftest import Aiq
from tests.support.fault_server import FaultServer
from tests.support.invariants import rows
from tests.support.ledger import check_all_answered, prompts, states
from tests.support.process import Ended, Workplace
from tests.support.replies import Reply

SLOW = Reply(delay_s=0.25)
"""With 40 in flight at most 160 a second, so that a run outlasts the commands that it gets."""

MANY = 1500


async def ctl(place: Workplace, *words: str) -> Ended:
    """Run `aiq ctl` to its end."""
    return await (await place.start("ctl", *words)).ended()


async def done(place: Workplace, *words: str) -> str:
    """Run `aiq ctl`, which must succeed; return what it said."""
    ended = await ctl(place, *words)
    assert (ended.code, ended.out) == (0, b""), ended.text
    return ended.text.strip()


def workplace(directory: Path, **servers: FaultServer) -> Workplace:
    tables = {name: {"base_url": one.url, "adaptive": False} for name, one in servers.items()}
    return Workplace(directory, run={"concurrency": 40}, **tables)


async def test_pause_resume_and_stop(tmp_path: Path) -> None:
    """Paused, nothing is sent while other commands come and go; stopped, it can be resumed."""
    async with FaultServer(SLOW) as server, workplace(tmp_path, a=server) as place:
        running = await place.start("run", place.write(prompts(MANY)))
        await server.seen(100)
        said = await done(place, "pause")
        assert re.fullmatch(r"paused: nothing new is sent, \d+ in flight finish", said)
        await server.idle()
        count = len(server.ledger)
        assert await done(place, "pause") == "the run is paused already"
        told = (await ctl(place, "status", "--json")).json()
        assert (told["phase"], told["in_flight"], told["concurrency"]) == ("paused", 0, 40)
        states_told = ("succeeded", "failed", "cancelled", "pending")
        assert sum(told[state] for state in states_told) == told["total"]
        status = await (await place.start("status", "--json")).ended()
        assert status.json()["run"]["paused_since"] is not None
        assert len(server.ledger) == count
        assert await done(place, "resume") == "resumed"
        await server.seen(count + 100)
        assert (await done(place, "stop")).startswith("stopping: nothing new is sent")
        ended = await running.ended()
        assert ended.code == 130
        assert "note: `aiq ctl`: paused" in ended.text
        assert "resume   aiq run p.jsonl" in ended.text
        assert states(place.db).get("running") is None
        count = len(server.ledger)
        server.load(Reply())
        again = await (await place.start("run", "p.jsonl")).ended()
        assert again.code == 0
        check_all_answered(place.db, MANY)
        assert count + len(server.ledger) == MANY


async def test_concurrency_and_a_disabled_provider_in_the_ledgers_of_servers(
    tmp_path: Path,
) -> None:
    async with (
        FaultServer(SLOW) as a,
        FaultServer(SLOW) as b,
        workplace(tmp_path, a=a, b=b) as place,
    ):
        running = await place.start("run", place.write(prompts(MANY)))
        await a.seen(100)
        assert await done(place, "disable", "a") == "a is disabled until you enable it"
        await a.idle()
        count = len(a.ledger)
        await b.seen(100)
        assert len(a.ledger) == count
        assert (await done(place, "set", "concurrency=5")).startswith("at most 5 in flight")
        await b.seen(len(b.ledger) + 40)
        lowered = len(b.ledger)
        await b.seen(lowered + 30)
        assert max(seen.in_flight for seen in b.ledger[lowered:]) <= 5
        shown = await ctl(place, "status")
        assert b"disabled: by you" in shown.out
        assert b"of at most 5 in flight" in shown.out
        await done(place, "stop")
        ended = await running.ended()
        assert "--concurrency 5" in ended.text, "the way on keeps to it"
        later = await (await place.start("run", "p.jsonl", "--limit", "20")).ended()
        assert "a (m) disabled by you" in later.text
        assert len(a.ledger) == count
        assert await done(place, "enable", "a") == "a is enabled (no run is at work)"
        final = await (await place.start("run", "p.jsonl", "--limit", "20")).ended()
        assert "disabled" not in final.text
        assert len(a.ledger) == count + 20


async def test_a_budget_in_exact_amounts(tmp_path: Path) -> None:
    """Reached, the run ends as with `--budget`, and says how to carry on."""
    async with FaultServer(SLOW) as server, workplace(tmp_path, a=server) as place:
        running = await place.start("run", place.write(prompts(MANY)))
        await server.seen(100)
        said = await done(place, "set", "budget=0.000000001")
        assert "a budget of 0.000000001 USD from now on: it is reached" in said
        ended = await running.ended()
        assert ended.code == 4
        assert "--budget" in ended.text
        assert rows(place.db, "SELECT command, argument FROM control") == [
            ("set budget", "0.000000001")
        ]


def test_what_cannot_be_controlled(aiq: Aiq) -> None:
    """No database; no run at work; a provider that nobody knows."""
    missing = aiq("ctl", "pause")
    assert (missing.exit_code, "no database" in missing.stderr) == (2, True)
    aiq("run", "prompts.jsonl", "-p", "quick")
    for words in (["pause"], ["set", "concurrency=2"], ["status"], ["reset", "quick"]):
        ended = aiq("ctl", *words)
        assert (ended.exit_code, ended.stdout) == (2, "")
        assert "no run is at work on aiq.db" in ended.stderr
    ended = aiq("ctl", "disable", "nobody")
    known = "ever asked a provider called `nobody`" in ended.stderr
    assert (ended.exit_code, known) == (2, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["set"], "needs a name and a value"),
        (["set", "concurrency"], "needs a name and a value"),
        (["set", "concurrency=many"], "that is no number"),
        (["set", "concurrency=-1"], "that is no number"),
        (["set", "budget=cheap"], "that is no amount"),
        (["set", "budget=-1"], "that is no amount"),
        (["set", "budget=nan"], "that is no amount"),
        (["set", "budget=1e400"], "that is no amount"),
        (["set", "budget=1e999999"], "that is no amount"),
        (["set", "budget=0.0000000001"], "that is no amount"),
        (["set", "budgte=1"], "cannot change `budgte`"),
        (["disable"], "needs the name of a provider"),
        (["pause", "now"], "takes no `now`"),
        (["explode"], "explode"),
    ],
)
def test_what_makes_no_sense(aiq: Aiq, words: list[str], said: str) -> None:
    ended = aiq("ctl", *words)
    assert ended.exit_code == 2
    assert said in ended.stderr


async def test_the_live_view_says_it(tmp_path: Path) -> None:
    """In its title, in its counts, at the provider, and as a line that stays."""
    async with FaultServer(SLOW) as server, workplace(tmp_path, a=server) as place:
        file = place.write(prompts(MANY))
        running = await place.start("run", file, terminal=(110, 30))
        await server.seen(100)
        await done(place, "set", "concurrency=7")
        await running.says("in flight of at most 7")
        await done(place, "disable", "a")
        await running.says("disabled: by you")
        await done(place, "pause")
        await running.says("paused by you")
        await running.says("`aiq ctl`: at most 7 in flight from now on")
        await done(place, "stop")
        assert (await running.ended()).code == 130


async def test_a_run_without_a_channel_says_so_only_when_asked(tmp_path: Path) -> None:
    """And works as ever."""
    async with FaultServer() as server, Workplace(tmp_path, a=server) as place:
        (tmp_path / "aiq").write_text("in the way")
        code = "import sys, pathlib; import aiq.run.meeting_place as m;"
        code += f" m.TEMPORARY = pathlib.Path({str(tmp_path / 'aiq')!r});"
        code += " from aiq.__main__ import main; main()"
        shell = f'shift 3; exec {place.env["PATH"].split(":")[0]}/python -c "{code}" "$@"'
        file = place.write(prompts(3))
        loud, quiet = await asyncio.gather(
            *[
                (await place.start("run", file, "--db", f"{n}.db", *more, shell=shell)).ended()
                for n, more in ((1, ["-v"]), (2, []))
            ]
        )
        assert (loud.code, quiet.code) == (0, 0)
        assert "`aiq ctl` cannot reach this run" in loud.text
        assert "ctl" not in quiet.text
