"""
One row made real: a run over sockets, what came of it, and the same file run once more.

A `Finding` is what the command adds up. Whatever is off is an `AssertionError` that names it; the
invariant checker has its say after every run.
"""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path

from aiq.errors import ExitCode
from tests.faults.row import Row, Scene, Site
from tests.support.fault_server import FaultServer
from tests.support.sessions import Bench, ProviderSpec, hurried, provider

QUICK = {"concurrency": 1, "max_wait_s": 600.0}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """What one row added to the totals; seconds are not among them."""

    injected: int = 0
    jobs: int = 0
    lost: int = 0
    asked_again: int = 0  # requests for a prompt whose answer was stored
    reported: int = 0  # attempts in the ledger that are or may be paid and brought no answer
    seen_twice: int = 0  # requests a provider may charge for besides the first of their prompt

    def __add__(self, other: Finding) -> Finding:
        names = [one.name for one in dataclasses.fields(Finding)]
        return Finding(**{name: getattr(self, name) + getattr(other, name) for name in names})


def run_row(row: Row, directory: Path, *, again: bool = True) -> Finding:
    """
    Make the fault and return what was found; raises AssertionError if a promise was broken.

    `again` says to run the file once more and to look whether finished jobs are asked again.
    """
    found: list[Finding] = []

    @hurried
    async def play() -> None:
        site = Site()
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(row.place(site))
            if row.spare:
                site.spare = await stack.enter_async_context(
                    FaultServer(lambda seen: site.replied(seen, None))
                )
            found.append(await _play(row, site, directory, again=again))

    play()
    return found[0]


async def _play(row: Row, site: Site, directory: Path, *, again: bool) -> Finding:
    bench = _bench(row, site, directory)
    result = await bench.run(row.prompts(), aborted=row.is_unseen)
    scene = Scene(bench, site, result)
    _check(row, scene)
    if row.then is not None:
        await row.then(scene)
    injected = site.injected or scene.one("SELECT count(*) FROM attempt WHERE kind <> 'ok'")
    assert injected, "the fault was never met"
    finding = Finding(
        injected=injected,
        jobs=row.jobs,
        lost=_lost(row, scene),
        asked_again=site.asked_again + (await _asked_again(row, scene) if again else 0),
        reported=scene.one("SELECT count(*) FROM attempt WHERE billed <> 'no' AND kind <> 'ok'"),
        seen_twice=site.seen_twice,
    )
    assert finding.lost == 0, "jobs are lost"
    assert finding.asked_again == 0, "finished jobs were asked again"
    assert finding.seen_twice <= finding.reported, "paid twice and not said"
    return finding


def _bench(row: Row, site: Site, directory: Path) -> Bench:
    url = site.url or (site.server and site.server.url)
    bench = Bench(directory, environ=site.environ)
    asked = ProviderSpec(site.server, provider(url or "", **row.keys).keys)
    behind = {"b": provider(site.spare)} if site.spare is not None else {}
    bench.configure(run=QUICK | row.run, a=asked, **behind)  # type: ignore[arg-type] # b is none of its options
    return bench


def _check(row: Row, scene: Scene) -> None:
    bench = scene.bench
    trail = ", ".join(f"{name} {kind}" for name, kind in bench.attempts(row.hit))
    assert trail == row.trail or (
        row.trail.endswith("...") and trail.startswith(row.trail.removesuffix(", ..."))
    ), trail
    states = dict(bench.rows("SELECT key, state FROM job"))
    assert states.pop(row.hit) == row.state
    assert set(states.values()) == set(row.others.split())
    billed = "SELECT billed FROM attempt JOIN job ON job.id = job_id WHERE number = 1 AND key = ?"
    assert bench.rows(billed, row.hit) == [(row.billed,)]
    assert scene.result.exit_code is row.exit_code, scene.result.message
    [told] = [one for one in scene.result.to_json()["providers"] if one["name"] == "a"]
    assert told["status"] == row.status, told["reason"]
    if row.check is not None:
        row.check(scene)


def _lost(row: Row, scene: Scene) -> int:
    """Count lines without a job, and successes without the answer to their own prompt."""
    jobs: int = scene.one("SELECT count(*) FROM job")
    wrong = scene.bench.rows(
        "SELECT key FROM job LEFT JOIN answer ON job_id = job.id WHERE state = 'succeeded'"
        " AND (body IS NULL OR key <> ? AND"
        " json_extract(body, '$.choices[0].message.content') IS NOT 'echo: ' || key)",
        row.hit,
    )
    return len(row.prompts()) - jobs + len(wrong)


async def _asked_again(row: Row, scene: Scene) -> int:
    """Count what the servers are asked for finished jobs when the same file is run once more."""
    finished = [key for (key,) in scene.bench.rows(
        "SELECT key FROM job WHERE state IN ('succeeded', 'failed')"
    )]  # fmt: skip
    if len(finished) < row.jobs:
        return 0  # there is work left, and to do it is another row's matter
    servers = [one for one in (scene.site.server, scene.site.spare) if one is not None]
    before = sum(len(server.ledger) for server in servers)
    again = await scene.bench.run(row.prompts(), aborted=row.is_unseen)
    assert again.exit_code in (ExitCode.OK, ExitCode.SOME_FAILED)
    after = sum(len(server.ledger) for server in servers)
    return after - before
