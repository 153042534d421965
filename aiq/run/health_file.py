"""
The health file: what a supervisor can read to see whether a monitor lives and what it saw.

It is replaced as a whole, so that whoever reads it never sees half of it. How old it may become is
written in it; a process that hangs or is dead writes no newer one.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterable
from pathlib import Path

from aiq.clock import rfc3339
from aiq.errors import ExitCode, Refused
from aiq.run.monitor import Watched
from aiq.run.replacement import replaced, target_of

SLACK_S = 15.0
"""What a probe and a busy machine may take on top of an interval."""

_OPTION = "--health-file"
_HINT = f"name another file with `{_OPTION}`"
_FIRST_KEY = "written_at"


class HealthFile:
    """One file, for as long as a monitor runs."""

    def __init__(self, path: Path, *, interval_s: float) -> None:
        """
        Look whether it can be written, before anything is sent.

        Raises:
            Refused: it cannot.
        """
        self._path = path
        self._interval_s = interval_s
        self._is_free = asyncio.Lock()
        target = target_of(path, option=_OPTION)
        if not os.access(target.parent, os.W_OK | os.X_OK):
            raise Refused(f"{path}: its directory is missing or read-only", hint=_HINT)
        if not _is_ours(target):
            raise Refused(f"{path} is there and is no health file; it was not touched", hint=_HINT)

    async def write(self, watched: Iterable[Watched], code: ExitCode, *, now_us: int) -> None:
        """Replace it; raises `Refused` or OSError if that has become impossible."""
        document = {
            _FIRST_KEY: rfc3339(now_us),
            "stale_after_s": self._interval_s * 2 + SLACK_S,
            "pid": os.getpid(),
            "exit_code": int(code),
            "providers": [
                {**one.to_json(), "checked_at": rfc3339(one.checked_at)} for one in watched
            ],
        }
        text = json.dumps(document, indent=1) + "\n"
        async with self._is_free:
            await asyncio.to_thread(self._replace, text.encode())

    def _replace(self, text: bytes) -> None:
        with replaced(self._path, option=_OPTION) as stream:
            stream.write(text)


def _is_ours(path: Path) -> bool:
    """Whether nothing is there that somebody would miss."""
    try:
        with path.open("rb") as stream:
            head = stream.read(64)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return not head or f'"{_FIRST_KEY}"'.encode() in head
