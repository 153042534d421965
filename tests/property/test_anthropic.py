"""Whatever a chat holds or a server sends, the Anthropic dialect keeps its meaning or says so."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from aiq.model import Answer, Endpoint, Kind, Problem
from aiq.policy.outcomes import classify
from aiq.prompts.shapes import parse
from aiq.providers.anthropic import AnthropicDialect
from aiq.providers.dialect import Inexpressible
from tests.support.odd_json import ODD, ODD_LISTS, as_json

DIALECT = AnthropicDialect()
CHAT = Endpoint.CHAT

LEAVES = st.one_of(
    *(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=12)),
    *(ODD, ODD_LISTS),
)
NAMES = (
    *("content", "type", "text", "role", "user", "assistant", "tool", "system", "image_url", "url"),
    *("tool_calls", "function", "arguments", "id", "name", "tool_call_id", "parameters"),
    *("model", "usage", "input_tokens", "output_tokens", "cache_creation", "stop_reason", "error"),
    *("stop_details", "explanation", "input", "message", "details", "error_code"),
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(LEAVES, st.sampled_from(NAMES)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(NAMES), inner, max_size=5)
    ),
    max_leaves=20,
)
USES = (VALUES | ODD_LISTS).map(lambda given: {"type": "tool_use", "input": given})
REPLIES = st.fixed_dictionaries(
    {"content": st.lists(VALUES | USES)},
    optional={"usage": VALUES, "stop_reason": VALUES, "stop_details": VALUES, "model": VALUES},
)
BODIES = st.one_of(
    st.binary(max_size=100),
    st.one_of(VALUES, REPLIES).map(lambda value: as_json(value).encode()),
)


@given(st.sampled_from([200, 200, 204, 400, 429, 529, 700]), BODIES)
def test_any_reply_is_an_answer_or_a_problem(status_code: int, body: bytes) -> None:
    found = DIALECT.read(CHAT, status_code, {}, body)
    content = DIALECT.content(CHAT, body)
    DIALECT.model_names(body)
    completion = DIALECT.completion(CHAT, body)
    if isinstance(found, Problem):
        outcome = classify(found, elapsed_s=1.0, answered_before=False, body=body)
        assert outcome.kind is not Kind.OK
        return
    assert completion is not None
    assert completion["choices"][0]["message"]["content"] == content.text
    for word in (found.finish_reason, found.served_model):
        (word or "").encode()
    says = (content.text, content.tool_calls, content.refusal)
    assert (
        any(says)
        or says[0] == ""
        or found.finish_reason in (*("length", "content_filter", "pause_turn"),)
    )


@given(st.text(st.characters(), max_size=200))
def test_any_text_is_answered_and_exported_exactly(text: str) -> None:
    body = json.dumps({"content": [{"type": "text", "text": text}]}).encode()
    assert isinstance(DIALECT.read(CHAT, 200, {}, body), Answer)
    assert DIALECT.content(CHAT, body).text == text


CALLS = st.builds(
    lambda arguments: [{"id": "c", "function": {"name": "f", "arguments": as_json(arguments)}}],
    st.dictionaries(st.sampled_from(NAMES), VALUES | ODD_LISTS, max_size=3),
)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "user", "assistant", "tool", "function"])},
        optional={"content": VALUES, "tool_calls": VALUES | CALLS, "tool_call_id": VALUES},
    ),
    max_size=4,
)
FIELDS = (
    *("tools", "tool_choice", "parallel_tool_calls", "response_format", "reasoning_effort"),
    *("stop", "user", "n", "modalities", "temperature", "service_tier", "extra_body"),
)


@given(MESSAGES, st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=4))
def test_any_chat_becomes_a_request_or_is_inexpressible(
    messages: list[Any], fields: dict[str, Any]
) -> None:
    body = json.loads(json.dumps({"messages": messages, **fields}), parse_constant=lambda _: None)
    with suppress(Inexpressible):
        wire = DIALECT.encode(CHAT, body, model="m", cap=None, cap_field="max_tokens")
        sent = json.loads(wire)
        assert sent["model"] == "m"
        assert sent["messages"]
        assert {turn["role"] for turn in sent["messages"]} <= {"user", "assistant"}


TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20).map(
    lambda text: f"~{text}~"  # never blank
)
IDS = st.from_regex(r"[A-Za-z0-9_-]{1,20}", fullmatch=True)
OBJECTS = st.dictionaries(st.text(max_size=5), st.one_of(st.integers(), TEXT), max_size=3)
TEXT_BLOCK = st.builds(lambda text: {"type": "text", "text": text}, TEXT)
IMAGE = st.sampled_from(
    [
        {"type": "url", "url": "https://a.example/b.png"},
        {"type": "base64", "media_type": "image/webp", "data": "QUJD"},
    ]
).map(lambda source: {"type": "image", "source": source})
RESULT = st.builds(
    lambda call_id, text: {"type": "tool_result", "tool_use_id": call_id, "content": text},
    IDS,
    TEXT,
)
USE = st.builds(
    lambda call_id, name, given: {"type": "tool_use", "id": call_id, "name": name, "input": given},
    IDS,
    IDS,
    OBJECTS,
)
USER = st.one_of(
    TEXT,
    st.builds(
        lambda results, said: results + said,
        st.lists(RESULT, max_size=2),
        st.lists(st.one_of(TEXT_BLOCK, IMAGE), max_size=2),
    ).filter(bool),
).map(lambda content: {"role": "user", "content": content})
ASSISTANT = st.one_of(
    TEXT,
    st.builds(
        lambda said, calls: said + calls,
        st.lists(TEXT_BLOCK, max_size=2),
        st.lists(USE, max_size=2),
    ).filter(bool),
).map(lambda content: {"role": "assistant", "content": content})
TOOL = st.fixed_dictionaries(
    {"name": IDS, "input_schema": st.just({"type": "object"})},
    optional={"description": TEXT, "strict": st.booleans()},
)
CHOICE = st.sampled_from(
    [
        {"type": "auto"},
        {"type": "any", "disable_parallel_tool_use": True},
        {"type": "none"},
        {"type": "tool", "name": "f"},
    ]
)
PARAMS = st.fixed_dictionaries(
    {
        "max_tokens": st.integers(1, 9000),
        "messages": st.builds(
            lambda first, rest: [first, *rest],
            USER,
            st.lists(st.one_of(USER, ASSISTANT), max_size=4),
        ),
    },
    optional={
        "system": TEXT,
        "temperature": st.floats(0, 1),
        "top_p": st.floats(0, 1),
        "top_k": st.integers(1, 500),
        "stop_sequences": st.lists(TEXT, min_size=1, max_size=3),
        "tools": st.lists(TOOL, min_size=1, max_size=2),
        "metadata": st.builds(lambda user: {"user_id": user}, TEXT),
        "service_tier": st.sampled_from(["auto", "standard_only"]),
        "output_config": st.fixed_dictionaries(
            {"effort": st.sampled_from(["low", "medium", "high", "xhigh", "max"])},
            optional={"format": st.just({"type": "json_schema", "schema": {"type": "object"}})},
        ),
    },
)


@given(PARAMS, CHOICE)
def test_a_line_in_its_own_words_comes_back_as_it_was(
    params: dict[str, Any], choice: dict[str, Any]
) -> None:
    """An Anthropic batch line, read as a chat and sent to Anthropic, asks the same question."""
    if "tools" in params:  # without tools a choice says nothing
        params["tool_choice"] = choice
    prompt = parse(json.dumps({"custom_id": "a", "params": params}).encode())
    wire = json.loads(
        DIALECT.encode(CHAT, prompt.body, model="m", cap=None, cap_field="max_tokens")
    )
    assert wire.pop("model") == "m"
    assert _turns(wire.pop("messages")) == _turns(params.pop("messages"))
    assert wire == params


def _turns(messages: list[dict[str, Any]]) -> list[tuple[str, list[Any]]]:
    """Bring turns into one form: the API takes turns of one role for one, and so do we here."""
    turns: list[tuple[str, list[Any]]] = []
    for message in messages:
        said = message["content"]
        blocks = [{"type": "text", "text": said}] if isinstance(said, str) else list(said)
        if turns and turns[-1][0] == message["role"]:
            turns[-1][1].extend(blocks)
        else:
            turns.append((message["role"], blocks))
    return [(role, _joined(blocks) if role == "assistant" else blocks) for role, blocks in turns]


def _joined(blocks: list[dict[str, Any]]) -> list[Any]:
    """Join what the model said before its calls: a chat has one text there."""
    texts = "".join(block["text"] for block in blocks if block["type"] == "text")
    return [texts, *(block for block in blocks if block["type"] != "text")]
