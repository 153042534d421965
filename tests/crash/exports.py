"""SIGKILL while results are written: the old file or the new one is there, never a part of one."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.crash.cuts import Cut, counting, killed_at, listed
from tests.crash.findings import Findings
from tests.crash.ordeal import Ordeal, glimpse
from tests.support.fault_server import FaultServer
from tests.support.ledger import prompts
from tests.support.process import Workplace

EXPORT_CALLS = ("write", "fsync", "chmod", "rename")
NAME = "out.jsonl"


async def cut_exports(directory: Path, *, jobs: int, every: int) -> Findings:
    """Export a half-done batch, finish it, and cut its second export at every n-th call."""
    async with FaultServer() as server, Workplace(directory, a=server) as place:
        ordeal = Ordeal(place, server, prompts(jobs))
        assert (await place.run("run", ordeal.file, "--limit", str(jobs // 2))).code == 0
        export = ("export", "-o", NAME)
        old, _ = await exported(place, *export)
        assert (await place.run("run", ordeal.file)).code == 0
        new, calls = await exported(place, *export)
        found = Findings()
        replaced_by = calls.index(("rename", 1))
        for place_of, (call, number) in list(enumerate(calls))[::every]:
            (directory / NAME).write_bytes(old)
            running = await ordeal.start(*export, shell=killed_at(call, number))
            found.faults += (await running.ended()).code == -signal.SIGKILL
            found.cases += 1
            if (directory / NAME).read_bytes() != (new if place_of > replaced_by else old):
                found.trouble.append(f"{NAME} is not what it must be after {call} {number}")
        ordeal.pictures.append(glimpse(place.db))
        again, _ = await exported(place, *export)
        if again != new:
            found.trouble.append("an export after the kills differs from one before")
        found += await ordeal.finish()
    found.cases -= 1  # the batch itself was not struck
    return found


async def exported(place: Workplace, *export: str) -> tuple[bytes, list[Cut]]:
    """Export undisturbed; return what is in the file and the calls that it took, in order."""
    ended = await place.run(*export, shell=counting(",".join(EXPORT_CALLS), "calls"))
    assert ended.code == 0, ended.text
    return (place.directory / NAME).read_bytes(), listed(place.directory / "calls")
