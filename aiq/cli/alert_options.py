"""What `alerts test` is asked; see `aiq.cli.options`."""

from __future__ import annotations

import dataclasses

from aiq.cli.options import ConfigPath, Json


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class AlertTestOptions:
    """What `alerts test` is asked."""

    config: ConfigPath = None
    json: Json = False
