"""Signals at the worst moments, pauses and lost streams: the next run finishes, nothing is lost."""

from __future__ import annotations

import signal
from functools import partial

import pytest

from tests.crash import stops
from tests.crash.cuts import CAN_CUT
from tests.crash.ordeal import check
from tests.crash.sweep import Case, carried_out, stop_cases
from tests.support.process import FULL

pytestmark = pytest.mark.timeout(1200 if FULL else 60)

_stopped = partial(partial, stops.stopped)
FEW: dict[str, list[Case]] = {
    "stop: once": [
        _stopped(moment=stops.locked_out, number=signal.SIGTERM, times=1, group=True),
    ],
    "stop: twice": [
        _stopped(moment=stops.waiting_for_answers, number=signal.SIGHUP, times=2),
    ],
    "pause": [partial(stops.paused, stopped_s=2.6, on_terminal=True)],
    "closed": [partial(stops.unread, shell=stops.CLOSED["read by `head -1`"])],
}
if CAN_CUT:
    FEW["stop: once"] += [_stopped(moment=stops.committing, number=signal.SIGINT, times=1)]
    FEW["stop: thrice"] = [_stopped(moment=stops.committing, number=signal.SIGHUP, times=3)]


@pytest.mark.parametrize("group", FEW)
async def test_a_stopped_run_is_finished_by_the_next(group: str) -> None:
    """During a commit, behind a lock, twice in 20 ms, to a whole group, by Ctrl-Z and `fg`."""
    cases = stop_cases()[group] if FULL else FEW[group]
    check(await carried_out(cases), faults=len(cases))
