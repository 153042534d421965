"""
How far a connection to a server comes: its name, its port, its certificate.

Asks nothing and sends nothing but the TLS greeting, so it costs nothing. Beside the transport
because a person wants to know which step failed and how long each took, which an HTTP client does
not say.
"""

from __future__ import annotations

import asyncio
import functools
import os
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias
from urllib.parse import urlsplit

import msgspec

from aiq.providers.names import Resolver, look_up

STAGGER_S = 0.25
"""A further address is tried when the one before has not answered for so long (RFC 8305)."""

Stream: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Step(NamedTuple):
    """A step that was taken: `DNS`, `TCP` or `TLS`."""

    name: str
    seconds: float


class Reach(msgspec.Struct, frozen=True):
    """How far the connection came; `failure` says in words why no further, None: all the way."""

    steps: tuple[Step, ...]
    failure: str | None = None

    @property
    def seconds(self) -> float:
        """Return how long the steps took together."""
        return sum(step.seconds for step in self.steps)


_FAILURES = {
    "DNS": "no address for {host}",
    "TCP": "no connection to {address}",
    "TLS": "no TLS with {address}",
}


async def reach(
    url: str,
    *,
    limit_s: float,
    resolver: Resolver = socket.getaddrinfo,
    now: Callable[[], float] = time.monotonic,
) -> Reach:
    """Connect to the server of a URL and leave; whatever the network does is a `Reach`."""
    parts = urlsplit(url)
    is_secure = parts.scheme.lower() == "https"
    walk = _Walk(
        parts.hostname or "", parts.port or (443 if is_secure else 80), resolver=resolver, now=now
    )
    failure = None
    try:
        async with asyncio.timeout(limit_s):
            await walk.connect(is_secure=is_secure)
    except TimeoutError as error:
        reason = (
            f"nothing within {round(limit_s, 1):g} s" if error.errno is None else _reason(error)
        )
        failure = f"{walk.failure}: {reason}"
    except (OSError, UnicodeError) as error:
        failure = f"{walk.failure}: {_reason(error)}"
    return Reach(tuple(walk.steps), failure)


class _Walk:
    """One connection on its way to a server, step by step."""

    def __init__(
        self, host: str, port: int, *, resolver: Resolver, now: Callable[[], float]
    ) -> None:
        self._host = host
        self._port = port
        self._resolver = resolver
        self._now = now
        self._step = "DNS"
        self._began = now()
        self.steps: list[Step] = []

    @property
    def failure(self) -> str:
        """Return what it means that the present step does not end well."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return _FAILURES[self._step].format(host=host, address=f"{host}:{self._port}")

    async def connect(self, *, is_secure: bool) -> None:
        addresses = await _resolved(self._resolver, self._host, self._port)
        self._arrive(following="TCP")
        _, writer = await _first_stream(addresses)
        try:
            self._arrive(following="TLS")
            if is_secure:
                await writer.start_tls(_context(), server_hostname=self._host)
                self._arrive(following="")
        finally:
            writer.transport.abort()  # a server that is slow to say goodbye is not waited for

    def _arrive(self, *, following: str) -> None:
        now = self._now()
        self.steps.append(Step(self._step, now - self._began))
        self._step, self._began = following, now


@functools.cache
def _context() -> ssl.SSLContext:
    return ssl.create_default_context()


async def _resolved(resolver: Resolver, host: str, port: int) -> list[tuple[str, int]]:
    found = await look_up(host, port, resolver=resolver)
    return list(dict.fromkeys((one[4][0], one[4][1]) for one in found))


async def _first_stream(addresses: Sequence[tuple[str, int]]) -> Stream:
    """Race the addresses and return the first connection; raises what the last one met."""
    waiting, running = list(addresses), set[asyncio.Task[Stream]]()
    failure: BaseException = OSError("the name has no address")
    try:
        while waiting or running:
            if waiting:
                running.add(asyncio.create_task(asyncio.open_connection(*waiting.pop(0))))
            done, running = await asyncio.wait(
                running,
                timeout=STAGGER_S if waiting else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            for task in done:
                refusal = task.exception()
                if refusal is None:
                    running |= done - {task}
                    return task.result()
                failure = refusal
    finally:
        for task in running:
            task.cancel()
        for spare in await asyncio.gather(*running, return_exceptions=True):
            if isinstance(spare, tuple):
                spare[1].transport.abort()
    raise failure


def _reason(error: Exception) -> str:
    match error:
        case ssl.SSLCertVerificationError():
            return f"certificate refused, {error.verify_message}"
        case ssl.SSLError():
            return (error.reason or "handshake failed").lower().replace("_", " ")
        case UnicodeError():
            return "not a valid name"
        case OSError(errno=int(number)) if number > 0:
            return os.strerror(number)
        case OSError(strerror=str(words)):
            return words
    return str(error) or "the connection broke"
