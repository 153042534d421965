"""Alerts to a recording webhook: what arrives, in which order, and what a dead one delays."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from aiq.clock import Clock
from aiq.policy.alerting import Alerting
from aiq.providers.addresses import is_forbidden
from aiq.providers.transport import SocketTransport
from aiq.redaction import Redactor, Secret
from aiq.run.alerts.channel import Channel, Undelivered
from aiq.run.alerts.courier import ATTEMPTS, HELD
from aiq.run.alerts.dispatch import Alerts
from aiq.run.alerts.notice import compose
from aiq.run.alerts.webhook import Webhook
from tests.support.alerts import (
    CRITICAL,
    INFO,
    WARNING,
    HangingChannel,
    RecordingChannel,
    alert,
    recovery,
)
from tests.support.fault_server import FaultServer
from tests.support.replies import Reply
from tests.support.sessions import LoopClock, at_speed

KEY = "sk-test-4711-0815-abcdef"


def webhook(server: FaultServer | str, **environ: str) -> Webhook:
    url = server if isinstance(server, str) else f"{server.root}/hook"
    return Webhook(Secret("W", url), environ, transport=None)


@asynccontextmanager
async def sending(
    *channels: Channel, clock: Clock | None = None, **options: Any
) -> AsyncIterator[tuple[Alerts, list[str]]]:
    """Alerts to these channels, and what they had to say about it."""
    notes: list[str] = []
    given: dict[str, Any] = {
        "clock": clock or LoopClock(),
        "redactor": Redactor([Secret("K", KEY)]),
        "note": notes.append,
        "draw": lambda: 0.5,
    }
    async with Alerts(channels, Alerting(), **(given | options)) as alerts:
        yield alerts, notes


def bodies(server: FaultServer) -> list[dict[str, Any]]:
    return [json.loads(seen.body) for seen in server.ledger]


def titles(channel: RecordingChannel) -> list[str]:
    return [notice.title for notice in channel.notices]


async def test_the_object_of_the_webhook() -> None:
    async with FaultServer() as server:
        async with sending(webhook(server)) as (alerts, notes):
            alerts.raise_alert(alert(detail=f"HTTP 500 \x1b[2J @everyone <!channel> {KEY}"))
            await server.answered(1)
        assert notes == []
        [seen] = server.ledger
        [body] = bodies(server)
    assert (seen.method, seen.path) == ("POST", "/hook")
    assert seen.headers["content-type"] == "application/json"
    assert body.pop("sent_at").endswith("Z")
    said = "HTTP 500 \\x1b[2J \uff20everyone \u2039!channel\u203a [redacted]"
    assert body == {
        "source": "aiq",
        "version": 1,
        "level": "critical",
        "is_recovery": False,
        "title": "aiq [CRITICAL] a: down",
        "text": said,
        "alerts": [
            {
                "at": "2023-11-14T22:13:20.000Z",
                "level": "critical",
                "provider": "a",
                "title": "down",
                "detail": said,
                "is_recovery": False,
                "repeats": 0,
            }
        ],
        "omitted": {},
        "explanation": None,
    }


async def test_alerts_arrive_once_in_order_and_with_recovery() -> None:
    async with FaultServer() as server:
        async with sending(webhook(server)) as (alerts, _):
            alerts.raise_alert(alert())
            await server.answered(1)
            for _ in range(50):
                alerts.raise_alert(alert(detail="again"))
            alerts.raise_alert(recovery(provider="b"))
            alerts.raise_alert(recovery())
            await server.answered(2)
        found = [body["title"] for body in bodies(server)]
    assert found == ["aiq [CRITICAL] a: down", "aiq [RECOVERED] a: down"]


async def test_what_is_critical_takes_along_what_waits() -> None:
    channel = RecordingChannel()
    async with sending(channel) as (alerts, _):
        alerts.raise_alert(alert("now healthy", INFO))
        await channel.until(lambda: channel.tries == 1)
        alerts.raise_alert(alert("now degraded", INFO))
        for _ in range(20):  # until it waits for its turn
            await asyncio.sleep(0)
        alerts.raise_alert(alert())
        await channel.until(lambda: channel.tries == 2)
        assert titles(channel)[1:] == ["aiq [CRITICAL] 2 alerts, 1 critical"]


async def test_a_storm_of_a_thousand_events_is_a_handful_of_messages() -> None:
    """Each is listed or counted; the last message does not wait for its turn at the end."""
    async with FaultServer() as server:
        async with sending(webhook(server)) as (alerts, _):
            for number in range(1000):
                alerts.raise_alert(alert(f"t{number}", (INFO, WARNING, CRITICAL)[number % 3]))
                if number % 100 == 0:
                    await server.answered(min(number // 100 + 1, 3))
        found = bodies(server)
    assert len(found) <= 5
    counted = [len(body["alerts"]) + sum(body["omitted"].values()) for body in found]
    assert sum(counted) == 1000
    assert all(len(body["text"]) < 2000 for body in found)
    assert found[-1]["title"].startswith(f"aiq [CRITICAL] {counted[-1]} alerts, ")


@at_speed(4)
async def test_a_webhook_that_fails_is_tried_again() -> None:
    """5xx, 429, no reply; one that took it and was cut off has taken it."""
    replies = [Reply.error(500), Reply.error(429), Reply.reset(), Reply.truncated()]
    async with FaultServer(replies) as server:
        async with sending(webhook(server), draw=lambda: 0.1) as (alerts, notes):
            alerts.raise_alert(alert())
            await server.seen(4)
        assert len(server.ledger) == 4
    assert notes == []


@at_speed(4)
async def test_what_a_webhook_asks_for_is_waited() -> None:
    replies = [Reply.error(503, headers={"Retry-After": "10"})]
    async with FaultServer(replies) as server:
        loop = asyncio.get_running_loop()
        async with sending(webhook(server)) as (alerts, _):
            began = loop.time()
            alerts.raise_alert(alert())
            await server.answered(2)
            assert loop.time() - began >= 10


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Reply.error(404), "HTTP 404"),
        (Reply.error(302, headers={"Location": "/other"}), "HTTP 302; redirects are not followed"),
    ],
)
async def test_what_will_not_pass_is_said_once(reply: Reply, said: str) -> None:
    async with FaultServer(reply) as server:
        async with sending(webhook(server)) as (alerts, notes):
            alerts.raise_alert(alert())
            await server.answered(1)
            alerts.raise_alert(alert("slow"))
            await server.answered(2)
        assert [seen.path for seen in server.ledger] == ["/hook", "/hook"]
    assert notes == [
        f"an alert was not delivered to webhook: {said}",
        "2 messages of alerts were not delivered to webhook",
    ]


@at_speed(4)
async def test_a_dead_webhook_delays_no_other_channel() -> None:
    """Nor whoever raises alerts; and its name, not its URL, is said."""
    living, hanging = RecordingChannel(), HangingChannel("hanging")
    dead = webhook("http://127.0.0.1:1/very-secret-path")
    async with sending(dead, hanging, living) as (alerts, notes):
        for number in range(3):
            alerts.raise_alert(alert(f"t{number}"))
            await living.until(lambda: len(living.notices) == number + 1)  # noqa: B023
    assert titles(living) == [f"aiq [CRITICAL] a: t{number}" for number in range(3)]
    assert notes[-2:] == [
        "3 messages of alerts were not delivered to webhook",
        "3 messages of alerts were not delivered to hanging",
    ]
    assert "very-secret" not in "".join(notes)


@at_speed(4)
async def test_a_message_is_given_up_in_the_end() -> None:
    channel = RecordingChannel(fails=lambda _: Undelivered("no"))
    async with sending(channel, draw=lambda: 0.02) as (alerts, notes):
        alerts.raise_alert(alert())
        await channel.until(lambda: channel.tries == ATTEMPTS)
    assert notes[0] == "an alert was not delivered to recorder: no"


async def test_the_end_hurries_what_is_tried_again() -> None:
    """A message whose next try is a minute away gets out while the program ends."""
    channel = RecordingChannel(
        fails=lambda tries: Undelivered("wait", retry_after_s=60) if tries == 1 else None
    )
    async with sending(channel) as (alerts, notes):
        alerts.raise_alert(alert())
        await channel.until(lambda: channel.tries == 1)
    assert (titles(channel), notes) == (["aiq [CRITICAL] a: down"], [])
    assert channel.is_closed


async def test_what_a_channel_cannot_hold_is_lost_and_counted() -> None:
    channel = HangingChannel("hanging")
    async with sending(channel) as (alerts, notes):
        alerts.raise_alert(alert())
        await channel.until(lambda: channel.tries == 1)
        [courier] = alerts._couriers
        notice = compose_any()
        for _ in range(HELD + 7):
            courier.offer(notice)
        courier_lost = courier.lost
        alerts._tasks[0].cancel()  # so that the end need not wait for it
        courier._settled.set()
    assert courier_lost == 7
    assert notes == [f"{HELD + 8} messages of alerts were not delivered to hanging"]


def compose_any() -> Any:
    policy = Alerting()
    policy.add(alert(), 0)
    message = policy.take(0)
    assert message is not None
    return compose(message, redactor=Redactor(), sent_at_us=0)


async def test_a_channel_that_breaks_hurts_nobody() -> None:
    def break_it(_: int) -> Undelivered | None:
        raise RuntimeError(KEY)

    broken, living = RecordingChannel("broken", fails=break_it), RecordingChannel()
    async with sending(broken, living) as (alerts, notes):
        alerts.raise_alert(alert())
        await living.until(lambda: bool(living.notices))
    assert notes[0] == "an alert was not delivered to broken: RuntimeError"


async def test_raising_never_raises() -> None:
    class Broken(Clock):
        def now(self) -> float:
            raise RuntimeError("no time")

    async with sending(RecordingChannel(), clock=Broken()) as (alerts, notes):
        alerts.raise_alert(alert())
    assert notes[0] == "an alert was lost (RuntimeError)"


async def test_without_channels_nothing_is_done() -> None:
    async with sending() as (alerts, notes):
        alerts.raise_alert(alert())
        assert asyncio.all_tasks() == {asyncio.current_task()}
    assert notes == []


async def test_a_name_that_leads_to_a_metadata_address_is_not_connected_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The check is of the address, after the name was looked up."""
    import socket

    def resolve(*_: object, **__: object) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("169.254.169.254", 80))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    hook = webhook("http://metadata.example/hook")
    with pytest.raises(Undelivered, match="Permission denied"):
        await hook.send(compose_any())
    await hook.close()
    proxied = webhook("http://metadata.example/hook", http_proxy="http://127.0.0.1:1")
    with pytest.raises(Undelivered, match="link-local or metadata"):
        await proxied.send(compose_any())
    await proxied.close()


async def test_a_name_that_only_the_proxy_knows_goes_through_it() -> None:
    async with FaultServer() as server:
        hook = webhook("http://only-there.invalid/hook", http_proxy=server.root)
        await hook.send(compose_any())
        await hook.close()
        assert [seen.path for seen in server.ledger] == ["http://only-there.invalid/hook"]


async def test_a_transport_without_a_refusal_connects_anywhere() -> None:
    """The guard belongs to webhooks; a provider may live where it likes."""
    import httpx

    async with FaultServer() as server:
        for refuses, is_reached in ((None, True), (lambda _: True, False), (is_forbidden, True)):
            transport = SocketTransport(refuses=refuses)
            request = httpx.Request("GET", f"{server.url}/models")
            if is_reached:
                assert (await transport.handle_async_request(request)).status_code == 200
            else:
                with pytest.raises(httpx.ConnectError):
                    await transport.handle_async_request(request)
            await transport.aclose()
