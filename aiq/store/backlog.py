"""What pending jobs ask for, as far as it has to be known before the first is sent."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from functools import partial

import msgspec

from aiq.model import Endpoint
from aiq.store.db import Database
from aiq.store.jobs import IN_SCOPE, Scope, scope_parameters


class Load(msgspec.Struct):
    """Pending jobs that name one model (None: none), by what they ask for: text, or vectors."""

    model: str | None = None
    texts: int = 0
    text_bytes: int = 0
    vectors: int = 0
    vector_bytes: int = 0

    @property
    def jobs(self) -> int:
        """All of them."""
        return self.texts + self.vectors


async def pending_loads(database: Database, scope: Scope) -> list[Load]:
    """Return how many jobs of the scope are pending, and the bytes of their lines, by model."""
    return await database.at_once(partial(_pending_loads, scope_parameters(scope)))


def _pending_loads(parameters: Mapping[str, object], connection: sqlite3.Connection) -> list[Load]:
    """Add up row by row: GROUP BY would sort first, and hold as much as the cache may."""
    loads: dict[str | None, Load] = {}
    for model, endpoint, size in connection.execute(_PENDING, parameters):
        load = loads.get(model) or loads.setdefault(model, Load(model))
        if endpoint == Endpoint.EMBEDDINGS:
            load.vectors += 1
            load.vector_bytes += size
        else:
            load.texts += 1
            load.text_bytes += size
    return list(loads.values())


_PENDING = f"""
SELECT job.model, job.endpoint, length(request.line)
FROM job JOIN request ON request.job_id = job.id
WHERE job.batch_id IN (SELECT value FROM json_each(:batches)) AND job.state = 'pending'
  AND {IN_SCOPE}
"""


async def needs_model(database: Database, scope: Scope) -> bool:
    """Whether a pending job of the scope leaves the choice of the model to us."""
    return await database.row(_NEEDS_MODEL, scope_parameters(scope)) is not None


async def lacks_cap(database: Database, scope: Scope) -> bool:
    """
    Whether a pending job of the scope that writes text names no cap on its output.

    Judged by whether the name of a cap stands anywhere in the line: wrong only for prompts that
    speak of one, and those are caught when their worst case is computed.
    """
    return await database.row(_LACKS_CAP, scope_parameters(scope)) is not None


_LACKS_CAP = f"""
SELECT 1 FROM job JOIN request ON request.job_id = job.id
WHERE job.batch_id IN (SELECT value FROM json_each(:batches)) AND job.state = 'pending'
  AND job.endpoint IS NOT '/v1/embeddings'
  AND instr(request.line, CAST('max_tokens' AS BLOB)) = 0
  AND instr(request.line, CAST('max_completion_tokens' AS BLOB)) = 0
  AND instr(request.line, CAST('max_output_tokens' AS BLOB)) = 0
  AND instr(request.line, CAST('maxOutputTokens' AS BLOB)) = 0
  AND {IN_SCOPE}
LIMIT 1
"""

_NEEDS_MODEL = f"""
SELECT 1 FROM job
WHERE job.batch_id IN (SELECT value FROM json_each(:batches)) AND job.state = 'pending'
  AND job.model IS NULL AND {IN_SCOPE}
LIMIT 1
"""
