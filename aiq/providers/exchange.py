"""
One exchange with a server: the request as it is prepared, what has arrived, and how it can break.

Everything the caller of a transport needs besides httpx itself, so that whoever asks, classifies
or simulates never loads the socket library. Decision: a failure after the status line is its own
exception with the reply's remains, because such a reply was answered (and probably paid), while
the other failures of `httpx` leave that open or exclude it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import httpx

from aiq.model import Flaw

KEPT_BODY_BYTES = 64 * 1024
"""How much of a broken reply is worth keeping for a person to look at."""

_NEVER_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.LocalProtocolError,
    httpx.UnsupportedProtocol,
    httpx.InvalidURL,
)


Gate: TypeAlias = Callable[[], str | None]
"""
Asked when a connection is open and nothing is sent yet: a reason not to send, or None.

Given as `request.extensions["gate"]`. Opening a connection takes time in which a run may be
stopped, or the provider switched off.
"""


class Withheld(httpx.ConnectError):
    """A request that its gate did not let through; nothing was sent."""


class Arrival:
    """
    What of a reply has arrived so far, still there when the wait for the rest was cancelled.

    Given as `request.extensions["arrival"]`, filled by the transport. `status_code` is None until
    the status line and headers are complete. `chunks` holds the body as it came off the wire,
    before any content decoding.
    """

    __slots__ = ("chunks", "raw_headers", "status_code")

    def __init__(self) -> None:
        self.status_code: int | None = None
        self.raw_headers: tuple[tuple[bytes, bytes], ...] = ()
        self.chunks: list[bytes] = []

    @property
    def headers(self) -> httpx.Headers:
        return httpx.Headers(self.raw_headers)

    @property
    def body(self) -> bytes:
        """All that has come, in one piece; the many that it was made of are not kept beside it."""
        if len(self.chunks) > 1:
            self.chunks[:] = [b"".join(self.chunks)]
        return self.chunks[0] if self.chunks else b""

    def start(self, size: int) -> bytes:
        """Return at most so many bytes of the body, without putting all of it together."""
        pieces: list[bytes] = []
        left = size
        for chunk in self.chunks:
            pieces.append(chunk[:left])
            left -= len(pieces[-1])
            if left <= 0:
                break
        return b"".join(pieces)


class CompleteResponse(httpx.Response):
    """
    A response whose decoded body is there from the start.

    httpx's own `content=` spends 19 us on adding headers and running the body through iterators
    and decoders; this takes 4 us. A `Content-Encoding` header stays as the server sent it and is
    already applied.
    """

    def __init__(
        self,
        status_code: int,
        raw_headers: tuple[tuple[bytes, bytes], ...],
        body: bytes,
        request: httpx.Request,
    ) -> None:
        super().__init__(
            status_code, headers=raw_headers, stream=httpx.ByteStream(body), request=request
        )
        self._content = body
        self.is_stream_consumed = True
        self.is_closed = True


class BrokenReply(httpx.RemoteProtocolError):
    """
    A reply that broke after its status line: cut off, over the cap, or not decodable.

    `body` is the first 64 KiB of what arrived, undecoded.
    """

    def __init__(
        self, message: str, *, request: httpx.Request, arrival: Arrival, flaw: Flaw
    ) -> None:
        super().__init__(message, request=request)
        self.status_code = arrival.status_code or 0
        self.headers = arrival.headers
        self.body = arrival.start(KEPT_BODY_BYTES)
        self.flaw = flaw


class UndecodableReply(BrokenReply, httpx.DecodingError):
    """A reply in an encoding nobody asked for: unknown, corrupt, cut, or too large when undone."""


class PreparedRequest(httpx.Request):
    """
    A request of parts that were parsed once, which it does not copy: they must not change.

    httpx's own constructor spends 5 us on copying the URL and the headers; this takes 1 us.
    """

    def __init__(  # the base class would parse again what is parsed already
        self, method: str, url: httpx.URL, headers: httpx.Headers, body: bytes, **extensions: object
    ) -> None:
        self.method = method
        self.url = url
        self.headers = headers
        self.extensions = extensions
        self.stream = httpx.ByteStream(body)
        self._content = body


def prepare(
    method: str,
    url: httpx.URL,
    headers: httpx.Headers,
    body: bytes | None = None,
    *,
    arrival: Arrival | None = None,
    gate: Gate | None = None,
) -> PreparedRequest:
    """
    Build a request without parsing anything anew.

    `Host` and `Content-Length` are not added here: the transport states both.
    """
    return PreparedRequest(
        method, url, headers, body or b"", arrival=arrival or Arrival(), gate=gate
    )


def never_sent(error: Exception) -> bool:
    """
    Say whether the request certainly did not reach the server, so that asking again is free.

    False means "maybe": bytes may have left, and the provider may charge for them.
    """
    return isinstance(error, _NEVER_SENT)
