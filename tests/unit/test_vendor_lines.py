from __future__ import annotations

import json
from typing import Any

import pytest

from aiq.prompts.shapes import BadLine, parse

HELLO = {"role": "user", "content": "hello"}
SCHEMA = {"type": "object", "properties": {"type": {"type": "string"}}}


def anthropic(**params: Any) -> dict[str, Any]:
    line = {"custom_id": "a", "params": {"messages": [HELLO], **params}}
    return parse(json.dumps(line).encode()).body


def anthropic_chat(*messages: Any, **params: Any) -> list[Any]:
    chat: list[Any] = anthropic(messages=list(messages), **params)["messages"]
    return chat


def gemini(**request: Any) -> dict[str, Any]:
    contents = [{"role": "user", "parts": [{"text": "hello"}]}]
    line = {"key": "a", "request": {"contents": contents, **request}}
    return parse(json.dumps(line).encode()).body


def gemini_chat(*contents: Any, **request: Any) -> list[Any]:
    chat: list[Any] = gemini(contents=list(contents), **request)["messages"]
    return chat


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"max_tokens": 9, "temperature": 0.5, "top_p": 1, "top_k": 4}, None),
        ({"stop_sequences": ["."]}, {"stop": ["."]}),
        ({"stop_sequences": []}, {}),
        ({"metadata": {"user_id": "u"}}, {"user": "u"}),
        ({"service_tier": "standard_only"}, {"service_tier": "default"}),
        ({"service_tier": "auto", "stream": False}, None),
        ({"thinking": {"type": "disabled"}, "cache_control": {"type": "ephemeral"}}, {}),
        ({"tool_choice": {"type": "auto"}}, {"tool_choice": "auto"}),
        ({"tool_choice": {"type": "any"}}, {"tool_choice": "required"}),
        ({"tool_choice": {"type": "none"}}, {"tool_choice": "none"}),
        (
            {"tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": True}},
            {
                "tool_choice": {"type": "function", "function": {"name": "f"}},
                "parallel_tool_calls": False,
            },
        ),
        (
            {
                "output_config": {
                    "effort": "low",
                    "format": {"type": "json_schema", "schema": SCHEMA},
                }
            },
            {
                "reasoning_effort": "low",
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "answer", "schema": SCHEMA},
                },
            },
        ),
        (
            {"tools": [{"name": "f", "description": "d", "input_schema": SCHEMA}]},
            {
                "tools": [
                    {
                        "type": "function",
                        "function": {"name": "f", "description": "d", "parameters": SCHEMA},
                    }
                ]
            },
        ),
    ],
)
def test_anthropic_parameters_in_chat_words(
    params: dict[str, Any], expected: dict[str, Any] | None
) -> None:
    """None stands for parameters that are called the same in a chat."""
    assert anthropic(**params) == {
        "messages": [HELLO],
        **(params if expected is None else expected),
    }


def test_an_anthropic_line_tells_its_id_and_model() -> None:
    line = {"custom_id": "a", "params": {"model": "claude", "messages": [HELLO]}, "priority": 1}
    prompt = parse(json.dumps(line).encode())
    assert (prompt.id, prompt.model, prompt.priority) == ("a", "claude", 1)
    assert prompt.body == {"messages": [HELLO]}


def test_anthropic_system_text_comes_first() -> None:
    blocks = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    for system, expected in [("one", "one"), (blocks, "one\ntwo")]:
        assert anthropic(system=system)["messages"] == [
            {"role": "system", "content": expected},
            HELLO,
        ]


def test_anthropic_images_become_parts() -> None:
    assert anthropic_chat(
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "what?", "cache_control": {"type": "ephemeral"}},
                {
                    "type": "image",
                    "source": {"type": "base64", "media_type": "image/png", "data": "QQ=="},
                },
                {"type": "image", "source": {"type": "url", "url": "https://a.example/b.png"}},
            ],
        }
    ) == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "what?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,QQ=="}},
                {"type": "image_url", "image_url": {"url": "https://a.example/b.png"}},
            ],
        }
    ]


def test_anthropic_tool_results_become_messages() -> None:
    """One user turn may hold several results and a text; each keeps its place."""
    call = {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": "é\ud800"}}
    text = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    assert anthropic_chat(
        HELLO,
        {"role": "assistant", "content": [{"type": "text", "text": "let me see"}, call]},
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": text},
                {"type": "tool_result", "tool_use_id": "t2", "is_error": True, "content": "no"},
                {"type": "tool_result", "tool_use_id": "t3"},
                {"type": "text", "text": "go on"},
            ],
        },
    ) == [
        HELLO,
        {
            "role": "assistant",
            "content": "let me see",
            "tool_calls": [
                {
                    "id": "t1",
                    "type": "function",
                    "function": {"name": "f", "arguments": '{"a":"é\ud800"}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "t1", "content": "one\ntwo"},
        {"role": "tool", "tool_call_id": "t2", "content": '{"error":"no"}'},
        {"role": "tool", "tool_call_id": "t3", "content": ""},
        {"role": "user", "content": "go on"},
    ]


def block(role: str, **keys: Any) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": [keys]}]}


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        (block("user", type="document"), "a `document` block in a user turn has no chat"),
        (block("user", type="image", source={"type": "file"}), "an `image` from `file` has no"),
        (block("assistant", type="thinking"), "a `thinking` block in an assistant turn has no"),
        (
            block("user", type="tool_result", tool_use_id="t", content=[{"type": "image"}]),
            "a `image` block in `tool_result.content` has no chat equivalent",
        ),
        (block("user"), "a `None` block in a user turn has no chat equivalent"),
        (block("user", type="text"), "`text` of a block must be a string"),
        (block("system", type="text", text="x"), "`params.messages[0].role` must be user or"),
        ({"messages": []}, "`params.messages` must be a non-empty array"),
        ({"messages": ["x"]}, "`params.messages[0]` must be an object"),
        ({"messages": [{"role": "user", "content": [5]}]}, "`params.messages[0].content[0]`"),
        ({"thinking": {"type": "enabled", "budget_tokens": 2048}}, "`thinking` has no chat"),
        ({"tools": [{"type": "web_search_20250305", "name": "w"}]}, "the tool `web_search_2025"),
        ({"metadata": {"other": 1}}, "`other` has no chat equivalent"),
        (
            {"tools": [{"name": "f", "input_schema": {}, "input_examples": [{}]}]},
            "`input_examples` has no chat equivalent",
        ),
        ({"mcp_servers": []}, "`mcp_servers` has no chat equivalent"),
        ({"stream": True}, "`stream` is not supported in a batch"),
        ({"max_tokens": 0}, "`max_tokens` must be a positive integer"),
    ],
)
def test_what_anthropic_says_and_a_chat_cannot_is_named(
    params: dict[str, Any], reason: str
) -> None:
    with pytest.raises(BadLine) as caught:
        anthropic(**params)
    assert str(caught.value).startswith(reason)


@pytest.mark.parametrize("spelling", ["camel", "snake"])
def test_gemini_parameters_in_chat_words(spelling: str) -> None:
    """Both spellings of Gemini's fields are read."""
    config = {
        "temperature": 0.5,
        "topP": 0.9,
        "topK": 4,
        "maxOutputTokens": 9,
        "stopSequences": ["."],
        "seed": 7,
        "candidateCount": 1,
        "responseMimeType": "text/plain",
        "thinkingConfig": {"thinkingBudget": 0},
    }
    request: dict[str, Any] = {
        "systemInstruction": {"parts": [{"text": "one"}, {"text": "two"}]},
        "generationConfig": config,
        "safetySettings": [],
    }
    if spelling == "snake":
        snake = {"topP": "top_p", "topK": "top_k", "maxOutputTokens": "max_output_tokens"}
        request["generation_config"] = {snake.get(key, key): config[key] for key in config}
        request["system_instruction"] = request.pop("systemInstruction")
        del request["generationConfig"]
    assert gemini(**request) == {
        "messages": [{"role": "system", "content": "one\ntwo"}, HELLO],
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 4,
        "max_tokens": 9,
        "stop": ["."],
        "seed": 7,
        "n": 1,
        "reasoning_effort": "none",
    }


def test_a_gemini_line_tells_its_key_and_model() -> None:
    line = {"key": 7, "request": {"model": "models/g", "contents": [{"parts": [{"text": "x"}]}]}}
    prompt = parse(json.dumps(line).encode())
    assert (prompt.id, prompt.model) == ("7", "g")


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"responseMimeType": "application/json"}, {"type": "json_object"}),
        (
            {"responseMimeType": "application/json", "responseJsonSchema": SCHEMA},
            {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}},
        ),
        (
            {
                "responseSchema": {
                    "type": "OBJECT",
                    "propertyOrdering": ["type", "tags"],
                    "properties": {
                        "type": {"type": "STRING", "nullable": True},
                        "tags": {"type": "ARRAY", "items": {"anyOf": [{"type": "INTEGER"}]}},
                    },
                }
            },
            {
                "type": "json_schema",
                "json_schema": {
                    "name": "answer",
                    "schema": {
                        "type": "object",
                        "properties": {
                            "type": {"type": ["string", "null"]},
                            "tags": {"type": "array", "items": {"anyOf": [{"type": "integer"}]}},
                        },
                    },
                },
            },
        ),
    ],
)
def test_gemini_answer_formats(config: dict[str, Any], expected: dict[str, Any]) -> None:
    """A property that happens to be called `type` is no type."""
    assert gemini(generationConfig=config)["response_format"] == expected


def test_gemini_calls_get_ids_and_results_find_them() -> None:
    """A result without an id answers the oldest open call of its function."""
    calls = [{"name": "f", "args": {"a": 1}}, {"name": "f"}, {"name": "g", "id": "own"}]
    results = [{"name": "g", "id": "own", "response": {"r": 3}}, {"name": "f", "response": {}}]
    messages = gemini_chat(
        {"parts": [{"text": "a"}, {"inline_data": {"mime_type": "image/png", "data": "QQ=="}}]},
        {"role": "model", "parts": [{"text": "b"}, *({"functionCall": call} for call in calls)]},
        {"role": "user", "parts": [{"functionResponse": result} for result in results]},
        {"role": "function", "parts": [{"functionResponse": {"name": "f", "response": {}}}]},
    )
    assert messages[0]["content"][1]["image_url"]["url"] == "data:image/png;base64,QQ=="
    assert messages[1]["content"] == "b"
    assert [call["id"] for call in messages[1]["tool_calls"]] == ["call_1", "call_2", "own"]
    assert [call["function"]["arguments"] for call in messages[1]["tool_calls"]] == [
        '{"a":1}',
        "{}",
        "{}",
    ]
    assert [message["tool_call_id"] for message in messages[2:]] == ["own", "call_1", "call_2"]
    assert messages[2]["content"] == '{"r":3}'


def test_gemini_tools() -> None:
    body = gemini(
        tools=[
            {
                "functionDeclarations": [
                    {"name": "f", "description": "d", "parameters": {"type": "OBJECT"}},
                    {"name": "g", "parametersJsonSchema": SCHEMA},
                ]
            }
        ],
        toolConfig={"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}},
    )
    assert [tool["function"] for tool in body["tools"]] == [
        {"name": "f", "description": "d", "parameters": {"type": "object"}},
        {"name": "g", "parameters": SCHEMA},
    ]
    assert body["tool_choice"] == {"type": "function", "function": {"name": "f"}}
    for mode, choice in [("AUTO", "auto"), ("ANY", "required"), ("NONE", "none")]:
        body = gemini(tool_config={"function_calling_config": {"mode": mode}})
        assert body["tool_choice"] == choice


def part(role: str = "user", **keys: Any) -> dict[str, Any]:
    return {"contents": [{"role": role, "parts": [keys]}]}


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (part(fileData={"fileUri": "gs://x"}), "a part with `fileData` has no chat equivalent"),
        (part(text="x", thought=True), "a part with `thought` has no chat equivalent"),
        (part("model", executableCode={}), "a part with `executableCode` has no chat"),
        (part("model", inlineData={}), "a part with `inlineData` has no chat equivalent"),
        (part(inlineData={"mimeType": "audio/wav", "data": ""}), "`inlineData` of type `audio/"),
        (part(functionResponse={"name": "f"}), "the `functionResponse` of `f` answers no call"),
        (part(), "a part with `nothing` has no chat equivalent"),
        (part("system", text="x"), "`role` of a content must be user or model"),
        ({"contents": []}, "`request.contents` must be a non-empty array"),
        ({"contents": [{"parts": []}]}, "`parts` must be a non-empty array"),
        ({"safetySettings": [{"category": "x"}]}, "`safetySettings` has no chat equivalent"),
        ({"cachedContent": "x"}, "`cachedContent` has no chat equivalent"),
        ({"tools": [{"googleSearch": {}}]}, "the tool `googleSearch` has no chat equivalent"),
        (
            {"tools": [{"functionDeclarations": [{"name": "f", "behavior": "NON_BLOCKING"}]}]},
            "`behavior` has no chat equivalent",
        ),
        (
            {"toolConfig": {"retrievalConfig": {}, "functionCallingConfig": {"mode": "AUTO"}}},
            "`retrievalConfig` has no chat equivalent",
        ),
        (
            part(functionResponse={"name": "f", "response": {}, "parts": [{}]}),
            "`parts` has no chat equivalent",
        ),
        (
            part("model", functionCall={"name": "f", "willContinue": True}),
            "`willContinue` has no chat equivalent",
        ),
        ({"generationConfig": {"speechConfig": {}}}, "`speechConfig` has no chat equivalent"),
        ({"generationConfig": {"candidateCount": 2}}, "`n` must be 1"),
        ({"generationConfig": {"responseMimeType": "text/x.enum"}}, "`responseMimeType` `text/x"),
        (
            {"generationConfig": {"thinkingConfig": {"thinkingBudget": 99}}},
            "`thinkingConfig` other",
        ),
        ({"systemInstruction": {"parts": [{"inlineData": {}}]}}, "a `systemInstruction` that is"),
    ],
)
def test_what_gemini_says_and_a_chat_cannot_is_named(request_: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadLine) as caught:
        gemini(**request_)
    assert str(caught.value).startswith(reason)
