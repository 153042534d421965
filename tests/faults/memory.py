"""
How far memory grows under replies made to fill it, measured on the real process from outside.

Sixteen requests meet the reply at once and get an answer at their second try. What counts is the
peak of the process's resident memory above that of a run whose sixteen were answered at once.
"""

from __future__ import annotations

import asyncio
import functools
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from aiq.providers.transport import MAX_BODY_BYTES
from tests.support.fault_server import FaultServer
from tests.support.ledger import check_all_answered, outcomes, prompts
from tests.support.process import Workplace
from tests.support.replies import Ending, Reply, Seen

AT_ONCE = 16
MOST_MB = 64.0
BOMB_BYTES = 256 * 1024 * 1024

_SHIM = """
import atexit, os, re
def note(path=os.environ["PEAK_FILE"]):
    with open("/proc/self/status") as status, open(path, "w") as peak:
        peak.write(re.search(r"VmHWM:\\s+(\\d+) kB", status.read())[1])
atexit.register(note)
"""
IS_MEASURABLE = Path("/proc/self/status").exists()

_HTTP = b"HTTP/1.1 200 OK\r\n"
_CHUNKED = _HTTP + b"transfer-encoding: chunked\r\n\r\n"
_PIECE = 65_536


@dataclass(frozen=True, kw_only=True)
class Load:
    """A reply that wants memory, and what is to come of it."""

    reply: Reply
    kind: str
    or_kind: str | None = None
    """Where it depends on the packets whether a reply ends in its head or in its body."""
    timeout_s: float = 60.0
    """For those that never end of themselves, or that would take as long as they like."""


@dataclass(frozen=True)
class Growth:
    """Peaks of resident memory, in MB of a million bytes."""

    clean_mb: float
    peak_mb: float

    @property
    def grown_mb(self) -> float:
        return self.peak_mb - self.clean_mb

    def check(self) -> None:
        assert self.grown_mb < MOST_MB, f"memory grew by {self.grown_mb:.0f} MB"


@functools.cache
def _bomb() -> Reply:
    """A quarter of a megabyte that wants to be a quarter of a gigabyte."""
    return Reply.gzipped(bytes(BOMB_BYTES))


def _loads() -> dict[str, Load]:
    length = b"content-length: 50000000\r\n\r\n"
    return {
        "gzip bomb": Load(reply=_bomb(), kind="bad_response"),
        "body of 50 MB": Load(
            reply=Reply(raw=_HTTP + length, endless=b" " * _PIECE), kind="bad_response"
        ),
        "bodies that stall below the cap": Load(
            reply=Reply(body=b" " * (MAX_BODY_BYTES - 1024), cut=0.99, ending=Ending.HANG),
            kind="bad_response",
            timeout_s=5.0,
        ),
        "body of 50 MB in chunks": Load(
            reply=Reply(raw=_CHUNKED, endless=b"10000\r\n" + b" " * _PIECE + b"\r\n"),
            kind="bad_response",
        ),
        "body of one byte at a time": Load(
            reply=Reply(raw=_CHUNKED, endless=b"1\r\n \r\n"), kind="bad_response", timeout_s=3.0
        ),
        "headers without end": Load(
            reply=Reply(raw=_HTTP, endless=b"x-more: more\r\n" * 1024), kind="interrupted"
        ),
        "long headers without end": Load(
            reply=Reply(raw=_HTTP, endless=b"x-more: " + b"m" * 60_000 + b"\r\n"),
            kind="interrupted",
        ),
        "a header without end": Load(
            reply=Reply(raw=_HTTP + b"x-more: ", endless=b"m" * _PIECE), kind="interrupted"
        ),
        "1,000 headers": Load(
            reply=Reply(headers={f"x-{n}": "v" * 500 for n in range(1000)}), kind="interrupted"
        ),
        "status line without end": Load(
            reply=Reply(raw=b"HTTP/1.1 200 ", endless=b"r" * _PIECE), kind="interrupted"
        ),
        "interim replies without end": Load(
            reply=Reply(raw=b"", endless=b"HTTP/1.1 100 Continue\r\n\r\n" * 64),
            kind="interrupted",
            timeout_s=3.0,
        ),
        "chunk extension without end": Load(
            reply=Reply(raw=_CHUNKED + b"5;", endless=b"e" * _PIECE),
            kind="bad_response",
            timeout_s=3.0,
        ),
        "trailers without end": Load(
            reply=Reply(raw=_CHUNKED + b"2\r\n{}\r\n0\r\n", endless=b"x-more: more\r\n" * 1024),
            kind="interrupted",
            or_kind="bad_response",
        ),
    }


LOADS = _loads()


def measure(load: Load, directory: Path) -> Growth:
    """Run sixteen jobs under a load; raises AssertionError if they do not end well."""
    return Growth(_clean_mb(), asyncio.run(_peak_mb(load, directory)))


@functools.cache
def _clean_mb() -> float:
    with tempfile.TemporaryDirectory() as directory:
        return asyncio.run(_peak_mb(None, Path(directory)))


async def _peak_mb(load: Load | None, directory: Path) -> float:
    gate = asyncio.Event()

    def script(seen: Seen) -> Reply | None:
        if seen.number == AT_ONCE:
            gate.set()
        faulty = load.reply if load is not None else Reply()
        return replace(faulty, until=gate) if seen.nth == 1 else None

    shim, peak = directory / "shim", directory / "peak"
    shim.mkdir()
    (shim / "sitecustomize.py").write_text(_SHIM)
    async with FaultServer(script) as server:
        table = {
            "base_url": server.url,
            "timeout_s": load.timeout_s if load else 60.0,
            "breaker": {"first_bad": 100, "min_calls": 100},
        }
        async with Workplace(directory, run={"concurrency": AT_ONCE}, a=table) as place:
            path = f"{shim}:{place.env['PYTHONPATH']}"
            env = {"PYTHONPATH": path, "PEAK_FILE": str(peak)}
            ended = await place.run("run", place.write(prompts(AT_ONCE)), "-q", env=env)
            assert ended.code == 0, ended.text
            check_all_answered(place.db, AT_ONCE)
            _check_outcomes(outcomes(place.db), load)
    return int(peak.read_text()) * 1024 / 1e6


def _check_outcomes(found: Mapping[str, int], load: Load | None) -> None:
    """Each of the jobs was answered in the end, and met the load once before."""
    kinds = {"ok"} if load is None else {"ok", load.kind, load.or_kind or load.kind}
    assert set(found) <= kinds, found
    assert found["ok"] == AT_ONCE, found
    assert sum(found.values()) == AT_ONCE * (1 if load is None else 2), found
