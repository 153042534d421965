"""
The error tree: what ends a command, with which exit status, and what to do next.

    AiqError
    ├── Refused             2   usage, configuration or input refused; nothing was sent
    │   ├── ConfigError     2   a configuration key, named by its path
    │   ├── InputError      2   a prompt file
    │   └── UnknownName     2   no such database, batch, job or provider
    ├── DamagedAnswers      1   stored answers are damaged; all else was done
    ├── Unusable            3   no provider can be used; jobs stay pending
    └── StoreError          5   the database cannot be used
        ├── StoreInUse      5   another run is at work on it
        └── StoreMoved      5   it is no longer where it was, but a copy of it is kept

Failures of a *job* are data (`aiq.model.Outcome`), never exceptions. An error's text says what is
wrong and where; its hint says what to do next. `aiq.cli.app` is the only place that prints one.
"""

from __future__ import annotations

import enum
from pathlib import Path


class ExitCode(enum.IntEnum):
    """What the exit status of a command means; the table users see is in README."""

    OK = 0
    SOME_FAILED = 1
    REFUSED = 2
    NO_PROVIDER = 3
    BUDGET = 4
    STORE = 5
    BUG = 70
    SIGINT = 130
    SIGTERM = 143


class AiqError(Exception):
    """An error with a sentence for the user; `hint` says what to do next."""

    exit_code = ExitCode.BUG

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class Refused(AiqError):
    """What was asked cannot be done as asked; nothing was sent."""

    exit_code = ExitCode.REFUSED


class ConfigError(Refused):
    """A configuration key is wrong; the message names its path."""


class InputError(Refused):
    """A prompt file cannot be taken as it is."""


class UnknownName(Refused):
    """There is no such database, batch, job or provider."""


class DamagedAnswers(AiqError):
    """Stored answers are damaged and were not handed out; all else was done."""

    exit_code = ExitCode.SOME_FAILED


class Unusable(AiqError):
    """No provider can be used; every job stays pending."""

    exit_code = ExitCode.NO_PROVIDER


class StoreError(AiqError):
    """The database cannot be used: locked, damaged, foreign, newer, or out of space."""

    exit_code = ExitCode.STORE


class StoreInUse(StoreError):
    """Another run holds the database; this one has not begun."""


class StoreMoved(StoreError):
    """The database or its log was deleted or replaced during a run; `copy` holds all of it."""

    def __init__(self, message: str, *, hint: str | None = None, copy: Path) -> None:
        super().__init__(message, hint=hint)
        self.copy = copy
