"""What is held while a run or an ingest goes on has a bound, however much has gone through it."""

from __future__ import annotations

import json
import random
from collections import deque
from typing import Any

import httpx
import pytest

from aiq.clock import Clock
from aiq.model import Endpoint, Kind
from aiq.policy import admission
from aiq.policy.buckets import PERIOD_S, Bucket
from aiq.policy.defaults import BreakerSettings, LimitSettings
from aiq.policy.learned import Taken
from aiq.policy.limits import NOTHING
from aiq.policy.outbreak import Outbreak
from aiq.policy.slowness import BASELINE, Slowness
from aiq.policy.standing import CONFIRMATIONS, Standing
from aiq.policy.window import SAMPLE, Latencies, Window
from aiq.prompts.request_fields import mistyped
from aiq.prompts.shapes import parse
from aiq.providers import simulated
from aiq.providers.simulated import SimulatedSettings, Simulation
from aiq.run import chunks, fleet, price_table
from aiq.run.chunks import next_chunk
from aiq.run.deadlines import Deadlines
from aiq.run.fleet import Fleet
from aiq.run.halt import GIVEN_UP_KEPT, Halt
from aiq.run.price_table import PriceTable, Terms
from aiq.store.rows import CHUNKS, statements
from tests.support.factories import candidate, outcome, provider, standing
from tests.support.reach import reachable

KINDS = (Kind.OK, Kind.OK, Kind.OK, Kind.SERVER_ERROR, Kind.RATE_LIMITED, Kind.CONNECT)


# Policies


def test_a_window_holds_as_many_calls_as_it_judges_by() -> None:
    settings = BreakerSettings(window_calls=50)
    window = Window(settings, Latencies())
    for call in range(1000):
        window.add(started=float(call), now=call + 0.5, is_bad=call % 3 == 0)
    assert len(window._calls) == 50
    window.widen(400)
    for call in range(1000, 2000):
        window.add(started=float(call), now=call + 0.5, is_bad=False)
    assert len(window._calls) == 400


def test_latencies_are_a_sample() -> None:
    latencies = Latencies()
    for call in range(10 * SAMPLE):
        latencies.add(call / 10, is_good=call % 2 == 0)
    assert len(latencies._all) == len(latencies._good) == SAMPLE


def test_slowness_holds_what_it_compares() -> None:
    settings = BreakerSettings(slow_calls=10)
    slowness = Slowness(settings)
    for call in range(1000):
        slowness.note(1.0 + 30.0 * (call // 100 % 2), now=call + 1.0, started=float(call))
        assert len(slowness._latest) <= 2 * settings.slow_calls
    assert len(slowness._baseline) == BASELINE


def test_an_outbreak_holds_what_is_out_and_few_bad_calls() -> None:
    """Of noise, because a good call that started later makes history of the bad ones before it."""
    outbreak, draw, out = Outbreak(), random.Random(1), deque[int]()
    for _ in range(20_000):
        out.append(outbreak.start())
        if len(out) < 16:
            continue
        out.rotate(-draw.randrange(16))
        number = out.popleft()
        if draw.random() < 0.5:
            outbreak.bad(number, is_congestion=False)
        else:
            outbreak.good(number)
        assert len(outbreak._out) <= 16
        assert outbreak.size <= 64


def test_what_was_sent_is_counted_by_the_second_of_the_span() -> None:
    taken, now = Taken(LimitSettings().learned_span_s), 0.0
    for _ in range(20_000):
        taken.start(now)
        now += 0.05
    assert len(taken._seconds) <= LimitSettings().learned_span_s + 1


def test_a_bucket_holds_half_seconds_of_the_last_minute() -> None:
    bucket, now = Bucket(600, burst=1 / 30), 0.0
    for _ in range(20_000):
        bucket.take(now, 1)
        now += 0.05
    assert len(bucket._slices) <= 2 * PERIOD_S


def test_doubts_end_in_a_refusal() -> None:
    """However many jobs meet it: three of them are enough, and so is one three times."""
    one = standing()
    one.judge("m", outcome(Kind.OK), job_id=0)
    asked = 0
    while not one.is_out("m"):
        asked += 1
        one.judge("m", outcome(Kind.NOT_FOUND, model_only=True), job_id=asked % 2)
    assert doubts(one) == asked <= 2 * CONFIRMATIONS


def doubts(one: Standing) -> int:
    return sum(map(len, one._doubts.values()))


def test_a_standing_does_not_grow_with_its_calls() -> None:
    """Whatever they end in: all that hangs on it is as much after twenty thousand as after five."""
    one, draw, now, sizes = candidate(limit=8), random.Random(7), 0.0, []
    for job_id in range(20_001):
        now = max(now + 0.1, admission.access(one, now + 0.1, NOTHING).at)
        admitted = admission.admit(one, now, NOTHING, size=100)
        met = outcome(draw.choice(KINDS), message=f"job {job_id}")
        admission.settle(
            admitted, met, job_id=job_id, now=now + draw.random(), started=now, draw=draw.random()
        )
        if job_id % 5_000 == 0:
            sizes.append(reachable(one))
    assert max(sizes[2:]) < 1.1 * sizes[1]
    assert sizes[1] < 2_000


# A run


async def test_only_limits_of_what_is_in_flight_are_held() -> None:
    deadlines = Deadlines(Clock())
    for _ in range(100):
        with deadlines.limit(60.0):
            assert len(deadlines._ends) == 1
    assert not deadlines._ends


@pytest.fixture
def few_models(monkeypatch: pytest.MonkeyPatch) -> Fleet:
    monkeypatch.setattr(fleet, "MODELS_CACHED", 4)
    return Fleet.of(
        [provider(kind="gemini")],
        concurrency=1,
        transports=lambda _: httpx.MockTransport(lambda _: httpx.Response(200)),
    )


def test_candidates_are_cached_for_so_many_models(few_models: Fleet) -> None:
    for number in range(20):
        (found,) = few_models.candidates(f"m{number}")
        assert found.model == f"m{number}"
        assert len(few_models._candidates) <= 4
    assert few_models.candidates("m19") == (found,)


def test_addresses_are_cached_for_so_many_models(few_models: Fleet) -> None:
    """Gemini and Azure have the model in the address."""
    one = few_models.providers["a"]
    for number in range(20):
        assert f"m{number}" in str(one.url(Endpoint.CHAT, f"m{number}"))
        assert len(one._urls) <= 4
    assert one.url(Endpoint.CHAT, "m19") is one.url(Endpoint.CHAT, "m19")


def test_ceilings_and_unlisted_models_are_remembered_up_to_a_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(price_table, "CEILINGS_KEPT", 4)
    monkeypatch.setattr(price_table, "UNLISTED_KEPT", 3)
    table = PriceTable(provider_id="openai", base_url="https://api.openai.com/v1")
    for number in range(20):
        assert table.ceiling(f"no-such-{number}", Terms(), utc_us=0, within_s=1.0) is None
        assert len(table._ceilings) <= 4
    assert len(table._unlisted) == 3


def test_a_simulated_server_remembers_the_latest_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that went elsewhere after it failed never comes back to be forgotten."""
    monkeypatch.setattr(simulated, "FAILURES_KEPT", 10)
    simulation = Simulation(SimulatedSettings(error_rate=1.0))
    for number in range(100):
        ask(simulation, number)
    assert len(simulation._failures) == 10
    ask(simulation, 90)  # the oldest of them is the newest now
    ask(simulation, 100)
    ask(simulation, 90)
    assert sorted(simulation._failures.values()) == [1] * 9 + [3]


def ask(simulation: Simulation, number: int) -> None:
    body = json.dumps({"messages": [{"role": "user", "content": str(number)}]}).encode()
    assert simulation.reply(path="/v1/chat/completions", body=body, now=0.0) is not None


# An ingest


def raw(count: int, line: bytes) -> Any:
    return iter([(number, line) for number in range(1, count + 1)])


def test_a_chunk_ends_at_its_lines_or_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK_LINES", 50)
    monkeypatch.setattr(chunks, "CHUNK_BYTES", 1000)
    short, long = b'{"prompt": "x"}', b'{"prompt": "%s"}' % (b"x" * 86)
    assert len(next_chunk(raw(200, short), {})) == 50
    assert len(next_chunk(raw(200, long), {})) == 10
    assert len(next_chunk(raw(200, b"no JSON" * 100), {})) == 2


def test_twenty_mistyped_keys_are_told() -> None:
    found: dict[str, str] = {}
    for number in range(1, 100):
        parse(json.dumps({"prompt": "x", "max" + "_" * number + "tokens": 1}).encode(), found)
    assert len(found) == 20
    assert mistyped.cache_info().maxsize == 4096


def test_statements_over_any_number_of_rows_have_few_texts() -> None:
    """So the cache of texts, and SQLite's of prepared statements, stay as small."""
    texts = {
        one.sql
        for count in range(1, 600)
        for one in statements("SELECT * FROM (VALUES {rows})", [(1, 2)] * count)
    }
    assert len(texts) == len(CHUNKS)


def test_jobs_that_nobody_can_take_are_remembered_up_to_a_number() -> None:
    """Those beyond it keep the run from ending as if all were done, and that is all they cost."""
    halt = Halt()
    for job_id in range(GIVEN_UP_KEPT + 10):
        halt.give_up(job_id, None)
    assert len(halt.given_up) == GIVEN_UP_KEPT
    halt.given_up.clear()
    assert halt.leaves_jobs
