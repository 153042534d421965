"""
Strike real processes at full scale: `python -m tests.crash`.

Each case strikes `aiq` on loopback, lets it finish, and holds its database against what the server
saw. One line per group says what was tried and found; the exit status is 1 if anything is off. It
takes some minutes; `--every 1` cuts at each single write instead of at some.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time

from tests.crash.cuts import CAN_CUT
from tests.crash.findings import HEADINGS, Findings
from tests.crash.sweep import all_groups, carried_out


def show(name: str, found: Findings, took_s: float) -> None:
    """Write one line of figures, and below it what broke."""
    figures = "".join(f"{figure:>14,}" for figure in found.figures)
    _say(f"{name:<22}{figures}{took_s:>8.0f} s")
    for one in found.trouble:
        _say(f"  TROUBLE {one}")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def sweep(every: int, only: str) -> int:
    if not CAN_CUT:
        _say("no strace, or tracing is forbidden: kills at answers and at random only")
    _say(f"{'':<22}" + "".join(f"{heading:>14}" for heading in HEADINGS.values()))
    total, began = Findings(), time.monotonic()
    for name, cases in (await all_groups(every)).items():
        if only in name:
            started = time.monotonic()
            found = await carried_out(cases)
            show(name, found, time.monotonic() - started)
            total += found
    total.trouble = [f"{len(total.trouble)} in all"] if total.trouble else []
    show("all", total, time.monotonic() - began)
    return 1 if total.trouble or total.lost or total.asked_again or not total.faults else 0


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--every", type=int, default=8, help="cut at each n-th write only")
    parser.add_argument("--only", default="", help="groups whose name contains this")
    given = parser.parse_args()
    sys.exit(asyncio.run(sweep(given.every, given.only)))


if __name__ == "__main__":
    main()
