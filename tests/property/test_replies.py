"""No bytes a server can send make the dialect raise, or turn into something unusable."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from aiq.model import Answer, Endpoint, Flaw, Kind, Outcome, Problem
from aiq.policy.outcomes import classify
from aiq.providers.durations import parse_duration, retry_after_s
from aiq.providers.openai import OpenAIDialect
from tests.support.odd_json import ODD, ODD_LISTS, as_json

DIALECT = OpenAIDialect()
ENDPOINTS = st.sampled_from(Endpoint)
STATUSES = st.one_of(
    st.integers(-1, 700), st.sampled_from([200, 200, 200, 400, 403, 429, 500, 503])
)
ERRORS = ("error", "code", "type", "message", "status", "object", "detail", "loc", "msg", "raw")
GOOGLE = ("details", "metadata", "violations", "quotaId", "reason", "retryDelay", "reasons")
USAGE = ("usage", "prompt_tokens", "completion_tokens", "prompt_tokens_details", "cached_tokens")
COSTS = ("cost", "cost_in_usd_ticks", "input_tokens", "output_tokens", "is_byok", "cost_details")
SHAPES = ("choices", "content", "text", "output", "data", "embedding", "refusal", "tool_calls")
WORDS = (*ERRORS, *GOOGLE, *USAGE, *COSTS, *SHAPES, "finish_reason", "model", "id", "extra_body")
TEXTS = st.one_of(
    st.sampled_from(
        ["stop", "length", "error", "failed", "incomplete", "insufficient_quota", "429"]
    ),
    st.text(st.characters(), max_size=20),
)
LEAVES = st.one_of(
    *(st.none(), st.booleans(), st.integers(), st.floats(), TEXTS),
    *(ODD, ODD_LISTS),
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(WORDS), inner, max_size=6),
    ),
    max_leaves=25,
)
REPLIES = st.fixed_dictionaries(
    {"choices": st.lists(st.fixed_dictionaries({"message": VALUES, "finish_reason": VALUES}))},
    optional={"usage": VALUES, "model": VALUES, "id": VALUES, "error": VALUES},
)
BODIES = st.one_of(
    st.binary(max_size=200),
    st.one_of(VALUES, REPLIES).map(lambda value: as_json(value).encode()),
)
HEADERS = st.dictionaries(
    st.sampled_from(["retry-after", "retry-after-ms", "date", "content-type", "x-should-retry"]),
    st.text(max_size=30),
)


def check_problem(found: Problem) -> Outcome:
    outcome = classify(found, elapsed_s=1.0, answered_before=False, body=b"")
    assert outcome.kind not in (Kind.OK, Kind.CONNECT, Kind.CANCELLED)
    assert outcome.message
    assert len(outcome.message) <= 300
    for text in (outcome.message, outcome.code, outcome.param):
        (text or "").encode()
    return outcome


@given(ENDPOINTS, STATUSES, HEADERS, BODIES)
def test_any_reply_is_an_answer_or_a_problem(
    endpoint: Endpoint, status_code: int, headers: dict[str, str], body: bytes
) -> None:
    found = DIALECT.read(endpoint, status_code, headers, body)
    content = DIALECT.content(endpoint, body)
    if isinstance(found, Problem):
        check_problem(found)
        return
    assert 200 <= status_code < 300
    for text in (found.finish_reason, found.served_model):
        (text or "").encode()
    for count in (found.usage.input_tokens, found.usage.output_tokens, found.usage.cached_tokens):
        assert count is None or 0 <= count <= 20_000_000
    assert found.cost_nano is None or found.cost_nano >= 0
    says = (content.text, content.tool_calls, content.refusal, content.embedding)
    assert any(part is not None for part in says) or found.truncated or found.refused


@given(st.text(st.characters(), max_size=200), ENDPOINTS)
def test_any_text_is_answered_and_exported_exactly(text: str, endpoint: Endpoint) -> None:
    documents: dict[Endpoint, dict[str, Any]] = {
        Endpoint.CHAT: {"choices": [{"message": {"content": text}}]},
        Endpoint.COMPLETIONS: {"choices": [{"text": text}]},
        Endpoint.EMBEDDINGS: {"data": [{"embedding": text or "-"}]},
        Endpoint.RESPONSES: {
            "status": "completed",
            "output": [{"type": "message", "content": [{"type": "output_text", "text": text}]}],
        },
    }
    body = json.dumps(documents[endpoint]).encode()
    assert isinstance(DIALECT.read(endpoint, 200, {}, body), Answer)
    content = DIALECT.content(endpoint, body)
    shown = content.embedding if endpoint is Endpoint.EMBEDDINGS else content.text
    assert shown == (text or "-" if endpoint is Endpoint.EMBEDDINGS else text)


@given(st.integers(0, 2000), st.integers(200, 299))
def test_a_cut_answer_is_never_taken_for_a_whole_one(cut: int, status_code: int) -> None:
    body = json.dumps({"choices": [{"message": {"content": "x" * 1900}}], "id": "é"}).encode()
    found = DIALECT.read(Endpoint.CHAT, status_code, {}, body[: min(cut, len(body) - 1)])
    assert isinstance(found, Problem)
    assert found.flaw is Flaw.NOT_JSON


@given(st.text(max_size=80), HEADERS, st.text(max_size=80), VALUES)
def test_waits_are_finite_and_not_negative(
    text: str, headers: dict[str, str], message: str, error: object
) -> None:
    for wait in (
        parse_duration(text),
        retry_after_s(headers, message=message, error=error, utc_s=1e9),
    ):
        assert wait is None or 0 <= wait < float("inf")


@given(ENDPOINTS, st.dictionaries(st.sampled_from(WORDS), VALUES), st.text(st.characters()))
def test_any_prompt_reaches_the_wire_as_it_is(
    endpoint: Endpoint, body: dict[str, Any], model: str
) -> None:
    # NaN is no JSON and was refused with its prompt; a round trip leaves what can be sent.
    sent = json.loads(json.dumps(body), parse_constant=lambda _: None)
    sent.pop("extra_body", None)
    wire = DIALECT.encode(endpoint, sent, model=model, cap=None, cap_field="max_tokens")
    assert json.loads(wire) == sent | {"model": model}
