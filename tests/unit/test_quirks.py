"""
The known quirks of OpenAI-compatible servers, one row each, through the generic adapter.

A row is named after the server. What a server answers must come out as the kind or the answer that
a person would read it as; what it wants to be asked must be data in its preset.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from aiq.model import Answer, Content, Endpoint, Kind, Outcome, Problem
from aiq.policy.outcomes import classify
from aiq.providers.openai import OpenAIDialect
from aiq.providers.presets import PRESETS

DIALECT = OpenAIDialect()
OPENROUTER_503 = {"error": {"code": 503, "message": "No provider fits"}}
ANSWER = {
    "model": "m",
    "choices": [{"message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
}


def read(status_code: int, document: Any, headers: dict[str, str] | None = None) -> Any:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return DIALECT.read(Endpoint.CHAT, status_code, headers or {}, body)


def judged(status_code: int, document: Any, headers: dict[str, str] | None = None) -> Outcome:
    found = read(status_code, document, headers)
    assert isinstance(found, Problem), found
    return classify(found, elapsed_s=0.5, answered_before=True)


def error(message: str, **fields: Any) -> dict[str, Any]:
    return {"error": {"message": message, **fields}}


FAILURES: list[tuple[str, int, Any, Kind]] = [
    ("deepseek: balance", 402, error("Insufficient Balance"), Kind.OUT_OF_CREDIT),
    ("deepseek: concurrency", 429, error("Rate limit reached"), Kind.RATE_LIMITED),
    ("deepseek: overloaded", 503, error("Service is too busy"), Kind.SERVER_ERROR),
    (
        "mistral: flat error",
        429,
        {"object": "error", "message": "Requests rate limit", "type": "rate", "code": "1300"},
        Kind.RATE_LIMITED,
    ),
    (
        "mistral: flat wrong model",
        400,
        {"object": "error", "message": "Invalid model: x", "type": "invalid_model", "code": "1500"},
        Kind.NOT_FOUND,
    ),
    (
        "mistral: list of details",
        422,
        {"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs", "type": "extra_forbidden"}]},
        Kind.BAD_REQUEST,
    ),
    ("groq: flex full", 498, error("flex", code="capacity_exceeded"), Kind.RATE_LIMITED),
    ("groq: caller left", 499, error("closed"), Kind.SERVER_ERROR),
    (
        "groq: tokens per minute",
        429,
        error("Rate limit reached", type="tokens", code="rate_limit_exceeded"),
        Kind.RATE_LIMITED,
    ),
    (
        "groq: larger than a minute",
        413,
        error("Request too large for model `x` on tokens per minute", type="tokens"),
        Kind.CONTEXT_TOO_LONG,
    ),
    (
        "groq: no valid JSON",
        400,
        error("Failed to generate JSON", code="json_validate_failed"),
        Kind.BAD_REQUEST,
    ),
    ("fireworks: adaptive limit", 429, error("request didn't fit"), Kind.RATE_LIMITED),
    ("fireworks: overloaded", 503, error("overloaded"), Kind.SERVER_ERROR),
    (
        "xai: a wrong key is a 400, its error a string",
        400,
        {"code": "Client specified an invalid argument", "error": "Incorrect API key provided"},
        Kind.AUTH,
    ),
    ("openrouter: in the body", 200, OPENROUTER_503, Kind.SERVER_ERROR),
    (
        "openrouter: in the choice",
        200,
        {"choices": [{"finish_reason": "error", "error": {"code": 429, "message": "busy"}}]},
        Kind.RATE_LIMITED,
    ),
    ("openrouter: credits", 200, error("no credits", code=402), Kind.OUT_OF_CREDIT),
    ("openrouter: credits by status", 402, error("no credits", code=402), Kind.OUT_OF_CREDIT),
    (
        "openrouter: moderation",
        403,
        error("flagged", code=403, metadata={"reasons": ["violence"], "flagged_input": "x"}),
        Kind.BAD_REQUEST,
    ),
    ("openrouter: upstream down", 200, error("bad gateway", code=502), Kind.SERVER_ERROR),
    ("openrouter: time-out", 408, error("timed out", code=408), Kind.SERVER_ERROR),
    (
        "vllm: number for a code",
        404,
        error("The model `x` does not exist.", type="NotFoundError", param=None, code=404),
        Kind.NOT_FOUND,
    ),
    (
        "vllm: overflow",
        400,
        error("This model's maximum context length is 4096 tokens.", code=400),
        Kind.CONTEXT_TOO_LONG,
    ),
    (
        "ollama: queue full",
        503,
        {"error": "server busy, please try again.  maximum pending requests exceeded"},
        Kind.RATE_LIMITED,
    ),
    (
        "ollama: not pulled",
        404,
        error('model "x" not found, try pulling it first', type="not_found_error", code=None),
        Kind.NOT_FOUND,
    ),
    ("ollama: string", 400, {"error": "invalid options"}, Kind.BAD_REQUEST),
    ("ollama: api_error", 500, error("llama runner", type="api_error"), Kind.SERVER_ERROR),
    (
        "llamacpp: loading",
        503,
        error("Loading model", code=503, type="unavailable_error"),
        Kind.RATE_LIMITED,
    ),
    (
        "llamacpp: overflow",
        400,
        error("too long", code=400, type="exceed_context_size_error", n_ctx=4096),
        Kind.CONTEXT_TOO_LONG,
    ),
    (
        "llamacpp: key",
        401,
        error("Invalid API Key", code=401, type="authentication_error"),
        Kind.AUTH,
    ),
    (
        "azure: filter",
        400,
        error("filtered", code="content_filter", innererror={"code": "ResponsibleAI"}),
        Kind.BAD_REQUEST,
    ),
    ("azure: too many headers", 431, b"", Kind.BAD_REQUEST),
    (
        "gemini's own OpenAI endpoint: list",
        429,
        [{"error": {"code": 429, "message": "q", "status": "RESOURCE_EXHAUSTED"}}],
        Kind.RATE_LIMITED,
    ),
    ("a gateway's text", 502, b"upstream connect error", Kind.SERVER_ERROR),
]


@pytest.mark.parametrize(
    ("status_code", "document", "kind"),
    [row[1:] for row in FAILURES],
    ids=[row[0] for row in FAILURES],
)
def test_a_failure_is_what_a_person_would_read_it_as(
    status_code: int, document: Any, kind: Kind
) -> None:
    assert judged(status_code, document).kind is kind


OVERFLOWS = [
    "input and max_tokens exceed context limit",
    "This model's maximum context length is 8192 tokens",
    "The requested token count exceeds the model's maximum context length of 4096",
    "Invalid 'x': string too long. Expected a string with maximum length 10",
    "over the model's maximum context limit",
    "the prompt is longer than the model's context length",
    "input tokens exceed the configured limit of 10",
    "the request exceeds the available context size",
    "the input token count exceeds the maximum number of tokens allowed",
    "prompt is too long: 9 tokens > 8 maximum",
    "current length is 9000 while limit is 8192",
    "This endpoint's maximum context length is 200000 tokens",
    "This model's maximum prompt length is 131072 but the request contains 200000 tokens",
]


@pytest.mark.parametrize("message", OVERFLOWS)
def test_every_servers_words_for_too_long(message: str) -> None:
    assert judged(400, error(message)).kind is Kind.CONTEXT_TOO_LONG


def choice(message: dict[str, Any], finish: str = "stop", **more: Any) -> dict[str, Any]:
    return {"model": "m", "choices": [{"message": message, "finish_reason": finish}], **more}


ANSWERS: list[tuple[str, bytes, Content]] = [
    (
        "deepseek: blank lines while waiting",
        b"\n\n \n" + json.dumps(ANSWER).encode(),
        Content(text="hi", finish_reason="stop"),
    ),
    (
        "deepseek: reasoning_content",
        json.dumps(choice({"content": "hi", "reasoning_content": "hm"})).encode(),
        Content(text="hi", finish_reason="stop"),
    ),
    (
        "openrouter, groq, ollama: reasoning",
        json.dumps(choice({"content": "hi", "reasoning": "hm"})).encode(),
        Content(text="hi", finish_reason="stop"),
    ),
    (
        "vllm: all of the cap went to reasoning",
        json.dumps(choice({"content": None, "reasoning_content": "hm"}, "length")).encode(),
        Content(finish_reason="length"),
    ),
    (
        "mistral: content in parts, thinking among them",
        json.dumps(
            choice(
                {
                    "content": [
                        {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
                        {"type": "text", "text": "hi"},
                    ]
                }
            )
        ).encode(),
        Content(text="hi", finish_reason="stop"),
    ),
    (
        "vllm: null details",
        json.dumps(
            ANSWER | {"usage": {"prompt_tokens": 3, "prompt_tokens_details": None}}
        ).encode(),
        Content(text="hi", finish_reason="stop"),
    ),
    ("any: no usage", json.dumps(ANSWER).encode(), Content(text="hi", finish_reason="stop")),
    (
        "gemini's own OpenAI endpoint: `stop` with calls",
        json.dumps(choice({"tool_calls": [{"id": "c"}]})).encode(),
        Content(tool_calls=[{"id": "c"}], finish_reason="stop"),
    ),
]


@pytest.mark.parametrize(
    ("body", "content"), [row[1:] for row in ANSWERS], ids=[row[0] for row in ANSWERS]
)
def test_an_answer_is_read_through_the_quirk(body: bytes, content: Content) -> None:
    assert isinstance(read(200, body), Answer)
    assert DIALECT.content(Endpoint.CHAT, body) == content


@pytest.mark.parametrize(
    ("usage", "nano"),
    [
        ({"cost": 0.00014, "cost_details": {"upstream_inference_cost": None}}, 140_000),
        ({"cost_in_usd_ticks": 37_756_000}, 3_775_600),
    ],
    ids=["openrouter: credits are dollars", "xai: ticks of 1e-10 dollars"],
)
def test_a_reply_that_states_its_cost_is_believed(usage: dict[str, Any], nano: int) -> None:
    assert read(200, ANSWER | {"usage": usage}).cost_nano == nano


@pytest.mark.parametrize(
    ("headers", "message", "wait"),
    [
        ({"retry-after": "2"}, "m", 2.0),
        ({"retry-after-ms": "250", "retry-after": "9"}, "m", 0.25),
        ({}, "Please try again in 7m12s", 432.0),
    ],
    ids=["groq, mistral", "azure", "openai, groq: in words"],
)
def test_the_wait_each_server_asks_for(headers: dict[str, str], message: str, wait: float) -> None:
    assert judged(429, error(message), headers).retry_after_s == pytest.approx(wait)


PRESET_CAPS = [
    (name, "max_completion_tokens" if name == "openai" else "max_tokens")
    for name, preset in PRESETS.items()
    if preset.kind == "openai"
]


def asked(name: str, **body: Any) -> dict[str, Any]:
    """Return what the server of a preset is asked."""
    preset = PRESETS[name]
    wire = OpenAIDialect(preset.spelling).encode(
        Endpoint.CHAT, body, model="m", cap=None, cap_field=preset.cap_field
    )
    decoded: dict[str, Any] = json.loads(wire)
    return decoded


@pytest.mark.parametrize(("name", "field"), PRESET_CAPS)
@pytest.mark.parametrize("given", ["max_tokens", "max_completion_tokens"])
def test_each_server_gets_the_cap_under_the_name_it_knows(
    name: str, field: str, given: str
) -> None:
    assert asked(name, **{given: 7}) == {"model": "m", field: 7}


def test_mistral_has_words_of_its_own() -> None:
    messages = [
        {"role": "user", "name": "ann", "content": "a"},
        {"role": "tool", "name": "f", "tool_call_id": "c", "content": "b"},
    ]
    body = {"messages": messages, "seed": 1, "tool_choice": "required"}
    before = json.dumps(body)
    assert asked("mistral", **body) == {
        "model": "m",
        "messages": [{"role": "user", "content": "a"}, messages[1]],
        "random_seed": 1,
        "tool_choice": "any",
    }
    assert json.dumps(body) == before, "the prompt is left as it is"
    assert asked("openai", **body) == {"model": "m", **body}


def test_a_word_the_prompt_has_from_the_server_itself_wins() -> None:
    assert asked("mistral", seed=1, extra_body={"random_seed": 2}) == {
        "model": "m",
        "random_seed": 2,
    }
    function = {"type": "function", "function": {"name": "f"}}
    assert asked("mistral", tool_choice=function)["tool_choice"] == function


@pytest.mark.parametrize(
    ("status", "raw", "kind"),
    [
        (
            400,
            {"type": "error", "error": {"message": "prompt is too long: 9 tokens > 8 maximum"}},
            Kind.CONTEXT_TOO_LONG,
        ),
        (
            400,
            {"error": {"message": "m", "code": "context_length_exceeded"}},
            Kind.CONTEXT_TOO_LONG,
        ),
        (429, {"error": {"message": "m", "code": "insufficient_quota"}}, Kind.RATE_LIMITED),
        (400, {"error": {"message": "Your credit balance is too low"}}, Kind.BAD_REQUEST),
        (400, {"error": {"message": "m", "code": "invalid_value"}}, Kind.BAD_REQUEST),
    ],
)
def test_of_what_openrouter_quotes_of_the_upstream_size_alone_counts(
    status: int, raw: dict[str, Any], kind: Kind
) -> None:
    """It stands as JSON inside a string. The upstream's account is one of many, and not ours."""
    metadata = {"raw": json.dumps(raw), "provider_name": "p"}
    body = {"code": status, "message": "Provider returned error", "metadata": metadata}
    assert judged(status, {"error": body}).kind is kind
