"""The same prompts through servers of three vendors' shapes, and across all three in one run."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from aiq.run.result import RunResult
from tests.support.fault_server import FaultServer
from tests.support.replies import Reply, Seen
from tests.support.script_rules import Script
from tests.support.sessions import KEY, PRICE, Bench, ProviderSpec, hurried, provider
from tests.support.shapes import CALL, chat_answer
from tests.support.vendor_prompts import vendor_prompts

PROMPTS = vendor_prompts()
FINISHES = ("stop", "stop", "tool_calls", "length", "content_filter")
PATHS = {
    "openai": "/v1/chat/completions",
    "anthropic": "/v1/messages",
    "gemini": "/v1beta/models/m:generateContent",
}
KEY_HEADERS = {"openai": "authorization", "anthropic": "x-api-key", "gemini": "x-goog-api-key"}


def number_of(seen: Seen) -> int:
    """Every prompt begins with its id, `v017: ...`."""
    return int(seen.prompt[1:4])


def scripted(seen: Seen) -> Reply:
    """Answer a prompt by its number, in the shape of the vendor that was asked."""
    number = number_of(seen)
    finish = FINISHES[number % len(FINISHES)]
    usage = (100 + number, 10 + number)
    body = chat_answer(seen.path, seen.model, f"answer {number}", usage, finish)
    return Reply.json(body, headers={"request-id": f"req-{number}"})


def expected(number: int) -> dict[str, Any]:
    """Return what the export says of a prompt, whoever answered it."""
    finish = FINISHES[number % len(FINISHES)]
    is_call = finish == "tool_calls"
    tokens_in, tokens_out = 100 + number, 10 + number
    call_id, name, _ = CALL
    function = {"name": name, "arguments": '{"city":"Oslo","days":2}'}
    return {
        "state": "succeeded",
        "text": None if is_call else f"answer {number}",
        "finish_reason": finish,
        "tokens": (tokens_in, tokens_out, 0),
        "cost": round(tokens_in * PRICE["input"] + tokens_out * PRICE["output"]),
        "calls": [{"id": call_id, "type": "function", "function": function}] if is_call else None,
        "model": "m",
        "error": None,
    }


def told(row: dict[str, Any]) -> dict[str, Any]:
    """Return the same facts out of an exported row; a vendor may not know of caches."""
    usage = row["usage"]
    return {
        "state": row["state"],
        "text": row["text"],
        "finish_reason": row["finish_reason"],
        "tokens": (usage["input_tokens"], usage["output_tokens"], usage["cached_tokens"] or 0),
        "cost": round(row["cost_usd"] * 1_000_000),
        "calls": row.get("tool_calls"),
        "model": row["model"],
        "error": row["error"],
    }


ALL = {f"v{number:03}": expected(number) for number in range(len(PROMPTS))}
TRUNCATED = sum(one["finish_reason"] == "length" for one in ALL.values())
REFUSED = sum(one["finish_reason"] == "content_filter" for one in ALL.values())


def vendor(kind: str, server: FaultServer, **keys: Any) -> ProviderSpec:
    url = server.url if kind == "openai" else server.root
    return provider(server, kind=kind, base_url=url, api_key_env="VENDOR_KEY", **keys)


def check_totals(result: RunResult) -> None:
    found = result.to_json()
    assert (found["truncated"], found["refused"]) == (TRUNCATED, REFUSED)
    assert found["cost_usd"] == pytest.approx(sum(one["cost"] for one in ALL.values()) / 1e6)
    assert found["tokens"]["output"] == sum(one["tokens"][1] for one in ALL.values())


@pytest.mark.parametrize("kind", PATHS)
async def test_the_same_prompts_end_alike_whoever_answers(kind: str, tmp_path: Path) -> None:
    """Answers, finish reasons, usage and cost are told in one common form."""
    async with FaultServer(scripted) as server:
        bench = Bench(
            tmp_path,
            run={"concurrency": 16},
            environ={"VENDOR_KEY": KEY},
            a=vendor(kind, server),
        )
        result = await bench.run(PROMPTS)
        assert {seen.path for seen in server.ledger} == {PATHS[kind]}
        assert len(server.ledger) == len(PROMPTS)
        for seen in server.ledger:
            assert seen.headers[KEY_HEADERS[kind]].endswith(KEY)
    rows = await bench.exported()
    assert {identity: told(row) for identity, row in rows.items()} == ALL
    check_totals(result)
    completions = await bench.exported(format="openai")
    for identity, line in completions.items():
        body = line["response"]["body"]
        [choice] = body["choices"]
        assert body["object"] == "chat.completion"
        assert choice["message"]["content"] == ALL[identity]["text"]
        assert choice["finish_reason"] == ALL[identity]["finish_reason"]
        assert body["usage"]["prompt_tokens"] == ALL[identity]["tokens"][0]
        assert line["response"]["status_code"] == 200


def failing(remainders: set[int], error: Reply) -> Script:
    """Refuse the prompts whose number leaves one of these remainders by three, each time."""
    return lambda seen: error if number_of(seen) % 3 in remainders else scripted(seen)


@hurried
async def test_failover_across_three_vendors_loses_nothing(tmp_path: Path) -> None:
    """One prompt in three is answered by none but the last, and every answer reads alike."""
    overloaded = {"type": "error", "error": {"type": "api_error", "message": "internal"}}
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(
            FaultServer(failing({1, 2}, Reply.error(500, message="no")))
        )
        second = await stack.enter_async_context(
            FaultServer(failing({2}, Reply.json(overloaded, status=500)))
        )
        third = await stack.enter_async_context(FaultServer(scripted))
        bench = Bench(
            tmp_path,
            run={"concurrency": 16},
            environ={"VENDOR_KEY": KEY},
            one=vendor("openai", first),
            two=vendor("anthropic", second),
            three=vendor("gemini", third),
        )
        result = await bench.run(PROMPTS)
    rows = await bench.exported()
    assert {identity: told(row) for identity, row in rows.items()} == ALL
    check_totals(result)
    by = {identity: row["provider"] for identity, row in rows.items()}
    assert set(by.values()) == {"one", "two", "three"}
    assert all(by[f"v{number:03}"] == "three" for number in range(2, len(PROMPTS), 3))


async def test_what_a_vendor_cannot_say_goes_to_one_that_can(tmp_path: Path) -> None:
    """Audio is not sent to a vendor without it; the job is not lost."""
    audio = {"type": "input_audio", "input_audio": {"data": "QQ==", "format": "wav"}}
    content = [{"type": "text", "text": "what is said?"}, audio]
    line = {"id": "spoken", "messages": [{"role": "user", "content": content}]}
    async with FaultServer() as deaf, FaultServer() as hearing:
        bench = Bench(
            tmp_path,
            environ={"VENDOR_KEY": KEY},
            one=vendor("anthropic", deaf),
            two=vendor("openai", hearing),
        )
        await bench.run([line])
        assert deaf.ledger == []
        assert len(hearing.ledger) == 1
    rows = await bench.exported()
    assert rows["spoken"]["provider"] == "two"


async def test_what_no_provider_can_be_asked_fails_as_a_bad_request(tmp_path: Path) -> None:
    """Nothing is sent and nothing is spent; the kind is one that `retry-failed --kind` can name."""
    audio = {"type": "input_audio", "input_audio": {"data": "AA==", "format": "mp3"}}
    line = {"id": "spoken", "messages": [{"role": "user", "content": [audio]}]}
    async with FaultServer() as server:
        bench = Bench(tmp_path, a=provider(server, kind="anthropic", base_url=server.root))
        result = await bench.run([line, {"id": "written", "prompt": "hi"}])
        assert [seen.prompt for seen in server.ledger] == ["hi"]
    assert bench.states() == {"failed": 1, "succeeded": 1}
    assert bench.failures() == {"spoken": "bad_request"}
    [group] = result.errors
    assert "`input_audio`" in (group.message or "")
    assert result.to_json()["requests"] == 1
