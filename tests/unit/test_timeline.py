"""Time in slices: as many as a page holds, with nothing lost and nothing made up."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from aiq.model import Kind
from aiq.run.timeline import (
    MOST_SLICES,
    Timeline,
    medians,
    slice_width,
    timeline,
    troubles,
)
from aiq.store.history import Cell, Span

S = 1_000_000
T0 = 1_700_000_000 * S
YEAR = 366 * 86_400 * S


def span(began_s: float, ended_s: float) -> Span:
    return Span(T0 + int(began_s * S), T0 + int(ended_s * S))


def cell(second: int, provider: str, kind: str, count: int = 1, **more: int) -> Cell:
    return Cell(
        slice=T0 // S + second,
        provider=provider,
        kind=kind,
        latency_us=more.get("latency_us"),
        count=count,
        cost_nano=more.get("cost_nano", 0),
    )


def by_second(seconds: int, cells: list[Cell]) -> Timeline:
    return timeline([span(0, seconds - 0.5)], cells, width_us=S)


SPANS = st.lists(
    st.tuples(st.integers(0, YEAR), st.integers(0, YEAR)).map(
        lambda pair: Span(T0 + pair[0], T0 + sum(pair))
    ),
    max_size=30,
)


@given(SPANS)
def test_there_are_never_more_slices_than_a_page_holds(spans: list[Span]) -> None:
    """Whatever the runs, every instant of theirs lies in one of the slices."""
    width = slice_width(spans)
    line = timeline(spans, [], width_us=width)
    assert len(line.starts) <= MOST_SLICES
    assert list(line.starts) == sorted(set(line.starts))
    covered = {start // width for start in line.starts}
    for one in spans:
        assert {one.began_at // width, one.ended_at // width} <= covered


def test_slices_are_of_customary_widths() -> None:
    assert slice_width([]) == S
    assert slice_width([span(0, 100)]) == S
    assert slice_width([span(0, 5 * 3600)]) == 120 * S
    assert slice_width([span(0, 400 * 86_400)]) % (86_400 * S) == 0


def test_time_without_a_run_is_left_out_and_marked() -> None:
    """Two minutes on two days need no more slices than four minutes."""
    line = timeline([span(0, 60), span(86_400, 86_460)], [], width_us=60 * S)
    assert len(line.starts) == 4
    assert line.breaks == [2]
    whole = timeline([span(0, 240)], [], width_us=60 * S)
    assert whole.breaks == []


def test_sending_is_what_the_spans_cover_and_not_the_slices_they_touch() -> None:
    spans = [span(0, 0.2), span(0.1, 0.4), span(0.15, 0.3), span(86_400, 86_400.5)]
    assert timeline(spans, [], width_us=3600 * S).sending_us == 900_000
    assert timeline([], [], width_us=S).sending_us == 0


def test_every_cell_is_counted_once_and_in_its_place() -> None:
    line = by_second(3, [
        cell(0, "a", Kind.OK, 5, cost_nano=50), cell(0, "a", Kind.SERVER_ERROR, 2),
        cell(1, "a", Kind.RATE_LIMITED, 3), cell(2, "b", Kind.AUTH, 1), cell(2, "b", Kind.OK, 4),
        cell(9, "a", Kind.OK, 100),
    ])  # fmt: skip
    assert line.lanes["a"].ok == [5, 0, 0]
    assert line.lanes["a"].bad == [2, 0, 0]
    assert line.lanes["a"].limited == [0, 3, 0]
    assert line.lanes["b"].other == [0, 0, 1]
    assert line.errors == {
        "server_error": [2, 0, 0], "rate_limited": [0, 3, 0], "auth": [0, 0, 1]
    }  # fmt: skip
    total = line.totals()
    assert (total.ok, total.cost_nano) == ([5, 0, 4], [50, 0, 0])


def test_a_share_counts_what_a_breaker_counts() -> None:
    line = by_second(2, [
        cell(0, "a", Kind.OK, 3), cell(0, "a", Kind.CONNECT, 1), cell(0, "a", Kind.RATE_LIMITED, 6),
        cell(1, "a", Kind.BAD_REQUEST, 2),
    ])  # fmt: skip
    lane = line.lanes["a"]
    assert (lane.good_share(0), lane.good_share(1)) == (0.75, None)
    assert (lane.asked(0), lane.asked(1)) == (10, 2)


def test_trouble_lasts_as_long_as_half_is_bad_and_says_how_long_nobody_asked_then() -> None:
    line = by_second(8, [
        *(cell(n, "b", Kind.OK, 5) for n in range(8)),
        cell(0, "a", Kind.OK, 9), cell(1, "a", Kind.SERVER_ERROR, 5), cell(1, "a", Kind.OK, 5),
        cell(2, "a", Kind.INTERRUPTED, 4), cell(5, "a", Kind.OK, 1),
    ])  # fmt: skip
    (one,) = troubles(line)
    assert (one.provider, one.bad, one.counted, one.unasked) == ("a", 9, 14, 2)
    assert (one.began_at, one.ended_at) == (line.starts[1], line.starts[3])


def test_one_bad_call_of_one_is_no_trouble() -> None:
    """A share of so few says nothing; two after which a provider was left alone do."""
    steady = [cell(n, "b", Kind.OK, 5) for n in range(3)]
    assert troubles(by_second(3, [*steady, cell(0, "a", Kind.CONNECT, 1)])) == []
    last = [*steady, cell(2, "a", Kind.CONNECT, 4)]
    assert troubles(by_second(3, last)) == []
    (one,) = troubles(by_second(3, [*steady, cell(0, "a", Kind.CONNECT, 2)]))
    assert one.unasked == 2


def test_a_provider_that_is_left_alone_after_a_good_slice_was_in_trouble() -> None:
    """It died at the end of the slice: five bad calls open a breaker, whatever came before."""
    steady = [cell(n, "b", Kind.OK, 5) for n in range(4)]
    ends = [cell(0, "a", Kind.OK, 90), cell(0, "a", Kind.CONNECT, 5), cell(3, "a", Kind.OK, 9)]
    (one,) = troubles(by_second(4, [*steady, *ends]))
    assert (one.bad, one.counted, one.unasked) == (5, 95, 2)
    asked_on = [*steady, *ends, cell(1, "a", Kind.OK, 1)]
    assert troubles(by_second(4, asked_on)) == []
    assert troubles(by_second(4, [*steady, ends[0], cell(0, "a", Kind.CONNECT, 4), ends[2]])) == []


def test_a_pause_of_all_is_nobodys_trouble() -> None:
    """Where nothing at all ended, a provider was not passed over."""
    line = by_second(4, [cell(0, "a", Kind.CONNECT, 9), cell(3, "a", Kind.OK, 1)])
    (one,) = troubles(line)
    assert one.unasked == 0


def test_medians_are_those_of_each_slice() -> None:
    cells = [
        cell(0, "a", Kind.OK, 3, latency_us=100_000), cell(0, "a", Kind.OK, 1, latency_us=900_000),
        cell(2, "a", Kind.OK, 1, latency_us=500_000), cell(1, "b", Kind.CONNECT),
    ]  # fmt: skip
    found = medians(by_second(3, cells), cells)
    assert [None if ms is None else round(ms, -1) for ms in found["a"]] == [100, None, 500]
    assert found["b"] == [None, None, None]
