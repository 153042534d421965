"""A plain JSON webhook: one POST a notice, over the transport that asks providers as well."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import httpx

from aiq.providers.addresses import is_forbidden
from aiq.providers.durations import retry_after_s
from aiq.providers.exchange import BrokenReply, prepare
from aiq.providers.json_text import encode
from aiq.providers.names import look_up
from aiq.providers.proxies import proxy_for
from aiq.redaction import Secret
from aiq.run.alerts.channel import Undelivered
from aiq.run.alerts.notice import Notice
from aiq.run.fleet import USER_AGENT

TIMEOUT_S = 10.0
"""From the name of its host to the end of its reply."""

_PASSING = frozenset({408, 425, 429})
"""Refusals that say to come again; the rest of 4xx stays as it is."""


class Webhook:
    """Sends to one URL; redirects are not followed, and metadata addresses never connected to."""

    name = "webhook"

    def __init__(
        self, url: Secret, environ: Mapping[str, str], *, transport: httpx.AsyncBaseTransport | None
    ) -> None:
        """
        Prepare; nothing is opened yet. `transport` None is the real network.

        Raises:
            ConfigError: the environment names a proxy that cannot be used.
        """
        self._url = httpx.URL(url.reveal())
        self._proxy = proxy_for(url.reveal(), environ)
        self._transport = transport or _sockets(self._proxy)
        self._headers = httpx.Headers(
            {
                "Accept": "*/*",
                "Accept-Encoding": "identity",
                "Content-Type": "application/json",
                "User-Agent": USER_AGENT,
            }
        )

    async def send(self, notice: Notice) -> None:
        """Post the notice's object; 2xx is a delivery."""
        request = prepare("POST", self._url, self._headers, encode(notice.body))
        try:
            async with asyncio.timeout(TIMEOUT_S):
                if self._proxy is not None:
                    await self._refuse_forbidden()
                response = await self._transport.handle_async_request(request)
        except TimeoutError:
            raise Undelivered(f"no reply within {TIMEOUT_S:g} s") from None
        except BrokenReply as broken:
            _judge(broken.status_code, broken.headers)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Undelivered(str(error) or type(error).__name__) from None
        else:
            _judge(response.status_code, response.headers)

    async def close(self) -> None:
        """Close its connections."""
        await self._transport.aclose()

    async def _refuse_forbidden(self) -> None:
        """Look up the name that a proxy would look up; one that only it knows is let through."""
        try:
            found = await look_up(self._url.host, self._url.port or 443)
        except (OSError, UnicodeError):
            return
        if any(is_forbidden(address[4][0]) for address in found):
            raise Undelivered("its name leads to a link-local or metadata address", is_final=True)


def _sockets(proxy: str | None) -> httpx.AsyncBaseTransport:
    from aiq.providers.transport import SocketTransport  # noqa: PLC0415 - the sockets' 0.2 s

    return SocketTransport(connect_timeout_s=TIMEOUT_S, proxy=proxy, refuses=is_forbidden)


def _judge(status_code: int, headers: httpx.Headers) -> None:
    if 200 <= status_code < 300:
        return
    redirected = "; redirects are not followed" if 300 <= status_code < 400 else ""
    raise Undelivered(
        f"HTTP {status_code}{redirected}",
        is_final=300 <= status_code < 500 and status_code not in _PASSING,
        retry_after_s=retry_after_s(headers),
    )
