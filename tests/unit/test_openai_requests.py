"""What the OpenAI dialect puts on the wire."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aiq.model import Endpoint
from aiq.providers.dialect import Dialect, output_cap
from aiq.providers.openai import OpenAIDialect
from aiq.providers.reply_headers import read_headers
from aiq.redaction import Secret

DIALECT: Dialect = OpenAIDialect()
MESSAGES = [{"role": "user", "content": "hi"}]


def encode(
    body: dict[str, Any],
    *,
    endpoint: Endpoint = Endpoint.CHAT,
    cap: int | None = None,
    cap_field: str = "max_tokens",
) -> dict[str, Any]:
    wire = DIALECT.encode(endpoint, body, model="m", cap=cap, cap_field=cap_field)
    decoded: dict[str, Any] = json.loads(wire)
    return decoded


@pytest.mark.parametrize(
    ("endpoint", "path"),
    [
        (Endpoint.CHAT, "chat/completions"),
        (Endpoint.EMBEDDINGS, "embeddings"),
        (Endpoint.COMPLETIONS, "completions"),
        (Endpoint.RESPONSES, "responses"),
    ],
)
def test_paths_are_relative_to_the_base_url(endpoint: Endpoint, path: str) -> None:
    assert DIALECT.path(endpoint, "m") == path


def test_the_key_goes_out_as_a_bearer_token() -> None:
    assert DIALECT.headers(Secret("K", "sk-1")) == [("Authorization", "Bearer sk-1")]
    assert DIALECT.headers(None) == []


def test_the_model_is_replaced_and_the_body_left_alone() -> None:
    body = {"messages": MESSAGES, "model": "other", "extra_body": {"a": 1}}
    before = json.dumps(body)
    assert encode(body) == {"model": "m", "messages": MESSAGES, "a": 1}
    assert json.dumps(body) == before


def test_extra_body_overrides_all_but_the_model() -> None:
    wire = encode({"messages": MESSAGES, "seed": 1, "extra_body": {"seed": 2, "model": "x"}})
    assert wire["seed"] == 2
    assert wire["model"] == "m"


@pytest.mark.parametrize(
    ("endpoint", "body", "cap", "expected"),
    [
        (Endpoint.CHAT, {}, None, {}),
        (Endpoint.CHAT, {}, 50, {"CAP": 50}),
        (Endpoint.CHAT, {"max_tokens": 7}, 50, {"CAP": 7}),
        (Endpoint.CHAT, {"max_completion_tokens": 8}, None, {"CAP": 8}),
        (Endpoint.CHAT, {"max_completion_tokens": 8, "max_tokens": 7}, None, {"CAP": 8}),
        (Endpoint.CHAT, {"max_tokens": None}, 50, {"CAP": 50}),
        (Endpoint.CHAT, {"extra_body": {"max_tokens": 9}}, 50, {"CAP": 9}),
        (Endpoint.COMPLETIONS, {}, 50, {"max_tokens": 50}),
        (Endpoint.COMPLETIONS, {"max_completion_tokens": 8}, 50, {"max_tokens": 8}),
        (Endpoint.RESPONSES, {}, 50, {"max_output_tokens": 50}),
        (Endpoint.RESPONSES, {"max_output_tokens": 5}, 50, {"max_output_tokens": 5}),
        (Endpoint.RESPONSES, {"max_tokens": 6}, None, {"max_output_tokens": 6}),
        (Endpoint.EMBEDDINGS, {"input": "x"}, 50, {"input": "x"}),
    ],
)
def test_one_cap_under_the_servers_name(
    endpoint: Endpoint, body: dict[str, Any], cap: int | None, expected: dict[str, Any]
) -> None:
    wire = encode(body, endpoint=endpoint, cap=cap, cap_field="CAP")
    assert wire == {"model": "m", **expected}


@pytest.mark.parametrize(
    ("endpoint", "body", "cap"),
    [
        (Endpoint.CHAT, {"max_tokens": 7}, 7),
        (Endpoint.CHAT, {"max_completion_tokens": 8, "max_tokens": 7}, 8),
        (Endpoint.CHAT, {"extra_body": {"max_tokens": 9}, "max_tokens": 7}, 9),
        (Endpoint.CHAT, {"max_tokens": "7"}, None),
        (Endpoint.CHAT, {"max_tokens": True}, None),
        (Endpoint.CHAT, {}, None),
        (Endpoint.RESPONSES, {"max_output_tokens": 5}, 5),
        (Endpoint.EMBEDDINGS, {"max_tokens": 5}, None),
    ],
)
def test_the_prompts_own_cap(endpoint: Endpoint, body: dict[str, Any], cap: int | None) -> None:
    assert output_cap(endpoint, body) == cap


def test_any_text_reaches_the_server_exactly() -> None:
    """Lone surrogates, NUL, separators and emoji survive the wire."""
    text = "a\ud800b\x00\u2028\N{PILE OF POO}é"
    assert (
        encode({"messages": [{"role": "user", "content": text}]})["messages"][0]["content"] == text
    )


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ({"x-request-id": "req_1", "request-id": "req_2"}, "req_1"),
        ({"request-id": "req_2"}, "req_2"),
        ({"x-request-id": ""}, None),
        ({}, None),
        ({"x-request-id": "x" * 5000}, "x" * 200),
    ],
)
def test_request_id(headers: dict[str, str], found: str | None) -> None:
    assert read_headers(headers).request_id == found
