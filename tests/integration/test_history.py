"""What `report` reads: the same figures as `status`, over time, with samples cut short."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import html
import json
import re
import sqlite3
from contextlib import closing
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from aiq.cli import figures
from aiq.cli.page.render import page
from aiq.cli.page.words import words
from aiq.errors import UnknownName
from aiq.model import NANO_PER_USD
from aiq.run.history import History, read_history
from tests.support.fault_server import FaultServer
from tests.support.replies import Reply, Seen
from tests.support.sessions import Bench, hurried, prompts, provider

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>"
NASTY = "answer \x1b[31mred\x07 \u202e </script><script>alert(3)</script> \u2028 end"
SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)


def reply(seen: Seen) -> Reply | None:
    """Fail over from `a`, refuse what is bad, and answer evil prompts nastily."""
    if seen.prompt.startswith("bad"):
        return Reply.error(400, code="invalid_prompt", message=f"no {EVIL}")
    return Reply.chat(NASTY) if EVIL in seen.prompt else None


async def failed_over(tmp_path: Path) -> Bench:
    async with (
        FaultServer(lambda _: Reply.error(500, message=EVIL)) as sick,
        FaultServer(reply) as well,
    ):
        providers: dict[str, Any] = {"a<b>": provider(sick), "b": provider(well)}
        bench = Bench(tmp_path, **providers)
        lines = [{"id": EVIL, "prompt": f"{EVIL} \x1b[2J"}, *prompts(60), *prompts(3, prefix="bad")]
        await bench.run(lines)
    return bench


async def history_of(bench: Bench, batch: str | None = None) -> History:
    return await read_history(bench.database, batch, now_us=0)


def shown(content: bytes) -> str:
    """Return what a reader of the page sees of its markup, charts left out."""
    text = re.sub(r"<(script|style)\b.*?</\1>", "", content.decode(), flags=re.DOTALL)
    return html.unescape(re.sub(r"<[^>]*>", "", text))


class Attributes(HTMLParser):
    """Collects what elements a page has attributes for, and where it links to."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.links: list[str] = []

    def handle_starttag(self, _tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names |= {name for name, _ in attrs}
        self.links += [value or "" for name, value in attrs if name == "href"]


def charts(content: bytes) -> dict[str, Any]:
    found = re.search(
        r'<script type="application/json" id="figures">(.*?)</script>', content.decode()
    )
    assert found is not None
    return dict(json.loads(found[1]))


@hurried
async def test_what_is_drawn_is_what_status_and_sql_say(tmp_path: Path) -> None:
    bench = await failed_over(tmp_path)
    history = await history_of(bench)
    told = history.status.to_json()
    for facts in told["providers"]:
        lane = history.line.lanes[facts["name"]]
        assert sum(lane.ok) == facts["succeeded"]
        assert sum(lane.limited) == facts["rate_limited"]
        assert sum(lane.bad) + sum(lane.other) == facts["failed"]
        assert sum(lane.cost_nano) / NANO_PER_USD == pytest.approx(facts["cost_usd"])
    kinds = bench.rows("SELECT kind, count(*) FROM attempt WHERE kind <> 'ok' GROUP BY kind")
    assert {kind: sum(counts) for kind, counts in history.line.errors.items()} == dict(kinds)
    (cost,) = bench.rows("SELECT sum(cost_nano) FROM attempt")[0]
    assert sum(history.line.totals().cost_nano) == cost
    drawn = charts(page(history, now_us=0))
    assert sum(sum(bar["y"]) for bar in drawn["answers"]["data"]) == told["totals"]["succeeded"]
    assert drawn["cost"]["data"][0]["y"][-1] == pytest.approx(told["cost_usd"])
    slowest = bench.rows("SELECT max(latency_us) FROM attempt WHERE kind = 'ok'")[0][0]
    assert history.slowest[0].latency_us == slowest
    dearest = bench.rows("SELECT sum(cost_nano) FROM attempt GROUP BY job_id ORDER BY 1 DESC")
    assert history.dearest[0].cost_nano == dearest[0][0]
    assert [(one.group.kind, one.group.count) for one in history.failed] == [("bad_request", 3)]
    assert history.failed[0].sample is not None


@hurried
async def test_the_tables_hold_what_the_charts_show(tmp_path: Path) -> None:
    bench = await failed_over(tmp_path)
    with closing(sqlite3.connect(bench.database)) as connection, connection:
        connection.execute("UPDATE job SET state = 'cancelled' WHERE key = 'p0'")
        connection.execute(
            "INSERT INTO control (at, command, argument) VALUES (0, 'disable', ?)", (EVIL,)
        )
    history = await history_of(bench)
    found = words(history)
    counted = {
        name: [
            sum(int(cell.split()[0].replace(",", "")) for cell in cells if cell)
            for cells in list(zip(*found["grids"][name].rows, strict=True))[1:]
        ]
        for name in ("availability", "latency", "errors")
    }
    answers = [
        sum(history.line.lanes[name].ok) for name in found["grids"]["availability"].heads[1:]
    ]
    assert counted["availability"] == counted["latency"] == answers
    kinds = found["grids"]["errors"].heads[1:]
    assert counted["errors"] == [sum(history.line.errors[kind]) for kind in kinds]
    facts = {name: (value, detail) for name, value, detail in found["facts"]}
    assert facts["cancelled"] == ("1", "1.6 % of 64 jobs")
    [(us,)] = bench.rows("SELECT max(started_at + latency_us) - min(started_at) FROM attempt")
    assert facts["rate"][0] == figures.rate(61e6 / us)
    seen = shown(page(history, now_us=0))
    assert seen.count("The same in numbers") == 5
    assert f"disable {EVIL}" in seen


@hurried
async def test_what_strangers_wrote_is_shown_as_text(tmp_path: Path) -> None:
    """No markup of theirs survives, in the page or in its charts, and no control character."""
    bench = await failed_over(tmp_path)
    content = page(await history_of(bench), now_us=0)
    text = content.decode()
    for part in ("<script>alert", "<img", "<b>", "</script><script>alert"):
        assert part not in re.sub(SCRIPT, "", text)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202e\u2028]", re.sub(SCRIPT, "", text))
    seen = shown(content)
    assert f"{EVIL} \\x1b[2J" in seen
    assert "\\x1b[31mred\\x07 \\u202e </script><script>alert(3)</script> \\u2028 end" in seen
    names = [strip["ticktext"] for strip in [charts(content)["availability"]["layout"]["yaxis"]]]
    assert names == [["b", "a&lt;b&gt;"]]


@hurried
async def test_the_page_asks_for_nothing_and_runs_only_its_own_scripts(tmp_path: Path) -> None:
    bench = await failed_over(tmp_path)
    text = page(await history_of(bench), now_us=0).decode()
    policy = html.unescape(re.findall(r'Content-Security-Policy" content="([^"]*)"', text)[0])
    assert policy.startswith("default-src 'none'; ")
    scripts = SCRIPT.findall(text)
    assert len(scripts) == 2
    digests = [base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in scripts]
    assert re.findall(r"'sha256-([^']+)'", policy) == digests
    parsed = Attributes()
    parsed.feed(text)
    assert not {"src", "srcset", "action", "data"} & parsed.names
    assert all(link.startswith("#") for link in parsed.links)
    assert len(text) < 6_000_000


@hurried
async def test_one_batch_of_several(tmp_path: Path) -> None:
    async with FaultServer() as server:
        bench = Bench(tmp_path, a=provider(server))
        files = [bench.write(prompts(n), f"{name}.jsonl") for name, n in (("x", 2), ("y", 5))]
        await bench.run(files=files)
    history = await history_of(bench, "y")
    assert sum(history.line.totals().ok) == 5
    assert {one.batch for one in (*history.slowest, *history.dearest)} == {"y"}
    assert "Report of y" in shown(page(history, now_us=0))
    assert sum((await history_of(bench)).line.totals().ok) == 7
    with pytest.raises(UnknownName, match="no batch `z`"):
        await history_of(bench, "z")


@hurried
async def test_a_batch_that_was_never_sent(tmp_path: Path) -> None:
    """There is nothing to draw, and the page says so."""
    async with FaultServer() as server:
        bench = Bench(tmp_path, a=provider(server))
        await bench.run(prompts(3), dry_run=True)
    content = page(await history_of(bench), now_us=0)
    assert "Nothing was sent yet." in shown(content)
    assert "3 jobs" in shown(content)


@hurried
async def test_long_texts_are_cut_short(tmp_path: Path) -> None:
    async with FaultServer(lambda _: Reply.chat("y" * 50_000)) as server:
        bench = Bench(tmp_path, a=provider(server))
        await bench.run([{"prompt": "x" * 50_000}])
    (one,) = (await history_of(bench)).slowest
    assert (one.prompt, one.answer) == ("x" * 2000, "y" * 2000)


@hurried
async def test_beside_a_run(tmp_path: Path) -> None:
    """What has ended is drawn, and the page says that it is not the end."""
    gate = asyncio.Event()
    async with FaultServer(lambda s: Reply(until=gate) if s.number > 3 else None) as server:
        bench = Bench(tmp_path, a=provider(server), run={"concurrency": 2})
        running = asyncio.create_task(bench.run(prompts(10)))
        await server.seen(5)
        while sum((history := await history_of(bench)).line.totals().ok) < 3:
            pass
        seen = shown(page(history, now_us=0))
        assert "A run was going when this was written" in seen
        gate.set()
        assert (await running).exit_code == 0
    history = await history_of(bench)
    assert sum(history.line.totals().ok) == 10
    assert "A run was going" not in shown(page(history, now_us=0))


@hurried
async def test_a_clock_that_was_wrong_costs_no_more_than_its_place(tmp_path: Path) -> None:
    """Attempts of 1970 and of a year that no calendar has are drawn with the rest."""
    async with FaultServer() as server:
        bench = Bench(tmp_path, a=provider(server))
        await bench.run(prompts(4))
    with closing(sqlite3.connect(bench.database)) as connection, connection:
        for job, moment in ((1, 0), (2, 2**62)):
            connection.execute("UPDATE attempt SET started_at = ? WHERE job_id = ?", (moment, job))
    history = await history_of(bench)
    assert sum(history.line.totals().ok) == 4
    assert "9999-12-31" in shown(page(history, now_us=0))
