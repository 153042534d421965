"""What the Anthropic dialect reads out of replies, and what its errors mean."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aiq.model import Answer, Billed, Content, Endpoint, Flaw, Kind, Outcome, Problem, Usage
from aiq.policy.outcomes import classify
from aiq.providers.anthropic import AnthropicDialect
from aiq.providers.reply_headers import read_headers
from tests.support.anthropic_replies import (
    anthropic_body,
    anthropic_error,
    anthropic_models,
    anthropic_tool_use,
)

DIALECT = AnthropicDialect()
CHAT = Endpoint.CHAT


def reply(text: str = "hi", usage: tuple[int, int] = (10, 5), **keys: Any) -> bytes:
    return json.dumps(anthropic_body("claude-x", text, usage, **keys)).encode()


def answer(body: bytes) -> Answer:
    found = DIALECT.read(CHAT, 200, {}, body)
    assert isinstance(found, Answer), found
    return found


def problem(body: bytes, status_code: int = 200, **headers: str) -> Problem:
    found = DIALECT.read(CHAT, status_code, headers, body)
    assert isinstance(found, Problem), found
    return found


def test_an_answer_is_read_whole() -> None:
    assert answer(reply()) == Answer(
        usage=Usage(input_tokens=10, output_tokens=5, cached_tokens=0, cache_write_tokens=0),
        finish_reason="stop",
        served_model="claude-x",
    )
    assert DIALECT.content(CHAT, reply()) == Content(text="hi", finish_reason="stop")


def test_all_text_is_joined_and_thoughts_are_skipped() -> None:
    blocks = [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "text", "text": "one ", "citations": None},
        {"type": "redacted_thinking", "data": "x"},
        {"type": "text", "text": "two"},
    ]
    assert DIALECT.content(CHAT, reply(blocks=blocks)).text == "one two"


@pytest.mark.parametrize(
    ("stop", "finish", "truncated", "refused"),
    [
        ("end_turn", "stop", False, False),
        ("stop_sequence", "stop", False, False),
        ("max_tokens", "length", True, False),
        ("model_context_window_exceeded", "length", True, False),
        ("tool_use", "tool_calls", False, False),
        ("refusal", "content_filter", False, True),
        ("pause_turn", "pause_turn", False, False),
        ("novel", "novel", False, False),
    ],
)
def test_stop_reasons_in_the_words_of_a_chat(
    stop: str, finish: str, truncated: bool, refused: bool
) -> None:
    found = answer(reply(stop=stop))
    assert (found.finish_reason, found.truncated, found.refused) == (finish, truncated, refused)


@pytest.mark.parametrize("stop", ["max_tokens", "refusal", "pause_turn", "stop_sequence"])
def test_a_paid_answer_may_be_empty_where_its_reason_says_why(stop: str) -> None:
    assert answer(reply(blocks=[], stop=stop)).usage.output_tokens == 5


@pytest.mark.parametrize("blocks", [[], [{"type": "thinking", "thinking": "hm"}]])
def test_an_answer_that_says_nothing_is_a_paid_flaw(blocks: list[Any]) -> None:
    found = problem(reply(blocks=blocks))
    assert found.flaw is Flaw.EMPTY
    outcome = classify(found, elapsed_s=1.0, answered_before=True)
    assert (outcome.kind, outcome.billed) == (Kind.BAD_RESPONSE, Billed.YES)


def test_a_refusal_tells_its_reason() -> None:
    body = reply(blocks=[], stop="refusal", explanation="not this")
    assert DIALECT.content(CHAT, body) == Content(
        finish_reason="content_filter", refusal="not this"
    )


def test_tool_calls_keep_their_arguments_to_the_letter() -> None:
    body = reply(blocks=[anthropic_tool_use("t1", "f", city="Oslo", n=1.50)], stop="tool_use")
    body = body.replace(b"1.5", b"1.50")
    [found] = DIALECT.content(CHAT, body).tool_calls or []
    function = {"name": "f", "arguments": '{"city": "Oslo", "n": 1.50}'}
    assert found == {"id": "t1", "type": "function", "function": function}
    assert answer(body).finish_reason == "tool_calls"


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (
            {
                "input_tokens": 10,
                "output_tokens": 5,
                "cache_read_input_tokens": 20,
                "cache_creation_input_tokens": 300,
                "cache_creation": {"ephemeral_1h_input_tokens": 200},
            },
            Usage(
                input_tokens=330,
                output_tokens=5,
                cached_tokens=20,
                cache_write_tokens=300,
                cache_write_1h_tokens=200,
            ),
        ),
        ({"input_tokens": 10, "output_tokens": 5}, Usage(input_tokens=10, output_tokens=5)),
        (
            {"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": None},
            Usage(input_tokens=10, output_tokens=5),
        ),
        ({"input_tokens": "10", "output_tokens": -1}, Usage()),
        # More cached than there was, once sums are made of it.
        (
            {"cache_read_input_tokens": 9, "output_tokens": 5},
            Usage(output_tokens=5),
        ),
        ("many", Usage()),
        (None, Usage()),
    ],
)
def test_input_is_the_sum_of_what_the_cache_saw_and_what_it_did_not(
    usage: Any, expected: Usage
) -> None:
    """An odd count is unknown and never spoils the answer it came with."""
    body = anthropic_body("m", "hi", (1, 1)) | {"usage": usage}
    assert answer(json.dumps(body).encode()).usage == expected


@pytest.mark.parametrize(
    "document",
    [
        {"content": "hi"},
        {"content": [{"type": "text", "text": "hi", "id": 5}, "junk"], "model": 7},
        {"content": [{"type": "text", "text": "hi"}, {"type": "tool_use", "input": "\ud800"}]},
        {"content": [{"type": "text", "text": "hi"}], "stop_details": "odd", "id": 4},
    ],
)
def test_odd_messages_are_answers_still(document: dict[str, Any]) -> None:
    body = json.dumps(document).encode()
    assert isinstance(answer(body), Answer)
    assert DIALECT.content(CHAT, body).text == "hi"


@pytest.mark.parametrize(
    ("body", "flaw"),
    [
        (b"<html><title>Sign in</title>", Flaw.HTML),
        (reply()[:40], Flaw.NOT_JSON),
        (b"\xff\xfe", Flaw.NOT_JSON),
        (b"{}", Flaw.NO_CHOICES),
        (b"[]", Flaw.NO_CHOICES),
        (b'{"choices": [{"message": {"content": "another vendor"}}]}', Flaw.NO_CHOICES),
        (json.dumps(anthropic_error("overloaded_error")).encode(), Flaw.FAILED),
        (b'{"content": [], "error": {"message": "no"}}', Flaw.FAILED),
    ],
)
def test_what_is_no_message(body: bytes, flaw: Flaw) -> None:
    assert problem(body).flaw is flaw
    content = DIALECT.content(CHAT, body)
    assert (content.text, content.tool_calls) == (None, None)


def outcome(status_code: int, error: dict[str, Any], **headers: str) -> Outcome:
    body = json.dumps(error).encode()
    return classify(problem(body, status_code, **headers), elapsed_s=0.1, answered_before=True)


LIMIT = "You have reached your specified API usage limits. You will regain access on 2026-12-01."
TOO_LONG = "prompt is too long: 212365 tokens > 200000 maximum"
TOO_MUCH = "input length and `max_tokens` exceed context limit: 199000 + 8192 > 200000"
BALANCE = "Your credit balance is too low to access the Anthropic API."
DISABLED = "This organization has been disabled."


@pytest.mark.parametrize(
    ("status_code", "error", "expected"),
    [
        (400, anthropic_error("invalid_request_error"), Kind.BAD_REQUEST),
        (400, anthropic_error("invalid_request_error", LIMIT), Kind.OUT_OF_CREDIT),
        (400, anthropic_error("invalid_request_error", BALANCE), Kind.OUT_OF_CREDIT),
        (400, anthropic_error("invalid_request_error", TOO_LONG), Kind.CONTEXT_TOO_LONG),
        (400, anthropic_error("invalid_request_error", TOO_MUCH), Kind.CONTEXT_TOO_LONG),
        (400, anthropic_error("invalid_request_error", DISABLED), Kind.AUTH),
        (400, anthropic_error("invalid_request_error", code="organization_on_hold"), Kind.AUTH),
        (400, anthropic_error("invalid_request_error", code="cmek_key_disabled"), Kind.AUTH),
        (401, anthropic_error("authentication_error"), Kind.AUTH),
        (402, anthropic_error("billing_error"), Kind.OUT_OF_CREDIT),
        (403, anthropic_error("permission_error"), Kind.AUTH),
        (404, anthropic_error("not_found_error", "model: claude-9"), Kind.NOT_FOUND),
        (409, anthropic_error("conflict_error"), Kind.SERVER_ERROR),
        (413, anthropic_error("request_too_large"), Kind.CONTEXT_TOO_LONG),
        (429, anthropic_error("rate_limit_error"), Kind.RATE_LIMITED),
        (
            429,
            anthropic_error("rate_limit_error", code="enforced_spend_limit_reached"),
            Kind.OUT_OF_CREDIT,
        ),
        (
            429,
            anthropic_error("rate_limit_error", code="contract_spend_limit_reached"),
            Kind.OUT_OF_CREDIT,
        ),
        (429, anthropic_error("rate_limit_error", code="ramp_limit_exceeded"), Kind.RATE_LIMITED),
        (429, anthropic_error("rate_limit_error", code="a_novel_code"), Kind.RATE_LIMITED),
        (500, anthropic_error("api_error"), Kind.SERVER_ERROR),
        (503, anthropic_error("api_error", code="cmek_context_unavailable"), Kind.SERVER_ERROR),
        (504, anthropic_error("timeout_error"), Kind.SERVER_ERROR),
        (529, anthropic_error("overloaded_error"), Kind.RATE_LIMITED),
        (200, anthropic_error("overloaded_error"), Kind.RATE_LIMITED),
    ],
)
def test_what_each_error_means(status_code: int, error: dict[str, Any], expected: Kind) -> None:
    """The error code decides first, then the type, then the status."""
    assert outcome(status_code, error).kind is expected


def test_a_slow_gateway_time_out_may_be_paid() -> None:
    found = problem(json.dumps(anthropic_error("timeout_error")).encode(), 504)
    late = classify(found, elapsed_s=60.0, answered_before=True)
    assert (late.kind, late.billed) == (Kind.INTERRUPTED, Billed.MAYBE)


def test_an_error_tells_its_words_and_its_wait() -> None:
    error = anthropic_error("rate_limit_error", "slow down", code="ramp_limit_exceeded")
    headers = {"retry-after": "7", "request-id": "req_9"}
    found = problem(json.dumps(error).encode(), 429, **headers)
    assert found.code == "ramp_limit_exceeded"
    assert (found.type, found.message, found.retry_after_s) == ("rate_limit_error", "slow down", 7)
    assert read_headers(headers).request_id == "req_9"


def test_a_stored_answer_in_the_shape_of_a_chat_completion() -> None:
    blocks = [{"type": "text", "text": "see"}, anthropic_tool_use("t1", "f", a=1)]
    body = reply(blocks=blocks, stop="tool_use", cache_read=30)
    call = {"id": "t1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    completion = DIALECT.completion(CHAT, body)
    assert completion is not None
    assert (completion["id"], completion["model"]) == ("msg_1", "claude-x")
    [choice] = completion["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"] == {
        "role": "assistant",
        "content": "see",
        "refusal": None,
        "tool_calls": [call],
    }
    usage = completion["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (
        40,
        5,
        45,
    )
    assert usage["prompt_tokens_details"]["cached_tokens"] == 30
    assert DIALECT.completion(CHAT, b"{}") is None
    assert DIALECT.completion(CHAT, b"\xff") is None


def test_the_list_of_models() -> None:
    assert DIALECT.models_path() == "v1/models?limit=1000"
    body = json.dumps(anthropic_models("claude-new", "claude-old-20250929")).encode()
    assert DIALECT.model_names(body) == ["claude-new", "claude-old-20250929", "claude-old"]
    assert DIALECT.model_names(json.dumps(anthropic_models()).encode()) == []
    for other in (b"{}", b"[]", b'{"data": 5}', b"<html>"):
        assert DIALECT.model_names(other) is None


def test_arguments_no_json_can_hold_are_read_as_far_as_they_go() -> None:
    """A lone surrogate beside a number out of range: the answer is kept, the number is null."""
    body = rb'{"content":[{"type":"tool_use","id":"t","name":"n","input":["\ud800",1e999]}]}'
    assert isinstance(DIALECT.read(Endpoint.CHAT, 200, {}, body), Answer)
    calls = DIALECT.content(Endpoint.CHAT, body).tool_calls
    assert calls is not None
    assert calls[0]["function"]["arguments"] == r'["\ud800",null]'


@pytest.mark.parametrize(("said", "speed"), [("fast", "fast"), ("standard", None), (5, None)])
def test_the_speed_it_was_served_at_has_its_own_price(said: object, speed: str | None) -> None:
    usage = {"input_tokens": 1, "output_tokens": 2, "speed": said}
    document = {"content": [{"type": "text", "text": "x"}], "usage": usage}
    assert answer(json.dumps(document).encode()).usage.speed == speed


@pytest.mark.parametrize("document", [{"error": {"type": "api_error", "message": "x"}}, {}])
def test_a_failure_under_200_tells_its_usage(document: dict[str, Any]) -> None:
    usage = {"input_tokens": 7, "output_tokens": 2}
    found = problem(json.dumps(document | {"usage": usage}).encode())
    assert found.usage == Usage(input_tokens=7, output_tokens=2)


def test_arguments_too_deep_to_be_real_are_no_answer() -> None:
    """They can be read, but with what else is in them not be written again."""
    deep = "[" * 700 + r'"\ud800",1e999' + "]" * 700
    body = ('{"content":[{"type":"tool_use","input":' + deep + "}]}").encode()
    assert problem(body).flaw is Flaw.NOT_JSON
    assert DIALECT.content(Endpoint.CHAT, body) == Content()
