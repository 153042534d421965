"""
Compare `aiq run` with a bare aiohttp loop: `python -m tests.benchmarks`.

A fast loopback server runs in its own process; the two take turns against it, several rounds, and
medians and their ratio are printed. What is measured of aiq is the whole process: start-up, ingest,
SQLite with its ledger, routing, and the live view's bookkeeping. Absolute figures depend on the
machine; the ratio is what to read.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@contextlib.contextmanager
def fast_server(delay_ms: float) -> Iterator[str]:
    """Start the server in its own process; give its base URL."""
    server = subprocess.Popen(
        [sys.executable, str(HERE / "fast_server.py"), "--delay-ms", str(delay_ms)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    assert server.stdin is not None
    try:
        yield f"http://127.0.0.1:{int(server.stdout.readline())}/v1"
    finally:
        server.stdin.close()
        server.wait(timeout=10)
        server.stdout.close()


def bare(url: str, prompts: int, concurrency: int) -> dict[str, float]:
    """Run the bare loop; its own figures are of the loop alone, `whole_s` of the process."""
    began = time.perf_counter()
    done = subprocess.run(
        [
            *(sys.executable, str(HERE / "bare_loop.py"), f"{url}/chat/completions"),
            *("--prompts", str(prompts), "--concurrency", str(concurrency)),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    figures: dict[str, float] = json.loads(done.stdout)
    return {**figures, "whole_s": time.perf_counter() - began}


def run_aiq(directory: Path, prompts: int, concurrency: int, turn: int) -> dict[str, float]:
    """Run `aiq run` on a fresh database, as a user would."""
    began = time.perf_counter()
    before = os.times()
    done = subprocess.run(
        [
            *(sys.executable, "-m", "aiq", "run", "prompts.jsonl", "--json", "--no-progress"),
            *("--config", "bench.toml", "-c", str(concurrency), "--db", f"{turn}.db"),
        ],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    whole = time.perf_counter() - began
    after = os.times()
    result: dict[str, Any] = json.loads(done.stdout)
    assert result["succeeded"] == prompts, result
    cpu = after.children_user + after.children_system
    return {
        "elapsed_s": result["elapsed_s"],
        "whole_s": whole,
        "cpu_s": cpu - before.children_user - before.children_system,
    }


def write_inputs(directory: Path, url: str, prompts: int) -> None:
    with (directory / "prompts.jsonl").open("w", encoding="utf-8") as stream:
        for number in range(prompts):
            line = {"id": f"p{number}", "prompt": f"Say something about {number}"}
            stream.write(json.dumps(line) + "\n")
    (directory / "bench.toml").write_text(
        f'[[providers]]\nname = "bench"\nbase_url = "{url}"\nmodel = "bench"\n'
        "price = { input = 1.0, output = 2.0 }\n",
        encoding="utf-8",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=20_000)
    parser.add_argument("--concurrency", type=int, default=400)
    parser.add_argument("--delay-ms", type=float, default=50.0)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    loops: list[dict[str, float]] = []
    runs: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as name, fast_server(options.delay_ms) as url:
        directory = Path(name)
        write_inputs(directory, url, options.prompts)
        for turn in range(options.rounds):
            loops.append(bare(url, options.prompts, options.concurrency))
            runs.append(run_aiq(directory, options.prompts, options.concurrency, turn))
        size = (directory / "0.db").stat().st_size
    report(options, loops, runs, size)


def report(
    options: argparse.Namespace,
    loops: list[dict[str, float]],
    runs: list[dict[str, float]],
    size: int,
) -> None:
    n = options.prompts

    def median(rows: list[dict[str, float]], key: str) -> float:
        return statistics.median(row[key] for row in rows)

    say(f"{n:,} prompts, {options.concurrency} in flight, {options.delay_ms:g} ms replies,")
    say(f"{options.rounds} rounds in turn, medians")
    say("")
    say(f"{'':24}{'requests/s':>12}{'whole, s':>10}{'CPU us/req':>12}")
    for title, rows in (("bare aiohttp loop", loops), ("aiq run", runs)):
        say(
            f"{title:24}{n / median(rows, 'elapsed_s'):>12,.0f}{median(rows, 'whole_s'):>10.1f}"
            f"{median(rows, 'cpu_s') / n * 1e6:>12,.0f}"
        )
    say("")
    loop_s, run_s = median(loops, "elapsed_s"), median(runs, "elapsed_s")
    say(f"sending alone, aiq / bare    {loop_s / run_s:.2f} x")
    whole = median(loops, "whole_s") / median(runs, "whole_s")
    say(f"whole process, aiq / bare    {whole:.2f} x")
    own = (median(runs, "cpu_s") - median(loops, "cpu_s")) / n * 1e6
    say(f"own CPU per job              {own:,.0f} us")
    say(f"database                     {size / n:,.0f} bytes a job")


def say(line: str) -> None:
    sys.stdout.write(line + "\n")


if __name__ == "__main__":
    main()
