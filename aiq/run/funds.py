"""
What a run may still spend: the budget as it stands when the run begins.

Refused before anything is sent: a provider whose worst case nobody can say, because it has no price
or lets an answer grow without a cap.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from aiq.config import Settings
from aiq.errors import Refused
from aiq.model import NANO_PER_USD
from aiq.policy.budget import Budget
from aiq.run.fleet import Fleet, Provider
from aiq.run.request import Overlay
from aiq.run.work import Work
from aiq.store import attempts, jobs
from aiq.store.db import Database


class Funds(NamedTuple):
    """A budget, and how many earlier attempts it cannot count because nobody knows their cost."""

    budget: Budget
    uncounted: int = 0


async def open_funds(database: Database, work: Work, fleet: Fleet, settings: Settings) -> Funds:
    """
    Return the budget of a run, with what all attempts ever of its batches have taken.

    Raises:
        Refused: a provider has no known worst case.
    """
    limit_usd = settings.run.budget_usd
    if limit_usd is None:
        return Funds(Budget(None))
    await _refuse_unbounded(database, work, fleet)
    committed, uncounted = await attempts.committed_nano(database, work.scope.batches)
    limit = round(limit_usd * NANO_PER_USD)
    return Funds(Budget(limit, committed_nano=committed), uncounted)


async def _refuse_unbounded(database: Database, work: Work, fleet: Fleet) -> None:
    overlays = list(work.overlays.values())
    is_capped = all(overlay.caps_output for overlay in overlays) or not await jobs.lacks_cap(
        database, work.scope
    )
    for provider in fleet.providers.values():
        unpriced = _unpriced(provider, fleet, overlays)
        if unpriced is not None:
            raise Refused(
                f"`{provider.name}` has no known price for {unpriced}, so a budget cannot bound it",
                hint="give it a price in aiq.toml: price = { input = ..., output = ... } (USD per"
                " million tokens), or leave it out with -p",
            )
        if not is_capped and provider.settings.max_tokens is None and not provider.pricer.is_free:
            raise Refused(
                f"`{provider.name}` lets answers grow without a cap, so a budget cannot bound it",
                hint="set `max_tokens` for it in aiq.toml, or `--param max_tokens=512`",
            )


def _unpriced(provider: Provider, fleet: Fleet, overlays: Iterable[Overlay]) -> str | None:
    """Return a model that it would be asked for and has no price; None: there is none."""
    for asked in dict.fromkeys(overlay.model for overlay in overlays):
        model = provider.resolve(asked)
        if model is not None and not fleet.has_price(provider, model):
            return f"`{model}`"
    return None
