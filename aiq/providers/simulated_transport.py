"""
The simulated server behind the same seam as the real ones.

Waits out each reply's delay on the injected clock; a refused connection is the exception that a
closed port gives. Apart from `simulated`, so that reading a configuration never loads httpx.
"""

from __future__ import annotations

import httpx

from aiq.clock import Clock
from aiq.providers.exchange import Arrival, CompleteResponse
from aiq.providers.simulated import SimulatedSettings, Simulation


class SimulatedTransport(httpx.AsyncBaseTransport):
    """An httpx transport without a network; the server begins when it is built."""

    def __init__(
        self, settings: SimulatedSettings, clock: Clock, *, is_probed: bool = False
    ) -> None:
        """`is_probed` as in `Simulation`."""
        self._simulation = Simulation(settings, is_probed=is_probed)
        self._clock = clock
        self._began_at = clock.now()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """
        Answer one request after its delay.

        Raises:
            httpx.ConnectError: there is an outage; nothing was sent.

        """
        body = await request.aread()
        reply = self._simulation.reply(
            path=request.url.path, body=body, now=self._clock.now() - self._began_at
        )
        if reply is None:
            raise httpx.ConnectError("simulated outage: connection refused", request=request)
        await self._clock.sleep(reply.delay_s)
        headers = tuple((name.encode(), value.encode()) for name, value in reply.headers)
        arrival: Arrival | None = request.extensions.get("arrival")
        if arrival is not None:
            arrival.status_code = reply.status_code
            arrival.raw_headers = headers
            arrival.chunks.append(reply.body)
        return CompleteResponse(reply.status_code, headers, reply.body, request)
