"""
Which batch a prompt file belongs to.

One batch per file, named by its stem; a name from the user joins files into one. A batch remembers
the absolute paths it came from, so that another file of the same name is not taken for it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from aiq.errors import InputError
from aiq.prompts.names import STDIN, batch_name
from aiq.store import batches
from aiq.store.batches import Batch
from aiq.store.db import Database


class Source(msgspec.Struct, frozen=True):
    """One prompt file and its place in the database; `path` None is standard input."""

    id: int
    path: Path | None
    batch: Batch


async def open_sources(
    database: Database, paths: Sequence[str], *, name: str | None, now_us: int
) -> list[Source]:
    """
    Return the sources of the given files, adding batches and paths that are new, unsealed.

    Raises:
        InputError: a batch of that name came from another file, and no name was given; or a name
            is not UTF-8, which the database could not hold.
    """
    for text in (*paths, name or ""):
        _refuse_odd_name(text)
    absolute = [path if path == STDIN else os.path.abspath(path) for path in paths]  # noqa: PTH100, ASYNC240 - resolves no symlink and asks no disk
    if name is None:
        await _refuse_namesakes(database, absolute)
    sources = []
    async with database.transaction():
        for path in dict.fromkeys(absolute):
            wanted = name or batch_name(path)
            batch = await batches.batch_named(database, wanted)
            if batch is None:
                batch = await batches.add_batch(database, wanted, flags=b"{}", now_us=now_us)
            number = await batches.open_source(database, batch.id, path, now_us=now_us)
            sources.append(Source(number, None if path == STDIN else Path(path), batch))
    return sources


def _refuse_odd_name(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InputError(
            f"the name {text!a} is not valid UTF-8",
            hint="rename it, or give the file on standard input: `aiq run - < FILE`",
        ) from None


async def _refuse_namesakes(database: Database, paths: Sequence[str]) -> None:
    taken: dict[str, str] = {}
    for path in paths:
        wanted = batch_name(path)
        batch = await batches.batch_named(database, wanted)
        known = await batches.source_paths(database, batch.id) if batch else []
        if known and path not in known:
            raise InputError(
                f"batch `{wanted}` came from {known[0]}, not from {path}",
                hint=f"give this one a name of its own with `-n`, or join both with `-n {wanted}`",
            )
        if taken.setdefault(wanted, path) != path:
            raise InputError(
                f"{taken[wanted]} and {path} would both be batch `{wanted}`",
                hint=f"join them with `-n {wanted}`, or run them one after the other with `-n`",
            )
