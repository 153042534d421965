"""The tables of `status`."""

import pytest

from aiq.cli.status import status_lines
from aiq.run.facts import ProviderFacts
from aiq.run.report import Ledger
from aiq.run.status import RunInfo, Status


@pytest.mark.parametrize(
    ("run", "heading", "said"),
    [
        (RunInfo(7, "host", "now"), "status, next try", "unhealthy, 12 s: open"),
        (None, "status at the end of the last run", "unhealthy: open"),
    ],
)
def test_nothing_counts_down_where_nobody_tries_again(
    run: RunInfo | None, heading: str, said: str
) -> None:
    """Without a run, it is how the last one saw the provider."""
    facts = ProviderFacts(
        name="a",
        kind="openai",
        model="m",
        status="unhealthy",
        reason="open",
        until_us=12_000_000,
    )
    status = Status(
        db="x.db",
        batches=(),
        ledger=Ledger(["a"]),
        providers=(facts,),
        in_flight={},
        errors=(),
        run=run,
        now_us=0,
    )
    lines = [line.plain.rstrip() for line in status_lines(status, 100)]
    [title] = [line for line in lines if line.startswith("provider ")]
    [row] = [line for line in lines if line.startswith("a ") and "openai" in line]
    assert title.endswith(heading)
    assert row.endswith(f"  {said}")
