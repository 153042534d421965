"""
How fast aiq is, and how flat: `python -m tests.benchmarks`.

Everything runs against a fast loopback server in a process of its own. aiq and its yardsticks take
turns, several rounds, and medians, ratios and bounds are printed, each with whether it held. What
is measured of aiq is the whole process: start-up, ingest, SQLite with its ledger, routing, limits
and the live view's bookkeeping. Absolute figures depend on the machine; read the ratios.

All of it takes about half an hour, most of which goes into a million jobs. Names choose parts;
`--scale 0.1` makes everything a tenth as large. The peers get an environment of their own, which is
made at first use (`--environment`).
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from tests.benchmarks import scale, startup, throughput
from tests.benchmarks.measured import Row, printed
from tests.benchmarks.scenarios import limits, trouble

Part: TypeAlias = Callable[[int, float], Sequence[Row]]


def failover(_rounds: int, _scale: float) -> Sequence[Row]:
    """A provider that dies under load, and comes back."""
    with tempfile.TemporaryDirectory() as directory:
        return asyncio.run(trouble.dies_and_returns(Path(directory)))


def limited(_rounds: int, _scale: float) -> Sequence[Row]:
    """A server that allows so many requests a second, and says so."""
    with tempfile.TemporaryDirectory() as directory:
        return asyncio.run(limits.hinted_limit(Path(directory)))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0)
    home = Path(tempfile.gettempdir()) / "aiq-benchmark-peers"
    parser.add_argument("--environment", type=Path, default=home, help="of the peers")
    parts: dict[str, Part] = {
        "start_up": startup.start_up,
        "few": throughput.few,
        "many": throughput.many,
        "very_many": throughput.very_many,
        "slow_replies": throughput.slow_replies,
        "peers": lambda rounds, size: throughput.peers(rounds, size, options.environment),
        "failover": failover,
        "limited": limited,
        "growth": scale.growth,
    }
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(parts))
    options = parser.parse_args()
    if unknown := set(options.names) - set(parts):
        parser.error(f"no part {', '.join(sorted(unknown))}")
    held = [
        printed(name, parts[name](options.rounds, options.scale))
        for name in options.names or list(parts)
    ]
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
