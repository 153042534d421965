"""What holds for every Gemini request that is translated there and back, and for any reply."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from aiq.model import Answer, Endpoint, Kind
from aiq.policy.outcomes import classify
from aiq.prompts.gemini_lines import chat_form
from aiq.providers.dialect import Inexpressible
from aiq.providers.gemini import GeminiDialect
from tests.support.gemini_replies import gemini_body
from tests.support.odd_json import ODD, ODD_LISTS, as_json

DIALECT = GeminiDialect()
MODEL = "gemini-2.5-flash"
TEXT = st.text(st.characters(exclude_categories=()), max_size=12)
NAME = st.sampled_from(["f", "g", "look_up"])
OBJECT = st.dictionaries(TEXT, st.one_of(TEXT, st.integers(-9, 9), st.lists(TEXT, max_size=2)))
SCHEMA = st.just({"type": "object", "properties": {"a": {"type": ["string", "null"]}}})
USER_PART = st.one_of(
    TEXT.map(lambda text: {"text": text}),
    st.just({"inlineData": {"mimeType": "image/png", "data": "AAA="}}),
)
USER_TURN = st.lists(USER_PART, min_size=1, max_size=3).map(
    lambda parts: [{"role": "user", "parts": parts}]
)
MODEL_TURN = TEXT.map(lambda text: [{"role": "model", "parts": [{"text": text}]}])


@st.composite
def tool_turns(draw: st.DrawFn) -> list[Any]:
    """A turn with calls, and the results of all of them in any order; ids are set by `requests`."""
    names = draw(st.lists(NAME, min_size=1, max_size=3))
    calls = [{"functionCall": {"name": name, "args": draw(OBJECT)}} for name in names]
    results = [{"functionResponse": {"name": name, "response": draw(OBJECT)}} for name in names]
    order = draw(st.permutations(range(len(names))))
    lead = [{"text": text} for text in draw(st.lists(TEXT.filter(bool), max_size=1))]
    return [
        {"role": "model", "parts": [*lead, *calls]},
        {"role": "user", "parts": [results[n] for n in order], "order": order},
    ]


def with_ids(turns: list[list[Any]]) -> list[Any]:
    """Flatten the turns; each call gets an id of its own, and its result the same."""
    contents: list[Any] = []
    made = 0
    for turn in turns:
        if len(turn) == 2:
            calls = [part["functionCall"] for part in turn[0]["parts"] if "functionCall" in part]
            for number, call in enumerate(calls):
                call["id"] = f"id{made + number}"
            for part, number in zip(turn[1]["parts"], turn[1].pop("order"), strict=True):
                part["functionResponse"]["id"] = f"id{made + number}"
            made += len(calls)
        contents += turn
    return contents


CONFIG = st.fixed_dictionaries(
    {},
    optional={
        "temperature": st.floats(0, 2),
        "topP": st.floats(0, 1),
        "topK": st.integers(1, 40),
        "seed": st.integers(-(2**31), 2**31 - 1),
        "maxOutputTokens": st.integers(1, 65_536),
        "presencePenalty": st.floats(-2, 2),
        "frequencyPenalty": st.floats(-2, 2),
        "responseLogprobs": st.booleans(),
        "logprobs": st.integers(0, 5),
        "stopSequences": st.lists(TEXT, min_size=1, max_size=3),
        "thinkingConfig": st.just({"thinkingBudget": 0}),
    },
)
FORMAT: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.just({}),
    st.just({"responseMimeType": "application/json"}),
    SCHEMA.map(
        lambda schema: {"responseMimeType": "application/json", "responseJsonSchema": schema}
    ),
)
FUNCTION = st.fixed_dictionaries(
    {"name": NAME}, optional={"description": TEXT, "parametersJsonSchema": SCHEMA}
)
CALLING = st.one_of(
    st.sampled_from(["AUTO", "ANY", "NONE"]).map(lambda mode: {"mode": mode}),
    NAME.map(lambda name: {"mode": "ANY", "allowedFunctionNames": [name]}),
)


@st.composite
def requests(draw: st.DrawFn) -> dict[str, Any]:
    turns = draw(st.lists(st.one_of(USER_TURN, MODEL_TURN, tool_turns()), max_size=4))
    request: dict[str, Any] = {"contents": with_ids([*turns, draw(USER_TURN)])}
    config = draw(CONFIG) | draw(FORMAT)
    if config:
        request["generationConfig"] = config
    if draw(st.booleans()):
        request["systemInstruction"] = {"parts": [{"text": draw(TEXT)}]}
    if draw(st.booleans()):
        functions = draw(st.lists(FUNCTION, min_size=1, max_size=2))
        request["tools"] = [{"functionDeclarations": functions}]
        request["toolConfig"] = {"functionCallingConfig": draw(CALLING)}
    return request


@given(requests())
def test_a_batch_line_reaches_gemini_as_it_was_written(request: dict[str, Any]) -> None:
    """Line to chat to body: nothing is lost, and nothing is added."""
    chat = chat_form(json.loads(json.dumps(request)))
    wire = DIALECT.encode(Endpoint.CHAT, chat, model=MODEL, cap=None, cap_field="max_tokens")
    assert json.loads(wire) == request


WORDS = (
    *("candidates", "content", "parts", "text", "thought", "functionCall", "name", "args", "id"),
    *("finishReason", "finishMessage", "promptFeedback", "blockReason", "usageMetadata"),
    *("promptTokenCount", "candidatesTokenCount", "modelVersion", "responseId"),
    *("error", "code", "message", "status", "details", "violations", "quotaId", "retryDelay"),
)
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.sampled_from(["STOP", "SAFETY", "MAX_TOKENS", "OTHER", "PUP_LIMITED_DISABLED"]),
    *(TEXT, ODD, ODD_LISTS),
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(WORDS), inner, max_size=6),
    ),
    max_leaves=25,
)
CANDIDATES = st.lists(
    st.fixed_dictionaries(
        {"finishReason": LEAVES},
        optional={"content": st.fixed_dictionaries({"parts": st.lists(VALUES, max_size=2)})},
    ),
    max_size=2,
)
REPLIES = st.fixed_dictionaries(
    {"candidates": CANDIDATES}, optional={"usageMetadata": VALUES, "promptFeedback": ODD | VALUES}
)
BODIES = st.one_of(
    st.binary(max_size=200),
    st.one_of(VALUES, REPLIES).map(lambda value: as_json(value).encode()),
)


@given(st.one_of(st.just(200), st.integers(-1, 700)), BODIES)
def test_any_reply_is_an_answer_or_a_problem(status_code: int, body: bytes) -> None:
    found = DIALECT.read(Endpoint.CHAT, status_code, {}, body)
    content = DIALECT.content(Endpoint.CHAT, body)
    completion = DIALECT.completion(Endpoint.CHAT, body)
    DIALECT.model_names(body)
    if not isinstance(found, Answer):
        outcome = classify(found, elapsed_s=1.0, answered_before=False, body=b"")
        assert outcome.kind not in (Kind.OK, Kind.CONNECT, Kind.CANCELLED)
        (outcome.code or "").encode()
        return
    says = (content.text, content.tool_calls, content.refusal)
    assert any(part is not None for part in says) or found.truncated or found.refused
    assert completion is not None
    for text in (found.finish_reason, found.served_model):
        (text or "").encode()


@given(TEXT, st.dictionaries(TEXT, VALUES, max_size=3), TEXT)
def test_any_chat_becomes_a_request_or_is_inexpressible(
    said: str, arguments: dict[str, Any], result: str
) -> None:
    """Texts that no UTF-8 holds, and arguments with numbers that no float holds."""
    call = {"id": "c", "function": {"name": "f", "arguments": as_json(arguments)}}
    messages = [
        {"role": "user", "content": said},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": result},
    ]
    with suppress(Inexpressible):
        body = {"messages": messages}
        wire = DIALECT.encode(Endpoint.CHAT, body, model=MODEL, cap=None, cap_field="max_tokens")
        called = json.loads(wire)["contents"][1]["parts"][0]["functionCall"]["args"]
        assert called == json.loads(as_json(arguments), parse_constant=str), "and none is changed"


@given(TEXT)
def test_any_text_is_read_exactly(text: str) -> None:
    body = json.dumps(gemini_body(MODEL, text, (1, 1))).encode()
    assert isinstance(DIALECT.read(Endpoint.CHAT, 200, {}, body), Answer)
    assert DIALECT.content(Endpoint.CHAT, body).text == text


@given(st.integers(0, 2000))
def test_a_cut_answer_is_never_taken_for_a_whole_one(cut: int) -> None:
    body = json.dumps(gemini_body(MODEL, "x" * 1900, (1, 1))).encode()
    found = DIALECT.read(Endpoint.CHAT, 200, {}, body[: min(cut, len(body) - 1)])
    assert not isinstance(found, Answer)
