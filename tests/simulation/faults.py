"""What can go wrong on the far side of a request, as a simulated server decides it."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from typing import NamedTuple

import httpx

from aiq.model import Flaw
from aiq.providers.exchange import Arrival, BrokenReply


class Fault(enum.StrEnum):
    """The faults by the names under which they are counted."""

    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    HANG = "hang"
    LOST = "lost reply"
    RESET = "reset"
    LATE = "late reply"
    STALLED = "stalled body"
    TRUNCATED = "truncated body"
    NOT_JSON = "invalid JSON"
    HTML = "HTML page"
    EMPTY = "empty answer"
    SERVER_ERROR = "500"
    BUSY = "503"
    GATEWAY = "gateway time-out"
    LIMITED = "429"
    BAD_REQUEST = "400"
    KEY_REFUSED = "401"
    NO_CREDIT = "402"
    NO_MODEL = "404"
    SLOW = "brown-out"


ANSWERED = frozenset({None, Fault.SLOW, Fault.LATE, Fault.LOST, Fault.HANG, Fault.GATEWAY})
"""Where a paid request was answered properly, whatever became of the answer on its way."""


class Fate(NamedTuple):
    """What becomes of a request: how long it takes, what comes back, and whether it is paid."""

    delay_s: float
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    fault: Fault | None = None
    breaks: Callable[[httpx.Request], Exception] | None = None
    """Instead of a reply; of an endless `delay_s` there is no end but ours."""
    head_at_s: float = math.inf
    """When the status line has arrived, where that is before the end."""
    is_billed: bool = False
    tells_wait_s: float | None = None
    """The wait that the reply asks its account for."""


def refused(request: httpx.Request) -> Exception:
    return httpx.ConnectError("connection refused", request=request)


def unreachable(request: httpx.Request) -> Exception:
    return httpx.ConnectTimeout("no connection in time", request=request)


def reset(request: httpx.Request) -> Exception:
    return httpx.ReadError("the connection broke", request=request)


def truncated(request: httpx.Request) -> Exception:
    arrival: Arrival = request.extensions["arrival"]
    return BrokenReply("the reply broke off", request=request, arrival=arrival, flaw=Flaw.TRUNCATED)
