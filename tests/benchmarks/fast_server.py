"""
A loopback chat server so cheap that the client is the bottleneck; run as its own process.

It speaks just enough HTTP/1.1 to answer every POST with the same completion after a fixed delay, or
with the same 400 if its body says REFUSE. It writes its port as the first line of stdout, and stops
when stdin closes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys

ANSWER = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "bench",
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": "The quick brown fox. " * 8},
            }
        ],
        "usage": {"prompt_tokens": 20, "completion_tokens": 40, "total_tokens": 60},
    }
).encode()
REFUSAL = json.dumps(
    {"error": {"message": "the prompt is refused", "type": "invalid_request_error", "code": None}}
).encode()


def _reply(status: bytes, body: bytes) -> bytes:
    head = b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % (status, len(body)) + body


REPLIES = (_reply(b"200 OK", ANSWER), _reply(b"400 Bad Request", REFUSAL))


class Connection(asyncio.Protocol):
    """Answers each request on a connection once its body has arrived."""

    delay_s = 0.05

    def __init__(self) -> None:
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            start = head.find(b"content-length:")
            length = int(head[start + 15 :].split(b"\r\n", 1)[0]) if start >= 0 else 0
            if len(self._buffer) < end + 4 + length:
                return
            is_refused = self._buffer.find(b"REFUSE", end, end + 4 + length) >= 0
            self._buffer = self._buffer[end + 4 + length :]
            loop = asyncio.get_running_loop()
            loop.call_later(self.delay_s, self._answer, REPLIES[is_refused])

    def _answer(self, reply: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(reply)


async def serve(delay_s: float) -> None:
    Connection.delay_s = delay_s
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Connection, "127.0.0.1", 0, backlog=4096)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--delay-ms", type=float, default=50.0)
    asyncio.run(serve(parser.parse_args().delay_ms / 1000))
