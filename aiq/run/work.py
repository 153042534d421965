"""What a run is about, once its files are read or its failed jobs are requeued."""

from __future__ import annotations

import msgspec

from aiq.run.ingest import IngestReport
from aiq.run.request import Overlay
from aiq.store.batches import Batch
from aiq.store.jobs import Scope


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """The jobs in scope, and what is laid under their prompts; overlays by batch."""

    scope: Scope
    batches: tuple[Batch, ...]
    overlays: dict[int, Overlay]
    ingest: IngestReport
    requeued: int = 0
