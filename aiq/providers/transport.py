"""
The sockets behind `httpx`: with `connections` and `failures`, the only door to aiohttp.

One call of `handle_async_request` is one HTTP request, never a hidden second one, and returns when
the whole reply is there. No redirects, cookies, `.netrc` or environment; nothing is sent but the
caller's headers, `Host` and `Content-Length`. A wall-clock limit is the caller's and arrives as
cancellation; what had come by then is in the `Arrival` given with the request.

Every failure leaves as an httpx exception (`failures.MAPPING`), or as a `BrokenReply` once the
status line is there.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable
from typing import NamedTuple

import aiohttp  # noqa: TID251 - this is the door
import httpx
import yarl
from aiohttp.abc import AbstractStreamWriter  # noqa: TID251
from multidict import CIMultiDict

from aiq.model import Flaw
from aiq.providers.connections import GATE, new_session
from aiq.providers.decoding import DecodeError, decoded
from aiq.providers.exchange import (
    Arrival,
    BrokenReply,
    CompleteResponse,
    UndecodableReply,
)
from aiq.providers.failures import FAILURES, translated
from aiq.providers.room import Room, Share

MAX_BODY_BYTES = 16 * 1024 * 1024
"""Cap of a reply's body, as sent and as decoded."""

CONNECTION_CHECK_S = 1.0
"""How often a reply that keeps us waiting inside its body is checked for its connection, and gives
way to others."""

_PART_BYTES = 64 * 1024
"""How much of a request's body is written before it is looked whether the socket keeps up."""

_ADDED_BY_AIOHTTP = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
"""Unless they are there, or it is told not to, which costs 10 us a request."""

_BODY_HEADERS: CIMultiDict[str] = CIMultiDict({"Content-Type": "application/octet-stream"})
"""What aiohttp wants a body to have; it is not sent beside the request's own, or if withheld."""

_FRAMING = (b"content-length", b"transfer-encoding")
_VISIBLE = re.compile(rb"[\t\x20-\x7e]*")


class SocketTransport(httpx.AsyncBaseTransport):
    """
    Keep-alive connections to one provider, without a limit of their own.

    Belongs to the event loop of its first request. `connect_timeout_s` bounds DNS, TCP and TLS
    together; no timer exists for a request on a reused connection. An address that `refuses` says
    yes to is never connected to.
    """

    def __init__(
        self,
        *,
        connect_timeout_s: float = 10.0,
        proxy: str | None = None,
        refuses: Callable[[str], bool] | None = None,
    ) -> None:
        self._connect_timeout_s = connect_timeout_s
        self._proxy = proxy
        self._refuses = refuses
        self._session: aiohttp.ClientSession | None = None
        self._room = Room(largest_bytes=MAX_BODY_BYTES)
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
        GATE.set(request.extensions.get("gate"))
        try:
            reply = await self._opened().request(
                request.method,
                url,
                headers=wire.headers,
                skip_auto_headers=wire.withheld or None,
                data=_Body(body) if body else None,
                allow_redirects=False,
            )
        except FAILURES as error:
            raise translated(error, request) from error
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
            self._session = new_session(self._connect_timeout_s, self._proxy, self._refuses)
        return self._session


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


class _Body(aiohttp.Payload):
    """
    The body of a request, written in parts.

    aiohttp's own for `bytes` costs 1 us more a request, and writes a large one at once.
    """

    def __init__(self, content: bytes) -> None:  # what the base class keeps, nobody asks for
        self._content = content

    @property
    def size(self) -> int:
        return len(self._content)

    @property
    def headers(self) -> CIMultiDict[str]:
        return _BODY_HEADERS

    @property
    def autoclose(self) -> bool:
        return True

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return self._content.decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        for start in range(0, len(self._content), _PART_BYTES):
            await writer.write(self._content[start : start + _PART_BYTES])


async def _receive(
    reply: aiohttp.ClientResponse, arrival: Arrival, request: httpx.Request, share: Share
) -> None:
    """Read the body into `arrival`; the connection is back in the pool or closed afterwards."""
    content, chunks = reply.content, arrival.chunks
    try:
        while not content.at_eof():
            await share.turn()
            chunk = await (content.readany() if content.is_eof() else _next_chunk(reply))
            if chunk is None:
                share.give_way()
                continue
            chunks.append(chunk)
            share.take(len(chunk))
            if share.size > MAX_BODY_BYTES:
                raise BrokenReply(
                    f"the body is larger than {MAX_BODY_BYTES} bytes",
                    request=request,
                    arrival=arrival,
                    flaw=Flaw.TOO_LARGE,
                )
    except FAILURES as error:
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


async def _next_chunk(reply: aiohttp.ClientResponse) -> bytes | None:
    """
    Wait a while for more of the body; None if nothing came, and its connection still exists.

    When chunk framing breaks in a later packet, aiohttp's compiled parser (seen in 3.14.5) closes
    the connection and leaves the reader waiting for ever. A connection that is gone because the
    body is complete is none of that: the rest sits in the buffer.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(CONNECTION_CHECK_S):
            return await reply.content.readany()
    is_gone = reply.connection is None or reply.connection.transport is None
    if is_gone and not reply.content.is_eof():
        raise aiohttp.ClientPayloadError("the connection is gone and the body is not complete")
    return None


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
