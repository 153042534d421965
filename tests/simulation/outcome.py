"""What became of one seed, and of many together."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from pathlib import Path

import msgspec

from tests.simulation.life import Life
from tests.simulation.rules import Watch
from tests.simulation.scenario import of_seed
from tests.support import invariants

MEMORY = Path("/dev/shm")
"""Where files live in memory, if anywhere."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of a seed; `broken` are sentences about rules that did not hold."""

    seed: int
    digest: str
    jobs: int
    requests: int
    faults: dict[str, int]
    blows: dict[str, int]
    exits: dict[str, int]
    processes: int
    kills: int
    lost: int
    asked_again: int
    possibly_paid: int
    seen_twice: int
    virtual_s: float
    wall_s: float
    broken: tuple[str, ...]


def play(seed: int, *, jobs: int | None = None) -> Outcome:
    """Play a seed's scenario to its end and judge it."""
    began = time.process_time()
    where = str(MEMORY) if MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(dir=where, prefix="aiq-simulation-") as directory:
        life = Life(of_seed(seed, jobs=jobs), Path(directory))
        watch = Watch(life)
        try:
            for process in life.play():
                watch.ended(process)
            return _judged(life, watch, time.process_time() - began)
        finally:
            life.bill.close()


def _judged(life: Life, watch: Watch, wall_s: float) -> Outcome:
    broken = watch.over()
    [(stored,)] = invariants.rows(life.database, "SELECT count(*) FROM job")
    [(possibly,)] = invariants.rows(
        life.database, "SELECT count(*) FROM attempt WHERE billed = 'maybe'"
    )
    blows: Counter[str] = Counter()
    for process in life.processes:
        blows += process.blows
    return Outcome(
        seed=life.scenario.seed,
        digest=life.bill.digest,
        jobs=life.scenario.jobs,
        requests=len(life.bill.entries),
        faults=dict(life.bill.faults),
        blows=dict(blows),
        exits=dict(Counter(_exit(process.result) for process in life.processes[-1:])),
        processes=len(life.processes),
        kills=sum(process.is_killed for process in life.processes),
        lost=life.scenario.jobs - stored,
        asked_again=life.bill.asked_again,
        possibly_paid=possibly,
        seen_twice=life.bill.seen_twice(),
        virtual_s=life.now,
        wall_s=wall_s,
        broken=tuple(broken),
    )


def _exit(result: object) -> str:
    return "none" if result is None else str(int(result.exit_code))  # type: ignore[attr-defined] # a RunResult


class Totals:
    """The sums over many seeds."""

    def __init__(self) -> None:
        self.seeds = 0
        self.failing: list[Outcome] = []
        self._sums: Counter[str] = Counter()
        self._faults: Counter[str] = Counter()
        self._blows: Counter[str] = Counter()
        self._exits: Counter[str] = Counter()
        self._virtual_s = 0.0
        self._busy_s = 0.0

    def add(self, one: Outcome) -> None:
        self.seeds += 1
        for name in ("jobs", "requests", "processes", "kills", "lost", "asked_again",
                     "possibly_paid", "seen_twice"):  # fmt: skip
            self._sums[name] += getattr(one, name)
        self._faults += Counter(one.faults)
        self._blows += Counter(one.blows)
        self._exits += Counter(one.exits)
        self._virtual_s += one.virtual_s
        self._busy_s += one.wall_s
        if one.broken:
            self.failing.append(one)

    def lines(self, wall_s: float) -> list[str]:
        """Return what was tried and what was found."""
        sums = self._sums
        return [
            f"seeds                     {self.seeds:,}, {len(self.failing):,} of them broke a rule",
            f"jobs                      {sums['jobs']:,}",
            f"requests                  {sums['requests']:,}",
            f"faults injected           {self._faults.total():,}: {_listed(self._faults)}",
            f"blows to the process      {self._blows.total():,}: {_listed(self._blows)}",
            f"processes                 {sums['processes']:,}, killed {sums['kills']:,}",
            f"last exit status          {_listed(self._exits)}",
            f"lost                      {sums['lost']:,}",
            f"asked again when finished {sums['asked_again']:,}",
            f"possibly paid, reported   {sums['possibly_paid']:,}",
            f"answers made twice        {sums['seen_twice']:,}",
            f"virtual hours             {self._virtual_s / 3600:,.1f}",
            f"wall seconds              {wall_s:,.1f}",
            f"processor seconds         {self._busy_s:,.1f}",
        ]


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.most_common()) or "none"
