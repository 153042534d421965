"""The network of a simulated process: where a request meets its server."""

from __future__ import annotations

import asyncio
import json
import math

import httpx

from aiq.providers.exchange import Arrival, CompleteResponse, Withheld
from tests.simulation.bill import Bill, Entry
from tests.simulation.direct_store import Power
from tests.simulation.faults import ANSWERED, Fate, Fault, refused, unreachable
from tests.simulation.servers import Server

FOREVER_S = 10_000_000.0


class Wire(httpx.AsyncBaseTransport):
    """The way to one server; a dead process reaches nobody."""

    def __init__(self, server: Server, bill: Bill, power: Power, poison: frozenset[str]) -> None:
        self._server = server
        self._bill = bill
        self._power = power
        self._poison = poison

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self._bill.is_endless:
            self._power.is_on = False
        if not self._power.is_on:
            raise refused(request)
        now = asyncio.get_running_loop().time
        asked = json.loads(request.content)
        job = asked["messages"][-1]["content"].split()[0]
        entry = self._bill.started(self._server.name, job, now())
        self._bill.in_flight[self._server.name] += 1
        try:
            await self._connect(request, entry)
            return await self._exchange(request, asked, entry)
        finally:
            self._bill.in_flight[self._server.name] -= 1

    async def _connect(self, request: httpx.Request, entry: Entry) -> None:
        now = asyncio.get_running_loop().time
        takes_s, fault = self._server.connection(now())
        if takes_s:
            await asyncio.sleep(takes_s)
        if fault is not None:
            self._bill.unconnected(entry, fault, now())
            raise (refused if fault is Fault.REFUSED else unreachable)(request)
        gate = request.extensions["gate"]
        if gate is not None and (reason := gate()) is not None:
            self._bill.withheld(entry)
            raise Withheld(reason)

    async def _exchange(
        self, request: httpx.Request, asked: dict[str, object], entry: Entry
    ) -> httpx.Response:
        now = asyncio.get_running_loop().time
        server, arrival = self._server, request.extensions["arrival"]
        server.in_flight += 1
        try:
            fate = server.fate(now(), asked, is_poison=entry.job in self._poison)
            self._bill.arrived(entry, fate, now())
            if fate.is_billed:
                self._charge(entry, fate)
            await self._reply(fate, arrival)
        finally:
            server.in_flight -= 1
        if not self._power.is_on:
            raise refused(request)
        if fate.breaks is not None:
            raise fate.breaks(request)
        self._bill.delivered(entry, fate, now())
        return CompleteResponse(fate.status, _raw(fate), fate.body, request)

    async def _reply(self, fate: Fate, arrival: Arrival) -> None:
        waited = 0.0
        if fate.head_at_s < math.inf:
            await asyncio.sleep(fate.head_at_s)
            waited = fate.head_at_s
            arrival.status_code = fate.status
            arrival.raw_headers = _raw(fate)
            arrival.chunks.append(fate.body)
        await asyncio.sleep(min(fate.delay_s, FOREVER_S) - waited)

    def _charge(self, entry: Entry, fate: Fate) -> None:
        price = self._server.character.price
        try:
            usage = json.loads(fate.body)["usage"]
        except (ValueError, KeyError):  # paid, and nobody is told how much: a little
            usage = {"prompt_tokens": 1, "completion_tokens": 8}
        cost = usage["prompt_tokens"] * price.input + usage["completion_tokens"] * price.output
        self._bill.carried_out(
            entry,
            cost * 1000,
            is_answer=fate.fault in ANSWERED,
            now=asyncio.get_running_loop().time(),
        )


def _raw(fate: Fate) -> tuple[tuple[bytes, bytes], ...]:
    return tuple((name.encode(), value.encode()) for name, value in fate.headers)
