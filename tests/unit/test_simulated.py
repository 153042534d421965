"""The simulated server: deterministic, plausible, and failing exactly as it is told."""

from __future__ import annotations

import json
import math
from typing import Any

import httpx
import msgspec
import pytest

from aiq.clock import Clock
from aiq.model import Answer, Content, Endpoint, Flaw, Problem
from aiq.providers.exchange import Arrival
from aiq.providers.openai import OpenAIDialect
from aiq.providers.simulated import SimulatedReply, SimulatedSettings, Simulation
from aiq.providers.simulated_transport import SimulatedTransport

DIALECT = OpenAIDialect()
CHAT = {
    "model": "m",
    "messages": [{"role": "user", "content": "Explain photosynthesis to a child"}],
}


def ask(
    simulation: Simulation, request: Any, endpoint: Endpoint = Endpoint.CHAT, now: float = 0.0
) -> SimulatedReply:
    body = json.dumps(request).encode()
    reply = simulation.reply(path=f"/v1/{DIALECT.path(endpoint, 'm')}", body=body, now=now)
    assert reply is not None
    return reply


def read(reply: SimulatedReply, endpoint: Endpoint = Endpoint.CHAT) -> Answer | Problem:
    return DIALECT.read(endpoint, reply.status_code, dict(reply.headers), reply.body)


def content(request: Any, endpoint: Endpoint = Endpoint.CHAT) -> Content:
    reply = ask(Simulation(SimulatedSettings()), request, endpoint)
    assert isinstance(read(reply, endpoint), Answer)
    return DIALECT.content(endpoint, reply.body)


def numbered(count: int) -> list[dict[str, Any]]:
    return [CHAT | {"seed": number} for number in range(count)]


def test_the_same_request_gets_the_same_reply() -> None:
    settings = SimulatedSettings(error_rate=0.5)
    first = [ask(Simulation(settings), request) for request in numbered(20)]
    assert first == [ask(Simulation(settings), request) for request in numbered(20)]
    other = SimulatedSettings(error_rate=0.5, seed=1)
    assert first != [ask(Simulation(other), request) for request in numbered(20)]


def test_answers_take_up_the_prompt_and_vary() -> None:
    texts = {content(request).text for request in numbered(20)}
    assert len(texts) > 10
    assert all("photosynthesis" in (text or "") for text in texts)


def test_usage_follows_the_text() -> None:
    reply = ask(Simulation(SimulatedSettings()), CHAT)
    found = read(reply)
    assert isinstance(found, Answer)
    text = DIALECT.content(Endpoint.CHAT, reply.body).text or ""
    assert found.usage.output_tokens == math.ceil(len(text) / 4)
    assert found.usage.input_tokens == math.ceil(len("Explain photosynthesis to a child") / 4)


def test_a_cap_cuts_the_answer() -> None:
    found = content(CHAT | {"max_tokens": 3})
    assert (len(found.text or ""), found.finish_reason) == (12, "length")


def test_json_where_it_is_asked_for() -> None:
    plain = content(CHAT | {"response_format": {"type": "json_object"}})
    assert set(json.loads(plain.text or "")) == {"answer", "topics", "confidence"}
    properties = {
        "name": {"type": "string"},
        "age": {"type": "integer"},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}},
        "ok": {"type": "boolean"},
    }
    schema = {"type": "object", "properties": properties}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    value = json.loads(content(CHAT | {"response_format": wanted}).text or "")
    assert [type(value[name]) for name in properties] == [str, int, list, bool]
    assert value["tags"][0] in ("a", "b")


def test_the_other_endpoints() -> None:
    assert content({"model": "m", "prompt": "Tell me"}, Endpoint.COMPLETIONS).text
    assert content({"model": "m", "input": "Tell me"}, Endpoint.RESPONSES).text
    one = content({"model": "m", "input": "a"}, Endpoint.EMBEDDINGS).embedding
    assert math.hypot(*one) == pytest.approx(1, abs=1e-4)
    many = content({"model": "m", "input": ["a", "b"]}, Endpoint.EMBEDDINGS).embedding
    assert many[0] == one
    assert many[1] != one


def test_it_takes_any_model_and_so_lists_none() -> None:
    """A probe would otherwise miss the model that the configuration names."""
    models = Simulation(SimulatedSettings()).reply(path="/v1/models", body=b"", now=0)
    assert models is not None
    assert models.status_code == 404


@pytest.mark.parametrize(
    ("path", "body", "status"), [("/v2/x", b"{}", 404), ("/v1/embeddings", b"[", 400)]
)
def test_nonsense_is_refused(path: str, body: bytes, status: int) -> None:
    reply = Simulation(SimulatedSettings()).reply(path=path, body=body, now=0)
    assert reply is not None
    assert reply.status_code == status


def test_the_error_rate_is_kept_and_mixed() -> None:
    simulation = Simulation(SimulatedSettings(error_rate=0.3))
    replies = [ask(simulation, request) for request in numbered(2000)]
    problems = [p for p in map(read, replies) if isinstance(p, Problem)]
    assert 500 < len(problems) < 700
    assert {p.status_code for p in problems} == {200, 500, 503}
    assert {p.flaw for p in problems if p.status_code == 200} == {Flaw.NO_CHOICES}


def test_who_is_probed_draws_anew_each_time() -> None:
    """The same is asked again and again; the first time is that of a run."""
    settings = SimulatedSettings(error_rate=0.5)
    simulation = Simulation(settings, is_probed=True)
    replies = [ask(simulation, CHAT) for _ in range(200)]
    assert replies[0] == ask(Simulation(settings), CHAT)
    assert 70 < sum(isinstance(read(reply), Problem) for reply in replies) < 130
    assert len({reply.delay_s for reply in replies}) == 200


def test_each_attempt_draws_anew() -> None:
    """A job that failed once is not doomed to fail for ever."""
    simulation = Simulation(SimulatedSettings(error_rate=0.5))
    for request in numbered(50):
        assert any(isinstance(read(ask(simulation, request)), Answer) for _ in range(30))


def test_the_mean_latency_is_the_one_asked_for() -> None:
    replies = [ask(Simulation(SimulatedSettings(latency_ms=200)), r) for r in numbered(2000)]
    delays = [reply.delay_s for reply in replies]
    assert sum(delays) / len(delays) == pytest.approx(0.2, rel=0.05)
    assert min(delays) >= 0.1
    constant = Simulation(SimulatedSettings(latency_ms=200, latency_spread=0))
    assert ask(constant, CHAT).delay_s == pytest.approx(0.2)


def test_the_throttle_allows_so_many_in_any_minute() -> None:
    simulation = Simulation(SimulatedSettings(throttle_per_minute=2))
    assert [ask(simulation, CHAT, now=now).status_code for now in (0, 10, 20)] == [200, 200, 429]
    refused = read(ask(simulation, CHAT, now=59.5))
    assert isinstance(refused, Problem)
    assert refused.retry_after_s == pytest.approx(0.5)
    assert ask(simulation, CHAT, now=60.0).status_code == 200
    assert ask(simulation, CHAT, now=60.1).status_code == 429


@pytest.mark.parametrize(("now", "is_up"), [(4.9, True), (5.0, False), (7.9, False), (8.0, True)])
def test_an_outage_refuses_connections(now: float, is_up: bool) -> None:
    simulation = Simulation(SimulatedSettings(outages=[(5, 8)]))
    reply = simulation.reply(path="/v1/chat/completions", body=json.dumps(CHAT).encode(), now=now)
    assert (reply is not None) is is_up


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("latency_ms", -1),
        ("latency_ms", float("inf")),
        ("latency_spread", 1.5),
        ("error_rate", float("nan")),
        ("throttle_per_minute", 0),
        ("outages", [[8, 5]]),
        ("outages", [[5]]),
        ("sneed", 1),
    ],
)
def test_nonsense_settings_are_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(msgspec.ValidationError, match=name):
        msgspec.convert({name: value}, SimulatedSettings)


class StoppedClock(Clock):
    """A clock whose time passes only by sleeping."""

    def __init__(self) -> None:
        self.instant = 100.0

    def now(self) -> float:
        return self.instant

    async def sleep(self, seconds: float) -> None:
        self.instant += seconds


async def test_the_transport_waits_and_answers() -> None:
    clock, arrival = StoppedClock(), Arrival()
    settings = SimulatedSettings(latency_ms=250, latency_spread=0, outages=[(0.2, 0.3)])
    transport = SimulatedTransport(settings, clock)
    request = httpx.Request(
        "POST",
        "http://simulated.invalid/v1/chat/completions",
        json=CHAT,
        extensions={"arrival": arrival},
    )
    response = await transport.handle_async_request(request)
    assert clock.instant == 100.25
    assert (response.status_code, arrival.status_code) == (200, 200)
    assert response.content == arrival.body
    assert isinstance(DIALECT.read(Endpoint.CHAT, 200, response.headers, response.content), Answer)
    with pytest.raises(httpx.ConnectError, match="outage"):
        await transport.handle_async_request(request)
