"""SIGKILL at a system call: whatever was being written, nothing is lost and nothing half done."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crash import kills, scenes
from tests.crash.cuts import CAN_CUT, Cut
from tests.crash.exports import cut_exports
from tests.crash.ordeal import check
from tests.crash.scenes import Scene
from tests.crash.sweep import carried_out, cuts, of
from tests.support.process import FULL

pytestmark = [
    pytest.mark.skipif(not CAN_CUT, reason="no strace, or tracing is forbidden here"),
    pytest.mark.timeout(1200 if FULL else 60),
]

FEW: dict[type[Scene], list[Cut]] = {
    # while the schema is made, while answers come in, while the log is folded into the file
    scenes.NewBatch: [("pwrite64", 25), ("fdatasync", 12), ("ftruncate", 2)],
    scenes.OldSchema: [("fdatasync", 1)],
    scenes.FailedJobs: [("fdatasync", 4)],
    scenes.ChangedPrompts: [("pwrite64", 24)],
}


@pytest.mark.parametrize("scene", FEW)
async def test_a_process_cut_while_it_writes_loses_nothing(scene: type[Scene]) -> None:
    """New batch, migration, `retry-failed`, changed prompts: the next command finishes each."""
    cases = await cuts(scene, every=4) if FULL else [of(scene, one) for one in FEW[scene]]
    check(await carried_out(cases), faults=len(cases) * 9 // 10)


async def test_a_kill_between_lease_and_send_costs_no_request(tmp_path: Path) -> None:
    """Nothing was sent, but nobody can know: it is named as possibly paid, and asked once."""
    found = await kills.cut(tmp_path, scenes.NewBatch, ("connect", 1))
    check(found)
    assert found.possibly_paid == found.at_risk > 0
    assert (found.requests, found.seen_twice) == (found.jobs, 0)


async def test_an_export_that_is_killed_leaves_the_old_file(tmp_path: Path) -> None:
    """Under the final name there is the old export or the new one, at whatever call it ended."""
    found = await cut_exports(tmp_path, jobs=600 if FULL else 30, every=1 if FULL else 3)
    check(found, faults=2)
