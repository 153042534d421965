"""
The ways to the providers that a probe looks at again and again.

Connections are opened anew for each look, because how they come about is what a look is about. A
simulated server is there for as long as whoever looks: one that was begun anew each time would
never come to its outages, and would fail always or never.
"""

from __future__ import annotations

import httpx

from aiq.clock import Clock
from aiq.config import ProviderSettings
from aiq.providers.simulated_transport import SimulatedTransport
from aiq.run.fleet import Transports


def lasting(ways: Transports, clock: Clock) -> Transports:
    """Return ways that lead to the same simulated servers each time, and else are those given."""
    servers: dict[str, SimulatedTransport] = {}

    def open_way(settings: ProviderSettings) -> httpx.AsyncBaseTransport:
        if settings.simulated is None:
            return ways(settings)
        if settings.name not in servers:
            servers[settings.name] = SimulatedTransport(settings.simulated, clock, is_probed=True)
        return servers[settings.name]

    return open_way
