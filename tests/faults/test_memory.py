"""Replies that want memory, sixteen at once, met by the real process; all only at full scale."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.memory import IS_MEASURABLE, LOADS, MOST_MB, measure
from tests.support.process import FULL

USUAL = ("body of 50 MB", "bodies that stall below the cap", "interim replies without end")


@pytest.mark.skipif(not IS_MEASURABLE, reason="the kernel does not tell a process's peak")
@pytest.mark.parametrize("name", [name for name in LOADS if FULL or name in USUAL])
def test_memory_stays_bounded(tmp_path: Path, name: str) -> None:
    """It grows by less than 64 MB, everything is answered, and the ledger says what was met."""
    assert measure(LOADS[name], tmp_path).grown_mb < MOST_MB
