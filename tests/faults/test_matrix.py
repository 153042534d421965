"""Every fault of the catalogue that a server can make, one small run each, over real sockets."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.matrix import run_row
from tests.faults.row import Row
from tests.faults.rows import ROWS


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.title)
def test_a_fault_costs_what_its_row_says(tmp_path: Path, row: Row) -> None:
    """The kind, the bill, the attempts, the end of the job and of the provider are as written."""
    assert run_row(row, tmp_path, again=False).injected
