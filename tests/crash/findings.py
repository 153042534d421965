"""What a group of crash cases tried and found, as one value that adds up and prints as a line."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Self

HEADINGS = {
    "cases": "cases",
    "faults": "faults",
    "jobs": "jobs",
    "requests": "requests",
    "lost": "lost",
    "asked_again": "asked again",
    "seen_twice": "seen twice",
    "possibly_paid": "possibly paid",
    "at_risk": "at risk",
}


@dataclass(kw_only=True)
class Findings:
    cases: int = 0
    faults: int = 0  # kills, signals and cuts that really happened
    jobs: int = 0
    requests: int = 0  # that a server saw
    lost: int = 0  # without exactly one answer to their own prompt, at the end
    asked_again: int = 0  # after they had been finished
    seen_twice: int = 0  # good answers that a server gave beyond the first
    possibly_paid: int = 0  # as the run reports it
    at_risk: int = 0  # leased when a process was killed, or in flight when it gave up
    trouble: list[str] = field(default_factory=list)  # each says what promise was broken, and where

    def __iadd__(self, other: Findings) -> Self:
        for one in fields(self):
            setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))
        return self

    @property
    def figures(self) -> list[int]:
        """What stands under `HEADINGS`."""
        return [getattr(self, name) for name in HEADINGS]
