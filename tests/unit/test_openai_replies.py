"""Recorded and broken 2xx replies of OpenAI-compatible servers; errors are in the file beside."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aiq.model import Answer, Content, Endpoint, Flaw, Media, Problem, Usage
from aiq.providers.openai import OpenAIDialect

DIALECT = OpenAIDialect()


def chat(
    message: dict[str, Any] | None = None, finish: str = "stop", **more: Any
) -> dict[str, Any]:
    choice = {"index": 0, "finish_reason": finish, "message": message or {"content": "hello"}}
    return {"id": "chatcmpl-1", "model": "gpt-9-2026", "choices": [choice], **more}


def read(
    document: Any, endpoint: Endpoint = Endpoint.CHAT, status_code: int = 200
) -> Answer | Problem:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return DIALECT.read(endpoint, status_code, {}, body)


def answer(document: Any, endpoint: Endpoint = Endpoint.CHAT) -> Answer:
    found = read(document, endpoint)
    assert isinstance(found, Answer), found
    return found


def problem(document: Any, endpoint: Endpoint = Endpoint.CHAT) -> Problem:
    found = read(document, endpoint)
    assert isinstance(found, Problem), found
    return found


def content(document: Any, endpoint: Endpoint = Endpoint.CHAT) -> Content:
    return DIALECT.content(endpoint, json.dumps(document).encode())


@pytest.mark.parametrize(
    ("said", "tier"),
    [("priority", "priority"), ("flex", "flex"), ("default", None), (None, None), (7, None)],
)
@pytest.mark.parametrize("message", [{"content": "hello"}, {"content": [{"text": "hello"}]}])
def test_the_tier_is_read_where_it_has_its_own_price(
    said: object, tier: str | None, message: dict[str, Any]
) -> None:
    """By both readers; the standard one is no news."""
    assert answer(chat(message, service_tier=said)).usage.service_tier == tier


def test_a_standard_answer() -> None:
    usage = {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "total_tokens": 15,
        "prompt_tokens_details": {"cached_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 2},
    }
    found = answer(chat(usage=usage, error=None, service_tier="default"))
    assert found == Answer(
        usage=Usage(input_tokens=10, output_tokens=5, cached_tokens=4),
        finish_reason="stop",
        served_model="gpt-9-2026",
    )
    assert content(chat()) == Content(text="hello", finish_reason="stop")


@pytest.mark.parametrize(
    ("finish", "truncated", "refused"),
    [("stop", False, False), ("length", True, False), ("content_filter", False, True)],
)
@pytest.mark.parametrize("text", ["some", ""])
def test_finish_reasons(finish: str, truncated: bool, refused: bool, text: str) -> None:
    found = answer(chat({"content": text}, finish))
    assert (found.truncated, found.refused) == (truncated, refused)


def test_a_refusal_is_an_answer() -> None:
    document = chat({"content": None, "refusal": "I cannot"})
    assert answer(document).refused
    assert content(document).refusal == "I cannot"


def test_null_content_with_tool_calls_is_an_answer() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    document = chat({"content": None, "tool_calls": [call]}, "tool_calls")
    assert answer(document).finish_reason == "tool_calls"
    assert content(document).tool_calls == [call]


def test_the_older_function_call_becomes_a_tool_call() -> None:
    document = chat({"content": None, "function_call": {"name": "f", "arguments": "{}"}})
    assert content(document).tool_calls == [
        {"type": "function", "function": {"name": "f", "arguments": "{}"}}
    ]


@pytest.mark.parametrize(
    "message",
    [{"content": None}, {"role": "assistant"}, {"content": None, "tool_calls": []}, {"content": 7}],
)
def test_null_content_alone_is_no_answer(message: dict[str, Any]) -> None:
    found = problem(chat(message, usage={"prompt_tokens": 3, "completion_tokens": 0}))
    assert (found.flaw, found.status_code) == (Flaw.EMPTY, 200)
    assert found.usage.input_tokens == 3


@pytest.mark.parametrize("finish", ["length", "content_filter"])
def test_null_content_that_was_cut_is_an_answer(finish: str) -> None:
    """The whole cap may go to reasoning; it is paid, and asking again would end alike."""
    assert isinstance(read(chat({"content": None}, finish)), Answer)


def test_content_as_a_list_of_parts() -> None:
    document = chat({"content": [{"type": "text", "text": "a"}, {"type": "x"}, {"text": "b"}]})
    assert isinstance(read(document), Answer)
    assert content(document).text == "ab"


@pytest.mark.parametrize("choices", [[], None, {}, "x", [None], ["x"]])
def test_no_choices(choices: Any) -> None:
    assert problem({"id": "x", "choices": choices}).flaw is Flaw.NO_CHOICES


@pytest.mark.parametrize("document", [{}, [], 7, None, True])
def test_json_that_is_no_reply(document: Any) -> None:
    assert problem(document).flaw is Flaw.NO_CHOICES


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (None, Usage()),
        ("many", Usage()),
        ({"prompt_tokens": "10", "completion_tokens": -1}, Usage()),
        ({"prompt_tokens": 1e308, "completion_tokens": 5}, Usage(output_tokens=5)),
        ({"prompt_tokens": 10_000_001, "completion_tokens": 2.0}, Usage()),
        ({"prompt_tokens": True}, Usage()),
        (
            {"prompt_tokens": 10, "prompt_cache_hit_tokens": 6},
            Usage(input_tokens=10, cached_tokens=6),
        ),
        ({"prompt_tokens": 10, "prompt_tokens_details": None}, Usage(input_tokens=10)),
        (
            {
                "prompt_tokens": 10,
                "prompt_tokens_details": {"cached_tokens": 1, "cache_write_tokens": 8},
            },
            Usage(input_tokens=10, cached_tokens=1, cache_write_tokens=8),
        ),
        (
            {"input_tokens": 10, "input_tokens_details": {"cache_write_tokens": 11}},
            Usage(input_tokens=10),
        ),
        (
            {"prompt_tokens": 10, "prompt_tokens_details": {"cached_tokens": 11}},
            Usage(input_tokens=10),
        ),
        (
            {
                "prompt_tokens": 10,
                "completion_tokens": 5,
                "total_tokens": 22,
                "completion_tokens_details": {"reasoning_tokens": 7},
            },
            Usage(input_tokens=10, output_tokens=12),
        ),
        (
            {
                "prompt_tokens": 1_000,
                "completion_tokens": 100,
                "total_tokens": 1_100,
                "input_tokens": 0,
                "output_tokens": 0,
            },
            Usage(input_tokens=1_000, output_tokens=100),
        ),
        (
            {"prompt_tokens": 7, "input_tokens": None, "output_tokens": 3},
            Usage(input_tokens=7, output_tokens=3),
        ),
        (
            {
                "prompt_audio_seconds": 203,
                "prompt_tokens": 4,
                "completion_tokens": 635,
                "total_tokens": 3264,
            },
            Usage(input_tokens=4, output_tokens=635),
        ),
        (
            {
                "prompt_audio_seconds": None,
                "prompt_tokens": 4,
                "completion_tokens": 635,
                "total_tokens": 3264,
            },
            Usage(input_tokens=4, output_tokens=3260),
        ),
        (
            {"prompt_tokens": 20, "completion_tokens": 198, "total_tokens": 623},
            Usage(input_tokens=20, output_tokens=603),
        ),
        (
            {
                "prompt_tokens": 10,
                "completion_tokens": 5,
                "total_tokens": 19,
                "prompt_tokens_details": {"cached_tokens": 4},
            },
            Usage(input_tokens=10, output_tokens=5, cached_tokens=4),
        ),
        (
            {
                "prompt_tokens": 10,
                "completion_tokens": 5,
                "total_tokens": 45,
                "cache_creation_input_tokens": 20,
                "cache_read_input_tokens": 10,
            },
            Usage(input_tokens=10, output_tokens=5),
        ),
        (
            {
                "prompt_tokens": 10,
                "completion_tokens": 5,
                "total_tokens": 22,
                "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 3},
            },
            Usage(input_tokens=10, output_tokens=5, cached_tokens=4, cache_write_tokens=3),
        ),
        (
            {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 7},
            Usage(input_tokens=10, output_tokens=5),
        ),
    ],
)
def test_usage_is_believed_as_far_as_it_makes_sense(usage: Any, expected: Usage) -> None:
    assert answer(chat(usage=usage)).usage == expected


@pytest.mark.parametrize(
    ("usage", "media"),
    [
        (
            {
                "prompt_tokens": 9,
                "completion_tokens": 8,
                "prompt_tokens_details": {"audio_tokens": 4, "image_tokens": 2},
                "completion_tokens_details": {"audio_tokens": 7},
            },
            Media(input_audio=4, input_image=2, output_audio=7),
        ),
        (
            {
                "input_tokens": 9,
                "output_tokens": 8,
                "input_tokens_details": {"image_tokens": 3},
                "output_tokens_details": {"image_tokens": 6},
            },
            Media(input_image=3, output_image=6),
        ),
        ({"prompt_tokens": 9, "prompt_tokens_details": {"audio_tokens": 0}}, None),
        ({"prompt_tokens": 9, "prompt_tokens_details": {"audio_tokens": -1}}, None),
        ({"prompt_tokens": 9, "prompt_tokens_details": ["audio_tokens"]}, None),
    ],
)
def test_sound_and_pictures_are_told_apart(usage: dict[str, Any], media: Media | None) -> None:
    """They have prices of their own."""
    assert answer(chat(usage=usage)).usage.media == media


def test_a_failure_beside_its_cost_tells_both() -> None:
    usage = {"prompt_tokens": 5000, "completion_tokens": 1200, "cost": 0.031}
    inner = {"error": {"code": 502, "message": "gone"}, "finish_reason": "error"}
    found = problem({"choices": [inner], "usage": usage})
    assert (found.usage.input_tokens, found.cost_nano) == (5000, 31_000_000)


@pytest.mark.parametrize(
    ("usage", "nano"),
    [
        ({"cost": 0.00123}, 1_230_000),
        ({"cost": 0}, 0),
        ({"cost_in_usd_ticks": 37_756_000}, 3_775_600),
        (
            {"cost": 0.001, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.02}},
            21_000_000,
        ),
        ({"cost": 0.02, "cost_details": {"upstream_inference_cost": 0.02}}, 20_000_000),
        ({"cost": "0.1"}, None),
        ({"cost": -1}, None),
        ({"cost": 1e300}, None),
        ({"cost": True}, None),
        ({"cost": {"total": 1}}, None),
        ({"cost_in_usd_ticks": 1.5}, None),
        ({}, None),
    ],
)
def test_the_replys_own_cost(usage: dict[str, Any], nano: int | None) -> None:
    assert answer(chat(usage=usage)).cost_nano == nano


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"   \n",
        b'{"choices": [',
        b'{"choices":[{"message":{"content":"\xff"}}]}',
        b'{"choices":[{"message":{"content":"a"}}],"x":"\xff"}',
        b'{"choices":[{"message":{"content":"a"}}],"x":NaN}',
        b'{"choices":[{"message":{"content":"a"}}],"x":-Infinity}',
        b'{"choices":[{"message":{"content":"a"}}]}{"choices":[]}',
        b"[" * 100_000,
        b'{"x":' * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"usage":{"prompt_tokens":' + b"1" * 5_000 + b"}}",
        "ÿþ".encode("utf-16"),
        b"data: {}",
    ],
)
def test_what_is_not_json(body: bytes) -> None:
    assert problem(body).flaw is Flaw.NOT_JSON
    assert DIALECT.content(Endpoint.CHAT, body) == Content()


@pytest.mark.parametrize("lead", [b"\n\n \n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"])
def test_blanks_and_a_byte_order_mark_before_the_json(lead: bytes) -> None:
    """DeepSeek sends empty lines while a request waits."""
    body = lead + json.dumps(chat()).encode()
    assert isinstance(DIALECT.read(Endpoint.CHAT, 200, {}, body), Answer)
    assert DIALECT.content(Endpoint.CHAT, body).text == "hello"


def test_a_lone_surrogate_is_part_of_an_answer() -> None:
    document = chat({"content": "a\ud800\x00"}, model="m\udfff")
    assert answer(document).served_model == "m?"
    assert content(document).text == "a\ud800\x00"


@pytest.mark.parametrize(
    "body", [b"<html><title>Sign in</title>", b"\n <!DOCTYPE html>", b"\xef\xbb\xbf<a>"]
)
def test_a_page_with_200(body: bytes) -> None:
    found = problem(body)
    assert (found.flaw, found.is_html) == (Flaw.HTML, True)


def test_the_title_of_a_page_is_its_message() -> None:
    assert problem(b"<html><TITLE>Sign in</title>").message == "Sign in"
    assert problem(b"gone fishing").message == "gone fishing"


@pytest.mark.parametrize("content_type", ["text/html", "Text/HTML; charset=utf-8"])
def test_the_content_type_marks_a_page_but_json_is_json(content_type: str) -> None:
    headers = {"content-type": content_type}
    found = DIALECT.read(Endpoint.CHAT, 200, headers, b"please sign in")
    assert isinstance(found, Problem)
    assert found.is_html
    body = json.dumps(chat()).encode()
    assert isinstance(DIALECT.read(Endpoint.CHAT, 200, headers, body), Answer)


def test_embeddings() -> None:
    one = {"data": [{"index": 0, "embedding": [0.5, 1]}], "usage": {"prompt_tokens": 3}}
    assert answer(one, Endpoint.EMBEDDINGS).usage == Usage(input_tokens=3, output_tokens=0)
    assert content(one, Endpoint.EMBEDDINGS).embedding == [0.5, 1]
    two = {"data": [{"embedding": "AAA="}, {"embedding": "BBB="}]}
    assert content(two, Endpoint.EMBEDDINGS).embedding == ["AAA=", "BBB="]
    assert problem({"data": []}, Endpoint.EMBEDDINGS).flaw is Flaw.NO_CHOICES
    assert problem({"data": [{}]}, Endpoint.EMBEDDINGS).flaw is Flaw.EMPTY


@pytest.mark.parametrize("vector", [None, [], "", 7, {}])
def test_an_embedding_without_numbers_is_empty(vector: Any) -> None:
    document = {"data": [{"embedding": [1.0]}, {"embedding": vector}]}
    assert problem(document, Endpoint.EMBEDDINGS).flaw is Flaw.EMPTY


def test_completions() -> None:
    document = {"choices": [{"text": "abc", "finish_reason": "length"}]}
    assert answer(document, Endpoint.COMPLETIONS).truncated
    assert content(document, Endpoint.COMPLETIONS).text == "abc"
    assert problem({"choices": [{}]}, Endpoint.COMPLETIONS).flaw is Flaw.EMPTY


def response(*items: dict[str, Any], status: str = "completed", **more: Any) -> dict[str, Any]:
    return {"object": "response", "status": status, "error": None, "output": list(items), **more}


SAID = {"type": "message", "content": [{"type": "output_text", "text": "hi"}]}


def test_responses() -> None:
    usage = {"input_tokens": 4, "output_tokens": 2, "input_tokens_details": {"cached_tokens": 1}}
    document = response({"type": "reasoning"}, SAID, SAID, usage=usage)
    found = answer(document, Endpoint.RESPONSES)
    assert found.usage == Usage(input_tokens=4, output_tokens=2, cached_tokens=1)
    assert content(document, Endpoint.RESPONSES) == Content(text="hihi", finish_reason="stop")
    call = {"type": "function_call", "name": "f", "arguments": "{}"}
    assert content(response(call), Endpoint.RESPONSES).tool_calls == [call]
    refusal = {"type": "message", "content": [{"type": "refusal", "refusal": "no"}]}
    assert answer(response(refusal), Endpoint.RESPONSES).refused
    assert problem(response(), Endpoint.RESPONSES).flaw is Flaw.NO_CHOICES
    assert problem(response({"type": "reasoning"}), Endpoint.RESPONSES).flaw is Flaw.EMPTY


@pytest.mark.parametrize(
    ("reason", "truncated", "refused"),
    [("max_output_tokens", True, False), ("content_filter", False, True), (None, True, False)],
)
def test_incomplete_responses(reason: str | None, truncated: bool, refused: bool) -> None:
    document = response(status="incomplete", incomplete_details={"reason": reason})
    found = answer(document, Endpoint.RESPONSES)
    assert (found.truncated, found.refused) == (truncated, refused)


@pytest.mark.parametrize(
    ("code", "status_code"),
    [("rate_limit_exceeded", 429), ("server_error", 500), ("invalid_prompt", 400), ("odd", 200)],
)
def test_failed_responses_are_classified_by_their_code(code: str, status_code: int) -> None:
    document = response(status="failed") | {"error": {"code": code, "message": "why"}}
    found = problem(document, Endpoint.RESPONSES)
    assert (found.status_code, found.code, found.message) == (status_code, code, "why")
    assert found.flaw is Flaw.FAILED


def test_a_response_still_in_progress_is_no_answer() -> None:
    found = problem(response(SAID, status="in_progress"), Endpoint.RESPONSES)
    assert (found.flaw, found.code) == (Flaw.FAILED, "in_progress")
