"""The replies that tests send are ones the vendors' own clients would understand."""

from __future__ import annotations

import json
from typing import Any

import pytest
from anthropic.types import Message, ModelInfo
from anthropic.types.shared import ErrorResponse
from google.genai import types as google
from openai.types import Model
from openai.types.chat import ChatCompletion
from pydantic import TypeAdapter

from aiq.model import Answer, Content, Endpoint
from aiq.providers.dialect import Dialect
from aiq.providers.dialects import dialect_for
from tests.support.anthropic_replies import anthropic_body, anthropic_error
from tests.support.gemini_replies import gemini_blocked
from tests.support.replies import default_body
from tests.support.shapes import CALL, chat_answer, models_body

CHAT = Endpoint.CHAT
PATHS = {
    "openai": "/v1/chat/completions",
    "anthropic": "/v1/messages",
    "gemini": "/v1beta/models/m:generateContent",
}
TYPES: dict[str, Any] = {
    "openai": ChatCompletion,
    "anthropic": Message,
    "gemini": google.GenerateContentResponse,
}
FINISHES = ["stop", "length", "tool_calls", "content_filter"]


def parsed(kind: Any, body: bytes) -> Any:
    return TypeAdapter(kind).validate_json(body, strict=False)


def reply(kind: str, finish: str) -> bytes:
    return json.dumps(chat_answer(PATHS[kind], "m", "hello", (11, 7), finish)).encode()


@pytest.mark.parametrize("kind", PATHS)
@pytest.mark.parametrize("finish", FINISHES)
def test_scripted_answers_parse(kind: str, finish: str) -> None:
    assert parsed(TYPES[kind], reply(kind, finish)) is not None


@pytest.mark.parametrize("kind", PATHS)
def test_the_servers_own_answers_parse(kind: str) -> None:
    assert parsed(TYPES[kind], default_body(PATHS[kind], "hi", "m", {})) is not None


@pytest.mark.parametrize("finish", FINISHES)
def test_three_vendors_say_the_same_in_one_common_form(finish: str) -> None:
    """Text, calls, finish reason and usage are read alike, whoever answered."""
    found: list[tuple[Content, Answer]] = []
    for kind in PATHS:
        dialect = dialect_for(kind)
        answer = dialect.read(CHAT, 200, {}, reply(kind, finish))
        assert isinstance(answer, Answer)
        found.append((dialect.content(CHAT, reply(kind, finish)), answer))
    for content, answer in found:
        assert (content.text, content.finish_reason) == (
            None if finish == "tool_calls" else "hello",
            finish,
        )
        assert (answer.usage.input_tokens, answer.usage.output_tokens) == (11, 7)
        assert answer.finish_reason == finish
        assert answer.truncated is (finish == "length")
        assert answer.refused is (finish == "content_filter")
        calls = [json.loads(one["function"]["arguments"]) for one in content.tool_calls or []]
        assert calls == ([CALL[2]] if finish == "tool_calls" else [])


@pytest.mark.parametrize("kind", PATHS)
@pytest.mark.parametrize("finish", FINISHES)
def test_exports_parse_as_openais_own_completion(kind: str, finish: str) -> None:
    document = dialect_for(kind).completion(CHAT, reply(kind, finish))
    completion = parsed(ChatCompletion, json.dumps(document).encode())
    [choice] = completion.choices
    assert (choice.finish_reason, completion.usage.total_tokens) == (finish, 18)
    assert not completion.model_extra
    if finish == "tool_calls":
        [call] = choice.message.tool_calls
        assert json.loads(call.function.arguments) == CALL[2]
    else:
        assert choice.message.content == "hello"


ODD: list[tuple[Dialect, dict[str, Any]]] = [
    (dialect_for("anthropic"), anthropic_body("m", "", (1, 1), stop="pause_turn")),
    (dialect_for("anthropic"), anthropic_body("m", "", (1, 1), stop="refusal", blocks=[])),
    (dialect_for("anthropic"), {"content": []}),
    (dialect_for("gemini"), gemini_blocked("m")),
]


@pytest.mark.parametrize(("dialect", "body"), ODD)
def test_odd_answers_are_exported_as_completions_too(
    dialect: Dialect, body: dict[str, Any]
) -> None:
    document = dialect.completion(CHAT, json.dumps(body).encode())
    assert parsed(ChatCompletion, json.dumps(document).encode()).object == "chat.completion"


def test_errors_parse() -> None:
    for code in (None, "enforced_spend_limit_reached", "ramp_limit_exceeded"):
        body = json.dumps(anthropic_error("rate_limit_error", code=code)).encode()
        assert parsed(ErrorResponse, body).error.type == "rate_limit_error"


def test_lists_of_models_parse() -> None:
    lists: list[tuple[str, str, Any]] = [
        ("openai", "data", Model),
        ("anthropic", "data", ModelInfo),
        ("gemini", "models", google.Model),
    ]
    for kind, key, item in lists:
        dialect = dialect_for(kind)
        prefix = "/v1/" if kind == "openai" else "/"
        document = models_body(prefix + dialect.models_path())
        for one in document[key]:
            if kind == "gemini":  # what Google's client calls it; the API has the older name
                one["supportedActions"] = one.pop("supportedGenerationMethods")
            assert parsed(item, json.dumps(one).encode()) is not None
        assert dialect.model_names(json.dumps(document).encode()) == ["model"]
