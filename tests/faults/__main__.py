"""
The fault matrix: every row made once, over real sockets: `python -m tests.faults [NAME]...`.

Prints a line per group and a total: cases, faults injected, jobs, lost jobs, requests for jobs that
were finished, attempts reported as paid or possibly paid without an answer beside those that a
provider may have charged for twice, and the growth of memory. A NAME chooses the rows whose titles
hold it, such as F7 or gzip. `-v` gives each row its line. The exit status is 1 if a row is off.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from tests.faults.matrix import Finding, run_row
from tests.faults.memory import LOADS, Growth, measure
from tests.faults.row import Row
from tests.faults.rows import ROWS

GROUPS = {
    "D": "time",
    "E": "status codes",
    "F": "transport",
    "G": "bodies",
    "H": "fleet",
}


class Report:
    """Says what is tried, and remembers whether anything was off."""

    def __init__(self, *, verbose: bool) -> None:
        self._verbose = verbose
        self.off: list[str] = []

    def row(self, row: Row) -> Finding:
        with tempfile.TemporaryDirectory() as directory:
            try:
                finding = run_row(row, Path(directory))
            except Exception as failure:  # noqa: BLE001 - the next row is tried all the same
                self._is_off(row.title, failure)
                return Finding(jobs=row.jobs)
        if self._verbose:
            say(f"  held  {row.title:48} {row.trail}")
        return finding

    def load(self, name: str) -> Growth | None:
        with tempfile.TemporaryDirectory() as directory:
            try:
                growth = measure(LOADS[name], Path(directory))
                growth.check()
            except Exception as failure:  # noqa: BLE001
                self._is_off(f"memory: {name}", failure)
                return None
        if self._verbose:
            say(f"  held  {f'memory: {name}':48} + {growth.grown_mb:.0f} MB")
        return growth

    def _is_off(self, title: str, failure: Exception) -> None:
        self.off.append(title)
        say(f"  OFF   {title}: {failure}")
        if self._verbose:
            say(traceback.format_exc())


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def figures(cases: int, found: Finding) -> str:
    return (
        f"{cases:4} cases, {found.injected:5,} faults injected, {found.jobs:5,} jobs,"
        f" {found.lost} lost, {found.asked_again} asked again after finished,"
        f" paid or possibly paid without an answer {found.reported:3} reported"
        f" >= {found.seen_twice:3} seen twice"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="part of a row's title")
    parser.add_argument("-v", "--verbose", action="store_true", help="a line per row")
    given = parser.parse_args(arguments)
    rows = [row for row in ROWS if _is_chosen(row.title, given.names)]
    loads = [name for name in LOADS if _is_chosen(f"memory: {name}", given.names)]
    if not rows and not loads:
        parser.error(f"no row {', '.join(given.names)}")
    report, total, began = Report(verbose=given.verbose), Finding(), time.monotonic()
    by_group = sorted(rows, key=lambda row: row.id[0])
    for letter, members in groupby(by_group, key=lambda row: row.id[0]):
        findings = [report.row(row) for row in members]
        subtotal = sum(findings, start=Finding())
        total += subtotal
        say(f"{letter} {GROUPS[letter]:13} {figures(len(findings), subtotal)}")
    grown = [growth for name in loads if (growth := report.load(name)) is not None]
    if grown:
        most = max(growth.grown_mb for growth in grown)
        say(f"  {'memory':13} {len(grown):4} loads, 16 at once each, + {most:.0f} MB at most")
    say(f"  {'total':13} {figures(len(rows), total)}, {time.monotonic() - began:.0f} s")
    say(f"  {'off':13} {len(report.off):4}" + "".join(f"\n    {title}" for title in report.off))
    return 1 if report.off else 0


def _is_chosen(title: str, names: Sequence[str]) -> bool:
    return not names or any(name in title for name in names)


if __name__ == "__main__":
    sys.exit(main())
