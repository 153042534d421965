"""What Gemini's replies mean: answers, refusals, failures and each row of its errors."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aiq.model import Answer, Billed, Content, Endpoint, Flaw, Kind, Media, Outcome, Problem, Usage
from aiq.policy.outcomes import classify
from aiq.providers.gemini import GeminiDialect
from tests.support.gemini_replies import (
    gemini_blocked,
    gemini_body,
    gemini_error,
    gemini_models,
    gemini_quota,
)

DIALECT = GeminiDialect()
CALL = {"functionCall": {"name": "f", "args": {"a": 1}}}


def read(document: Any, status_code: int = 200) -> Answer | Problem:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return DIALECT.read(Endpoint.CHAT, status_code, {}, body)


def answer(document: Any) -> Answer:
    found = read(document)
    assert isinstance(found, Answer), found
    return found


def problem(document: Any, status_code: int = 200) -> Problem:
    found = read(document, status_code)
    assert isinstance(found, Problem), found
    return found


def content(document: Any) -> Content:
    return DIALECT.content(Endpoint.CHAT, json.dumps(document).encode())


def said(*parts: dict[str, Any], finish: str = "STOP") -> dict[str, Any]:
    return gemini_body("m", "", (3, 5), parts=list(parts), finish=finish)


def outcome(status_code: int, document: Any) -> Outcome:
    found = problem(document, status_code)
    return classify(found, elapsed_s=0.1, answered_before=True)


def test_a_standard_answer() -> None:
    document = gemini_body("gemini-2.5-flash", "hello", (10, 5), thoughts=7, cached=4)
    assert answer(document) == Answer(
        usage=Usage(input_tokens=10, output_tokens=12, cached_tokens=4),
        finish_reason="stop",
        served_model="gemini-2.5-flash",
    )
    assert content(document) == Content(text="hello", finish_reason="stop")


@pytest.mark.parametrize(
    "odd",
    [
        {"\ud800": 1},
        {"modelVersion": "m", "\udfff": "\ud800"},
        {"candidates": [{"content": {"parts": [{"text": "a"}]}, "\ud800": 1}]},
    ],
)
def test_a_lone_surrogate_in_an_unknown_name_costs_no_answer(odd: dict[str, Any]) -> None:
    """The answer is paid: what nobody asked for beside it must not spoil it."""
    document = said({"text": "a"}) | odd
    answer(document)
    assert content(document).text == "a"


@pytest.mark.parametrize("odd", [{"candidates": "\ud800"}, {"candidates": [{"content": "\ud800"}]}])
def test_a_lone_surrogate_in_the_wrong_place_is_a_problem(odd: dict[str, Any]) -> None:
    found = problem({"usageMetadata": {"promptTokenCount": 3}} | odd)
    assert (found.flaw, found.usage.input_tokens) == (Flaw.NO_CHOICES, 3)
    assert content(odd) == Content()


def test_thoughts_are_no_text() -> None:
    document = said({"text": "hm", "thought": True}, {"text": "a"}, {"text": "b"})
    assert content(document).text == "ab"
    assert problem(said({"text": "hm", "thought": True})).flaw is Flaw.EMPTY


def test_calls_are_tool_calls_with_json_text_and_an_id_of_their_own() -> None:
    named = {"functionCall": {"id": "x", "name": "g"}, "thoughtSignature": "c2ln"}
    document = said({"text": "see"}, CALL, named)
    found = content(document)
    assert (found.text, found.finish_reason) == ("see", "tool_calls")
    assert found.tool_calls == [
        {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}},
        {
            "id": "x",
            "type": "function",
            "function": {"name": "g", "arguments": "{}"},
            "extra_content": {"google": {"thought_signature": "c2ln"}},
        },
    ]
    assert answer(document).finish_reason == "tool_calls"


@pytest.mark.parametrize(
    ("wire", "expected"),
    [
        (None, Usage()),
        ("many", Usage()),
        ({}, Usage()),
        ({"promptTokenCount": 3}, Usage(input_tokens=3, output_tokens=0)),
        (
            {"promptTokenCount": 3, "toolUsePromptTokenCount": 4, "candidatesTokenCount": 2},
            Usage(input_tokens=7, output_tokens=2),
        ),
        ({"promptTokenCount": 3, "thoughtsTokenCount": 9}, Usage(input_tokens=3, output_tokens=9)),
        ({"promptTokenCount": -1, "candidatesTokenCount": 2}, Usage(output_tokens=2)),
        ({"promptTokenCount": 3, "candidatesTokenCount": "x"}, Usage(input_tokens=3)),
        (
            {"promptTokenCount": 3, "cachedContentTokenCount": 4},
            Usage(input_tokens=3, output_tokens=0),
        ),
    ],
)
def test_usage_counts_thoughts_as_output_and_leaves_nothing_out(wire: Any, expected: Usage) -> None:
    assert answer({**said({"text": "a"}), "usageMetadata": wire}).usage == expected


SAFETY = ["SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "MODEL_ARMOR"]
IMAGES = ["IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION"]
NATIVE = [
    *("LANGUAGE", "OTHER", "MALFORMED_FUNCTION_CALL", "IMAGE_OTHER", "NO_IMAGE", "ESCALATION"),
    *("UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS", "MISSING_THOUGHT_SIGNATURE"),
    *("MALFORMED_RESPONSE", "A_NEW_ONE"),
]


@pytest.mark.parametrize("parts", [[{"text": "some"}], []])
@pytest.mark.parametrize("finish", [*SAFETY, *IMAGES])
def test_a_refusal_is_an_answer_with_or_without_text(
    finish: str, parts: list[dict[str, Any]]
) -> None:
    document = said(*parts, finish=finish)
    found = answer(document)
    assert (found.finish_reason, found.refused) == ("content_filter", True)
    assert content(document).refusal == (None if parts else finish)


@pytest.mark.parametrize("parts", [[{"text": "some"}], []])
@pytest.mark.parametrize("finish", ["MAX_TOKENS", "CONTINUATION"])
def test_what_was_cut_short_is_an_answer(finish: str, parts: list[dict[str, Any]]) -> None:
    """The whole cap may go to thoughts; it is paid, and asking again would end alike."""
    found = answer(said(*parts, finish=finish))
    assert (found.finish_reason, found.truncated) == ("length", True)


@pytest.mark.parametrize("finish", NATIVE)
def test_other_endings_are_answers_only_with_content(finish: str) -> None:
    assert answer(said({"text": "a"}, finish=finish)).finish_reason == finish
    found = problem(said(finish=finish))
    assert (found.flaw, found.code) == (Flaw.EMPTY, finish.lower())
    assert finish in found.message
    assert found.usage == Usage(input_tokens=3, output_tokens=5)
    judged = classify(found, elapsed_s=1, answered_before=True)
    assert (judged.kind, judged.billed) == (Kind.BAD_RESPONSE, Billed.YES)


@pytest.mark.parametrize(
    "call", ["pay('insufficient funds')", "say('API key not valid')", "say('unknown model')"]
)
def test_what_a_model_wrote_is_no_word_of_the_provider(call: str) -> None:
    """A malformed call is quoted in the finish message; its text disables nobody, and was paid."""
    candidate = {
        "content": {},
        "finishReason": "MALFORMED_FUNCTION_CALL",
        "finishMessage": f"Malformed function call: {call}",
    }
    usage = {"promptTokenCount": 3, "candidatesTokenCount": 5}
    found = problem({"candidates": [candidate], "usageMetadata": usage})
    judged = classify(found, elapsed_s=1, answered_before=True)
    assert (judged.kind, judged.billed) == (Kind.BAD_RESPONSE, Billed.YES)
    assert call in (judged.message or "")


@pytest.mark.parametrize("candidate", [{}, {"content": {}}, {"content": {"role": "model"}}])
@pytest.mark.parametrize("finish", ["STOP", None])
def test_an_answer_without_parts_is_empty(candidate: dict[str, Any], finish: str | None) -> None:
    document = {"candidates": [{**candidate, "finishReason": finish}]}
    assert problem(document).flaw is Flaw.EMPTY


def test_an_empty_text_is_an_answer() -> None:
    assert content(said({"text": ""})).text == ""
    assert isinstance(read(said({"text": ""})), Answer)


def test_a_blocked_prompt_was_read_and_paid() -> None:
    document = gemini_blocked("m", "PROHIBITED_CONTENT", tokens=7)
    found = answer(document)
    assert (found.refused, found.finish_reason) == (True, "content_filter")
    assert found.usage == Usage(input_tokens=7, output_tokens=0)
    assert content(document) == Content(
        finish_reason="content_filter", refusal="PROHIBITED_CONTENT"
    )


@pytest.mark.parametrize(
    "document",
    [{}, [], 7, None, {"candidates": []}, {"candidates": 7}, {"promptFeedback": {}}],
)
def test_json_without_a_candidate_is_no_answer(document: Any) -> None:
    assert problem(document).flaw is Flaw.NO_CHOICES
    assert content(document) == Content()


def test_an_account_that_broke_the_use_policy_is_out() -> None:
    judged = outcome(200, said(finish="PUP_LIMITED_DISABLED"))
    assert judged.kind is Kind.AUTH


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b'{"candidates":[',
        b'{"candidates":[{"content":{"parts":[{"text":"\xff"}]}}]}',
        b'{"candidates":[{"content":{"parts":[{"text":"a"}]}}],"x":NaN}',
        b"[" * 100_000,
    ],
)
def test_what_is_not_json(body: bytes) -> None:
    assert problem(body).flaw is Flaw.NOT_JSON
    assert DIALECT.content(Endpoint.CHAT, body) == Content()
    assert DIALECT.completion(Endpoint.CHAT, body) is None


def test_odd_json_around_an_answer_costs_nothing() -> None:
    """A byte order mark, blanks before it, and text that UTF-8 cannot hold."""
    body = b"\xef\xbb\xbf\n" + json.dumps(said({"text": "a\ud800"})).encode()
    assert isinstance(DIALECT.read(Endpoint.CHAT, 200, {}, body), Answer)
    assert DIALECT.content(Endpoint.CHAT, body).text == "a\ud800"


def test_an_error_under_200_counts_by_its_own_code() -> None:
    error = gemini_error(503, "UNAVAILABLE", "The model is overloaded.")
    for document in (error, [error], {**said({"text": "a"}), **error}):
        assert (problem(document).status_code, problem(document).flaw) == (503, Flaw.FAILED)


def test_a_page_is_a_page() -> None:
    assert problem(b"<html><title>Sign in</title>").flaw is Flaw.HTML


OVERFLOW = "The input token count (1048577) exceeds the maximum number of tokens allowed (1048576)."
NO_MODEL = "models/x is not found for API version v1beta, or is not supported for generateContent."
REASON = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
ROWS: list[tuple[int, str, str, list[dict[str, Any]], Kind]] = [
    (400, "INVALID_ARGUMENT", "Invalid value at 'contents'", [], Kind.BAD_REQUEST),
    (400, "INVALID_ARGUMENT", OVERFLOW, [], Kind.CONTEXT_TOO_LONG),
    (400, "INVALID_ARGUMENT", "API key not valid. Please pass one.", [], Kind.AUTH),
    (400, "INVALID_ARGUMENT", "Bad key", [REASON], Kind.AUTH),
    (400, "FAILED_PRECONDITION", "User location is not supported for the API.", [], Kind.AUTH),
    (400, "FAILED_PRECONDITION", "Please enable billing on your project.", [], Kind.OUT_OF_CREDIT),
    (400, "FAILED_PRECONDITION", "The file is not in an ACTIVE state.", [], Kind.BAD_REQUEST),
    (401, "UNAUTHENTICATED", "no credentials", [], Kind.AUTH),
    (403, "PERMISSION_DENIED", "no permission", [], Kind.AUTH),
    (403, "PERMISSION_DENIED", "m", [{"reason": "BILLING_DISABLED"}], Kind.OUT_OF_CREDIT),
    (404, "NOT_FOUND", NO_MODEL, [], Kind.NOT_FOUND),
    (429, "RESOURCE_EXHAUSTED", "quota", [], Kind.RATE_LIMITED),
    (429, "RESOURCE_EXHAUSTED", "q", gemini_quota("PerMinute", "47.434392449s"), Kind.RATE_LIMITED),
    (429, "RESOURCE_EXHAUSTED", "q", gemini_quota("RequestsPerDay", "36s"), Kind.OUT_OF_CREDIT),
    (
        429,
        "RESOURCE_EXHAUSTED",
        "q",
        [{"reason": "RATE_LIMIT_EXCEEDED"}, *gemini_quota("GenerateRequestsPerDayPerModel")],
        Kind.OUT_OF_CREDIT,
    ),
    (429, "RESOURCE_EXHAUSTED", "Quota exceeded, limit: 0, model: x", [], Kind.OUT_OF_CREDIT),
    (429, "RESOURCE_EXHAUSTED", "Your prepayment credits are depleted.", [], Kind.OUT_OF_CREDIT),
    (429, "RESOURCE_EXHAUSTED", "Exceeded the monthly spending cap.", [], Kind.OUT_OF_CREDIT),
    (499, "CANCELLED", "cancelled", [], Kind.SERVER_ERROR),
    (500, "INTERNAL", "internal", [], Kind.SERVER_ERROR),
    (503, "UNAVAILABLE", "The model is overloaded.", [], Kind.SERVER_ERROR),
    (503, "UNAVAILABLE", "busy", [{"retryDelay": "2s"}], Kind.RATE_LIMITED),
    (504, "DEADLINE_EXCEEDED", "too slow", [], Kind.SERVER_ERROR),
]


@pytest.mark.parametrize(("code", "status", "message", "details", "kind"), ROWS)
def test_errors_by_status_reason_and_quota(
    code: int, status: str, message: str, details: list[dict[str, Any]], kind: Kind
) -> None:
    document = gemini_error(code, status, message, *details)
    assert outcome(code, document).kind is kind
    assert outcome(code, [document]).kind is kind, "also in a list of one"


def test_a_late_504_may_have_been_paid() -> None:
    found = problem(gemini_error(504, "DEADLINE_EXCEEDED"), 504)
    late = classify(found, elapsed_s=60, answered_before=True)
    assert (late.kind, late.billed) == (Kind.INTERRUPTED, Billed.MAYBE)


@pytest.mark.parametrize(
    ("details", "message", "wait"),
    [
        (gemini_quota("PerMinute", "47.434392449s"), "m", 47.434392449),
        (gemini_quota("PerMinute", "36s"), "m", 36.0),
        ([], "Please retry in 10h17m5.7s.", 37_025.7),
        ([{"@type": "Help", "links": []}], "m", None),
    ],
)
def test_the_wait_is_in_the_body(
    details: list[dict[str, Any]], message: str, wait: float | None
) -> None:
    document = gemini_error(429, "RESOURCE_EXHAUSTED", message, *details)
    assert outcome(429, document).retry_after_s == (wait and pytest.approx(wait))


def test_a_daily_quota_concerns_its_model_alone() -> None:
    details = gemini_quota("GenerateRequestsPerDayPerProjectPerModel-FreeTier", "36s")
    assert outcome(429, gemini_error(429, "RESOURCE_EXHAUSTED", "q", *details)).model_only


def test_an_export_has_the_shape_of_a_chat_completion() -> None:
    document = gemini_body("m", "hi", (10, 5), thoughts=2, cached=4)
    assert DIALECT.completion(Endpoint.CHAT, json.dumps(document).encode()) == {
        "id": "response-1",
        "object": "chat.completion",
        "created": 0,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "hi", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 10,
            "completion_tokens": 7,
            "total_tokens": 17,
            "prompt_tokens_details": {"cached_tokens": 4},
        },
    }


def test_an_export_has_no_word_that_the_shape_lacks() -> None:
    native = DIALECT.completion(
        Endpoint.CHAT, json.dumps(said({"text": "a"}, finish="LANGUAGE")).encode()
    )
    assert native is not None
    (choice,) = native["choices"]
    assert (choice["finish_reason"], choice["native_finish_reason"]) == ("stop", "LANGUAGE")
    called = DIALECT.completion(Endpoint.CHAT, json.dumps(said(CALL)).encode())
    assert called is not None
    assert called["choices"][0]["message"]["tool_calls"][0]["id"] == "call_1"


def test_models_are_listed_by_the_names_prompts_use() -> None:
    body = json.dumps(gemini_models("gemini-2.5-flash", "gemini-3-pro")).encode()
    assert DIALECT.model_names(body) == ["gemini-2.5-flash", "gemini-3-pro"]
    assert DIALECT.models_path() == "v1beta/models?pageSize=1000"
    for other in (b"{}", b"[]", b"<html>", b'{"data":[{"id":"x"}]}'):
        assert DIALECT.model_names(other) is None


def test_a_feedback_no_utf_8_can_hold_is_no_answer() -> None:
    found = DIALECT.read(Endpoint.CHAT, 200, {}, rb'{"promptFeedback":"\ud800"}')
    assert isinstance(found, Problem)
    assert found.flaw is Flaw.NO_CHOICES


def test_sound_and_pictures_are_told_apart() -> None:
    """They have prices of their own."""
    wire = {
        "promptTokenCount": 100,
        "candidatesTokenCount": 50,
        "cachedContentTokenCount": 30,
        "promptTokensDetails": [
            {"modality": "AUDIO", "tokenCount": 60},
            {"modality": "IMAGE", "tokenCount": 20},
            {"modality": "TEXT", "tokenCount": 20},
            {"modality": ["AUDIO"], "tokenCount": 1},
            "AUDIO",
        ],
        "cacheTokensDetails": [{"modality": "AUDIO", "tokenCount": 10}],
        "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 40}],
    }
    found = answer(said({"text": "x"}) | {"usageMetadata": wire}).usage
    expected = Media(input_audio=60, input_image=20, cached_audio=10, output_image=40)
    assert found.media == expected


@pytest.mark.parametrize(
    ("tier", "read_as"), [("PRIORITY", "priority"), ("standard", None), (None, None), (5, None)]
)
def test_the_tier_it_was_served_as(tier: object, read_as: str | None) -> None:
    wire = {"promptTokenCount": 1, "serviceTier": tier}
    assert answer(said({"text": "x"}) | {"usageMetadata": wire}).usage.service_tier == read_as


def test_arguments_too_deep_to_be_real_are_no_answer() -> None:
    """They can be read, but with what else is in them not be written again."""
    deep = '{"a":' + "[" * 700 + r'"\ud800",1e999' + "]" * 700 + "}"
    part = '{"functionCall":{"name":"f","args":' + deep + "}}"
    body = ('{"candidates":[{"content":{"parts":[' + part + "]}}]}").encode()
    found = DIALECT.read(Endpoint.CHAT, 200, {}, body)
    assert isinstance(found, Problem)
    assert found.flaw is Flaw.EMPTY
    assert DIALECT.content(Endpoint.CHAT, body) == Content()
