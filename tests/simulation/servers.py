"""
Simulated servers: latency, weather, limits, capacity, noise, and the end of a key or a credit.

A server decides a request's fate when it arrives; what is decided is done, whether or not the
asker is still there to see it. Instants are virtual seconds since the world began.
"""

from __future__ import annotations

import json
import math
import random
from collections import deque
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeAlias

import msgspec

from aiq.model import Price
from tests.simulation import faults
from tests.simulation.faults import Fate, Fault
from tests.support.shapes import chat_body

Weather: TypeAlias = Literal[
    "down", "unreachable", "hang", "errors", "resets", "brown", "flapping", "busy", "html", "lossy"
]
Shape: TypeAlias = Literal["fixed", "lognormal", "heavy"]
Noise: TypeAlias = tuple[tuple[Fault, float], ...]

FLAP_S = 3.0
"""Seconds that a flapping server is up, and then down."""


class Phase(NamedTuple):
    """A spell of bad weather."""

    begins: float
    ends: float
    weather: Weather


class Latency(msgspec.Struct, frozen=True):
    """How long an answer takes: around `median_s`, by the shape and its spread."""

    median_s: float
    shape: Shape = "fixed"
    spread: float = 0.5

    def draw(self, chance: random.Random) -> float:
        if self.shape == "fixed":
            return self.median_s
        if self.shape == "lognormal":
            return self.median_s * math.exp(self.spread * chance.gauss(0.0, 1.0))
        return self.median_s * min(200.0, 0.6 * chance.paretovariate(1.3))


class Limit(msgspec.Struct, frozen=True):
    """Requests in any window of `span_s` that an account may make, and how a 429 says so."""

    requests: int
    span_s: float
    hint: Literal["seconds", "milliseconds", "headers", "none"] = "seconds"


class Character(msgspec.Struct, frozen=True, kw_only=True):
    """What a server is like; `gone` is from when a key, credit or model is refused, and how."""

    latency: Latency
    phases: tuple[Phase, ...] = ()
    noise: Noise = ()
    limit: Limit | None = None
    capacity: int | None = None
    """Requests at once; more are shed with a 503, or a 429, at once."""
    sheds_with: Literal[503, 429] = 503
    gone: tuple[float, Fault] | None = None
    price: Price
    connect_share: float = 0.05
    """Of the requests need a new connection, which takes up to a third of a second."""

    @property
    def is_steady(self) -> bool:
        """Whether nothing ever goes wrong at it, a rare answer of minutes included."""
        return self.is_quiet and not self.phases and self.latency.shape == "fixed"

    @property
    def is_quiet(self) -> bool:
        """Whether whatever goes wrong at it is the weather's."""
        return not (self.noise or self.limit or self.capacity or self.gone)


class Meter:
    """Counts an account's accepted requests against its limit, in a sliding window."""

    def __init__(self, limit: Limit) -> None:
        self._limit = limit
        self._accepted: deque[float] = deque()

    def wait_s(self, now: float) -> float | None:
        """Accept a request, or return in how many seconds one could be."""
        while self._accepted and self._accepted[0] <= now - self._limit.span_s:
            self._accepted.popleft()
        if len(self._accepted) < self._limit.requests:
            self._accepted.append(now)
            return None
        return self._accepted[0] + self._limit.span_s - now

    @property
    def left(self) -> int:
        return self._limit.requests - len(self._accepted)


class Server:
    """One server; those of one account share its meter."""

    def __init__(
        self, name: str, character: Character, chance: random.Random, meter: Meter | None
    ) -> None:
        self.name = name
        self.character = character
        self.in_flight = 0
        self._chance = chance
        self._meter = meter

    def weather(self, now: float) -> Weather | None:
        """Return what troubles it, if anything does."""
        for begins, ends, weather in self.character.phases:
            if begins <= now < ends:
                is_up = weather == "flapping" and (now - begins) % (2 * FLAP_S) < FLAP_S
                return None if is_up else weather
        return None

    def connection(self, now: float) -> tuple[float, Fault | None]:
        """Return how long it takes to be connected, and what prevents it."""
        weather = self.weather(now)
        if weather in ("down", "flapping"):
            return 0.01, Fault.REFUSED
        if weather == "unreachable":
            return 3.0, Fault.UNREACHABLE
        if self._chance.random() < self.character.connect_share:
            return self._chance.random() / 3, None
        return 0.0, None

    def fate(self, now: float, request: dict[str, Any], *, is_poison: bool) -> Fate:
        """Decide what becomes of a request that arrives; it is among those in flight already."""
        character = self.character
        if character.gone is not None and now >= character.gone[0]:
            return _refusal(character.gone[1])
        if self._meter is not None and (wait := self._meter.wait_s(now)) is not None:
            return _limited(character.limit, wait)
        if character.capacity is not None and self.in_flight > character.capacity:
            fault = Fault.BUSY if character.sheds_with == 503 else Fault.LIMITED
            return _error(character.sheds_with, fault, 0.02)
        if is_poison:
            return _error(400, Fault.BAD_REQUEST, 0.05, code="unsupported_value")
        latency = character.latency.draw(self._chance)
        weather = self.weather(now)
        if weather is not None:
            return self._in_weather(weather, latency, request)
        return self._in_noise(latency, request)

    def _in_weather(self, weather: Weather, latency: float, request: dict[str, Any]) -> Fate:
        if weather == "brown":
            fate = self._answer(latency * (4 + 8 * self._chance.random()), request)
            return fate._replace(fault=Fault.SLOW)
        if weather == "lossy":
            fault = self._chance.choice((Fault.LOST, Fault.RESET, Fault.STALLED, None))
            return self._faulty(fault, latency, request)
        of_weather: dict[str, Fault] = {
            "hang": Fault.HANG,
            "errors": Fault.SERVER_ERROR,
            "resets": Fault.RESET,
            "busy": Fault.BUSY,
            "html": Fault.HTML,
        }
        return self._faulty(of_weather.get(weather, Fault.RESET), latency, request)

    def _in_noise(self, latency: float, request: dict[str, Any]) -> Fate:
        drawn = self._chance.random()
        for fault, share in self.character.noise:
            drawn -= share
            if drawn < 0:
                return self._faulty(fault, latency, request)
        return self._answer(latency, request)

    def _faulty(self, fault: Fault | None, latency: float, request: dict[str, Any]) -> Fate:
        """Return the fate of a request that this befalls, in place of an answer after `latency`."""
        answer = self._answer(latency, request)
        chance = self._chance.random()
        return _FATES.get(fault, _as_it_is)(answer, chance)._replace(fault=fault)

    def _answer(self, latency: float, request: dict[str, Any]) -> Fate:
        asked = request["messages"][-1]["content"]
        cap = request.get("max_tokens") or 64
        usage = (1 + len(asked) // 4, self._chance.randint(1, cap))
        said = chat_body(request["model"], f"to {asked}", usage, "stop")
        return Fate(
            latency, headers=self._announcement(), body=json.dumps(said).encode(), is_billed=True
        )

    def _announcement(self) -> tuple[tuple[str, str], ...]:
        limit = self.character.limit
        if self._meter is None or limit is None or limit.hint != "headers":
            return ()
        per_minute = round(limit.requests * 60 / limit.span_s)
        return (
            ("x-ratelimit-limit-requests", str(per_minute)),
            ("x-ratelimit-remaining-requests", str(max(0, self._meter.left))),
        )


def _as_it_is(answer: Fate, _chance: float) -> Fate:
    return answer


def _hang(_answer: Fate, chance: float) -> Fate:
    return Fate(math.inf, is_billed=chance < 0.5)


def _lost(answer: Fate, _chance: float) -> Fate:
    return answer._replace(breaks=faults.reset)


def _reset(answer: Fate, chance: float) -> Fate:
    return Fate(answer.delay_s * chance, breaks=faults.reset)


def _late(answer: Fate, chance: float) -> Fate:
    return answer._replace(delay_s=answer.delay_s + 60 * chance)


def _stalled(answer: Fate, _chance: float) -> Fate:
    return _cut(answer)._replace(delay_s=math.inf, head_at_s=answer.delay_s)


def _truncated(answer: Fate, _chance: float) -> Fate:
    return _cut(answer)._replace(breaks=faults.truncated, head_at_s=answer.delay_s)


def _cut(answer: Fate, _chance: float = 0.0) -> Fate:
    return answer._replace(body=answer.body[: len(answer.body) // 2])


def _empty(answer: Fate, _chance: float) -> Fate:
    said = json.loads(answer.body)
    said["choices"][0]["message"]["content"] = ""
    return answer._replace(body=json.dumps(said).encode())


def _html(answer: Fate, chance: float) -> Fate:
    status = (502, 503, 504, 200)[int(4 * chance)]
    return Fate(
        answer.delay_s,
        status,
        headers=(("content-type", "text/html"),),
        body=b"<html><body>Bad Gateway</body></html>",
        # A gateway that gives up late may have been answered, and so is a 200.
        is_billed=status == 200 or (answer.delay_s > 5.0 and status != 503),
    )


def _gateway(answer: Fate, chance: float) -> Fate:
    late = _error(504, Fault.GATEWAY, 6.0 + answer.delay_s)
    return late._replace(is_billed=chance < 0.5)


def _server_error(answer: Fate, chance: float) -> Fate:
    return _error(500, Fault.SERVER_ERROR, answer.delay_s * chance)


def _busy(_answer: Fate, _chance: float) -> Fate:
    return _error(503, Fault.BUSY, 0.05)


def _too_many(_answer: Fate, chance: float) -> Fate:
    return _limited(Limit(1, 1.0), 2.0 * chance)


_FATES: dict[Fault | None, Callable[[Fate, float], Fate]] = {
    Fault.HANG: _hang,
    Fault.LOST: _lost,
    Fault.RESET: _reset,
    Fault.LATE: _late,
    Fault.STALLED: _stalled,
    Fault.TRUNCATED: _truncated,
    Fault.NOT_JSON: _cut,
    Fault.EMPTY: _empty,
    Fault.HTML: _html,
    Fault.GATEWAY: _gateway,
    Fault.SERVER_ERROR: _server_error,
    Fault.BUSY: _busy,
    Fault.LIMITED: _too_many,
}
"""What each fault makes of an answer, with a draw of 0..1."""


def _limited(limit: Limit | None, wait_s: float) -> Fate:
    hint = "none" if limit is None else limit.hint
    wait_s = math.ceil(wait_s * 1000) / 1000
    headers: dict[str, str] = {
        "seconds": {"retry-after": f"{wait_s:.3f}"},
        "headers": {"retry-after": f"{wait_s:.3f}", "x-ratelimit-remaining-requests": "0"},
        "milliseconds": {"retry-after-ms": str(round(wait_s * 1000))},
        "none": {},
    }[hint]
    fate = _error(429, Fault.LIMITED, 0.02)
    return fate._replace(
        headers=(*fate.headers, *headers.items()), tells_wait_s=wait_s if headers else None
    )


def _refusal(fault: Fault) -> Fate:
    status, code = {
        Fault.KEY_REFUSED: (401, "invalid_api_key"),
        Fault.NO_CREDIT: (402, "insufficient_quota"),
        Fault.NO_MODEL: (404, "model_not_found"),
    }[fault]
    return _error(status, fault, 0.05, code=code)


def _error(status: int, fault: Fault, delay_s: float, *, code: str | None = None) -> Fate:
    body = {"error": {"message": f"{fault}", "type": "error", "code": code}}
    return Fate(
        delay_s,
        status,
        headers=(("content-type", "application/json"),),
        body=json.dumps(body).encode(),
        fault=fault,
    )
