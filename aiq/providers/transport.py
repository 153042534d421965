"""
The sockets behind `httpx`: the only door to aiohttp.

One call of `handle_async_request` is one HTTP request, never a hidden second one, and returns when
the whole reply is there. No redirects, cookies, `.netrc` or environment; nothing is sent but the
caller's headers, `Host` and `Content-Length`. A wall-clock limit is the caller's `asyncio.timeout`
and arrives as cancellation; what had come by then is in the `Arrival` given with the request.

Every failure leaves as an httpx exception (`_MAPPING`, in order), or as a `BrokenReply` once the
status line is there. Messages are our own words: aiohttp's can quote a header, and so a key.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import re
import socket
import ssl
from contextvars import ContextVar
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import aiohttp  # noqa: TID251 - this module is the one door
import httpx
import yarl
from aiohttp.abc import AbstractResolver, ResolveResult  # noqa: TID251
from aiohttp.client_proto import ResponseHandler  # noqa: TID251
from aiohttp.connector import Connection  # noqa: TID251
from aiohttp.http import HttpProcessingError, RawResponseMessage  # noqa: TID251
from multidict import CIMultiDict

from aiq.model import Flaw
from aiq.providers.decoding import DecodeError, decoded
from aiq.providers.exchange import (
    Arrival,
    BrokenReply,
    CompleteResponse,
    Gate,
    UndecodableReply,
    Withheld,
)
from aiq.providers.names import look_up
from aiq.providers.room import Room, Share

MAX_BODY_BYTES = 16 * 1024 * 1024
"""Cap of a reply's body, as sent and as decoded."""

MAX_HEAD_BYTES = 64 * 1024
"""Cap of all that comes before the body: interim replies, status line and headers together."""

KEEPALIVE_S = 15.0
"""An idle connection older than this is not reused: servers and NATs drop them unannounced."""

DNS_TTL_S = 60

CONNECTION_CHECK_S = 1.0
"""How often a reply that keeps us waiting inside its body is checked for its connection."""

_KEEPALIVE_OPTIONS = (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 60), ("TCP_KEEPCNT", 5))
"""Seconds idle, seconds between probes, probes: keeps a NAT open through a ten-minute answer."""

_LARGE_BODY_BYTES = 1024 * 1024
"""aiohttp warns about larger `bytes` and writes them at once; a file object goes in parts."""

_NUMERIC = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
_ADDED_BY_AIOHTTP = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
"""Unless they are there, or it is told not to, which costs 10 us a request."""

_FRAMING = (b"content-length", b"transfer-encoding")
_VISIBLE = re.compile(rb"[\t\x20-\x7e]*")

_Ours: TypeAlias = type[httpx.TransportError | httpx.InvalidURL]

_MAPPING: tuple[tuple[type[Exception], _Ours, str], ...] = (
    (aiohttp.ConnectionTimeoutError, httpx.ConnectTimeout, "no connection to {host} in time"),
    (aiohttp.ServerTimeoutError, httpx.ReadTimeout, "no reply from {host} in time"),
    (aiohttp.ClientHttpProxyError, httpx.ProxyError, "the proxy does not connect to {host}"),
    (aiohttp.ClientProxyConnectionError, httpx.ProxyError, "cannot connect to the proxy"),
    (aiohttp.ClientConnectorError, httpx.ConnectError, "cannot connect to {host}"),
    (aiohttp.ServerFingerprintMismatch, httpx.ConnectError, "wrong certificate of {host}"),
    (
        aiohttp.ServerConnectionError,
        httpx.RemoteProtocolError,
        "{host} closed the connection without a reply",
    ),
    (aiohttp.ClientConnectionResetError, httpx.WriteError, "the connection to {host} broke"),
    (aiohttp.ClientOSError, httpx.ReadError, "the connection to {host} broke"),
    (aiohttp.ClientPayloadError, httpx.RemoteProtocolError, "the reply of {host} broke off"),
    (aiohttp.ClientResponseError, httpx.RemoteProtocolError, "{host} does not reply in HTTP"),
    (aiohttp.NonHttpUrlClientError, httpx.UnsupportedProtocol, "the URL is not an http one"),
    (aiohttp.InvalidURL, httpx.InvalidURL, "the URL has no host"),
    (aiohttp.ClientError, httpx.NetworkError, "the connection to {host} failed"),
    (TimeoutError, httpx.ReadTimeout, "no reply from {host} in time"),
    (OSError, httpx.ReadError, "the connection to {host} broke"),
    # Raised before the first byte leaves; its text may quote a header.
    (ValueError, httpx.LocalProtocolError, "the URL or a header cannot be sent"),
)
"""Failures before the status line: aiohttp's, httpx's, our words. The first that matches counts."""

_FAILURES = (aiohttp.ClientError, OSError, ValueError)


class SocketTransport(httpx.AsyncBaseTransport):
    """
    Keep-alive connections to one provider, without a limit of their own.

    Belongs to the event loop of its first request. `connect_timeout_s` bounds DNS, TCP and TLS
    together; no timer exists for a request on a reused connection.
    """

    def __init__(self, *, connect_timeout_s: float = 10.0, proxy: str | None = None) -> None:
        self._connect_timeout_s = connect_timeout_s
        self._proxy = proxy
        self._session: aiohttp.ClientSession | None = None
        self._room = Room()
        self._headers = _WireHeaders(httpx.Headers(), CIMultiDict(), ())
        self._url: tuple[httpx.URL | None, yarl.URL] = (None, yarl.URL())

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """
        Send one request and return its complete reply; content, headers and status are there.

        Raises BrokenReply if the reply breaks after its status line, another
        `httpx.TransportError` or `httpx.InvalidURL` before it (`never_sent` tells them apart).
        """
        arrival: Arrival = request.extensions.get("arrival") or Arrival()
        url, wire, body = self._target(request), self._checked(request), await request.aread()
        _GATE.set(request.extensions.get("gate"))
        try:
            reply = await self._opened().request(
                request.method,
                url,
                headers=wire.headers,
                skip_auto_headers=wire.withheld or None,
                data=io.BytesIO(body) if len(body) > _LARGE_BODY_BYTES else body or None,
                allow_redirects=False,
            )
        except _FAILURES as error:
            raise _translated(error, request) from error
        arrival.status_code = reply.status
        arrival.raw_headers = reply.raw_headers
        await _receive(reply, arrival, request, Share(self._room))
        return _complete(reply, arrival, request)

    def _checked(self, request: httpx.Request) -> _WireHeaders:
        """Return the headers to send; nearly always the same object, so the last is kept."""
        if request.headers is not self._headers.source:
            self._headers = _wire_headers(request.headers)
        return self._headers

    def _target(self, request: httpx.Request) -> yarl.URL:
        """Return the URL, kept like the headers."""
        if request.url is not self._url[0]:
            self._url = request.url, _target(request.url)
        return self._url[1]

    async def aclose(self) -> None:
        """Close every connection, those in use as well."""
        if self._session is not None:
            await self._session.close()

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = _new_session(self._connect_timeout_s, self._proxy)
        return self._session


_GATE: ContextVar[Gate | None] = ContextVar("gate", default=None)
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
        gate = _GATE.get()
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


def _new_session(connect_timeout_s: float, proxy: str | None) -> aiohttp.ClientSession:
    connector = _GatedConnector(
        limit=0,
        keepalive_timeout=KEEPALIVE_S,
        ttl_dns_cache=DNS_TTL_S,
        socket_factory=_new_socket,
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


def _new_socket(address: aiohttp.AddrInfoType) -> socket.socket:
    family, kind, protocol, *_ = address
    new = socket.socket(family, kind, protocol)
    new.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE_OPTIONS:
        if hasattr(socket, name):
            new.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return new


def _target(url: httpx.URL) -> yarl.URL:
    if url.scheme not in ("http", "https"):
        raise httpx.UnsupportedProtocol("the URL must start with http:// or https://")
    return yarl.URL(str(url), encoded=True)


class _WireHeaders(NamedTuple):
    """Headers as aiohttp takes them, and those that it must not add of its own."""

    source: httpx.Headers
    headers: CIMultiDict[str]
    withheld: tuple[str, ...]


def _wire_headers(source: httpx.Headers) -> _WireHeaders:
    """Refuse what would break the request, without quoting a value; leave framing to aiohttp."""
    headers: CIMultiDict[str] = CIMultiDict()
    for name, value in source.raw:
        if not (_VISIBLE.fullmatch(value) and _VISIBLE.fullmatch(name)):
            raise httpx.LocalProtocolError(
                f"header {name!r} holds a line break, control or non-ASCII character"
            )
        if name.lower() not in _FRAMING:
            headers.add(name.decode("ascii"), value.decode("ascii"))
    withheld = tuple(name for name in _ADDED_BY_AIOHTTP if name not in headers)
    return _WireHeaders(source, headers, withheld)


async def _receive(
    reply: aiohttp.ClientResponse, arrival: Arrival, request: httpx.Request, share: Share
) -> None:
    """Read the body into `arrival`; the connection is back in the pool or closed afterwards."""
    content, chunks = reply.content, arrival.chunks
    try:
        while not content.at_eof():
            await share.turn()
            chunk = await (content.readany() if content.is_eof() else _next_chunk(reply))
            chunks.append(chunk)
            share.take(len(chunk))
            if share.size > MAX_BODY_BYTES:
                raise BrokenReply(
                    f"the body is larger than {MAX_BODY_BYTES} bytes",
                    request=request,
                    arrival=arrival,
                    flaw=Flaw.TOO_LARGE,
                )
    except _FAILURES as error:
        raise BrokenReply(
            f"the reply broke off after {share.size} bytes of its body",
            request=request,
            arrival=arrival,
            flaw=Flaw.TRUNCATED,
        ) from error
    finally:
        share.leave()
        if not reply.closed:
            reply.close()


async def _next_chunk(reply: aiohttp.ClientResponse) -> bytes:
    """
    Wait for more of the body, looking now and then whether its connection still exists.

    When chunk framing breaks in a later packet, aiohttp's compiled parser (seen in 3.14.5) closes
    the connection and leaves the reader waiting for ever. A connection that is gone because the
    body is complete is none of that: the rest sits in the buffer.
    """
    while True:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CONNECTION_CHECK_S):
                return await reply.content.readany()
        is_gone = reply.connection is None or reply.connection.transport is None
        if is_gone and not reply.content.is_eof():
            raise aiohttp.ClientPayloadError("the connection is gone and the body is not complete")


def _complete(
    reply: aiohttp.ClientResponse, arrival: Arrival, request: httpx.Request
) -> httpx.Response:
    body = arrival.body
    encoding = reply.headers.get("Content-Encoding")
    if encoding is not None:
        try:
            body = decoded(body, encoding, cap_bytes=MAX_BODY_BYTES)
        except DecodeError as error:
            raise UndecodableReply(
                str(error), request=request, arrival=arrival, flaw=error.flaw
            ) from error
    return CompleteResponse(reply.status, reply.raw_headers, body, request)


def _translated(
    error: Exception, request: httpx.Request
) -> httpx.TransportError | httpx.InvalidURL:
    """Return the httpx exception for a failure before the status line."""
    kind, words = next(
        (ours, words) for theirs, ours, words in _MAPPING if isinstance(error, theirs)
    )
    message = words.format(host=request.url.netloc.decode("ascii"))
    if reason := _reason(error):
        message = f"{message}: {reason}"
    if issubclass(kind, httpx.InvalidURL):
        return kind(message)
    return kind(message, request=request)


def _reason(error: Exception) -> str:
    """Return what the failure itself adds, without quoting anything that was sent; may be empty."""
    match error:
        case aiohttp.ClientConnectorCertificateError():  # older ones have no `os_error`
            return _system_reason(error.certificate_error)
        case aiohttp.ClientConnectorError():
            # One that ends inside the TLS greeting, of too old a version say, comes without words.
            return _system_reason(error.os_error) or "the server broke the connection off"
        case aiohttp.ClientHttpProxyError():
            return f"HTTP {error.status}"
        case aiohttp.ClientResponseError():
            # The parser's own words stand before the colon, what it read after it.
            return error.message.partition(":")[0][:100]
        case OSError():
            return _system_reason(error)
    return ""


def _system_reason(error: Exception) -> str:
    match error:
        case ssl.SSLCertVerificationError():
            return f"certificate refused, {error.verify_message}"
        case ssl.SSLError():
            return f"TLS failed, {(error.reason or 'unknown').lower().replace('_', ' ')}"
        case OSError(errno=int(number)) if number > 0:
            return os.strerror(number)
        case OSError(strerror=str(words)):
            return words
    return ""
