"""What a run has cost: exact where a price is known, else unknown; possibly paid apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aiq.errors import ExitCode, Refused
from aiq.run.options import Requeue
from aiq.run.worst_case import MESSAGE_TOKENS, TEMPLATE_TOKENS
from tests.support.fault_server import FaultServer
from tests.support.replies import Reply
from tests.support.sessions import Bench, batch_line, hurried, prompts, provider
from tests.support.shapes import chat_body

ONE = {"concurrency": 1}


def answer(usage: dict[str, Any] | None) -> Reply:
    """Return an answer with this `usage`, or none at all."""
    body = chat_body("served", "text", (0, 0), "stop")
    del body["usage"]
    return Reply.json(body if usage is None else body | {"usage": usage})


def tokens(given: int, made: int, **more: Any) -> dict[str, Any]:
    return {"prompt_tokens": given, "completion_tokens": made, **more}


@pytest.mark.parametrize(
    ("price", "usage", "nano"),
    [
        ({"input": 0.40, "output": 1.60}, tokens(3, 5), 1200 + 8000),
        ({"input": 0.15, "output": 0.6}, tokens(1, 1), 150 + 600),
        ({"input": 0.0001, "output": 0.0}, tokens(7, 1), 1),
        (
            {"input": 2.0, "output": 8.0, "cached_input": 0.5},
            tokens(1000, 10, prompt_tokens_details={"cached_tokens": 600}),
            400 * 2000 + 600 * 500 + 10 * 8000,
        ),
        (
            {"input": 2.0, "output": 8.0},
            tokens(1000, 10, prompt_tokens_details={"cached_tokens": 600}),
            1000 * 2000 + 10 * 8000,
        ),
        ({"input": 0.0, "output": 0.0}, None, 0),
    ],
    ids=["simple", "cents", "rounded", "cached", "no cached price", "free without usage"],
)
async def test_configured_price_to_the_nano_dollar(
    tmp_path: Path, price: dict[str, float], usage: dict[str, Any] | None, nano: int
) -> None:
    async with FaultServer(answer(usage)) as server:
        bench = Bench(tmp_path, a=provider(server, price=price))
        result = await bench.run(prompts(3))
    assert bench.rows("SELECT DISTINCT cost_nano, price_source FROM attempt") == [(nano, "config")]
    told = result.to_json()
    assert told["cost_usd"] == told["cost_total_usd"] == 3 * nano / 1e9
    assert told["cost_complete"] is True
    assert told["providers"][0]["cost_usd"] == 3 * nano / 1e9


async def test_an_unknown_price_is_never_zero(tmp_path: Path) -> None:
    """No price: null, not complete, but tokens are counted."""
    async with FaultServer() as server:
        bench = Bench(tmp_path, a=provider(server, price=None))
        told = (await bench.run(prompts(2))).to_json()
    assert (told["cost_usd"], told["cost_total_usd"], told["cost_complete"]) == (None, None, False)
    assert told["tokens"] == {"input": 2, "output": 4, "cached": 0}
    assert bench.rows("SELECT DISTINCT cost_nano, billed FROM attempt") == [(None, "yes")]
    assert {row["cost_usd"] for row in (await bench.exported()).values()} == {None}


@pytest.mark.parametrize(
    "usage", [None, {}, tokens(-1, 5), {"prompt_tokens": "3"}, tokens(3, 10**9)]
)
async def test_unusable_usage_makes_the_cost_unknown(tmp_path: Path, usage: Any) -> None:
    """The answer is kept; what it cost is not made up."""
    async with FaultServer(lambda s: answer(usage) if s.prompt == "p0" else None) as server:
        bench = Bench(tmp_path, a=provider(server))
        result = await bench.run(prompts(2))
    assert result.exit_code is ExitCode.OK
    told = result.to_json()
    assert (told["cost_usd"], told["cost_complete"]) == (5 / 1e6, False)


@pytest.mark.parametrize(
    ("usage", "nano"),
    [
        (tokens(3, 5, cost=0.00125), 1_250_000),
        (tokens(3, 5, cost=0), 0),
        (tokens(3, 5, cost_in_usd_ticks=12_340), 1_234),
        (
            tokens(3, 5, cost=0.001, is_byok=True)
            | {"cost_details": {"upstream_inference_cost": 0.02}},
            21_000_000,
        ),
    ],
    ids=["dollars", "free", "ticks", "own key"],
)
async def test_the_reply_s_own_cost_wins(tmp_path: Path, usage: dict[str, Any], nano: int) -> None:
    async with FaultServer(answer(usage)) as server:
        bench = Bench(tmp_path, a=provider(server))
        result = await bench.run(prompts(1))
    assert bench.rows("SELECT cost_nano, price_source FROM attempt") == [(nano, "reply")]
    assert result.to_json()["cost_usd"] == nano / 1e9


async def test_embeddings_cost_their_input(tmp_path: Path) -> None:
    async with FaultServer() as server:
        bench = Bench(tmp_path, a=provider(server))
        result = await bench.run([batch_line("e", "/v1/embeddings", {"input": "x" * 400})])
    assert result.to_json()["cost_usd"] == 100 / 1e6


@hurried
async def test_a_paid_but_unusable_reply_is_spent(tmp_path: Path) -> None:
    """A reply without content that reports its usage was paid; one that does not, perhaps."""
    empty = {"choices": [{"index": 0, "message": {"content": None}, "finish_reason": "stop"}]}
    replies = [Reply.json(empty | {"usage": tokens(10, 20)}), answer(tokens(1, 2))]
    async with FaultServer(replies) as server:
        bench = Bench(tmp_path, a=provider(server), run=ONE)
        told = (await bench.run(prompts(1))).to_json()
    assert bench.rows("SELECT kind, billed, cost_nano FROM attempt ORDER BY number") == [
        ("bad_response", "yes", 50_000),
        ("ok", "yes", 5_000),
    ]
    assert told["cost_usd"] == 55 / 1e6
    assert told["possibly_paid"] == {"requests": 0, "max_usd": 0.0}
    assert (await bench.exported())["p0"]["cost_usd"] == 55 / 1e6


@hurried
@pytest.mark.parametrize(
    ("keys", "most"),
    [
        ({"max_tokens": 100}, (2 + MESSAGE_TOKENS + TEMPLATE_TOKENS) * 1.0 + 100 * 2.0),
        ({}, None),
        ({"price": None, "max_tokens": 100}, None),
        ({"price": {"input": 0.0, "output": 0.0}}, 0.0),
    ],
    ids=["bounded", "no cap", "no price", "free"],
)
async def test_possibly_paid_is_kept_apart(
    tmp_path: Path, keys: dict[str, Any], most: float | None
) -> None:
    """An attempt of unknown outcome carries the most it can have cost, and is not spent."""
    async with FaultServer([Reply.hang_up(), Reply.html(200)]) as server:
        bench = Bench(tmp_path, a=provider(server, **keys), run=ONE)
        told = (await bench.run(prompts(1))).to_json()
    assert told["possibly_paid"]["requests"] == 2
    max_usd = told["possibly_paid"]["max_usd"]
    assert max_usd == (None if most is None else pytest.approx(2 * most / 1e6))
    assert told["cost_complete"] is (keys.get("price", 1) is not None)
    assert bench.rows(
        "SELECT count(*), count(cost_nano), count(price_source) FROM attempt WHERE billed = 'maybe'"
    ) == [(2, 0, 0)]


async def test_refusals_cost_nothing(tmp_path: Path) -> None:
    """Neither a limit, a refusal nor an error of the server is billed."""
    replies = [
        Reply.error(429, headers={"retry-after-ms": "1"}),
        Reply.error(400, code="a"),
        Reply.error(401),
    ]
    async with FaultServer(replies) as server:
        bench = Bench(tmp_path, a=provider(server), run=ONE)
        told = (await bench.run(prompts(3))).to_json()
    assert (told["cost_usd"], told["cost_complete"]) == (0.0, True)
    assert bench.rows("SELECT DISTINCT billed, cost_nano FROM attempt") == [("no", 0)]


FAILED_RESPONSE = {
    "object": "response",
    "status": "failed",
    "error": {"code": "server_error", "message": "oops"},
    "usage": {"input_tokens": 10, "output_tokens": 20},
}
INNER = {"error": {"code": 429, "message": "slow", "metadata": {"retry_after_seconds": 0}}}
LIMITED = {"choices": [INNER | {"finish_reason": "error", "message": {"content": "part"}}]}
EMPTY = {"choices": [{"message": {"content": None}, "finish_reason": "stop"}]}


@hurried
@pytest.mark.parametrize(
    ("endpoint", "document", "row"),
    [
        ("responses", FAILED_RESPONSE, ("server_error", "yes", 50_000, "config")),
        (
            "chat/completions",
            LIMITED | {"usage": tokens(10, 20, cost=0.001)},
            ("rate_limited", "yes", 1_000_000, "reply"),
        ),
        (
            "chat/completions",
            EMPTY | {"usage": tokens(10, 20, cost=0.001)},
            ("bad_response", "yes", 1_000_000, "reply"),
        ),
    ],
    ids=["failed response", "limit of an upstream", "empty"],
)
async def test_a_failure_that_reports_its_cost_is_spent(
    tmp_path: Path, endpoint: str, document: Any, row: tuple[Any, ...]
) -> None:
    """A reply of 200 was paid if it says so, and costs what it says: that comes before a price."""
    first = Reply.json(document, headers={"retry-after-ms": "1"})
    replies = [first, Reply.answer()]
    async with FaultServer(replies) as server:
        bench = Bench(tmp_path, a=provider(server), run=ONE)
        key = "input" if endpoint == "responses" else "messages"
        asked = "x" if key == "input" else [{"role": "user", "content": "x"}]
        body = {key: asked, "max_tokens" if key == "messages" else "max_output_tokens": 10}
        await bench.run([batch_line("a", f"/v1/{endpoint}", body)])
    found = bench.rows("SELECT kind, billed, cost_nano, price_source FROM attempt ORDER BY number")
    assert found[0] == row
    assert found[1][:2] == ("ok", "yes")


async def test_a_line_with_a_list_of_types_is_a_line_like_any_other(tmp_path: Path) -> None:
    """A JSON schema may have one; it ended every run of its database."""
    schema = {"type": "object", "properties": {"a": {"type": ["string", "null"]}}}
    item = {"type": "function_call_output", "call_id": "c", "output": [{"schema": schema}]}
    lines = [
        batch_line("a", "/v1/responses", {"input": [item], "max_output_tokens": 10}),
        *prompts(2),
        {"id": "t", "prompt": "x", "tools": [{"type": ["function"]}], "max_tokens": 10},
    ]
    async with FaultServer() as server:
        bench = Bench(tmp_path, a=provider(server))
        result = await bench.run(lines)
    assert result.exit_code == ExitCode.OK
    assert bench.states() == {"succeeded": 4}


@hurried
async def test_total_cost_covers_every_run(tmp_path: Path) -> None:
    """`cost_usd` is this run's; `cost_total_usd` all that the jobs in scope ever cost."""
    empty = Reply.json({"choices": [], "usage": tokens(1_000_000, 0)})
    async with FaultServer(lambda s: empty if s.prompt == "p0" else None) as server:
        bench = Bench(tmp_path, a=provider(server), run=ONE | {"max_attempts": 1})
        first = (await bench.run(prompts(2))).to_json()
        assert first["cost_usd"] == first["cost_total_usd"] == pytest.approx(1.000005)

        second = (await bench.run(requeue=Requeue(), partial=True)).to_json()
        assert (second["total"], second["cost_usd"]) == (1, 1.0)
        assert second["cost_total_usd"] == 2.0

        server.load(None)
        third = (await bench.run(requeue=Requeue(), partial=True)).to_json()
        assert third["cost_usd"] == pytest.approx(5e-6)
        assert third["cost_total_usd"] == pytest.approx(2.000005)

        last = (await bench.run(prompts(2))).to_json()
    assert (last["requests"], last["cost_usd"]) == (0, 0.0)
    assert last["cost_total_usd"] == pytest.approx(2.00001)


async def test_an_unknown_price_is_not_exported_as_nothing(tmp_path: Path) -> None:
    """A first attempt that was free does not make the second one free as well."""
    async with FaultServer([Reply.error(500), Reply.chat("yes")]) as server:
        bench = Bench(tmp_path, a=provider(server, price=None), run={"concurrency": 1})
        await bench.run(prompts(1))
        (row,) = (await bench.exported()).values()
    assert (row["attempts"], row["cost_usd"]) == (2, None)


async def test_a_budget_is_refused_once_for_all_providers_it_cannot_bound(tmp_path: Path) -> None:
    """All of them at once, and the file in which each can be mended."""
    bench = Bench(
        tmp_path,
        a=provider("http://127.0.0.1:1/v1", price=None),
        b=provider("http://127.0.0.1:2/v1", max_tokens=10),
        c=provider("http://127.0.0.1:3/v1", price=None, max_tokens=10),
    )
    with pytest.raises(Refused) as refused:
        await bench.run(prompts(1), overrides={"budget_usd": 1.0})
    assert str(refused.value) == (
        "`a` has no known price for `m`; `c` has no known price for `m`;"
        " `a` lets answers grow without a cap: a budget cannot bound them"
    )
    assert refused.value.hint == (
        "give a price in aiq.toml: price = { input = ..., output = ... } (USD per million tokens),"
        " or leave the provider out with -p; set `max_tokens` in aiq.toml,"
        " or give `--param max_tokens=512`"
    )
