"""Failures before a status line: the right httpx exception, one request, nothing secret in it."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import httpx
import pytest

from aiq.providers.exchange import Arrival, never_sent, prepare
from aiq.providers.failures import MAPPING
from aiq.providers.transport import SocketTransport
from tests.support.fault_server import FaultServer
from tests.support.full_port import full_port
from tests.support.replies import Reply

KEY = "sk-secret-4711"
HEADERS = httpx.Headers({"Authorization": f"Bearer {KEY}"})


@pytest.fixture
async def transport() -> AsyncIterator[SocketTransport]:
    async with SocketTransport() as transport:
        yield transport


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1 with its key, in one file."""
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    files = ["-keyout", str(path), "-out", str(path.with_suffix(".crt"))]
    subprocess.run(
        ["openssl", "req", "-x509", *curve, "-nodes", "-days", "1", *files, *subject],
        check=True,
        capture_output=True,
    )
    with path.open("a") as file:
        file.write(path.with_suffix(".crt").read_text())
    return path


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that refuses: bound, so that nobody else gets it, and not listening."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


async def failure(
    transport: SocketTransport, url: str, method: str = "POST", arrival: Arrival | None = None
) -> httpx.TransportError | httpx.InvalidURL:
    request = prepare(method, httpx.URL(url), HEADERS, b"{}", arrival=arrival)
    with pytest.raises((httpx.TransportError, httpx.InvalidURL)) as caught:
        await transport.handle_async_request(request)
    error = caught.value
    assert KEY not in str(error)
    assert isinstance(error, httpx.InvalidURL | httpx.TransportError)
    return error


async def test_refused(transport: SocketTransport, closed_port: int) -> None:
    error = await failure(transport, f"http://127.0.0.1:{closed_port}/v1")
    assert type(error) is httpx.ConnectError
    assert str(error) == f"cannot connect to 127.0.0.1:{closed_port}: Connection refused"
    assert never_sent(error)
    assert isinstance(error.__cause__, aiohttp.ClientConnectorError)


async def test_unknown_host(transport: SocketTransport) -> None:
    error = await failure(transport, "http://nonexistent.invalid/v1")
    assert type(error) is httpx.ConnectError
    assert str(error).startswith("cannot connect to nonexistent.invalid: ")
    assert never_sent(error)


async def test_connect_limit() -> None:
    async with full_port() as port, SocketTransport(connect_timeout_s=0.1) as transport:
        error = await failure(transport, f"http://127.0.0.1:{port}/v1")
    assert type(error) is httpx.ConnectTimeout
    assert str(error) == f"no connection to 127.0.0.1:{port} in time"
    assert never_sent(error)


async def test_tls_handshake_is_bounded_by_the_connect_limit() -> None:
    """A server that accepts and never speaks TLS costs the connect limit, and is free."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with SocketTransport(connect_timeout_s=0.1) as transport:
            error = await failure(transport, f"https://127.0.0.1:{silent.getsockname()[1]}/v1")
    assert type(error) is httpx.ConnectTimeout
    assert never_sent(error)


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_hang_up_after_the_request(transport: SocketTransport, method: str) -> None:
    """A fresh connection that closes without a reply: once, and nobody knows what it cost."""
    async with FaultServer(Reply.hang_up()) as server:
        error = await failure(transport, server.url, method)
    assert type(error) is httpx.RemoteProtocolError
    assert "closed the connection without a reply" in str(error)
    assert not never_sent(error)
    assert len(server.ledger) == 1


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_stale_connection_is_not_retried_in_secret(
    transport: SocketTransport, method: str
) -> None:
    """A connection that dies under its second request: one request on the wire, one error."""
    async with FaultServer([Reply(), Reply.hang_up()]) as server:
        request = prepare(method, httpx.URL(server.url), HEADERS, b"{}")
        await transport.handle_async_request(request)
        error = await failure(transport, server.url, method)
        assert [seen.connection for seen in server.ledger] == [1, 1]
        await transport.handle_async_request(request)
    assert type(error) is httpx.RemoteProtocolError
    assert not never_sent(error)
    assert [seen.connection for seen in server.ledger] == [1, 1, 2]


async def test_reset_after_the_request(transport: SocketTransport) -> None:
    async with FaultServer(Reply.reset()) as server:
        error = await failure(transport, server.url)
    assert type(error) is httpx.ReadError
    assert "Connection reset by peer" in str(error)
    assert not never_sent(error)
    assert len(server.ledger) == 1


async def test_reset_on_accept(transport: SocketTransport) -> None:
    """Reset before a byte was read: the request may have left, so it is not called free."""
    async with FaultServer(reset_on_accept=[1]) as server:
        error = await failure(transport, server.url)
        assert server.ledger == []
    assert isinstance(error, httpx.ReadError | httpx.WriteError | httpx.RemoteProtocolError)
    assert not never_sent(error)


@pytest.mark.parametrize(
    "reply",
    [
        Reply.garbage(),
        Reply.huge_header(),
        Reply(raw=b"HTTP/1.1 abc OK\r\n\r\n"),
        Reply(raw=b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}"),
        Reply(raw=b"HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\n{}"),
        Reply(raw=b"HTTP/1.1 200 " + b"r" * 100_000 + b"\r\n\r\n"),
        Reply(raw=b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 2000 + b"\r\n"),
    ],
    ids=["garbage", "200 kB header", "status", "two lengths", "minus", "reason", "2000 headers"],
)
async def test_not_http(transport: SocketTransport, reply: Reply) -> None:
    async with FaultServer([reply]) as server:
        error = await failure(transport, server.url)
        assert len(server.ledger) == 1
    assert type(error) is httpx.RemoteProtocolError
    assert "does not reply in HTTP: " in str(error)
    assert "not HTTP at all" not in str(error)  # nothing the server said is quoted
    assert len(str(error)) < 150
    assert not never_sent(error)


async def test_endless_headers(transport: SocketTransport) -> None:
    """Headers that never end stop at a bound, not at the end of memory."""
    endless = b"HTTP/1.1 200 OK\r\nx: " + b"e" * 40_000_000
    async with FaultServer(Reply(raw=endless)) as server:
        error = await failure(transport, server.url)
    assert type(error) is httpx.RemoteProtocolError


async def test_tls_to_a_plain_port(transport: SocketTransport) -> None:
    async with FaultServer() as server:
        error = await failure(transport, server.url.replace("http:", "https:"))
        assert server.ledger == []
    assert type(error) is httpx.ConnectError
    assert never_sent(error)


async def test_plain_http_to_a_tls_port(transport: SocketTransport, tls: ssl.SSLContext) -> None:
    async with FaultServer(tls=tls) as server:
        error = await failure(transport, server.url.replace("https:", "http:"))
        assert server.ledger == []
    assert isinstance(error, httpx.RemoteProtocolError | httpx.ReadError)
    assert not never_sent(error)


async def test_self_signed_certificate(transport: SocketTransport, tls: ssl.SSLContext) -> None:
    async with FaultServer(tls=tls) as server:
        error = await failure(transport, server.url)
        assert server.ledger == []
    assert type(error) is httpx.ConnectError
    assert "certificate refused, self-signed certificate" in str(error)
    assert never_sent(error)


async def test_proxy_out_of_reach(closed_port: int) -> None:
    async with SocketTransport(proxy=f"http://user:word@127.0.0.1:{closed_port}") as transport:
        error = await failure(transport, "http://api.invalid/v1")
    assert type(error) is httpx.ProxyError
    assert "word" not in str(error)
    assert never_sent(error)


async def test_proxy_refuses_the_tunnel() -> None:
    async with FaultServer(Reply.error(407)) as proxy:
        transport = SocketTransport(proxy=f"http://127.0.0.1:{proxy.port}")
        error = await failure(transport, "https://api.invalid/v1")
        await transport.aclose()
    assert type(error) is httpx.ProxyError
    assert str(error) == "the proxy does not connect to api.invalid: HTTP 407"
    assert never_sent(error)


@pytest.mark.parametrize("tail", ["\n", "\r\nX-Other: 1", "\0", "\x7f", "é"])
async def test_unsendable_key(transport: SocketTransport, tail: str) -> None:
    """A key that would break the request is refused by the header's name, not by its value."""
    headers = httpx.Headers({b"Authorization": f"Bearer {KEY}{tail}".encode()})
    async with FaultServer() as server:
        request = prepare("POST", httpx.URL(server.url), headers, b"{}")
        with pytest.raises(httpx.LocalProtocolError) as caught:
            await transport.handle_async_request(request)
        assert server.ledger == []
    assert "Authorization" in str(caught.value)
    assert KEY not in str(caught.value)
    assert caught.value.__cause__ is caught.value.__context__ is None
    assert never_sent(caught.value)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("api.example.com/v1", httpx.UnsupportedProtocol),
        ("ftp://api.example.com/v1", httpx.UnsupportedProtocol),
        ("http:///v1", httpx.InvalidURL),
        (f"http://user:{KEY}@127.0.0.1:1/v1", httpx.LocalProtocolError),
        (f"http://{'a' * 70}.invalid/v1", httpx.TransportError),
    ],
)
async def test_unusable_url(
    transport: SocketTransport, url: str, expected: type[Exception]
) -> None:
    error = await failure(transport, url)
    assert isinstance(error, expected)
    assert never_sent(error)


async def test_hang_ends_by_cancellation(transport: SocketTransport) -> None:
    """The caller's limit arrives as cancellation; nothing had come, and nothing leaks."""
    arrival = Arrival()
    async with FaultServer([Reply.hang()]) as server:
        request = prepare("POST", httpx.URL(server.url), HEADERS, b"{}", arrival=arrival)
        task = asyncio.create_task(transport.handle_async_request(request))
        await server.seen(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await server.idle()  # the connection was closed
        assert arrival.status_code is None
        assert arrival.body == b""
        await transport.handle_async_request(request)
    assert [seen.connection for seen in server.ledger] == [1, 2]


async def test_cancelled_twice(transport: SocketTransport) -> None:
    """A second cancellation on top of the first leaves no connection behind either."""
    async with FaultServer([Reply.hang()] * 20) as server:
        request = prepare("POST", httpx.URL(server.url), HEADERS, b"{}")
        tasks = [asyncio.create_task(transport.handle_async_request(request)) for _ in range(20)]
        await server.seen(20)
        for _ in range(2):
            for task in tasks:
                task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in results)
        await server.idle()
        assert transport._session is not None
        assert not transport._session.connector._acquired  # type: ignore[union-attr]


NOT_OURS = {
    # websockets and redirects, which the transport never uses
    aiohttp.WSMessageTypeError,
    aiohttp.RedirectClientError,
    aiohttp.WSServerHandshakeError,
    # given to an upload tracker, never raised
    getattr(aiohttp, "UploadAbortedError", aiohttp.WSMessageTypeError),
}


def _exceptions() -> list[type[Exception]]:
    found = [value for name in dir(aiohttp) if isinstance(value := getattr(aiohttp, name), type)]
    found += [v for v in vars(aiohttp.client_exceptions).values() if isinstance(v, type)]
    return sorted(
        {kind for kind in found if issubclass(kind, Exception) and "aiohttp" in kind.__module__},
        key=lambda kind: kind.__name__,
    )


@pytest.mark.parametrize("kind", _exceptions(), ids=lambda kind: kind.__name__)
def test_every_aiohttp_exception_is_mapped(kind: type[Exception]) -> None:
    """Each has a row of its own or of a base more telling than ClientError."""
    if kind in NOT_OURS or not issubclass(kind, aiohttp.ClientError | OSError | ValueError):
        assert kind in NOT_OURS or not issubclass(kind, aiohttp.ClientError)
        return
    row = next(theirs for theirs, _, _ in MAPPING if issubclass(kind, theirs))
    assert row is not aiohttp.ClientError or kind in (
        aiohttp.ClientError,
        aiohttp.ClientConnectionError,
    )


def test_mapping_rows_are_reachable() -> None:
    """No row stands behind a more general one."""
    for index, (kind, _, _) in enumerate(MAPPING):
        assert not any(issubclass(kind, earlier) for earlier, _, _ in MAPPING[:index]), kind


@pytest.mark.parametrize(
    ("error", "free"),
    [
        (httpx.ConnectError("x"), True),
        (httpx.ConnectTimeout("x"), True),
        (httpx.PoolTimeout("x"), True),
        (httpx.ProxyError("x"), True),
        (httpx.LocalProtocolError("x"), True),
        (httpx.UnsupportedProtocol("x"), True),
        (httpx.InvalidURL("x"), True),
        (httpx.ReadError("x"), False),
        (httpx.WriteError("x"), False),
        (httpx.ReadTimeout("x"), False),
        (httpx.WriteTimeout("x"), False),
        (httpx.RemoteProtocolError("x"), False),
        (httpx.NetworkError("x"), False),
        (httpx.CloseError("x"), False),
        (TimeoutError(), False),
        (ValueError(), False),
    ],
)
def test_never_sent(error: Exception, free: bool) -> None:
    assert never_sent(error) is free
