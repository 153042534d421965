"""A port at which no connection completes, though nobody refuses it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator


@contextlib.asynccontextmanager
async def full_port(*, settle_s: float = 0.05) -> AsyncIterator[int]:
    """
    Give a port whose queue of unaccepted connections is full.

    Filling it takes `settle_s` of the running loop's clock, which may be a hurried one.
    """
    loop = asyncio.get_running_loop()
    with contextlib.ExitStack() as open_sockets:
        listener = open_sockets.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = []
        for _ in range(8):
            client = open_sockets.enter_context(socket.socket())
            client.setblocking(False)
            waiting.append(loop.create_task(loop.sock_connect(client, listener.getsockname())))
        await asyncio.wait(waiting, timeout=settle_s)
        yield listener.getsockname()[1]
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
