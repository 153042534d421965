"""
The server's own ceiling: connections that know nothing of HTTP but how long a reply is.

Each sends the same bytes again as soon as as many have come back as the first reply had.
"""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

from tests.benchmarks.peers.peer import main_loop

BODY = b'{"messages": [{"role": "user", "content": "Say something"}], "model": "bench"}'


class Line(asyncio.Protocol):
    left = 0
    ended: asyncio.Event

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._size = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._size = self._size or len(data)
        assert len(data) == self._size
        self._ask()

    def _ask(self) -> None:
        if Line.left <= 0:
            self._transport.close()
            Line.ended.set()
            return
        Line.left -= 1
        self._transport.write(self._request)


async def run(url: str, prompts: int, concurrency: int) -> None:
    Line.left, Line.ended = prompts, asyncio.Event()
    where = urlsplit(f"{url}/chat/completions")
    head = f"POST {where.path} HTTP/1.1\r\nHost: {where.netloc}\r\nContent-Length: {len(BODY)}"
    request = head.encode() + b"\r\n\r\n" + BODY
    loop = asyncio.get_running_loop()
    for _ in range(concurrency):
        await loop.create_connection(lambda: Line(request), where.hostname or "", where.port or 80)
    await Line.ended.wait()


if __name__ == "__main__":
    main_loop(run)
