"""What grows with the number of jobs, and what must not: a tenth of them are refused."""

from __future__ import annotations

import sqlite3
import statistics
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks.measured import Row, at_least, at_most, told
from tests.benchmarks.process import Ended, aiq, fast_server, write_inputs

REFUSED_EVERY = 10
RAMPED_UP = 3000
SIZES = (10_000, 100_000, 1_000_000)


class Filled(NamedTuple):
    """A database of finished jobs, and the run that made it."""

    jobs: int
    run: Ended
    bytes: int
    steady_rate: float
    """Requests a second after the first `RAMPED_UP`."""

    @property
    def rate(self) -> float:
        return self.jobs / float(self.run.json()["elapsed_s"])

    @property
    def cpu_us(self) -> float:
        return self.run.cpu_s / self.jobs * 1e6


def growth(rounds: int, scale: float) -> list[Row]:
    """Ten thousand, a hundred thousand and a million jobs, and every command on the million."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        filled = [_filled(Path(name) / str(n), int(n * scale)) for n in SIZES]
        for one in filled:
            figures = (
                f"{one.rate:,.0f}/s, {one.cpu_us:.0f} us CPU, {one.run.peak_mb:.0f} MB,"
                f" {one.bytes / one.jobs:,.0f} bytes a job"
            )
            rows.append(told(f"{one.jobs:,} jobs", figures))
        _, middle, large = filled
        rates = [one.rate for one in filled]
        steady = [one.steady_rate for one in filled]
        costs = [one.cpu_us for one in (middle, large)]
        rows += [
            at_most("rate, fastest / slowest", 1.1, max(rates) / min(rates)),
            told(
                f"after the first {RAMPED_UP:,} requests",
                f"{max(steady) / min(steady):.3f}: " + ", ".join(f"{r:,.0f}/s" for r in steady),
            ),
            told("CPU a job, most / least of the two larger", f"{max(costs) / min(costs):.3f}"),
            at_most("memory of the largest, MB", 200, large.run.peak_mb),
            at_most("memory, largest / middle", 1.1, large.run.peak_mb / middle.run.peak_mb),
        ]
        directories = [Path(name) / str(n) for n in SIZES]
        rows += _ingest(directories[-1], large.jobs)
        rows += _commands(directories[-1], large.jobs, rounds)
        rows += _exports(directories[-1], directories[-2], large.jobs)
        ended = aiq(directories[-1], "retry-failed", "--no-run", "--config", "bench.toml")
        rows.append(at_most("`retry-failed --no-run`, s", 3, ended.whole_s))
    return rows


def _filled(directory: Path, jobs: int) -> Filled:
    directory.mkdir()
    with fast_server(50) as url:
        write_inputs(directory, url, jobs, refused_every=REFUSED_EVERY)
        ended = _run(directory)
    counts = ended.json()
    assert counts["failed"] == jobs // REFUSED_EVERY, ended.text
    assert counts["succeeded"] == jobs - counts["failed"], ended.text
    database = directory / "aiq.db"
    return Filled(jobs, ended, database.stat().st_size, _steady_rate(database))


def _steady_rate(database: Path) -> float:
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
        [(count, seconds)] = connection.execute(
            "SELECT count(*) - 1, (max(started_at) - min(started_at)) / 1e6 FROM attempt"
            " WHERE id > ?",
            (RAMPED_UP,),
        )
    return float(count / seconds)


def _run(directory: Path, *arguments: str) -> Ended:
    return aiq(
        directory,
        *("run", "prompts.jsonl", "--json", "--no-progress", "--config", "bench.toml"),
        *("-c", "400", *arguments),
        may_end_with=(0, 1),
    )


def _ingest(directory: Path, jobs: int) -> list[Row]:
    ended = _run(directory, "--dry-run", "--db", "ingest.db")
    (directory / "ingest.db").unlink()
    return [
        at_least("ingest, lines/s of the whole process", 100_000, jobs / ended.whole_s),
        told("ingest, CPU a line", f"{ended.cpu_s / jobs * 1e6:.1f} us, {ended.peak_mb:.0f} MB"),
    ]


def _commands(directory: Path, jobs: int, rounds: int) -> list[Row]:
    again = _run(directory)
    assert again.json()["requests"] == 0, again.text
    status = [aiq(directory, "status", "--json").whole_s for _ in range(rounds)]
    report = aiq(directory, "report", "-o", "report.html")
    return [
        at_most(f"a rerun of {jobs:,} finished jobs, s", 10, again.whole_s),
        told("its CPU and memory", f"{again.cpu_s:.1f} s, {again.peak_mb:.0f} MB"),
        at_most("`status`, s", 0.5, statistics.median(status)),
        at_most("`report`, s", 10, report.whole_s),
        told("its CPU and memory", f"{report.cpu_s:.1f} s, {report.peak_mb:.0f} MB"),
        at_most("`report`, the page, MB", 6, (directory / "report.html").stat().st_size / 1e6),
    ]


def _exports(large: Path, middle: Path, jobs: int) -> list[Row]:
    began = time.perf_counter()
    ended = aiq(large, "export", "-o", "out.jsonl")
    rate = jobs / (time.perf_counter() - began)
    smaller = aiq(middle, "export", "-o", "out.jsonl")
    return [
        at_least("`export`, rows/s of the whole process", 50_000, rate),
        at_most("`export`, memory, largest / middle", 1.1, ended.peak_mb / smaller.peak_mb),
        told(
            "its CPU and memory", f"{ended.cpu_s / jobs * 1e6:.1f} us a row, {ended.peak_mb:.0f} MB"
        ),
    ]
