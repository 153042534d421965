"""
A scripted HTTP/1.1 server on loopback that misbehaves on demand and keeps a ledger of what it saw.

In a test:

    async with FaultServer(lambda seen: Reply.error(500) if seen.nth == 1 else None) as server:
        ...  # server.url, await server.seen(3), server.ledger, server.in_flight_max

A script is a function of the request, one `Reply` for all, or a list of replies in order of
arrival; None (and the end of the list) means a correct answer in the shape of the vendor whose path
it is: OpenAI, Anthropic or Gemini. As its own process,
`python -m tests.support.fault_server [SCRIPT]` prints `{"url": ..., "port": ...}` and serves:

    GET  /__ledger          the ledger and the in-flight maximum
    GET  /__wait?seen=N     replies once N requests have arrived (`answered=N`: were answered)
    POST /__script          a new script (see `script_rules`); empties the ledger
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
import sys
import time
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import asdict
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qs, urlsplit

import msgspec

from tests.support.replies import Ending, Framing, Reply, Seen, default_body
from tests.support.script_rules import Script, ScriptFile
from tests.support.shapes import model_of, prompt_of

WAIT_S = 1200.0
"""Of the running loop, which may be hurried twenty times; pytest ends what hangs for a minute."""


class FaultServer:
    def __init__(
        self,
        script: Script | Reply | Sequence[Reply] | None = None,
        *,
        reset_on_accept: Collection[int] = (),
        tls: ssl.SSLContext | None = None,
        port: int = 0,
    ) -> None:
        self._tls = tls
        self._port = port
        self._tasks: set[asyncio.Task[None]] = set()
        self._failures: list[Exception] = []
        self._changed = asyncio.Event()
        self._in_flight = 0
        self.load(script, reset_on_accept)

    def load(
        self,
        script: Script | Reply | Sequence[Reply] | None,
        reset_on_accept: Collection[int] = (),
    ) -> None:
        """Take a new script and start an empty ledger; connections count from here."""
        self._script = _callable(script)
        self._reset_on_accept = frozenset(reset_on_accept)
        self._per_prompt: Counter[str] = Counter()
        self.ledger: list[Seen] = []
        self.connections = 0
        self.in_flight_max = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self._port, ssl=self._tls, backlog=1024, limit=2**20
        )
        self.port: int = self._server.sockets[0].getsockname()[1]
        scheme = "http" if self._tls is None else "https"
        self.root = f"{scheme}://127.0.0.1:{self.port}"  # base URL of vendors with versioned paths
        self.url = f"{self.root}/v1"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._failures and kind is None:
            raise self._failures[0]

    async def seen(self, count: int) -> None:
        """Wait until that many requests have arrived."""
        await self._until(lambda: len(self.ledger) >= count)

    async def answered(self, count: int) -> None:
        """Wait until that many replies have left completely."""
        await self._until(lambda: sum(seen.answered for seen in self.ledger) >= count)

    async def idle(self) -> None:
        """Wait until no request is unanswered."""
        await self._until(lambda: self._in_flight == 0)

    async def _until(self, condition: Any) -> None:
        async with asyncio.timeout(WAIT_S):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            if self.connections in self._reset_on_accept:
                _reset(writer)
            else:
                await self._converse(_Connection(self.connections, reader, writer))
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the client left or talked nonsense
        except asyncio.CancelledError:
            pass  # the server stops; asyncio's own callback would report it as an error
        except Exception as failure:  # noqa: BLE001 - a script's mistake ends the test, at its end
            self._failures.append(failure)
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _converse(self, connection: _Connection) -> None:
        while True:
            request = await connection.request()
            if request.path.startswith("/__"):
                control = await self._control(request)
                await connection.send(control, control.body or b"")
                continue
            content = _decoded(request.body)
            seen = self._record(connection.number, request, content)
            try:
                reply = self._script(seen) or Reply()
                body = reply.body
                if body is None:
                    body = default_body(seen.path, seen.prompt, seen.model, content)
                seen.status = None if reply.raw is not None else reply.status
                await connection.send(reply, body)
                seen.answered = reply.is_complete
            finally:
                self._in_flight -= 1
                self._changed.set()
            if reply.ending is not Ending.KEEP or reply.framing is Framing.NONE:
                return

    def _record(self, connection: int, request: _Request, content: Any) -> Seen:
        prompt = prompt_of(content)
        self._per_prompt[prompt] += 1
        self._in_flight += 1
        self.in_flight_max = max(self.in_flight_max, self._in_flight)
        seen = Seen(
            number=len(self.ledger) + 1,
            nth=self._per_prompt[prompt],
            at=time.monotonic(),
            connection=connection,
            method=request.method,
            path=request.path,
            headers=request.headers,
            body=request.body,
            prompt=prompt,
            model=model_of(request.path, content),
            in_flight=self._in_flight,
        )
        self.ledger.append(seen)
        self._changed.set()
        return seen

    async def _control(self, request: _Request) -> Reply:
        parts = urlsplit(request.path)
        wanted = {name: int(values[0]) for name, values in parse_qs(parts.query).items()}
        if parts.path == "/__script":
            file = msgspec.json.decode(request.body, type=ScriptFile)
            self.load(file.script(), file.reset_on_accept)
        elif parts.path == "/__wait":
            await self.seen(wanted.get("seen", 0))
            await self.answered(wanted.get("answered", 0))
        requests = [
            asdict(seen) | {"body": seen.body.decode(errors="replace")} for seen in self.ledger
        ]
        return Reply.json({"requests": requests, "in_flight_max": self.in_flight_max})


class _Request(NamedTuple):
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class _Connection:
    """One accepted connection: requests in, replies out, each in the way its `Reply` says."""

    def __init__(
        self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.number = number
        self._reader = reader
        self._writer = writer

    async def request(self) -> _Request:
        start = await self._reader.readexactly(1)
        if not start.isalpha():
            self._writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            raise ConnectionError("that is not HTTP, perhaps TLS")
        head = (start + await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head[:-4].split("\r\n")
        method, path, _ = first.split(" ", 2)
        pairs = (line.partition(":") for line in lines)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        length = int(headers.get("content-length", "0"))
        body = await self._reader.readexactly(length) if length else b""
        return _Request(method, path, headers, body)

    async def send(self, reply: Reply, body: bytes) -> None:
        """Send the reply as far as it goes, and reset or hang where it says so."""
        if reply.delay_s:
            await asyncio.sleep(reply.delay_s)
        if reply.until is not None:
            await reply.until.wait()
        if reply.raw is not None:
            self._writer.write(reply.raw)
        elif reply.piece_bytes is None:
            self._writer.write(reply.head(body) + reply.framed(body))
        else:
            await self._send_in_pieces(reply, body)
        await self._writer.drain()
        while reply.endless is not None:  # ends when the client leaves
            self._writer.write(reply.endless)
            await self._writer.drain()
            await asyncio.sleep(reply.pause_s)
        if reply.ending is Ending.RESET:
            _reset(self._writer)
        elif reply.ending is Ending.HANG:
            await self._reader.read()  # ends when the client leaves

    async def _send_in_pieces(self, reply: Reply, body: bytes) -> None:
        self._writer.write(reply.head(body))
        framed, size = reply.framed(body), reply.piece_bytes or len(body)
        for start in range(0, len(framed), size):
            self._writer.write(framed[start : start + size])
            await self._writer.drain()
            await asyncio.sleep(reply.pause_s)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with a TCP reset instead of an orderly end."""
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def _decoded(body: bytes) -> Any:
    with contextlib.suppress(msgspec.DecodeError):
        return msgspec.json.decode(body)
    return None


def _callable(script: Script | Reply | Sequence[Reply] | None) -> Script:
    if script is None:
        return lambda _: None
    if isinstance(script, Reply):
        return lambda _: script
    if callable(script):
        return script
    replies = list(script)
    return lambda seen: replies[seen.number - 1] if seen.number <= len(replies) else None


async def _main(arguments: list[str]) -> None:
    file = msgspec.json.decode(arguments[0], type=ScriptFile) if arguments else ScriptFile()
    async with FaultServer(file.script(), reset_on_accept=file.reset_on_accept) as server:
        print(msgspec.json.encode({"url": server.url, "port": server.port}).decode(), flush=True)  # noqa: T201
        await asyncio.Event().wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_main(sys.argv[1:]))
