"""
The channel through which an operator reaches a run: a local socket that only its user can open.

It lives in the run's own event loop, and what comes through it is bounded in size, time and number,
so that no client, however odd, disturbs the run. A run that cannot have a channel goes on without.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import TypeAlias

from aiq.errors import AiqError, ExitCode, Refused
from aiq.run.meeting_place import make_private, places
from aiq.run.peer import is_stranger
from aiq.run.protocol import REQUEST_BYTES, Order, Reply, encode, read_request, refusal

CLIENTS = 8
"""So many may be connected at once; who comes then is sent away."""

REQUEST_S = 5.0
"""So long a client may take to say what it wants, and to read the reply."""

GOODBYE_S = 1.0
"""So long an order that is being carried out may take when the run ends."""

Obey: TypeAlias = Callable[[Order], Awaitable[Reply]]


class Channel:
    """Listens for one database's run; `tell` hears why it cannot."""

    def __init__(
        self, database: Path, environ: Mapping[str, str], *, tell: Callable[[str], None]
    ) -> None:
        self._database = database
        self._environ = environ
        self._tell = tell
        self._clients: set[asyncio.Task[None]] = set()
        self._answering: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def open(self, obey: Obey) -> AsyncIterator[None]:
        """
        Pass orders on to `obey` while the block runs, which must hold the lock of the database.

        Whoever holds it knows that a socket that is already there is a dead run's.
        """
        server, path = await self._server(obey)
        try:
            yield
        finally:
            if server is not None and path is not None:
                await self._close(server, path)

    async def _server(self, obey: Obey) -> tuple[asyncio.Server | None, Path | None]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._serve(reader, writer, obey)

        try:
            listener, path = _listener(self._database, self._environ)
            server = await asyncio.start_unix_server(serve, sock=listener, limit=REQUEST_BYTES)
        except (OSError, AttributeError) as error:  # a system without such sockets lacks the name
            self._tell(f"`aiq ctl` cannot reach this run: {error}")
            return None, None
        return server, path

    async def _close(self, server: asyncio.Server, path: Path) -> None:
        server.close()
        with contextlib.suppress(OSError):
            path.unlink()  # noqa: ASYNC240 - one system call, at the end
        if self._answering:
            await asyncio.wait(self._answering, timeout=GOODBYE_S)
        for task in self._clients:
            task.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, obey: Obey
    ) -> None:
        task = asyncio.current_task()
        connection = writer.get_extra_info("socket")
        if task is None or len(self._clients) >= CLIENTS or is_stranger(connection):
            writer.transport.abort()
            return
        self._clients.add(task)
        try:
            await self._converse(reader, writer, obey, task)
        except (OSError, TimeoutError):
            pass  # the client left, or takes too long
        except asyncio.CancelledError:
            pass  # the run ends; asyncio would report it as an error
        finally:
            self._clients.discard(task)
            self._answering.discard(task)
            writer.transport.abort() if writer.is_closing() else writer.close()

    async def _converse(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        obey: Obey,
        task: asyncio.Task[None],
    ) -> None:
        try:
            if (line := await _line(reader)) == b"":
                return
            self._answering.add(task)
            reply = await obey(read_request(line))
        except Refused as error:
            reply = refusal(error)
        except AiqError as error:
            reply = Reply(code=int(error.exit_code), said=str(error), hint=error.hint)
        except OSError:  # the client left, or says nothing
            raise
        except Exception as error:  # noqa: BLE001 - a mistake of ours is no reason to end a run
            said = f"this is a bug in aiq: {type(error).__name__}; the run goes on"
            reply = Reply(code=int(ExitCode.BUG), said=said)
        writer.write(encode(reply))
        async with asyncio.timeout(REQUEST_S):
            await writer.drain()


async def _line(reader: asyncio.StreamReader) -> bytes:
    try:
        async with asyncio.timeout(REQUEST_S):
            return await reader.readline()
    except ValueError:  # what asyncio makes of a line over its limit
        raise Refused(f"an order has at most {REQUEST_BYTES:,} bytes") from None


def _listener(database: Path, environ: Mapping[str, str]) -> tuple[socket.socket, Path]:
    """Bind the first place that can be had; raises `OSError` with the reason of each."""
    reasons = []
    for path in places(database, environ):
        try:
            make_private(path.parent)
            return _bound(path), path
        except OSError as error:
            reasons.append(f"{path.parent}: {error.strerror or error}")
    raise OSError("; ".join(reasons) or "its path is too long for a socket")


def _bound(path: Path) -> socket.socket:
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise OSError(f"{path} is there, and no socket")
        path.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(os.fspath(path))
        path.chmod(0o600)  # nobody can connect before it listens
    except OSError:
        listener.close()
        raise
    return listener
