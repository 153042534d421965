"""The words of `doctor`: a check, how grave what it found is, and all checks together."""

from __future__ import annotations

import enum
from typing import Any

import msgspec

from aiq.errors import ExitCode


class Gravity(enum.StrEnum):
    """How grave it is: as it should be, worth knowing, or to be put right."""

    OK = "ok"
    NOTE = "note"
    FINDING = "finding"


class Check(msgspec.Struct, frozen=True):
    """One thing that was looked at; `hint` says what to do about it."""

    name: str
    gravity: Gravity
    text: str
    hint: str | None = None
    count: int | None = None
    """How often a rule of a database is broken; None for what is no such rule."""
    samples: tuple[str, ...] = ()
    """The first of those times."""


class Diagnosis(msgspec.Struct, frozen=True):
    """Everything that was looked at, in the order of looking."""

    checks: tuple[Check, ...]

    @property
    def findings(self) -> int:
        """Return how many things are to be put right."""
        return sum(1 for check in self.checks if check.gravity is Gravity.FINDING)

    @property
    def exit_code(self) -> ExitCode:
        """Return 1 with a finding, else 0."""
        return ExitCode.SOME_FAILED if self.findings else ExitCode.OK

    def to_json(self) -> dict[str, Any]:
        """Return the object that `doctor --json` writes."""
        return {"findings": self.findings, "checks": msgspec.to_builtins(self.checks)}


def ok(name: str, text: str) -> Check:
    """Return a check that found things as they should be."""
    return Check(name, Gravity.OK, text)


def note(name: str, text: str, hint: str | None = None) -> Check:
    """Return a check that found something worth knowing."""
    return Check(name, Gravity.NOTE, text, hint)


def finding(name: str, text: str, hint: str | None = None) -> Check:
    """Return a check that found something to be put right."""
    return Check(name, Gravity.FINDING, text, hint)
