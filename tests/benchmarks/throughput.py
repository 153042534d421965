"""Requests a second and CPU a request: aiq, the bare loop and others, in turn."""

from __future__ import annotations

import sqlite3
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks import yardsticks
from tests.benchmarks.measured import Row, at_least, at_most, told
from tests.benchmarks.process import Ended, aiq, fast_server, write_inputs

AIQ, BARE = "aiq", "aiohttp_loop"


class Rounds:
    """aiq and the bare loop, taking turns at the same work."""

    def __init__(self, prompts: int, concurrency: int, delay_ms: float, rounds: int) -> None:
        self.prompts = prompts
        self.steady: list[float] = []
        ended: dict[str, list[Ended]] = {BARE: [], AIQ: []}
        with tempfile.TemporaryDirectory() as name, fast_server(delay_ms) as url:
            directory = Path(name)
            write_inputs(directory, url, prompts)
            for turn in range(rounds):
                ended[BARE].append(yardsticks.ask(BARE, url, prompts, concurrency))
                ended[AIQ].append(_run(directory, prompts, concurrency, f"{turn}.db"))
                self.steady.append(steady_rate(directory / f"{turn}.db"))
        self._ended = ended

    def rate(self, who: str) -> float:
        """Requests a second of sending alone."""
        seconds = [float(one.json()["elapsed_s"]) for one in self._ended[who]]
        return self.prompts / statistics.median(seconds)

    def whole_rate(self, who: str) -> float:
        """Requests a second of the whole process, start-up and end included."""
        return self.prompts / statistics.median([one.whole_s for one in self._ended[who]])

    def cpu_us(self, who: str) -> float:
        return statistics.median([one.cpu_s for one in self._ended[who]]) / self.prompts * 1e6

    def peak_mb(self) -> float:
        return statistics.median([one.peak_mb for one in self._ended[AIQ]])

    def table(self) -> Iterator[Row]:
        for who in (BARE, AIQ):
            told_of = f"{self.rate(who):,.0f}/s sending, {self.whole_rate(who):,.0f}/s whole"
            yield told(who.replace("_", " "), f"{told_of}, {self.cpu_us(who):,.0f} us CPU")

    def ratio(self) -> float:
        return self.whole_rate(AIQ) / self.whole_rate(BARE)

    def sending(self) -> Row:
        return told("sending alone, aiq / bare", f"{self.rate(AIQ) / self.rate(BARE):.2f}")


def few(rounds: int, scale: float) -> list[Row]:
    """Fifty in flight: the server's delay is the bound."""
    one = Rounds(int(10_000 * scale), 50, 50, rounds)
    return [
        *one.table(),
        one.sending(),
    ]


def many(rounds: int, scale: float) -> list[Row]:
    """Four hundred in flight: the figure to be compared by."""
    one = Rounds(int(50_000 * scale), 400, 50, rounds)
    with fast_server(0) as url:
        prompts = int(100_000 * scale)
        ceiling = prompts / yardsticks.ask("ceiling", url, prompts, 400).json()["elapsed_s"]
    return [
        told("the server alone, no delay", f"{ceiling:,.0f}/s"),
        *one.table(),
        one.sending(),
        at_least("whole process, aiq / bare", 0.5, one.ratio()),
        at_most("own CPU per job, us", 150, one.cpu_us(AIQ) - one.cpu_us(BARE)),
        told("peak memory", f"{one.peak_mb():.0f} MB"),
    ]


def very_many(rounds: int, scale: float) -> list[Row]:
    """A thousand in flight."""
    one = Rounds(int(50_000 * scale), 1000, 50, rounds)
    return [*one.table(), told("whole process, aiq / bare", f"{one.ratio():.2f}")]


def slow_replies(rounds: int, scale: float) -> list[Row]:
    """A thousand in flight, a second each: nothing but waiting, if it is done right."""
    one = Rounds(int(20_000 * scale), 1000, 1000, rounds)
    return [
        *one.table(),
        at_least("after ramp-up, of the ideal 1,000/s", 0.9, statistics.median(one.steady) / 1000),
    ]


def peers(rounds: int, scale: float, environment: Path) -> list[Row]:
    """What others do with 100 and 400 in flight; the better of the two counts."""
    python = str(yardsticks.environment(environment))
    rates: dict[str, list[float]] = {}
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name, fast_server(50) as url:
        directory, prompts, few_prompts = Path(name), int(20_000 * scale), int(2_000 * scale)
        write_inputs(directory, url, prompts)
        for turn in range(rounds):
            ended = _run(directory, prompts, 400, f"{turn}.db")
            rates.setdefault(AIQ, []).append(prompts / ended.whole_s)
            for peer in yardsticks.PEERS:
                for concurrency in (100, 400):
                    ended = yardsticks.ask(peer, url, few_prompts, concurrency, python=python)
                    key = f"{peer} {concurrency}"
                    rates.setdefault(key, []).append(few_prompts / ended.json()["elapsed_s"])
    median = {key: statistics.median(found) for key, found in rates.items()}
    rows += [told(key.replace("_", " "), f"{rate:,.0f}/s") for key, rate in median.items()]

    def best(peer: str) -> float:
        return max(median[f"{peer} 100"], median[f"{peer} 400"])

    return [
        *rows,
        at_least("whole process, aiq / litellm's Router", 20, median[AIQ] / best("litellm_router")),
        at_least("whole process, aiq / curator", 5, median[AIQ] / best("curator_llm")),
    ]


def steady_rate(database: Path) -> float:
    """Return the answers a second between the half and nine tenths of a run, from its ledger."""
    connection = sqlite3.connect(database)
    try:
        ends = [
            row[0]
            for row in connection.execute(
                "SELECT (started_at + latency_us) / 1e6 FROM attempt WHERE kind = 'ok' ORDER BY 1"
            )
        ]
    finally:
        connection.close()
    first, last = len(ends) // 2, len(ends) * 9 // 10
    return (last - first) / float(ends[last] - ends[first])


def _run(directory: Path, prompts: int, concurrency: int, database: str) -> Ended:
    ended = aiq(
        directory,
        *("run", "prompts.jsonl", "--json", "--no-progress", "--config", "bench.toml"),
        *("-c", str(concurrency), "--db", database),
    )
    assert ended.json()["succeeded"] == prompts, ended.text
    return ended
