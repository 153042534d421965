"""
What goes over the wire between an operator and a run: one line of JSON there, one back.

Both lines carry the version, and an operator of another version is told so in words. The line is
bounded before it is parsed, and what does not parse is answered with what is wrong with it.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from aiq.errors import ExitCode, Refused
from aiq.policy.control import Command
from aiq.run.cancelling import Cancelled

VERSION = 1

REQUEST_BYTES = 64 * 1024
"""Some thousand ids; `aiq cancel` sends longer lists in several orders."""

REPLY_BYTES = 4 * 1024 * 1024


class Status(msgspec.Struct, frozen=True, tag="status"):
    """Say how the run stands."""


class CancelJobs(msgspec.Struct, frozen=True, tag="cancel"):
    """Cancel the pending jobs of batches, and single ones; with `batch`, ids of jobs in it."""

    names: tuple[str, ...]
    batch: str | None = None


class RequeueJobs(msgspec.Struct, frozen=True, tag="retry-failed"):
    """
    Put failed jobs back, all kinds unless named; `cancelled` among them says those too.

    With `jobs`, only those of these ids.
    """

    batch: str | None = None
    kinds: tuple[str, ...] | None = None
    except_kinds: tuple[str, ...] = ()
    jobs: tuple[str, ...] = ()


class Requeued(msgspec.Struct, frozen=True):
    """Jobs that were put back, and how many of them the run takes."""

    jobs: int
    taken: int

    def __str__(self) -> str:
        """Say what was put back, and who sends it."""
        if not self.jobs:
            return "no such job is left to put back"
        said = f"{self.jobs:,} job{'' if self.jobs == 1 else 's'} put back"
        if self.taken == self.jobs:
            return f"{said}, the run at work takes them"
        if self.taken:
            said += f", the run at work takes {self.taken:,} of them"
        rest = "the others" if self.taken else "them"
        return f"{said}; this run does not take {rest}, `aiq run` does when it has ended"


Order: TypeAlias = Status | CancelJobs | RequeueJobs | Command


class Request(msgspec.Struct, frozen=True):
    """One line to a run."""

    version: int
    order: Order


class ProviderReport(msgspec.Struct, frozen=True, kw_only=True):
    """One provider of a run as it stands."""

    name: str
    status: str
    reason: str | None
    next_try_s: float | None
    in_flight: int
    limit: int


class RunReport(msgspec.Struct, frozen=True, kw_only=True):
    """A run as it stands."""

    pid: int
    started_at: str
    phase: str
    """`reading`, `sending`, `paused` or `stopping`."""
    batches: tuple[str, ...] = ()
    total: int = 0
    succeeded: int = 0
    failed: int = 0
    pending: int = 0
    cancelled: int = 0
    in_flight: int = 0
    concurrency: int = 0
    rate_per_s: float = 0.0
    budget_usd: float | None = None
    committed_usd: float = 0.0
    providers: tuple[ProviderReport, ...] = ()


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """One line back; where `code` is not 0, `said` is why the order was not carried out."""

    version: int = VERSION
    code: int = 0
    said: str = ""
    hint: str | None = None
    report: RunReport | None = None
    cancelled: Cancelled | None = None
    requeued: Requeued | None = None


class _Envelope(msgspec.Struct, frozen=True):
    version: int


def encode(message: Request | Reply) -> bytes:
    """Write a message as the line it is."""
    return msgspec.json.encode(message) + b"\n"


def read_request(line: bytes) -> Order:
    """Return the order of a line; raises `Refused` for what is none of this version."""
    try:
        version = msgspec.json.decode(line, type=_Envelope).version
        if version != VERSION:
            raise Refused(
                f"this run understands version {VERSION} of its control channel, not {version}",
                hint="use the `aiq` that the run was started with",
            )
        return msgspec.json.decode(line, type=Request).order
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refused(f"this is no order: {error}") from error


def read_reply(line: bytes) -> Reply:
    """Return the reply of a line; raises `Refused` for what is none of this version."""
    try:
        version = msgspec.json.decode(line, type=_Envelope).version
        if version == VERSION:
            return msgspec.json.decode(line, type=Reply)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refused(f"the run gave no answer that can be read: {error}") from error
    raise Refused(
        f"the run answers in version {version} of its control channel, and this is {VERSION}",
        hint="use the `aiq` that the run was started with",
    )


def refusal(error: Refused) -> Reply:
    """Return the reply that says why an order is not carried out."""
    return Reply(code=int(ExitCode.REFUSED), said=str(error), hint=error.hint)
