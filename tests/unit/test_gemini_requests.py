"""What the Gemini dialect puts on the wire."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aiq.model import Endpoint
from aiq.providers.dialect import Dialect, Inexpressible
from aiq.providers.gemini import GeminiDialect
from aiq.redaction import Secret

DIALECT: Dialect = GeminiDialect()
USER = {"role": "user", "content": "hi"}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}


def with_file(url: str) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "file", "file": {"file_data": url}}]}


def encode(
    *messages: dict[str, Any], model: str = "gemini-2.5-flash", cap: int | None = None, **body: Any
) -> dict[str, Any]:
    chat = {"messages": list(messages) or [USER], **body}
    before = json.dumps(chat)
    wire = DIALECT.encode(Endpoint.CHAT, chat, model=model, cap=cap, cap_field="x")
    assert json.dumps(chat) == before, "the prompt is left as it is"
    decoded: dict[str, Any] = json.loads(wire)
    return decoded


def contents(*messages: dict[str, Any], model: str = "gemini-2.5-flash") -> list[Any]:
    found: list[Any] = encode(*messages, model=model)["contents"]
    return found


def config(**body: Any) -> Any:
    return encode(**body).get("generationConfig")


@pytest.mark.parametrize(
    ("version", "model", "path"),
    [
        (None, "gemini-2.5-flash", "v1beta/models/gemini-2.5-flash:generateContent"),
        (None, "models/gemini-2.5-flash", "v1beta/models/gemini-2.5-flash:generateContent"),
        ("v1", "gemini-2.5-flash", "v1/models/gemini-2.5-flash:generateContent"),
        (None, "a/../b?key=x", "v1beta/models/a%2F..%2Fb%3Fkey%3Dx:generateContent"),
        (None, "\ud800", "v1beta/models/%3F:generateContent"),
    ],
)
def test_the_model_is_in_the_path_and_cannot_leave_its_place(
    version: str | None, model: str, path: str
) -> None:
    assert GeminiDialect(version).path(Endpoint.CHAT, model) == path


def test_the_key_is_a_header_and_in_no_url() -> None:
    assert DIALECT.headers(Secret("K", "AIza-1")) == [("x-goog-api-key", "AIza-1")]
    assert DIALECT.headers(None) == []
    assert "key=" not in DIALECT.path(Endpoint.CHAT, "m") + DIALECT.models_path()


def test_a_prompt_alone_says_nothing_else() -> None:
    assert encode() == {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}


def test_instructions_are_hoisted_in_their_order() -> None:
    wire = encode(
        {"role": "system", "content": "a"},
        USER,
        {"role": "developer", "content": [{"type": "text", "text": "b"}]},
    )
    assert wire["systemInstruction"] == {"parts": [{"text": "a"}, {"text": "b"}]}
    assert [content["role"] for content in wire["contents"]] == ["user"]


def test_turns_have_the_roles_user_and_model() -> None:
    refused = {"role": "assistant", "content": None, "refusal": "no"}
    assert contents(USER, {"role": "assistant", "content": "yo"}, USER, refused) == [
        {"role": "user", "parts": [{"text": "hi"}]},
        {"role": "model", "parts": [{"text": "yo"}]},
        {"role": "user", "parts": [{"text": "hi"}]},
        {"role": "model", "parts": [{"text": "no"}]},
    ]


def test_calls_and_results_keep_their_ids_and_results_stand_together() -> None:
    other = {"id": "c2", "type": "function", "function": {"name": "g", "arguments": ""}}
    said = contents(
        USER,
        {"role": "assistant", "content": "let me see", "tool_calls": [CALL, other]},
        {"role": "tool", "tool_call_id": "c2", "content": "plain words"},
        {"role": "tool", "tool_call_id": "c1", "content": '{"b":2}'},
        USER,
    )
    assert said[1] == {
        "role": "model",
        "parts": [
            {"text": "let me see"},
            {"functionCall": {"name": "f", "args": {"a": 1}, "id": "c1"}},
            {"functionCall": {"name": "g", "args": {}, "id": "c2"}},
        ],
    }
    assert said[2] == {
        "role": "user",
        "parts": [
            {"functionResponse": {"name": "g", "response": {"output": "plain words"}, "id": "c2"}},
            {"functionResponse": {"name": "f", "response": {"b": 2}, "id": "c1"}},
        ],
    }
    assert said[3] == {"role": "user", "parts": [{"text": "hi"}]}


@pytest.mark.parametrize("text", ["[1,2]", "7", "null", '"x"', "", '{"a":'])
def test_a_result_that_is_no_object_is_an_output(text: str) -> None:
    said = contents(
        USER,
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c1", "content": text},
    )
    assert said[2]["parts"][0]["functionResponse"]["response"] == {"output": text}


def test_the_older_function_call_is_a_call_whose_result_names_it() -> None:
    said = contents(
        USER,
        {"role": "assistant", "content": None, "function_call": CALL["function"]},
        {"role": "function", "name": "f", "content": "{}"},
    )
    assert said[1]["parts"] == [{"functionCall": {"name": "f", "args": {"a": 1}}}]
    assert said[2]["parts"] == [{"functionResponse": {"name": "f", "response": {}}}]


def test_a_signature_goes_back_with_its_call() -> None:
    signed = {**CALL, "extra_content": {"google": {"thought_signature": "c2ln"}}}
    turn = {"role": "assistant", "content": None, "tool_calls": [signed, CALL]}
    for model in ("gemini-2.5-pro", "gemini-3-pro"):
        parts = contents(USER, turn, model=model)[1]["parts"]
        assert [part.get("thoughtSignature") for part in parts] == ["c2ln", None]


@pytest.mark.parametrize(
    ("model", "signature"),
    [
        ("gemini-2.5-pro", None),
        ("models/gemini-1.5-pro", None),
        ("gemini-3-pro", "skip_thought_signature_validator"),
        ("models/gemini-3.1-pro", "skip_thought_signature_validator"),
        ("gemini-flash-latest", "skip_thought_signature_validator"),
    ],
)
def test_a_call_made_elsewhere_passes_models_that_check_signatures(
    model: str, signature: str | None
) -> None:
    turn = {"role": "assistant", "content": None, "tool_calls": [CALL, CALL]}
    parts = contents(USER, turn, model=model)[1]["parts"]
    assert [part.get("thoughtSignature") for part in parts] == [signature, None]


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({"type": "text", "text": "a"}, {"text": "a"}),
        (
            {
                "type": "image_url",
                "image_url": {"url": "data:image/png;base64,AAA=", "detail": "x"},
            },
            {"inlineData": {"mimeType": "image/png", "data": "AAA="}},
        ),
        (
            {"type": "image_url", "image_url": {"url": "https://h/a.JPG?x=1"}},
            {"fileData": {"mimeType": "image/jpeg", "fileUri": "https://h/a.JPG?x=1"}},
        ),
        (
            {"type": "image_url", "image_url": {"url": "https://h/files/1"}},
            {"fileData": {"fileUri": "https://h/files/1"}},
        ),
        (
            {"type": "input_audio", "input_audio": {"data": "AAA=", "format": "wav"}},
            {"inlineData": {"mimeType": "audio/wav", "data": "AAA="}},
        ),
        (
            {"type": "file", "file": {"file_data": "data:application/pdf;base64,AAA="}},
            {"inlineData": {"mimeType": "application/pdf", "data": "AAA="}},
        ),
    ],
)
def test_parts_of_a_user_message(part: dict[str, Any], expected: dict[str, Any]) -> None:
    assert contents({"role": "user", "content": [part]})[0]["parts"] == [expected]


def test_sampling_has_its_own_spelling() -> None:
    assert config(
        temperature=0.5, top_p=0.9, top_k=3, seed=7, presence_penalty=1, frequency_penalty=0
    ) == {
        "temperature": 0.5,
        "topP": 0.9,
        "topK": 3,
        "seed": 7,
        "presencePenalty": 1,
        "frequencyPenalty": 0,
    }
    assert config(logprobs=True, top_logprobs=3) == {"responseLogprobs": True, "logprobs": 3}
    assert config(stop="a") == config(stop=["a"]) == {"stopSequences": ["a"]}
    assert config(temperature=None, stop=[]) is None


@pytest.mark.parametrize(
    ("body", "cap", "sent"),
    [
        ({}, None, None),
        ({}, 50, 50),
        ({"max_tokens": 7}, 50, 7),
        ({"max_completion_tokens": 8, "max_tokens": 7}, None, 8),
        ({"extra_body": {"max_tokens": 9}}, 50, 9),
        ({"extra_body": {"generationConfig": {"maxOutputTokens": 99_999}}}, 50, 50),
        ({"extra_body": {"generation_config": {"max_output_tokens": 9}}}, None, 9),
    ],
)
def test_the_cap_is_the_one_the_budget_was_reckoned_with(
    body: dict[str, Any], cap: int | None, sent: int | None
) -> None:
    found = encode(cap=cap, **body).get("generationConfig", {})
    assert found.get("maxOutputTokens") == sent
    assert "max_output_tokens" not in found


SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"type": "text"}, None),
        ({"type": "json_object"}, {"responseMimeType": "application/json"}),
        (
            {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": SCHEMA}},
            {"responseMimeType": "application/json", "responseJsonSchema": SCHEMA},
        ),
    ],
)
def test_response_formats(wanted: dict[str, Any], expected: dict[str, Any] | None) -> None:
    assert config(response_format=wanted) == expected


def test_functions_are_declared_with_json_schema() -> None:
    function = {"name": "f", "description": "d", "parameters": SCHEMA, "strict": True}
    bare = {"type": "function", "function": {"name": "g"}}
    wire = encode(tools=[{"type": "function", "function": function}, bare])
    declared = {"name": "f", "description": "d", "parametersJsonSchema": SCHEMA}
    assert wire["tools"] == [{"functionDeclarations": [declared, {"name": "g"}]}]
    assert "tools" not in encode(tools=[])


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", {"mode": "AUTO"}),
        ("required", {"mode": "ANY"}),
        ("none", {"mode": "NONE"}),
        (
            {"type": "function", "function": {"name": "f"}},
            {"mode": "ANY", "allowedFunctionNames": ["f"]},
        ),
    ],
)
def test_tool_choices(choice: Any, expected: dict[str, Any]) -> None:
    assert encode(tool_choice=choice)["toolConfig"] == {"functionCallingConfig": expected}


@pytest.mark.parametrize(
    ("effort", "budget", "level"),
    [
        ("none", 0, "MINIMAL"),
        ("minimal", 1024, "MINIMAL"),
        ("low", 1024, "LOW"),
        ("medium", 8192, "MEDIUM"),
        ("high", 24576, "HIGH"),
        ("xhigh", 24576, "XHIGH"),
        ("max", 24576, "XHIGH"),
    ],
)
def test_models_before_3_count_thoughts_and_later_ones_have_levels(
    effort: str, budget: int, level: str
) -> None:
    older = encode(model="models/gemini-2.5-flash", reasoning_effort=effort)
    newer = encode(model="gemini-3-flash-preview", reasoning_effort=effort)
    assert older["generationConfig"] == {"thinkingConfig": {"thinkingBudget": budget}}
    assert newer["generationConfig"] == {"thinkingConfig": {"thinkingLevel": level}}


def test_labels_and_hints_without_a_counterpart_are_dropped() -> None:
    wire = encode(
        n=1,
        stream=False,
        user="u",
        metadata={"a": "b"},
        service_tier="flex",
        logit_bias={"1": 2},
        parallel_tool_calls=False,
        prediction={"type": "content", "content": "x"},
        an_unknown_key=1,
        modalities=["text"],
    )
    assert wire == encode()


def test_extra_body_wins_and_reaches_what_a_chat_cannot_say() -> None:
    settings = [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}]
    extra = {
        "temperature": 0.1,
        "safety_settings": settings,
        "generationConfig": {"mediaResolution": "LOW", "candidateCount": 8, "seed": 2},
    }
    wire = encode(temperature=0.9, seed=1, extra_body=extra)
    assert wire["safetySettings"] == settings
    assert wire["generationConfig"] == {"temperature": 0.1, "seed": 2, "mediaResolution": "LOW"}


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"messages": [{"role": "system", "content": "a"}]}, "instructions alone"),
        ({"messages": [USER, {"role": "tool", "tool_call_id": "x", "content": "a"}]}, "no call"),
        ({"messages": [{"role": "user", "content": [{"type": "video"}]}]}, "`video`"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "`text`"),
        ({"messages": [{"role": "user", "content": 7}]}, "without a type"),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "image_url", "image_url": {"url": "data:,a"}}],
                    }
                ]
            },
            "data URI",
        ),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}
                ]
            },
            "`file`",
        ),
        (
            {"messages": [{"role": "system", "content": [{"type": "image_url"}]}, USER]},
            "`image_url`",
        ),
        (
            {
                "messages": [
                    {"role": "assistant", "tool_calls": [{"type": "custom", "custom": {}}]},
                ]
            },
            "functions",
        ),
        (
            {
                "messages": [
                    {
                        "role": "assistant",
                        "tool_calls": [{"function": {"name": "f", "arguments": "[1]"}}],
                    }
                ]
            },
            "`arguments`",
        ),
        ({"messages": [{"role": "assistant", "tool_calls": 7}]}, "functions"),
        ({"messages": [USER], "tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools"),
        ({"messages": [USER], "tools": 7}, "tools"),
        ({"messages": [USER], "tool_choice": {"type": "allowed_tools"}}, "tool_choice"),
        ({"messages": [USER], "response_format": {"type": "grammar"}}, "response_format"),
        ({"messages": [with_file("https://x/book.pdf")]}, "data URI"),
        ({"messages": [with_file("gs://x/book.pdf")]}, "data URI"),
        ({"messages": [USER], "reasoning_effort": "wild"}, "wild"),
        ({"messages": [USER], "extra_body": {"reasoning_effort": []}}, "reasoning_effort"),
        ({"messages": [USER], "modalities": ["text", "audio"]}, "modalities"),
        ({"messages": [USER], "audio": {"voice": "x"}}, "`audio`"),
        ({"messages": [USER], "web_search_options": {}}, "web_search_options"),
    ],
)
def test_what_gemini_cannot_say_is_named_and_not_left_out(body: dict[str, Any], named: str) -> None:
    with pytest.raises(Inexpressible, match=named):
        DIALECT.encode(Endpoint.CHAT, body, model="m", cap=None, cap_field="x")


@pytest.mark.parametrize("endpoint", [e for e in Endpoint if e is not Endpoint.CHAT])
def test_chat_is_all_there_is(endpoint: Endpoint) -> None:
    with pytest.raises(Inexpressible, match=endpoint.value):
        DIALECT.encode(endpoint, {"input": "x"}, model="m", cap=None, cap_field="x")


@pytest.mark.parametrize("said", ["x", "\ud800"])
def test_arguments_beyond_all_numbers_are_inexpressible(said: str) -> None:
    """Sent as null they would be another call; beside a lone surrogate they could not be sent."""
    call = {"id": "c", "function": {"name": "f", "arguments": '{"a":1e999}'}}
    asked = {"role": "assistant", "tool_calls": [call]}
    messages: list[dict[str, Any]] = [{"role": "user", "content": said}, asked]
    with pytest.raises(Inexpressible, match="arguments"):
        encode(*messages)
