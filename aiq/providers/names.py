"""
Names turned into addresses, each on a thread that nobody waits for.

A resolver that hangs can neither be cancelled nor may it hold up the end of the program, as it
would on a thread of the event loop's own pool.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Any, TypeAlias

Resolver: TypeAlias = Callable[..., list[Any]]
"""`socket.getaddrinfo`, or what a test puts in its place."""


async def look_up(
    host: str, port: int, *, resolver: Resolver | None = None, **hints: Any
) -> list[Any]:
    """Return what `socket.getaddrinfo` says of stream sockets; raises OSError, UnicodeError."""
    ask_resolver = resolver or socket.getaddrinfo
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[list[Any]] = loop.create_future()

    def settle(found: list[Any] | Exception) -> None:
        if answer.done():
            return  # nobody waits any more
        if isinstance(found, Exception):
            answer.set_exception(found)
        else:
            answer.set_result(found)

    def ask() -> None:
        found: list[Any] | Exception
        try:
            found = ask_resolver(host, port, type=socket.SOCK_STREAM, **hints)
        except (OSError, UnicodeError) as error:
            found = error
        with contextlib.suppress(RuntimeError):  # the loop ended before the resolver did
            loop.call_soon_threadsafe(settle, found)

    threading.Thread(target=ask, name="resolver", daemon=True).start()
    return await answer
