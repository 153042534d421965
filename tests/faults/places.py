"""
Places where no request arrives, or not all of one: ports, names, certificates, relays, proxies.

A relay stands before a right server and spoils the first connections. What the operating system
says (no such name, no route) is said by a stand-in for it, because no such network is at hand.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias
from unittest import mock

from tests.faults.row import Place, Site
from tests.support.fault_server import FaultServer
from tests.support.full_port import full_port
from tests.support.replies import Reply

Spoil: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def closed_port(site: Site) -> AsyncIterator[None]:
    """A port that refuses: bound, so that nobody else gets it, and not listening."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        site.url = f"http://127.0.0.1:{bound.getsockname()[1]}/v1"
        yield


@asynccontextmanager
async def full_queue(site: Site) -> AsyncIterator[None]:
    """A port at which no connection completes."""
    async with full_port(settle_s=1.0) as port:
        site.url = f"http://127.0.0.1:{port}/v1"
        yield


@asynccontextmanager
async def silent_listener(site: Site) -> AsyncIterator[None]:
    """A port that takes connections and never speaks TLS on them."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        site.url = f"https://127.0.0.1:{listener.getsockname()[1]}/v1"
        yield


def no_such_name(url: str = "http://nonexistent.invalid/v1") -> Place:
    def refuse() -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    return _resolving(url, refuse)


@asynccontextmanager
async def slow_name(site: Site) -> AsyncIterator[None]:
    """A name whose resolver does not answer before the row has ended."""
    ended = threading.Event()

    def wait() -> Any:
        ended.wait(30)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    async with _resolving("http://slow.invalid/v1", wait)(site):
        try:
            yield
        finally:
            ended.set()


def _resolving(url: str, answer: Callable[[], Any]) -> Place:
    """Let names under `.invalid` be answered so, by the system's own function."""

    @asynccontextmanager
    async def place(site: Site) -> AsyncIterator[None]:
        real = socket.getaddrinfo

        def resolve(host: Any, *arguments: Any, **named: Any) -> Any:
            if str(host).endswith(".invalid"):
                return answer()
            return real(host, *arguments, **named)

        site.url = url
        with mock.patch("socket.getaddrinfo", resolve):
            yield

    return place


def unreachable(error: int) -> Place:
    """A port to which the kernel knows no way."""

    @asynccontextmanager
    async def place(site: Site) -> AsyncIterator[None]:
        loop = asyncio.get_running_loop()
        real = loop.sock_connect

        async def connect(sock: socket.socket, address: Any) -> None:
            if address[1] == 9:
                raise OSError(error, "unreachable")
            await real(sock, address)

        site.url = "http://127.0.0.1:9/v1"
        with mock.patch.object(loop, "sock_connect", connect):
            yield

    return place


def tls(context: Callable[[], ssl.SSLContext | None], *, scheme: str = "https") -> Place:
    """A right server behind this certificate, asked by this scheme."""

    @asynccontextmanager
    async def place(site: Site) -> AsyncIterator[None]:
        async with FaultServer(lambda seen: site.replied(seen, None), tls=context()) as server:
            site.server, site.url = server, f"{scheme}://127.0.0.1:{server.port}/v1"
            yield

    return place


@asynccontextmanager
async def reset_on_accept(site: Site) -> AsyncIterator[None]:
    """The first connection is reset before a byte of it is read."""
    async with FaultServer(lambda s: site.replied(s, None), reset_on_accept=[1]) as site.server:
        site.injected = 1
        yield


def relayed(spoil: Spoil, *, connections: int = 1) -> Place:
    """A relay that spoils its first connections and passes the others on to a right server."""

    @asynccontextmanager
    async def place(site: Site) -> AsyncIterator[None]:
        async with FaultServer(lambda seen: site.replied(seen, None)) as server:
            site.server = server

            async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                if site.injected < connections:
                    site.injected += 1
                    await spoil(reader, writer)
                else:
                    await _connect_both(reader, writer, server.port)

            async with _listening(relay) as port:
                site.url = f"http://127.0.0.1:{port}/v1"
                yield

    return place


async def reset_in_the_upload(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readexactly(1024)
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


async def refuse_early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer before the request is complete, and read no more than a courteous server would."""
    await reader.readuntil(b"\r\n\r\n")
    body = b'{"error": {"message": "too large for us"}}'
    writer.write(b"HTTP/1.1 413 X\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
    await reader.read(-1)


def through_proxy(url: str, reply: Reply | None = None) -> Place:
    """A plain proxy that answers itself: right answers, or this reply to everybody."""

    @asynccontextmanager
    async def place(site: Site) -> AsyncIterator[None]:
        async with FaultServer(lambda seen: site.replied(seen, reply)) as proxy:
            site.server, site.url = proxy, url
            site.injected = 0 if reply else 1
            address = f"http://user:proxy-word-4711@127.0.0.1:{proxy.port}"
            site.environ = {"HTTP_PROXY": address, "HTTPS_PROXY": address}
            yield

    return place


@asynccontextmanager
async def proxy_out_of_reach(site: Site) -> AsyncIterator[None]:
    async with closed_port(site):
        assert site.url is not None
        site.environ = {"HTTPS_PROXY": site.url.removesuffix("/v1")}
        site.url = "https://api.invalid/v1"
        yield


@asynccontextmanager
async def _listening(serve: Spoil) -> AsyncIterator[int]:
    """Serve connections on a free port; none outlives the block."""
    tasks: set[asyncio.Task[Any]] = set()

    async def kept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await serve(reader, writer)
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(kept, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _connect_both(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int
) -> None:
    other_reader, other_writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_copy(reader, other_writer))
            group.create_task(_copy(other_reader, writer))
    except* OSError:
        pass
    finally:
        other_writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(65536):
        writer.write(piece)
        await writer.drain()
    writer.close()
