"""What a server can make the transport hold: heads that do not end, many large bodies at once."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator

import httpx
import pytest

from aiq.providers import room
from aiq.providers import transport as module
from aiq.providers.connections import MAX_HEAD_BYTES
from aiq.providers.exchange import never_sent, prepare
from aiq.providers.room import ROOM_BYTES, Room, Share
from aiq.providers.transport import MAX_BODY_BYTES, SocketTransport
from tests.support.fault_server import FaultServer
from tests.support.replies import Ending, Framing, Reply

HEADERS = httpx.Headers({"Authorization": "Bearer sk-test-4711"})
MIB = 1024 * 1024
BURSTS = 20
LARGE = b"b" * (MAX_BODY_BYTES - 1024)


@pytest.fixture
async def transport() -> AsyncIterator[SocketTransport]:
    async with SocketTransport() as transport:
        yield transport


def asking(server: FaultServer) -> httpx.Request:
    return prepare("POST", httpx.URL(server.url), HEADERS, b"{}")


@pytest.mark.parametrize(
    "reply",
    [
        Reply(raw=b"", endless=b"HTTP/1.1 100 Continue\r\n\r\n" * 64),
        Reply(raw=b"HTTP/1.1 200 OK\r\n", endless=b"x: " + b"m" * 30_000 + b"\r\n"),
    ],
    ids=["interim replies", "long headers"],
)
async def test_a_head_that_does_not_end_is_given_up(
    transport: SocketTransport, reply: Reply
) -> None:
    """All that comes before the body counts together, and the transport still works."""
    async with FaultServer([reply]) as server:
        with pytest.raises(httpx.RemoteProtocolError, match="before the body") as caught:
            await transport.handle_async_request(asking(server))
        assert not never_sent(caught.value)
        assert str(MAX_HEAD_BYTES) in str(caught.value)
        assert (await transport.handle_async_request(asking(server))).status_code == 200


async def test_a_large_head_within_the_bound_is_taken(transport: SocketTransport) -> None:
    """Also a second time on the same connection, and with a body behind it in the same packet."""
    headers = {f"x-{number}": "v" * 500 for number in range(100)}
    async with FaultServer(Reply(headers=headers)) as server:
        for _ in range(3):
            response = await transport.handle_async_request(asking(server))
            assert response.headers["x-99"] == "v" * 500
        assert server.connections == 1


async def test_large_bodies_come_one_after_the_other_when_the_room_is_full(
    transport: SocketTransport,
) -> None:
    """Four replies of nearly the cap at once are all whole, and never all held together."""
    most = 0
    async with FaultServer(Reply(body=LARGE)) as server:
        asked = [
            asyncio.create_task(transport.handle_async_request(asking(server))) for _ in range(4)
        ]
        while not all(one.done() for one in asked):
            most = max(most, transport._room._held_bytes)
            await asyncio.sleep(0)
    assert all(one.result().content == LARGE for one in asked)
    assert ROOM_BYTES <= most < ROOM_BYTES + MAX_BODY_BYTES + 4 * 1024 * 1024
    assert transport._room._held_bytes == 0


async def test_a_large_body_that_stalls_lets_the_others_by(
    transport: SocketTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was the first to be read on, up to nearly the cap, and keeps what it holds; they end."""
    monkeypatch.setattr(module, "CONNECTION_CHECK_S", 0.02)
    stalled = Reply(body=LARGE, cut=0.95, framing=Framing.LENGTH, ending=Ending.HANG)
    async with FaultServer([stalled, *[Reply(body=LARGE)] * 4]) as server:
        first = asyncio.create_task(transport.handle_async_request(asking(server)))
        while transport._room._held_bytes < ROOM_BYTES:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)
        others = [transport.handle_async_request(asking(server)) for _ in range(4)]
        async with asyncio.timeout(20):
            found = await asyncio.gather(*others)
        assert all(one.content == LARGE for one in found)
        assert not first.done()
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
    assert transport._room._held_bytes == 0


async def test_many_large_bodies_that_stall_hold_no_more_than_the_bound(
    transport: SocketTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody is let by any more when a whole reply has been read beyond the room."""
    monkeypatch.setattr(module, "CONNECTION_CHECK_S", 0.02)
    stalled = Reply(body=LARGE, cut=0.95, framing=Framing.LENGTH, ending=Ending.HANG)
    most = 0
    async with FaultServer(stalled) as server:
        asked = [
            asyncio.create_task(transport.handle_async_request(asking(server))) for _ in range(8)
        ]
        async with asyncio.timeout(20):
            while most <= ROOM_BYTES + MAX_BODY_BYTES:
                await asyncio.sleep(0.01)
                most = max(most, transport._room._held_bytes)
        await asyncio.sleep(0.2)  # ten times as long as it takes to be let by
        most = max(most, transport._room._held_bytes)
        for one in asked:
            one.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
    assert most < ROOM_BYTES + 2 * MAX_BODY_BYTES + 4 * 1024 * 1024
    assert transport._room._held_bytes == 0


class Rounds(Room):
    """A room that counts how often every reply has been the first of the row and gave way."""

    def __init__(self, replies: int) -> None:
        super().__init__(largest_bytes=2 * MIB, limit_bytes=MIB)
        self._replies = replies
        self._count = 0
        self.most_bytes = 0

    def hold(self, share: Share, size: int) -> None:
        super().hold(share, size)
        self.most_bytes = max(self.most_bytes, self._held_bytes)

    def put_last(self, share: Share) -> None:
        self._count += self._is_first(share)
        super().put_last(share)

    @property
    def number(self) -> int:
        return self._count // self._replies


async def test_bodies_in_bursts_hold_no_more_than_the_bound(
    transport: SocketTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that gave way waits for its turn again, also where it gets more before that."""
    replies, small, burst = 16, 32 * 1024, 96 * 1024
    monkeypatch.setattr(module, "CONNECTION_CHECK_S", 0.002)
    monkeypatch.setattr(room, "SMALL_BYTES", small)
    rounds = Rounds(replies)
    transport._room = rounds

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (2 * MIB))
        for number in range(BURSTS):
            while rounds.number < number:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.001)
            writer.write(b"x" * burst)
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = httpx.URL(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    async with server, asyncio.timeout(20):
        asked = [
            asyncio.create_task(transport.handle_async_request(prepare("GET", url, HEADERS, b"")))
            for _ in range(replies)
        ]
        while rounds.number <= BURSTS:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)
        for one in asked:
            one.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
    first_pieces = replies * (small + burst)
    assert rounds.most_bytes < MIB + first_pieces + 2 * 2 * MIB
    assert rounds._held_bytes == 0


async def test_a_stalled_large_body_gives_its_room_back_when_it_is_given_up(
    transport: SocketTransport,
) -> None:
    """Those who wait behind it go on, and a reply that breaks off leaves nothing behind either."""
    stalled = Reply(body=LARGE, cut=0.9, framing=Framing.LENGTH, ending=Ending.HANG)
    broken = Reply(body=LARGE, cut=0.9, ending=Ending.CLOSE)
    async with FaultServer([stalled, stalled, broken]) as server:
        first = [
            asyncio.create_task(transport.handle_async_request(asking(server))) for _ in range(2)
        ]
        await server.seen(2)
        while transport._room._held_bytes < ROOM_BYTES:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)
        others = [
            asyncio.create_task(transport.handle_async_request(asking(server))) for _ in range(2)
        ]
        await server.seen(4)
        for one in first:
            one.cancel()
        await asyncio.gather(*first, return_exceptions=True)
        found = await asyncio.gather(*others, return_exceptions=True)
    assert {type(one).__name__ for one in found} == {"BrokenReply", "CompleteResponse"}
    assert transport._room._held_bytes == 0


def test_a_resolver_that_hangs_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connect limit bounds the wait for it, and the event loop ends while it still hangs."""
    asked, released, over = threading.Event(), threading.Event(), threading.Event()

    def resolve(*_: object, **__: object) -> list[object]:
        asked.set()
        released.wait(5.0)
        over.set()
        return []

    async def ask() -> None:
        async with SocketTransport(connect_timeout_s=0.05) as transport:
            url = httpx.URL("http://slow.invalid/v1")
            with pytest.raises(httpx.ConnectTimeout):
                await transport.handle_async_request(prepare("POST", url, HEADERS, b"{}"))

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with asyncio.Runner() as runner:
        runner.run(ask())
    assert asked.is_set()
    assert not over.is_set()
    released.set()
    assert over.wait(5.0)
