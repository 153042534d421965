"""What the Anthropic dialect puts on the wire."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aiq.model import Endpoint
from aiq.providers.anthropic import AnthropicDialect
from aiq.providers.dialect import Dialect, Inexpressible
from aiq.redaction import Secret

OLD: Dialect = AnthropicDialect()
NEW: Dialect = AnthropicDialect("2026-10-21")
HELLO = {"role": "user", "content": "hello"}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}]
AUTO = {"tools": [{"name": "f", "input_schema": SCHEMA}]}


def encode(
    *messages: dict[str, Any], dialect: Dialect = OLD, cap: int | None = 50, **body: Any
) -> dict[str, Any]:
    """Return the body on the wire for a chat, by default of one message."""
    chat = {"messages": list(messages or (HELLO,)), **body}
    before = json.dumps(chat)
    wire = dialect.encode(Endpoint.CHAT, chat, model="claude", cap=cap, cap_field="max_tokens")
    assert json.dumps(chat) == before, "the prompt's own body was changed"
    decoded: dict[str, Any] = json.loads(wire)
    return decoded


def fields(**body: Any) -> dict[str, Any]:
    """Return what a chat's parameters become, without what every request has."""
    wire = encode(**body)
    assert wire.pop("model") == "claude"
    assert wire.pop("messages") == [HELLO]
    assert wire.pop("max_tokens") == 50
    return wire


def test_it_is_asked_under_its_own_path_with_key_and_version() -> None:
    key = Secret("K", "sk-ant-1")
    assert OLD.path(Endpoint.CHAT, "claude") == "v1/messages"
    assert OLD.headers(key) == [("x-api-key", "sk-ant-1"), ("anthropic-version", "2023-06-01")]
    assert NEW.headers(None) == [("anthropic-version", "2026-10-21")]


@pytest.mark.parametrize(
    ("body", "cap", "expected"),
    [
        ({}, None, 8192),
        ({}, 50, 50),
        ({"max_tokens": 7}, 50, 7),
        ({"max_completion_tokens": 9, "max_tokens": 7}, 50, 9),
        ({"extra_body": {"max_tokens": 5}}, 50, 5),
        ({"extra_body": {"max_completion_tokens": 6}, "max_tokens": 7}, 50, 6),
    ],
)
def test_a_cap_is_always_sent(body: dict[str, Any], cap: int | None, expected: int) -> None:
    """The prompt's own cap wins, the provider's is next, and the API demands one."""
    wire = encode(cap=cap, **body)
    assert wire == {"model": "claude", "max_tokens": expected, "messages": [HELLO]}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"temperature": 0.5, "top_p": 0.9, "top_k": 4}, None),
        ({"temperature": 1.6}, {"temperature": 1}),
        ({"temperature": None, "stop": None, "tools": None}, {}),
        ({"stop": "."}, {"stop_sequences": ["."]}),
        ({"stop": ["\n", " ", "END"]}, {"stop_sequences": ["END"]}),
        ({"stop": ["\n\n"]}, {}),
        ({"user": "u-1"}, {"metadata": {"user_id": "u-1"}}),
        ({"safety_identifier": "s-1"}, {"metadata": {"user_id": "s-1"}}),
        ({"service_tier": "default"}, {"service_tier": "standard_only"}),
        ({"service_tier": "flex"}, {}),
        ({"reasoning_effort": "high"}, {"output_config": {"effort": "high"}}),
        ({"reasoning_effort": "minimal"}, {}),
        ({"response_format": {"type": "text"}}, {}),
        ({"response_format": {"type": "json_object"}}, {}),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "n", "strict": True, "schema": SCHEMA},
                },
                "reasoning_effort": "low",
            },
            {
                "output_config": {
                    "format": {"type": "json_schema", "schema": SCHEMA},
                    "effort": "low",
                }
            },
        ),
        ({"seed": 1, "logprobs": True, "top_logprobs": 2, "logit_bias": {"1": 2}}, {}),
        ({"presence_penalty": 1, "frequency_penalty": 1, "min_p": 0.1, "n": 1}, {}),
        ({"metadata": {"a": "b"}, "store": True, "verbosity": "low", "novel": 1}, {}),
        ({"modalities": ["text"]}, {}),
    ],
)
def test_parameters_in_the_words_of_the_api(
    body: dict[str, Any], expected: dict[str, Any] | None
) -> None:
    """None stands for parameters that are called the same there."""
    assert fields(**body) == (body if expected is None else expected)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"tools": TOOLS}, AUTO),
        ({"tools": TOOLS, "tool_choice": "auto"}, AUTO | {"tool_choice": {"type": "auto"}}),
        ({"tools": TOOLS, "tool_choice": "required"}, AUTO | {"tool_choice": {"type": "any"}}),
        ({"tools": TOOLS, "tool_choice": "none"}, AUTO | {"tool_choice": {"type": "none"}}),
        (
            {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "f"}}},
            AUTO | {"tool_choice": {"type": "tool", "name": "f"}},
        ),
        (
            {"tools": TOOLS, "parallel_tool_calls": False},
            AUTO | {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
        ),
        (
            {"tools": TOOLS, "tool_choice": "none", "parallel_tool_calls": False},
            AUTO | {"tool_choice": {"type": "none"}},
        ),
        ({"tools": TOOLS, "parallel_tool_calls": True}, AUTO),
        ({"tools": [], "tool_choice": "auto", "parallel_tool_calls": False}, {}),
        ({"tool_choice": "required"}, {"tool_choice": {"type": "any"}}),
        (
            {
                "tools": [
                    {
                        "type": "function",
                        "function": {"name": "g", "description": "d", "strict": True},
                    }
                ]
            },
            {
                "tools": [
                    {
                        "name": "g",
                        "description": "d",
                        "strict": True,
                        "input_schema": {"type": "object", "properties": {}},
                    }
                ]
            },
        ),
    ],
)
def test_tools_and_the_choice_among_them(body: dict[str, Any], expected: dict[str, Any]) -> None:
    assert fields(**body) == expected


def test_the_newer_version_knows_no_sampling() -> None:
    """From 2026-10-21 on, each of the three would be an error."""
    given: dict[str, Any] = {"temperature": 0.5, "top_p": 0.9, "top_k": 4, "stop": "."}
    wire = encode(dialect=NEW, **given, extra_body={"temperature": 1})
    assert wire["stop_sequences"] == ["."]
    assert not {"temperature", "top_p", "top_k"} & wire.keys()


def test_extra_body_goes_over_the_top_but_not_over_the_model() -> None:
    """Fields of a chat alone are translated; the others are in the API's own form already."""
    extra = {
        "thinking": {"type": "adaptive"},
        "metadata": {"user_id": "x"},
        "tools": [{"type": "web_search_20250305", "name": "web_search"}],
        "reasoning_effort": "max",
        "seed": 3,
        "model": "other",
    }
    assert fields(user="u", tools=TOOLS, extra_body=extra) == {
        "thinking": {"type": "adaptive"},
        "metadata": {"user_id": "x"},
        "tools": extra["tools"],
        "output_config": {"effort": "max"},
    }


def test_system_and_developer_messages_are_hoisted() -> None:
    parts = [{"type": "text", "text": "two"}, {"type": "text", "text": "three"}]
    wire = encode(
        {"role": "system", "content": "one"}, HELLO, {"role": "developer", "content": parts}
    )
    assert wire["system"] == "one\ntwo\nthree"
    assert wire["messages"] == [HELLO]


def test_images_become_blocks() -> None:
    urls = ["data:image/jpg;base64,QQ==", "DATA:image/png;base64,Qg==", "https://a.example/b.png"]
    parts: list[dict[str, Any]] = [{"type": "image_url", "image_url": {"url": u}} for u in urls]
    said = [{"type": "text", "text": "what?"}, {"type": "text", "text": " \n"}]
    [turn] = encode({"role": "user", "content": said + parts})["messages"]
    assert turn["content"] == [
        {"type": "text", "text": "what?"},
        {
            "type": "image",
            "source": {"type": "base64", "media_type": "image/jpeg", "data": "QQ=="},
        },
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "Qg=="}},
        {"type": "image", "source": {"type": "url", "url": "https://a.example/b.png"}},
    ]


def call(call_id: str, arguments: str | None) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": "f", "arguments": arguments}}


def test_tool_results_stand_in_one_user_turn() -> None:
    """The API wants all results, and what the user says next, in the turn after the calls."""
    calls = [call("functions.f:0", '{"city": "é\ud800"}'), call("b", "")]
    wire = encode(
        HELLO,
        {"role": "assistant", "content": "\n\n", "tool_calls": calls},
        {"role": "tool", "tool_call_id": "functions.f:0", "content": "12 degrees"},
        {"role": "tool", "tool_call_id": "b", "content": [{"type": "text", "text": "rain"}]},
        {"role": "user", "content": "go on"},
        {"role": "assistant", "content": None, "refusal": "no"},
        {"role": "user", "content": [{"type": "text", "text": "why?"}]},
    )
    assert wire["messages"] == [
        HELLO,
        {
            "role": "assistant",
            "content": [
                {
                    "type": "tool_use",
                    "id": "functions_f_0",
                    "name": "f",
                    "input": {"city": "é\ud800"},
                },
                {"type": "tool_use", "id": "b", "name": "f", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "functions_f_0", "content": "12 degrees"},
                {
                    "type": "tool_result",
                    "tool_use_id": "b",
                    "content": [{"type": "text", "text": "rain"}],
                },
                {"type": "text", "text": "go on"},
            ],
        },
        {"role": "assistant", "content": "no"},
        {"role": "user", "content": [{"type": "text", "text": "why?"}]},
    ]


def user(*parts: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(parts)}]}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (user({"type": "input_audio", "input_audio": {}}), "no equivalent of this `input_audio`"),
        (user({"type": "file", "file": {"file_id": "x"}}), "no equivalent of this `file` part"),
        (user({"type": "text"}), "no equivalent of this `text` part"),
        (user("text"), "`content` is no array of objects"),
        (
            user({"type": "image_url", "image_url": {"url": "data:image/png,QQ"}}),
            "only as base64",
        ),
        ({"messages": [{"role": "system", "content": "x"}]}, "no chat of instructions alone"),
        (
            {"messages": [HELLO, {"role": "system", "content": [{"type": "image_url"}]}]},
            "only text in a system message",
        ),
        ({"messages": [{"role": "function", "name": "f", "content": "x"}]}, "no role `function`"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "has no `tool_call_id`"),
        (
            {"messages": [{"role": "assistant", "content": "", "tool_calls": [call("a", "[1]")]}]},
            "the arguments of the call `a` are no JSON object",
        ),
        (
            {"messages": [{"role": "assistant", "tool_calls": [call("a", '{"b": NaN}')]}]},
            "the arguments of the call `a` are no JSON object",
        ),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"type": "custom", "id": "a"}]}]},
            "no calls other than of functions",
        ),
        (
            {"messages": [{"role": "assistant", "function_call": {"name": "f"}}]},
            "no `function_call`",
        ),
        ({"messages": [HELLO], "tools": [{"type": "custom"}]}, "no tools of yours other than"),
        ({"messages": [HELLO], "tool_choice": {"type": "allowed_tools"}}, "`tool_choice` is"),
        ({"messages": [HELLO], "response_format": {"type": "grammar"}}, "`response_format` is"),
        ({"messages": [HELLO], "modalities": ["text", "audio"]}, "more than text"),
        ({"messages": [HELLO], "audio": {"voice": "x"}}, "no equivalent of `audio`"),
        ({"messages": [HELLO], "web_search_options": {}}, "equivalent of `web_search_options`"),
        ({"messages": [HELLO], "functions": []}, "no equivalent of `functions`"),
        ({"messages": [HELLO], "n": 2}, "`n` asks for more"),
    ],
)
def test_what_cannot_be_said_is_named(body: dict[str, Any], reason: str) -> None:
    """Nothing that would change the question is left out in silence."""
    with pytest.raises(Inexpressible) as caught:
        OLD.encode(Endpoint.CHAT, body, model="m", cap=None, cap_field="max_tokens")
    assert reason in str(caught.value)


@pytest.mark.parametrize("endpoint", [one for one in Endpoint if one is not Endpoint.CHAT])
def test_it_answers_chats_only(endpoint: Endpoint) -> None:
    with pytest.raises(Inexpressible):
        OLD.encode(endpoint, {"input": "x"}, model="m", cap=None, cap_field="max_tokens")


@pytest.mark.parametrize("said", ["x", "\ud800"])
def test_arguments_beyond_all_numbers_are_inexpressible(said: str) -> None:
    """Sent as null they would be another call; beside a lone surrogate they could not be sent."""
    asked = {"role": "assistant", "tool_calls": [call("c", '{"a":1e999}')]}
    messages: list[dict[str, Any]] = [{"role": "user", "content": said}, asked]
    with pytest.raises(Inexpressible, match="arguments"):
        encode(*messages)
