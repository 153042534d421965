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
from aiq.store import attempts, backlog
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
    await refuse_unbounded(database, work, fleet, settings.file)
    committed, uncounted = await attempts.committed_nano(database, work.scope.batches)
    limit = round(limit_usd * NANO_PER_USD)
    return Funds(Budget(limit, committed_nano=committed), uncounted)


async def refuse_unbounded(database: Database, work: Work, fleet: Fleet, file: str) -> None:
    """
    Raise `Refused` where a budget cannot bound somebody.

    It names every provider that stands in the way, so that one look at the file mends them all.
    """
    overlays = list(work.overlays.values())
    is_capped = all(overlay.caps_output for overlay in overlays) or not await backlog.lacks_cap(
        database, work.scope
    )
    everybody = fleet.providers.values()
    unpriced = {
        p.name: f"`{p.name}` has no known price for {model}"
        for p in everybody
        if (model := _unpriced(p, fleet, overlays)) is not None
    }
    uncapped = {
        p.name: f"`{p.name}` lets answers grow without a cap"
        for p in everybody
        if not is_capped and p.settings.max_tokens is None and not p.pricer.is_free
    }
    if not (unpriced or uncapped):
        return
    it = "it" if len(unpriced | uncapped) == 1 else "them"
    hints = []
    if unpriced:
        hints.append(
            f"give a price in {file}: price = {{ input = ..., output = ... }} (USD per million"
            " tokens), or leave the provider out with -p"
        )
    if uncapped:
        hints.append(f"set `max_tokens` in {file}, or give `--param max_tokens=512`")
    raise Refused(
        f"{'; '.join([*unpriced.values(), *uncapped.values()])}: a budget cannot bound {it}",
        hint="; ".join(hints),
    )


def _unpriced(provider: Provider, fleet: Fleet, overlays: Iterable[Overlay]) -> str | None:
    """Return a model that it would be asked for and has no price; None: there is none."""
    for asked in dict.fromkeys(overlay.model for overlay in overlays):
        model = provider.resolve(asked)
        if model is not None and not fleet.has_price(provider, model):
            return f"`{model}`"
    return None
