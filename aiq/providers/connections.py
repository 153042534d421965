"""
How connections to a provider are opened, kept and given up; part of the door to aiohttp.

Without a limit on their number, because that is bounded outside. A name is looked up where nobody
has to wait for it at the end, the gate is asked once more with a connection in hand, and a reply
whose head does not end is given up.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from typing import Any

import aiohttp  # noqa: TID251 - this is the door
from aiohttp.abc import AbstractResolver, ResolveResult  # noqa: TID251
from aiohttp.client_proto import ResponseHandler  # noqa: TID251
from aiohttp.connector import Connection  # noqa: TID251
from aiohttp.http import HttpProcessingError, RawResponseMessage  # noqa: TID251

from aiq.providers.exchange import Gate, Withheld
from aiq.providers.names import look_up

MAX_HEAD_BYTES = 64 * 1024
"""Cap of all that comes before the body: interim replies, status line and headers together."""

KEEPALIVE_S = 15.0
"""An idle connection older than this is not reused: servers and NATs drop them unannounced."""

DNS_TTL_S = 60

_KEEPALIVE_OPTIONS = (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 60), ("TCP_KEEPCNT", 5))
"""Seconds idle, seconds between probes, probes: keeps a NAT open through a ten-minute answer."""

_NUMERIC = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV

GATE: ContextVar[Gate | None] = ContextVar("gate", default=None)
"""The gate of the request that the current task is sending."""


class _GatedConnector(aiohttp.TCPConnector):
    """Asks once more, with a connection in hand, whether the request may still be sent."""

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Any],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's signature
    ) -> Connection:
        connection = await super().connect(req, traces, timeout)
        gate = GATE.get()
        if gate is not None and (reason := gate()) is not None:
            connection.release()
            raise Withheld(reason)
        return connection


class _Protocol(ResponseHandler):
    """
    Gives a reply up whose head does not end.

    aiohttp bounds each line and the number of headers, which together are megabytes a reply, and
    takes interim replies (1xx) without end.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._is_in_head = False
        self._head_bytes = 0

    def set_response_params(self, **params: Any) -> None:
        self._is_in_head, self._head_bytes = True, 0
        super().set_response_params(**params)

    def feed_data(self, data: Any, size: int = 0) -> None:
        message: RawResponseMessage = data[0]
        if message.code >= 200 or message.code == 101:
            self._is_in_head = False
        super().feed_data(data, size)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self._is_in_head:
            return
        self._head_bytes += len(data)
        if self._head_bytes > MAX_HEAD_BYTES and self.transport is not None:
            self.transport.close()
            message = f"more than {MAX_HEAD_BYTES} bytes before the body"
            self.set_exception(HttpProcessingError(message=message))


class _Resolver(AbstractResolver):
    """Resolves names without the event loop's pool of threads, whose end has to be waited for."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await look_up(host, port, family=family, flags=socket.AI_ADDRCONFIG)
        return [
            ResolveResult(
                hostname=host,
                host=socket.getnameinfo(address, _NUMERIC)[0],  # with the scope, where it has one
                port=address[1],
                family=kind,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for kind, _, protocol, _, address in found
        ]

    async def close(self) -> None:
        pass


def new_session(
    connect_timeout_s: float, proxy: str | None, refuses: Callable[[str], bool] | None = None
) -> aiohttp.ClientSession:
    """
    Return a session that opens connections as this module says, and adds nothing of its own.

    `refuses` is asked of every address, after names were looked up, before it is connected to.
    """
    connector = _GatedConnector(
        limit=0,
        keepalive_timeout=KEEPALIVE_S,
        ttl_dns_cache=DNS_TTL_S,
        socket_factory=partial(_new_socket, refuses),
        resolver=_Resolver(),
    )
    # There is no public way to choose the protocol of a connection.
    connector._factory = partial(_Protocol, asyncio.get_running_loop())  # type: ignore[assignment] # noqa: SLF001
    session = aiohttp.ClientSession(
        connector=connector,
        # A threshold below the limit would round it up to a whole second of the loop's clock.
        timeout=aiohttp.ClientTimeout(connect=connect_timeout_s, ceil_threshold=connect_timeout_s),
        proxy=proxy,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        max_line_size=MAX_HEAD_BYTES,
        max_field_size=MAX_HEAD_BYTES,
    )
    # A GET on a connection that turns out dead would be sent twice; there is no public switch.
    session._retry_connection = False  # noqa: SLF001
    return session


def _new_socket(
    refuses: Callable[[str], bool] | None, address: aiohttp.AddrInfoType
) -> socket.socket:
    family, kind, protocol, _, target = address
    if refuses is not None and refuses(str(target[0])):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))
    new = socket.socket(family, kind, protocol)
    new.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE_OPTIONS:
        if hasattr(socket, name):
            new.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return new
