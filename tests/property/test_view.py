"""Whatever strangers call their things, the live view stays inside its terminal and in order."""

from __future__ import annotations

import unicodedata
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from rich.text import Text

from aiq.cli.announcements import batch_names
from aiq.cli.columns import Column, table
from aiq.cli.progress import frame
from aiq.policy.standing import Condition, Status
from aiq.run.board import ProviderView, Snapshot
from aiq.run.report import Tally

PIECES = st.sampled_from(
    (
        *(
            "\x1b[2J",
            "日本",
            "💥",
            "👩\u200d👩\u200d👧",
            "e" + "\u0301" * 6,
            "\u202e",
            "\u200b",
            "\t",
        ),
        *("[red]", "[/]", ":smile:", "x" * 300, "\r\n", "\ud800", "\ufdfa", "\u0e33", "\ufe0f"),
    )
)
ODD = st.one_of(
    st.text(st.characters(exclude_categories=()), max_size=30),
    st.lists(PIECES, max_size=6).map("".join),
)
VIEWS = st.builds(
    lambda name, status, reason, next_try_s: ProviderView(
        name=name,
        condition=Condition(status, reason, None),
        next_try_s=next_try_s,
        in_flight=3,
        limit=1_000_000,
        tally=Tally(),
    ),
    ODD,
    st.sampled_from(Status),
    ODD,
    st.one_of(st.none(), st.floats(0, 1e6)),
)


def picture(views: list[Any], error: str) -> Snapshot:
    return Snapshot(
        total=9_999_999,
        succeeded=1,
        failed=2,
        pending=3,
        running=4,
        in_flight=4,
        failovers=5,
        elapsed_s=1e6,
        rate_per_s=0.1,
        eta_s=1e9,
        tally=Tally(),
        providers=tuple(views),
        last_error=error,
        is_draining=False,
    )


@given(
    st.lists(VIEWS, max_size=6),
    ODD,
    st.lists(ODD, min_size=1, max_size=5),
    st.integers(1, 200),
    st.integers(1, 50),
)
def test_a_frame_fits_and_nothing_in_it_acts(
    views: list[Any], error: str, names: list[str], width: int, height: int
) -> None:
    lines = frame(picture(views, error), title=batch_names(names), width=width, height=height)
    assert len(lines) <= height
    for line in lines:
        assert line.cell_len <= width
        hidden = {"Cc", "Cf", "Cs", "Zl", "Zp"}
        assert not any(unicodedata.category(char) in hidden for char in line.plain)


@given(st.lists(st.tuples(PIECES, PIECES, PIECES), max_size=4), st.integers(1, 60))
@example([("日本", "日本", "日本")], 5)
def test_a_table_cuts_cells_and_not_characters(rows: list[tuple[str, ...]], width: int) -> None:
    """Each row is as wide as the others, and wider than the terminal only with one column left."""
    columns = [Column("a", right=False, least=4), Column("b", rank=1, least=4), Column("c", rank=2)]
    cells = [[Text(text.replace("\t", " ")) for text in row] for row in rows]
    lines = table(columns, cells, width)
    assert len(lines) == len(rows) + 1
    if lines[0].plain.split() != ["a"]:
        assert max(line.cell_len for line in lines) <= width
