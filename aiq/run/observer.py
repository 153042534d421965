"""
Who watches a run: told what happens, never asked.

A view that fails is dropped with one sentence and the run goes on without it; removing the view
changes no result.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

from aiq.run.board import Snapshot
from aiq.run.ingest import IngestReport


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is about to happen, before the first send."""

    batches: tuple[str, ...]
    pending: int
    skipped: int
    candidates: tuple[tuple[str, str | None], ...]
    """Providers in rank order, each with the model for prompts that name none."""
    disabled: frozenset[str] = frozenset()
    """Those of them that an operator has switched off in an earlier run."""
    strategy: str = "rank"
    """What orders them for each job."""
    estimated_nano: int | None
    """About what the pending jobs cost at the first candidate; None: its price is unknown."""
    budget_nano: int | None = None
    """What all attempts ever may cost; None: no bound."""
    committed_nano: int = 0
    """What earlier attempts have taken of it."""


class Observer(Protocol):
    """What a run tells."""

    def note(self, sentence: str) -> None:
        """Something the user should know, once."""

    def reading(self, lines: int) -> None:
        """So many more lines have been read."""

    def ingested(self, report: IngestReport) -> None:
        """All files are read and sealed."""

    def plan(self, plan: Plan) -> None:
        """This is what will be done."""

    def tick(self, snapshot: Snapshot) -> None:
        """Four times a second: this is how it stands."""

    def close(self) -> None:
        """Nothing more will come; leave the screen as it should stay."""


class Guarded:
    """
    An observer that cannot hurt: its first exception is its last word.

    `called` is what it is to people, `tell` takes that word; None: the observer itself.
    """

    def __init__(
        self,
        inner: Observer,
        *,
        called: str = "the progress view",
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self._inner: Observer | None = inner
        self._called = called
        self._last_word = tell or inner.note

    def note(self, sentence: str) -> None:
        self._tell("note", sentence)

    def reading(self, lines: int) -> None:
        self._tell("reading", lines)

    def ingested(self, report: IngestReport) -> None:
        self._tell("ingested", report)

    def plan(self, plan: Plan) -> None:
        self._tell("plan", plan)

    def tick(self, snapshot: Snapshot) -> None:
        self._tell("tick", snapshot)

    def close(self) -> None:
        self._tell("close")

    def _tell(self, what: str, *about: object) -> None:
        if self._inner is None:
            return
        try:
            getattr(self._inner, what)(*about)
        except Exception as error:  # noqa: BLE001 - a view may fail in any way and must not matter
            failed, self._inner = self._inner, None
            self._give_up(failed, error)

    def _give_up(self, failed: Observer, error: Exception) -> None:
        try:
            failed.close()
            name = type(error).__name__
            self._last_word(f"{self._called} failed ({name}); the run goes on")
        except Exception:  # noqa: BLE001, S110 - it has just failed; silence is all it can still do
            pass


class Several:
    """Several observers as one, each of which cannot hurt the others."""

    def __init__(self, *inner: Observer) -> None:
        self._inner = [one if isinstance(one, Guarded) else Guarded(one) for one in inner]

    def note(self, sentence: str) -> None:
        for one in self._inner:
            one.note(sentence)

    def reading(self, lines: int) -> None:
        for one in self._inner:
            one.reading(lines)

    def ingested(self, report: IngestReport) -> None:
        for one in self._inner:
            one.ingested(report)

    def plan(self, plan: Plan) -> None:
        for one in self._inner:
            one.plan(plan)

    def tick(self, snapshot: Snapshot) -> None:
        for one in self._inner:
            one.tick(snapshot)

    def close(self) -> None:
        for one in self._inner:
            one.close()
