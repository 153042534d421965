"""Moments in which a request or a reply could get lost: a check that is due, a gate that closes."""

from __future__ import annotations

import httpx
import pytest

from aiq.providers import transport as module
from aiq.providers.exchange import Withheld, never_sent, prepare
from aiq.providers.transport import SocketTransport
from tests.support.fault_server import FaultServer
from tests.support.replies import Reply

HEADERS = httpx.Headers({"Content-Type": "application/json"})
BODY = b'{"model":"m","messages":[{"role":"user","content":"hello"}]}'


async def test_a_reply_that_ends_while_its_connection_is_checked_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A complete body gives its connection back; that is no sign of a broken one."""
    monkeypatch.setattr(module, "CONNECTION_CHECK_S", 0.0)
    async with FaultServer(Reply.drip(pause_s=0.0)) as server, SocketTransport() as transport:
        for _ in range(10):
            url = httpx.URL(f"{server.url}/chat/completions")
            response = await transport.handle_async_request(prepare("POST", url, HEADERS, BODY))
            assert response.status_code == 200
            assert response.content.endswith(b"}")


async def test_a_closed_gate_lets_nothing_out() -> None:
    """Asked with the connection open and before the first byte, also on a reused connection."""
    closed: list[str] = []
    async with FaultServer() as server, SocketTransport() as transport:
        url = httpx.URL(f"{server.url}/chat/completions")

        def request() -> httpx.Request:
            return prepare("POST", url, HEADERS, BODY, gate=lambda: closed[0] if closed else None)

        await transport.handle_async_request(request())
        closed.append("the run was stopped")
        with pytest.raises(Withheld, match="the run was stopped") as caught:
            await transport.handle_async_request(request())
        assert never_sent(caught.value)
        closed.clear()
        await transport.handle_async_request(request())
        assert len(server.ledger) == 2
        assert server.connections == 1, "the connection that was not used is kept"
