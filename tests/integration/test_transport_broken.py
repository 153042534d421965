"""Replies that break after their status line: always a BrokenReply with what had arrived."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import tracemalloc
from collections.abc import AsyncIterator

import httpx
import pytest

from aiq.model import Flaw
from aiq.providers.exchange import Arrival, BrokenReply, UndecodableReply, never_sent, prepare
from aiq.providers.transport import MAX_BODY_BYTES, SocketTransport
from tests.support.fault_server import FaultServer
from tests.support.replies import Ending, Framing, Reply

HEADERS = httpx.Headers({"Authorization": "Bearer sk-secret-4711"})
TEXT = b'{"choices": "' + b"t" * 1000 + b'"}'


@pytest.fixture
async def transport() -> AsyncIterator[SocketTransport]:
    async with SocketTransport() as transport:
        yield transport


class WatchedArrival(Arrival):
    """Sets `begun` when the first piece of the body arrives."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = asyncio.Event()
        self.chunks = _Chunks(self.begun)


class _Chunks(list[bytes]):
    def __init__(self, begun: asyncio.Event) -> None:
        super().__init__()
        self._begun = begun

    def append(self, chunk: bytes) -> None:
        super().append(chunk)
        self._begun.set()


async def broken(transport: SocketTransport, reply: Reply) -> BrokenReply:
    """Ask once, expect a BrokenReply, and that the transport still works."""
    async with FaultServer([reply]) as server:
        request = prepare("POST", httpx.URL(server.url), HEADERS, b"{}")
        with pytest.raises(BrokenReply) as caught:
            await transport.handle_async_request(request)
        assert len(server.ledger) == 1
        assert (await transport.handle_async_request(request)).status_code == 200
        assert [seen.connection for seen in server.ledger] in ([1, 2], [1, 1])
    assert not never_sent(caught.value)
    assert "secret" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("reply", "arrived"),
    [
        (Reply.truncated(body=TEXT), TEXT[: len(TEXT) // 2]),
        (Reply.text(TEXT, length_error=9, ending=Ending.CLOSE), TEXT),
        (Reply.unended(body=TEXT), TEXT),
    ],
    ids=["half the body", "length too large", "no last chunk"],
)
async def test_cut_body(transport: SocketTransport, reply: Reply, arrived: bytes) -> None:
    error = await broken(transport, reply)
    assert error.flaw is Flaw.TRUNCATED
    assert error.status_code == 200
    assert error.body == arrived
    assert str(error) == f"the reply broke off after {len(arrived)} bytes of its body"


async def test_reset_inside_the_body(transport: SocketTransport) -> None:
    reply = Reply.truncated(body=TEXT, status=502, ending=Ending.RESET, headers={"x-a": "b"})
    error = await broken(transport, reply)
    assert error.flaw is Flaw.TRUNCATED
    assert error.status_code == 502
    assert error.headers["x-a"] == "b"


async def test_nonsense_between_chunks(transport: SocketTransport) -> None:
    """Broken framing that comes after the headers ends the reply instead of hanging it."""
    arrival = WatchedArrival()
    served = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel")
        await arrival.begun.wait()
        writer.write(b"lo\r\nthis is no chunk\r\n")
        with contextlib.suppress(OSError):
            await reader.read(-1)
        writer.close()
        served.set()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        url = httpx.URL(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
        request = prepare("GET", url, HEADERS, arrival=arrival)
        with pytest.raises(BrokenReply) as caught:
            await transport.handle_async_request(request)
        await served.wait()
    assert caught.value.flaw is Flaw.TRUNCATED
    assert caught.value.body == b"hello"


async def test_length_too_small(transport: SocketTransport) -> None:
    """Bytes after the announced body are no HTTP: nothing is used, the connection neither."""
    async with FaultServer([Reply.text(TEXT, length_error=-5)]) as server:
        request = prepare("POST", httpx.URL(server.url), HEADERS, b"{}")
        with pytest.raises(httpx.RemoteProtocolError) as caught:
            await transport.handle_async_request(request)
        assert not never_sent(caught.value)
        assert (await transport.handle_async_request(request)).status_code == 200
    assert [seen.connection for seen in server.ledger] == [1, 2]


async def test_body_without_length_that_ends_early(transport: SocketTransport) -> None:
    """HTTP cannot see it: what arrived is the body."""
    reply = Reply.truncated(body=TEXT, framing=Framing.NONE)
    async with FaultServer(reply) as server:
        request = prepare("POST", httpx.URL(server.url), HEADERS, b"{}")
        response = await transport.handle_async_request(request)
    assert response.content == TEXT[: len(TEXT) // 2]


@pytest.mark.parametrize(
    "reply",
    [
        Reply.gzipped(TEXT, corrupt=True),
        Reply.text(TEXT, headers={"content-encoding": "gzip"}),
        Reply.text(gzip.compress(TEXT)[:-9], headers={"content-encoding": "gzip"}),
        Reply.text(TEXT, headers={"content-encoding": "deflate"}),
        Reply.text(TEXT, headers={"content-encoding": "br"}),
        Reply.text(TEXT, headers={"content-encoding": "gzip, gzip"}),
    ],
    ids=["corrupt", "not gzip", "cut gzip", "not deflate", "unknown", "stacked"],
)
async def test_undecodable_body(transport: SocketTransport, reply: Reply) -> None:
    """An encoding that cannot be undone is httpx's DecodingError too; the bytes are kept."""
    error = await broken(transport, reply)
    assert isinstance(error, UndecodableReply)
    assert isinstance(error, httpx.DecodingError)
    assert error.flaw is Flaw.UNDECODABLE
    assert error.body == reply.body


async def test_gzip_bomb(transport: SocketTransport) -> None:
    """A small body that grows to 100 MiB costs no more memory than the cap."""
    bomb = Reply.gzipped(bytes(100 * 1024 * 1024))
    tracemalloc.start()
    try:
        error = await broken(transport, bomb)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert error.flaw is Flaw.TOO_LARGE
    assert peak < 2.5 * MAX_BODY_BYTES


@pytest.mark.parametrize("framing", [Framing.LENGTH, Framing.CHUNKED, Framing.NONE])
async def test_body_over_the_cap(transport: SocketTransport, framing: Framing) -> None:
    reply = Reply(body=b"b" * (17 * 1024 * 1024), framing=framing)
    error = await broken(transport, reply)
    assert error.flaw is Flaw.TOO_LARGE
    assert error.body == b"b" * 65_536


async def test_body_at_the_cap(transport: SocketTransport) -> None:
    async with FaultServer(Reply(body=b"b" * MAX_BODY_BYTES)) as server:
        request = prepare("POST", httpx.URL(server.url), HEADERS, b"{}")
        response = await transport.handle_async_request(request)
    assert len(response.content) == MAX_BODY_BYTES


@pytest.mark.parametrize(
    "reply",
    [Reply.truncated(body=TEXT, ending=Ending.HANG), Reply.drip(body=TEXT, pause_s=0.001)],
    ids=["stall", "drip"],
)
async def test_cancelled_inside_the_body(transport: SocketTransport, reply: Reply) -> None:
    """Whoever gives up finds the status and the part of the body that had come."""
    arrival = WatchedArrival()
    async with FaultServer([reply]) as server:
        request = prepare("POST", httpx.URL(server.url), HEADERS, b"{}", arrival=arrival)
        task = asyncio.create_task(transport.handle_async_request(request))
        await arrival.begun.wait()
        task.cancel()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await server.idle()  # the connection was closed
        assert arrival.status_code == 200
        assert TEXT.startswith(arrival.body)
        await transport.handle_async_request(request)
    assert [seen.connection for seen in server.ledger] == [1, 2]
