"""The transport against a well-behaved server: what is sent, what comes back, what is kept."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import zlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from aiq.providers.exchange import Arrival, prepare
from aiq.providers.transport import SocketTransport
from tests.support.fault_server import FaultServer
from tests.support.replies import Framing, Reply

HEADERS = httpx.Headers(
    {
        "Authorization": "Bearer sk-test-000000",
        "Content-Type": "application/json",
        "Accept-Encoding": "identity",
        "User-Agent": "aiq/test",
    }
)
BODY = b'{"model":"m","messages":[{"role":"user","content":"hello"}]}'


@pytest.fixture
async def transport() -> AsyncIterator[SocketTransport]:
    async with SocketTransport() as transport:
        yield transport


def post(server: FaultServer, body: bytes = BODY, arrival: Arrival | None = None) -> httpx.Request:
    url = httpx.URL(f"{server.url}/chat/completions")
    return prepare("POST", url, HEADERS, body, arrival=arrival)


async def test_reply_is_complete_when_it_returns(transport: SocketTransport) -> None:
    """Status, headers, content, text and JSON are there without another await."""
    async with FaultServer(Reply.chat("hi", headers={"X-Request-Id": "r1"})) as server:
        response = await transport.handle_async_request(post(server))
    assert response.status_code == 200
    assert response.headers["x-request-id"] == "r1"
    assert response.json()["choices"][0]["message"]["content"] == "hi"
    assert json.loads(response.content) == json.loads(response.text)
    assert await response.aread() == response.read() == response.content
    assert response.is_closed


async def test_only_given_headers_are_sent(transport: SocketTransport) -> None:
    """Nothing is added to the caller's headers but Host and Content-Length."""
    async with FaultServer() as server:
        await transport.handle_async_request(post(server))
        [seen] = server.ledger
    assert seen.headers == {
        **{name.lower(): value for name, value in HEADERS.items()},
        "host": f"127.0.0.1:{server.port}",
        "content-length": str(len(BODY)),
    }
    assert seen.body == BODY
    assert seen.path == "/v1/chat/completions"


async def test_works_under_httpx_client() -> None:
    """A plain AsyncClient over the transport sends one Host and one Content-Length."""
    async with FaultServer() as server, httpx.AsyncClient(transport=SocketTransport()) as client:
        response = await client.post(f"{server.url}/embeddings", json={"input": ["a", "b"]})
        models = await client.get(f"{server.url}/models")
    assert len(response.json()["data"]) == 2
    assert models.json()["object"] == "list"
    assert [seen.method for seen in server.ledger] == ["POST", "GET"]
    assert "content-length" not in server.ledger[1].headers


async def test_streamed_request_is_sent_with_its_length() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield BODY[:10]
        yield BODY[10:]

    async with FaultServer() as server, httpx.AsyncClient(transport=SocketTransport()) as client:
        await client.post(f"{server.url}/chat/completions", content=pieces())
    [seen] = server.ledger
    assert seen.body == BODY
    assert "transfer-encoding" not in seen.headers


async def test_each_request_has_its_own_headers(transport: SocketTransport) -> None:
    async with FaultServer() as server:
        for key in ("one", "two", "two", "one"):
            headers = httpx.Headers({"Authorization": key})
            request = prepare("POST", httpx.URL(server.url), headers, BODY)
            await transport.handle_async_request(request)
    assert [seen.headers["authorization"] for seen in server.ledger] == ["one", "two", "two", "one"]


async def test_connection_is_reused(transport: SocketTransport) -> None:
    async with FaultServer() as server:
        for _ in range(3):
            await transport.handle_async_request(post(server))
    assert [seen.connection for seen in server.ledger] == [1, 1, 1]


async def test_many_at_once(transport: SocketTransport) -> None:
    """Two hundred requests are in flight together: the transport has no limit of its own."""
    gate = asyncio.Event()
    async with FaultServer(Reply(until=gate)) as server, asyncio.TaskGroup() as group:
        for _ in range(200):
            group.create_task(transport.handle_async_request(post(server)))
        await server.seen(200)
        gate.set()
    assert server.in_flight_max == 200


async def test_large_request_body(transport: SocketTransport) -> None:
    """A body of several megabytes arrives whole."""
    body = b'{"messages":[{"role":"user","content":"' + b"y" * 3_000_000 + b'"}]}'
    async with FaultServer() as server:
        response = await transport.handle_async_request(post(server, body))
        [seen] = server.ledger
    assert seen.body == body
    assert response.json()["usage"]["prompt_tokens"] == 750_000
    assert set(seen.headers) == {*map(str.lower, HEADERS), "host", "content-length"}


@pytest.mark.parametrize("status", [204, 206, 299, 400, 404, 429, 500, 529, 600, 999])
async def test_any_status_comes_back(transport: SocketTransport, status: int) -> None:
    async with FaultServer(Reply(status=status, reason="")) as server:
        response = await transport.handle_async_request(post(server))
        again = await transport.handle_async_request(post(server))
    assert response.status_code == again.status_code == status


async def test_interim_replies_are_skipped(transport: SocketTransport) -> None:
    raw = (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
    )
    async with FaultServer(Reply(raw=raw)) as server:
        response = await transport.handle_async_request(post(server))
    assert (response.status_code, response.content) == (200, b"{}")


async def test_switching_protocols_is_a_status_like_any_other(transport: SocketTransport) -> None:
    raw = b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"
    async with FaultServer([Reply(raw=raw)]) as server:
        response = await transport.handle_async_request(post(server))
        again = await transport.handle_async_request(post(server))
    assert (response.status_code, again.status_code) == (101, 200)
    assert [seen.connection for seen in server.ledger] == [1, 2]


async def test_redirect_is_not_followed(transport: SocketTransport) -> None:
    """The key stays home: a 307 is a reply, not an errand."""
    async with FaultServer() as other:
        target = {"location": f"{other.url}/chat/completions"}
        async with FaultServer(Reply(status=307, headers=target, body=b"")) as server:
            response = await transport.handle_async_request(post(server))
        assert other.ledger == []
    assert response.status_code == 307
    assert len(server.ledger) == 1


async def test_cookies_are_not_kept(transport: SocketTransport) -> None:
    async with FaultServer(Reply(headers={"set-cookie": "a=b; Path=/"})) as server:
        await transport.handle_async_request(post(server))
        await transport.handle_async_request(post(server))
    assert all("cookie" not in seen.headers for seen in server.ledger)


async def test_environment_proxy_is_not_read(
    transport: SocketTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with FaultServer() as server:
        assert (await transport.handle_async_request(post(server))).status_code == 200


async def test_given_proxy_is_used() -> None:
    """A plain http request goes to the proxy with its absolute URL."""
    async with FaultServer() as proxy:
        transport = SocketTransport(proxy=f"http://user:word@127.0.0.1:{proxy.port}")
        request = prepare(
            "POST", httpx.URL("http://api.invalid/v1/chat/completions"), HEADERS, BODY
        )
        response = await transport.handle_async_request(request)
        await transport.aclose()
    assert response.status_code == 200
    assert proxy.ledger[0].path == "http://api.invalid/v1/chat/completions"
    assert proxy.ledger[0].headers["proxy-authorization"].startswith("Basic ")


async def test_invited_encodings_are_undone(transport: SocketTransport) -> None:
    plain = b'{"a":1}' * 1000
    bare = zlib.compressobj(wbits=-15)
    replies = [
        Reply.gzipped(plain),
        Reply(body=zlib.compress(plain), headers={"content-encoding": "deflate"}),
        Reply(body=bare.compress(plain) + bare.flush(), headers={"content-encoding": "Deflate"}),
        Reply(body=plain, headers={"content-encoding": "identity"}),
        Reply(body=b"", headers={"content-encoding": "br"}),
    ]
    async with FaultServer(replies) as server:
        got = [(await transport.handle_async_request(post(server))).content for _ in replies]
    assert got == [plain, plain, plain, plain, b""]


async def test_every_framing_is_understood(transport: SocketTransport) -> None:
    """Content-Length, chunks, and a body that ends with its connection."""
    async with FaultServer([Reply(framing=framing) for framing in Framing][:2]) as server:
        for _ in range(2):
            response = await transport.handle_async_request(post(server))
            assert response.json()["model"] == "m"
    async with FaultServer(Reply(framing=Framing.NONE)) as server:
        for _ in range(2):
            response = await transport.handle_async_request(post(server))
            assert response.json()["model"] == "m"
    assert [seen.connection for seen in server.ledger] == [1, 2]


async def test_reply_before_the_request_is_complete(transport: SocketTransport) -> None:
    """A server that refuses early is heard, and its connection is not used again."""
    connections: list[asyncio.Task[Any] | None] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(asyncio.current_task())
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\n{}")
        with contextlib.suppress(OSError):
            await reader.read(-1)
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        url = httpx.URL(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
        for _ in range(2):
            request = prepare("POST", url, HEADERS, b"z" * 8_000_000)
            response = await transport.handle_async_request(request)
            assert response.status_code == 413
        await transport.aclose()
        await asyncio.gather(*filter(None, connections))
    assert len(connections) == 2


async def test_sockets_keep_their_connection_alive(transport: SocketTransport) -> None:
    """TCP keep-alive is on, with probes after 60 s; small writes are not delayed."""
    async with FaultServer() as server:
        await transport.handle_async_request(post(server))
        pool: Any = transport._opened().connector
        [[(protocol, _)]] = pool._conns.values()
        client = protocol.transport.get_extra_info("socket")
        assert client.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert client.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        if hasattr(socket, "TCP_KEEPIDLE"):
            assert client.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60


async def test_arrival_is_filled(transport: SocketTransport) -> None:
    arrival = Arrival()
    async with FaultServer(Reply.text("abc", status=418, headers={"x-a": "b"})) as server:
        await transport.handle_async_request(post(server, arrival=arrival))
    assert (arrival.status_code, arrival.body, arrival.headers["x-a"]) == (418, b"abc", "b")


async def test_unused_transport_closes() -> None:
    await SocketTransport().aclose()
