"""What runs leave behind about providers: how they saw them last, and what the next one needs."""

from __future__ import annotations

from aiq.store.db import Database
from aiq.store.writes import CooldownMemory, ProviderState


async def states(database: Database) -> dict[str, ProviderState]:
    """
    Return how the runs on this database saw each provider last.

    Nothing from a database of an older version, which reading does not migrate.
    """
    if await database.row("SELECT 1 FROM sqlite_schema WHERE name = 'provider_state'") is None:
        return {}
    rows = await database.rows(
        "SELECT provider, status, reason, until, updated_at FROM provider_state"
    )
    return {
        row[0]: ProviderState(**dict(zip(ProviderState.__struct_fields__, row, strict=True)))
        for row in rows
    }


async def openings(database: Database) -> dict[tuple[str, str], int]:
    """Return how often each breaker had opened in a row, by base URL and model; zeros left out."""
    rows = await database.rows("SELECT base_url, model, openings FROM breaker WHERE openings > 0")
    return {(base_url, model): count for base_url, model, count in rows}


async def cooldowns(database: Database) -> list[CooldownMemory]:
    """Return the cooldown that each account had come to, be it over or not."""
    rows = await database.rows("SELECT account, until, noted_at FROM cooldown")
    return [
        CooldownMemory(account=account, until=until, noted_at=noted_at)
        for account, until, noted_at in rows
    ]
