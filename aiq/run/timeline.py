"""
Time cut into slices: pure arithmetic between the ledger's cells and the report's charts.

Slices are equally wide, aligned to the epoch and as many as fit on a page, whatever the length of
the runs. Time in which no run was sending is left out, so that three nights of a month are as
readable as one. Everything here is derived from the attempts in the ledger: a breaker that opened
shows as bad attempts followed by none, and is called no more than that.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from aiq.model import Kind
from aiq.run.report import Histogram
from aiq.store.history import Cell, Span

MOST_SLICES = 180
"""More bars are too thin to tell apart on a screen."""

_S = 1_000_000
_WIDTHS_S = (
    *(1, 2, 5, 10, 15, 30),
    *(60, 120, 300, 600, 900, 1800),
    *(3600, 2 * 3600, 3 * 3600, 6 * 3600, 12 * 3600, 86_400),
)
"""What people count time in; beyond a day, whole days."""

BAD = frozenset({Kind.CONNECT, Kind.INTERRUPTED, Kind.SERVER_ERROR, Kind.BAD_RESPONSE})
"""What a breaker counts against a provider; `ok` counts for it, and nothing else counts."""

SICK_SHARE = 0.5
"""As many bad calls of all that count open a breaker (`policy.breaker`)."""
_FEWEST = 5
"""Of fewer calls a share alone says nothing."""


class Lane(msgspec.Struct, kw_only=True):
    """One provider over all slices; every list is as long as there are slices."""

    ok: list[int]
    bad: list[int]
    limited: list[int]
    other: list[int]
    """Refused, cancelled, out of credit: neither good nor bad of the provider's health."""
    cost_nano: list[int]

    def asked(self, slice_: int) -> int:
        """Return how many requests ended in a slice."""
        return self.ok[slice_] + self.bad[slice_] + self.limited[slice_] + self.other[slice_]

    def good_share(self, slice_: int) -> float | None:
        """Return the share of good ones among those that count; None where none does."""
        counted = self.ok[slice_] + self.bad[slice_]
        return self.ok[slice_] / counted if counted else None


class Trouble(msgspec.Struct, frozen=True, kw_only=True):
    """
    A period in which at least half of a provider's calls that count were bad.

    Of few such calls it is one only if the provider was then left alone, as by a breaker. So is a
    slice that was good on the whole, if as many were bad as open a breaker and it was left alone.
    """

    provider: str
    began_at: int
    ended_at: int
    bad: int
    counted: int
    unasked: int
    """Slices right after it in which nothing of this provider ended, while others worked."""


class Timeline(msgspec.Struct, frozen=True, kw_only=True):
    """What ended when."""

    width_us: int
    sending_us: int
    """How long some run was sending, to the microsecond and not in whole slices."""
    starts: tuple[int, ...]
    """The beginning of each slice, in microseconds UTC, ascending; not every one follows."""
    lanes: dict[str, Lane]
    errors: dict[str, list[int]]
    """Attempts that were not answered, by kind."""

    @property
    def breaks(self) -> list[int]:
        """Slices before which time was left out."""
        pairs = enumerate(itertools.pairwise(self.starts), start=1)
        return [n for n, (one, other) in pairs if other - one > self.width_us]

    def totals(self) -> Lane:
        """Return the sum of all providers."""
        total = _lane(len(self.starts))
        for lane in self.lanes.values():
            for name in Lane.__struct_fields__:
                sums = zip(getattr(total, name), getattr(lane, name), strict=True)
                setattr(total, name, [one + other for one, other in sums])
        return total


def slice_width(spans: Sequence[Span], *, most: int = MOST_SLICES) -> int:
    """Return the smallest customary width that cuts the spans into at most so many slices."""
    longest_s = max((span.ended_at - span.began_at for span in spans), default=0) // _S
    days = (86_400 * n for n in itertools.count(max(2, longest_s // (86_400 * most))))
    for width_s in itertools.chain(_WIDTHS_S, days):
        if len(_slices(spans, width_s * _S, most=most)) <= most:
            return width_s * _S
    raise AssertionError("counting days has no end")


def _slices(spans: Sequence[Span], width_us: int, *, most: int) -> list[int]:
    """Return the slices that spans touch, in order; one more than `most` where there are more."""
    found: set[int] = set()
    for span in spans:
        first, last = span.began_at // width_us, span.ended_at // width_us
        found.update(range(first, min(last, first + most) + 1))
        if len(found) > most:
            break
    return sorted(found)


def timeline(spans: Sequence[Span], cells: Iterable[Cell], *, width_us: int) -> Timeline:
    """
    Put cells into the slices that the spans touch.

    A cell outside of them ended after the spans were read, and is left out.
    """
    numbers = _slices(spans, width_us, most=MOST_SLICES)
    place = {number: n for n, number in enumerate(numbers)}
    lanes: dict[str, Lane] = {}
    errors: dict[str, list[int]] = {}
    for cell in cells:
        n = place.get(cell.slice)
        if n is None:
            continue
        lane = lanes.setdefault(cell.provider, _lane(len(numbers)))
        getattr(lane, _side(cell.kind))[n] += cell.count
        lane.cost_nano[n] += cell.cost_nano
        if cell.kind != Kind.OK:
            errors.setdefault(cell.kind, [0] * len(numbers))[n] += cell.count
    starts = tuple(number * width_us for number in numbers)
    return Timeline(
        width_us=width_us,
        sending_us=_covered_us(spans),
        starts=starts,
        lanes=lanes,
        errors=errors,
    )


def _covered_us(spans: Sequence[Span]) -> int:
    """Return the length of the spans together; what two of them share counts once."""
    total = until = 0
    for span in sorted(spans, key=lambda one: one.began_at):
        total += max(0, span.ended_at - max(span.began_at, until))
        until = max(until, span.ended_at)
    return total


def _lane(slices: int) -> Lane:
    return Lane(**{name: [0] * slices for name in Lane.__struct_fields__})


def _side(kind: str) -> str:
    if kind == Kind.OK:
        return "ok"
    if kind in BAD:
        return "bad"
    return "limited" if kind == Kind.RATE_LIMITED else "other"


def troubles(line: Timeline) -> list[Trouble]:
    """Return the bad periods of all providers, in order of time."""
    total = line.totals()
    found = [one for name in line.lanes for one in _troubles(line, name, total)]
    return sorted(found, key=lambda one: (one.began_at, one.provider))


def _troubles(line: Timeline, provider: str, total: Lane) -> Iterator[Trouble]:
    lane = line.lanes[provider]
    slices = len(line.starts)
    n = 0
    while n < slices:
        end = n
        while end < slices and _is_sick(lane, end):
            end += 1
        if end == n and _falls_silent(lane, total, n):
            end += 1
        if end == n:
            n += 1
            continue
        rest = end
        while rest < slices and not lane.asked(rest) and total.asked(rest):
            rest += 1
        bad = sum(lane.bad[n:end])
        counted = bad + sum(lane.ok[n:end])
        if counted >= _FEWEST or (rest > end and bad > 1):
            yield Trouble(
                provider=provider,
                began_at=line.starts[n],
                ended_at=line.starts[end - 1] + line.width_us,
                bad=bad,
                counted=counted,
                unasked=rest - end,
            )
        n = end


def _falls_silent(lane: Lane, total: Lane, n: int) -> bool:
    """Whether so many were bad as open a breaker, and nobody asked then but for others."""
    after = n + 1
    if lane.bad[n] < _FEWEST or after == len(lane.bad):
        return False
    return not lane.asked(after) and total.asked(after) > 0


def _is_sick(lane: Lane, n: int) -> bool:
    share = lane.good_share(n)
    return share is not None and 1 - share >= SICK_SHARE


def medians(line: Timeline, cells: Iterable[Cell]) -> dict[str, list[float | None]]:
    """Return the median latency of each slice's answers by provider; None where there are none."""
    place = {start // line.width_us: n for n, start in enumerate(line.starts)}
    found: dict[str, dict[int, Histogram]] = {provider: {} for provider in line.lanes}
    for cell in cells:
        n = place.get(cell.slice)
        if n is not None and cell.latency_us is not None:
            of_slice = found[cell.provider].setdefault(n, Histogram())
            of_slice.add(cell.latency_us / 1000, cell.count)
    return {
        name: [slices[n].quantile(0.5) if n in slices else None for n in place.values()]
        for name, slices in found.items()
    }
