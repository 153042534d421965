"""
Play thousands of runs on a virtual clock against a fleet that misbehaves: `python -m
tests.simulation`.

Each seed is a scenario of its own: jobs, providers, faults, kills. What was tried and found is
printed, and for each seed that broke a rule the rule and the command that replays it; the exit
status is then 1. `--plan FLEET.toml` sends nothing either: it foretells the rate, the cost and the
share of 429s of a fleet that is described in a file (see `fleet.toml` beside this one).
"""

from __future__ import annotations

import argparse
import concurrent.futures
import functools
import os
import sys
import time
from pathlib import Path

from tests.simulation.outcome import Outcome, Totals, play


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=2000, metavar="N", help="how many (2000)")
    parser.add_argument("--first", type=int, default=0, metavar="SEED", help="the first (0)")
    parser.add_argument("--jobs", type=int, metavar="N", help="jobs of each seed (its own choice)")
    parser.add_argument(
        "--processes", type=int, metavar="N", help="work on so many processors (all)"
    )
    parser.add_argument("--plan", type=Path, metavar="FLEET.toml", help="foretell a fleet instead")
    arguments = parser.parse_args()
    if arguments.plan is not None:
        from tests.simulation.plan import foretell

        sys.stdout.write(foretell(arguments.plan))
        return 0
    return _play_all(
        range(arguments.first, arguments.first + arguments.seeds),
        jobs=arguments.jobs,
        processes=arguments.processes or (os.cpu_count() or 1),
    )


def _play_all(seeds: range, *, jobs: int | None, processes: int) -> int:
    began = time.perf_counter()
    totals = Totals()
    with concurrent.futures.ProcessPoolExecutor(min(processes, len(seeds))) as pool:
        for outcome in pool.map(functools.partial(play, jobs=jobs), seeds):
            totals.add(outcome)
            if outcome.broken:
                _tell(outcome, jobs)
            if len(seeds) == 1:
                sys.stdout.write(f"seed {outcome.seed}: trace {outcome.digest}\n")
    sys.stdout.write("\n".join(totals.lines(time.perf_counter() - began)) + "\n")
    return 1 if totals.failing else 0


def _tell(outcome: Outcome, jobs: int | None) -> None:
    again = f"python -m tests.simulation --first {outcome.seed} --seeds 1"
    again += "" if jobs is None else f" --jobs {jobs}"
    rules = "".join(f"  {rule}\n" for rule in outcome.broken)
    sys.stdout.write(f"seed {outcome.seed}: trace {outcome.digest}, replay with `{again}`\n{rules}")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
