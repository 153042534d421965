"""The simulation notices when a promise is broken: each edit breaks one, and some seed shows it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from aiq.policy import breaker, retry
from aiq.policy.budget import Budget
from aiq.policy.cooldown import Cooldown
from aiq.store.writer import Writer
from tests.simulation.outcome import play


def test_a_budget_without_reservation(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in flight is forgotten: the fleet's own bill exceeds the budget."""
    monkeypatch.setattr(
        Budget, "reserve", lambda self, _bound: self.committed_nano < (self.limit_nano or 1e99)
    )
    assert "the bill is" in str(play(25).broken)


def test_a_retry_after_that_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wait that a server asked for is not kept."""
    extend = Cooldown.extend

    def deaf(self: Cooldown, **facts: Any) -> None:
        extend(self, **facts | {"hint_s": None})

    monkeypatch.setattr(Cooldown, "extend", deaf)
    assert "before the end of the pause" in str(play(39).broken)


def test_a_refused_prompt_that_is_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A 400 is not believed."""
    monkeypatch.setattr(retry, "PERMANENT", frozenset())
    assert "bad_request" in str(play(6).broken)


def test_a_request_before_its_lease_is_committed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for the commit."""
    lease = Writer.lease

    def hasty(self: Writer, *writes: Any) -> asyncio.Future[None]:
        lease(self, *writes).add_done_callback(lambda done: done.exception())
        at_once: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        at_once.set_result(None)
        return at_once

    monkeypatch.setattr(Writer, "lease", hasty)
    assert "without a lease" in str(play(1).broken)


def test_a_result_that_counts_before_its_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The view is shown what is not durable yet."""
    commit = Writer._commit

    async def early(self: Writer, writes: Any) -> None:
        tell = self._committed
        tell(writes)
        self._committed = lambda _writes: None
        try:
            await commit(self, writes)
        finally:
            self._committed = tell

    monkeypatch.setattr(Writer, "_commit", early)
    assert "were shown, and these are committed" in str(play(0).broken)


def test_two_trials_of_a_broken_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dead provider is tried by two requests at a time."""
    ready_at = breaker.Breaker.ready_at

    def lax(self: breaker.Breaker, now: float, *, alone: bool = False) -> float:
        out = [expiry for expiry in self._trials.values() if expiry > now]
        is_half_open = self.state is breaker.State.HALF_OPEN
        return now if is_half_open and len(out) < 2 else ready_at(self, now, alone=alone)

    monkeypatch.setattr(breaker.Breaker, "ready_at", lax)
    assert "trials came within" in str(play(94).broken)
