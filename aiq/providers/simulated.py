"""
A model server that exists only in this process: for examples, tests and rehearsals without a key.

Pure: a request and an instant in, a reply and its delay out; `simulated_transport` does the
waiting. Everything follows from the seed, the body and how often that body has failed before, so
two runs over one file see the same answers and the same failures. Who is probed gets one body only,
and there everything follows from the seed and how often it was asked.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections import deque
from typing import Any

import msgspec

from aiq.model import Endpoint
from aiq.providers import json_text, simulated_replies

_MINUTE_S = 60.0
_REFUSAL_S = 0.02  # a refusal is quick, an answer is not
_LONGEST_TAIL = 8.0  # of the exponential tail, in means; one answer in 3,000 is cut there
FAILURES_KEPT = 100_000
"""Bodies whose failures are counted; several times as many as one run holds jobs in memory."""

_JSON_HEADERS = (("content-type", "application/json"),)


class SimulatedSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the simulated server behaves; a value that makes no sense raises ValueError."""

    latency_ms: float = 300
    """Mean time to an answer."""
    latency_spread: float = 0.5
    """The share of the latency that varies, with a long tail: 0 is constant, 1 varies wholly."""
    error_rate: float = 0.0
    """Share of requests that fail: 500, 503, and now and then a reply without choices."""
    throttle_per_minute: int | None = None
    """Requests accepted in any 60 seconds; more get 429. None accepts all."""
    outages: list[tuple[float, float]] = []
    """
    Periods (start, end) in which connections are refused.

    In seconds since the run began, or since the first probe of `monitor` or `probe --watch`.
    """
    seed: int = 0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.latency_ms) and self.latency_ms >= 0):
            raise ValueError("latency_ms must be 0 or more")
        if not 0 <= self.latency_spread <= 1:
            raise ValueError("latency_spread must be from 0 to 1")
        if not 0 <= self.error_rate <= 1:
            raise ValueError("error_rate must be from 0 to 1")
        if self.throttle_per_minute is not None and self.throttle_per_minute < 1:
            raise ValueError("throttle_per_minute must be 1 or more")
        if not all(0 <= start < end for start, end in self.outages):
            raise ValueError("outages must be pairs [start, end] with 0 <= start < end")


class SimulatedReply(msgspec.Struct, frozen=True):
    """What the server answers, and `delay_s` seconds after the request it does."""

    status_code: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    delay_s: float


class Simulation:
    """One simulated server; `now` is in seconds since it began."""

    def __init__(self, settings: SimulatedSettings, *, is_probed: bool = False) -> None:
        """`is_probed`: the same is asked again and again, and is not to be answered the same."""
        self._settings = settings
        self._is_probed = is_probed
        self._asked = 0
        self._accepted: deque[float] = deque()
        # How often a body has failed. Only bodies that failed and did not succeed yet are here, the
        # one that failed last at the end; what succeeded elsewhere is forgotten in time.
        self._failures: dict[bytes, int] = {}

    def reply(self, *, path: str, body: bytes, now: float) -> SimulatedReply | None:
        """Return the reply to one request, or None when the connection is refused (an outage)."""
        if any(start <= now < end for start, end in self._settings.outages):
            return None
        # Chat stands first in the enum: its path ends like that of completions.
        endpoint = next((e for e in Endpoint if path.endswith(e.removeprefix("/v1"))), None)
        request = _request(body)
        if endpoint is None or request is None:
            status_code = 404 if endpoint is None else 400
            return _immediate(
                status_code, simulated_replies.error("no such path or no JSON object")
            )
        wait_s = self._throttled_for(now)
        if wait_s > 0:
            headers = (*_JSON_HEADERS, ("retry-after-ms", str(math.ceil(wait_s * 1000))))
            document = simulated_replies.error("simulated rate limit", "rate_limit_exceeded")
            return SimulatedReply(429, headers, json_text.encode(document), _REFUSAL_S)
        return self._answer(endpoint, request, body)

    def _throttled_for(self, now: float) -> float:
        """Take one of the places of the last 60 seconds, or return how long until one is free."""
        if self._settings.throttle_per_minute is None:
            return 0.0
        while self._accepted and self._accepted[0] <= now - _MINUTE_S:
            self._accepted.popleft()
        if len(self._accepted) >= self._settings.throttle_per_minute:
            return self._accepted[0] + _MINUTE_S - now
        self._accepted.append(now)
        return 0.0

    def _answer(self, endpoint: Endpoint, request: dict[str, Any], body: bytes) -> SimulatedReply:
        digest = hashlib.blake2b(body, digest_size=16).digest()
        failed = self._failures.pop(digest, 0)
        turn = self._asked if self._is_probed else failed
        self._asked += 1
        luck, fault, pace, words = self._draws(digest, turn)
        delay_s = self._delay_s(pace)
        if luck < self._settings.error_rate:
            if len(self._failures) >= FAILURES_KEPT:
                del self._failures[next(iter(self._failures))]
            self._failures[digest] = failed + 1
            status_code, document = simulated_replies.failure(endpoint, fault)
        else:
            status_code, document = 200, simulated_replies.answer(endpoint, request, words)
        return SimulatedReply(status_code, _JSON_HEADERS, json_text.encode(document), delay_s)

    def _draws(self, digest: bytes, turn: int) -> tuple[float, float, float, int]:
        """Return three numbers in [0, 1) and one integer that belong to this attempt."""
        text = f"{self._settings.seed}/{turn}/".encode() + digest
        luck, fault, pace, words = struct.unpack(
            "<4Q", hashlib.blake2b(text, digest_size=32).digest()
        )
        return luck / 2**64, fault / 2**64, pace / 2**64, words

    def _delay_s(self, pace: float) -> float:
        """Draw a latency: a constant part and an exponential one, whose mean is 1."""
        tail = min(-math.log1p(-min(pace, 0.999_999)), _LONGEST_TAIL)
        spread = self._settings.latency_spread
        return self._settings.latency_ms / 1000 * (1 - spread + spread * tail)


def _request(body: bytes) -> dict[str, Any] | None:
    try:
        request = json_text.decode(body)
    except ValueError:
        return None
    return request if isinstance(request, dict) else None


def _immediate(status_code: int, document: object) -> SimulatedReply:
    return SimulatedReply(status_code, _JSON_HEADERS, json_text.encode(document), _REFUSAL_S)
