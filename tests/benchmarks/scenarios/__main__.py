"""
What a fleet that misbehaves does to a run, at full size: `python -m tests.benchmarks.scenarios`.

Each scenario is a line of the product's promises about failover, limits and money. It runs in real
time against scripted servers on loopback and prints what was asked, what was measured, and whether
it held; the exit status is 1 if anything did not. Names as arguments choose; together they take
about fifteen minutes. The test-suite holds smaller versions of the same, on a hurried clock.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeAlias

from tests.benchmarks.measured import Row, printed
from tests.benchmarks.scenarios import limits, money, preferences, trouble

Scenario: TypeAlias = Callable[[Path], Coroutine[Any, Any, list[Row]]]

SCENARIOS: dict[str, Scenario] = {
    one.__name__: one
    for one in (
        trouble.half_open,
        trouble.random_errors,
        trouble.random_errors_on_both,
        trouble.dies_and_returns,
        trouble.flapping,
        trouble.slows_down,
        trouble.all_down,
        limits.hinted_limit,
        limits.unhinted_limit,
        limits.configured_limits,
        limits.small_server,
        limits.balanced_limits,
        money.out_of_credit,
        money.budget,
        preferences.latency_strategy,
        preferences.near_and_cheap,
    )
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(SCENARIOS))
    names = parser.parse_args().names or list(SCENARIOS)
    if unknown := set(names) - set(SCENARIOS):
        parser.error(f"no scenario {', '.join(sorted(unknown))}")
    all_held = True
    for name in names:
        with tempfile.TemporaryDirectory() as directory:
            rows = asyncio.run(SCENARIOS[name](Path(directory)))
        all_held = printed(name, rows) and all_held
    return 0 if all_held else 1


if __name__ == "__main__":
    sys.exit(main())
