"""How long a command takes to say anything."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

from tests.benchmarks.measured import Row, at_most
from tests.benchmarks.process import aiq

TIMES = 10


def start_up(rounds: int, _scale: float) -> list[Row]:
    """`--help`, and `status` of a small database."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "prompts.jsonl").write_text('"hello"\n' * 20, encoding="utf-8")
        aiq(directory, "run", "prompts.jsonl", "-p", "simulated", "-q")
        return [
            at_most("`aiq --help`, s", 0.15, _median(directory, rounds, "--help")),
            at_most("`aiq status`, a small database, s", 0.3, _median(directory, rounds, "status")),
        ]


def _median(directory: Path, rounds: int, *arguments: str) -> float:
    return statistics.median(aiq(directory, *arguments).whole_s for _ in range(max(TIMES, rounds)))
