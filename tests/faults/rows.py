"""All rows of the matrix."""

from __future__ import annotations

from tests.faults import body_rows, connection_rows, fleet_rows, reply_rows, status_rows
from tests.faults.row import Row

ROWS: list[Row] = [
    *status_rows.ROWS,
    *connection_rows.ROWS,
    *reply_rows.ROWS,
    *body_rows.ROWS,
    *fleet_rows.ROWS,
]
