"""What prompt files are called, and what they call their batches."""

from __future__ import annotations

from pathlib import Path

STDIN = "-"
"""How standard input is named among prompt files."""


def batch_name(path: str) -> str:
    """Return the name a file gives its batch: its stem, without `.gz`."""
    if path == STDIN:
        return "stdin"
    name = Path(path).name
    return Path(name.removesuffix(".gz")).stem or name
