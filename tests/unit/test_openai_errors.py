"""Error bodies in every shape that OpenAI-compatible servers send."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aiq.model import Endpoint, Flaw, Problem
from aiq.providers.openai import OpenAIDialect

DIALECT = OpenAIDialect()


def problem(
    document: Any, status_code: int = 400, headers: dict[str, str] | None = None
) -> Problem:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    found = DIALECT.read(Endpoint.CHAT, status_code, headers or {}, body)
    assert isinstance(found, Problem), found
    return found


@pytest.mark.parametrize(
    ("document", "message", "code", "type_", "param"),
    [
        (
            {"error": {"message": "m", "type": "T", "param": "p", "code": "C"}},
            *("m", "c", "t", "p"),
        ),
        ({"error": {"message": "m", "code": 400}}, "m", "400", None, None),
        ({"error": {"message": "m", "code": None, "type": None}}, "m", None, None, None),
        ([{"error": {"message": "m", "code": "c"}}], "m", "c", None, None),
        ({"error": "text"}, "text", None, None, None),
        ({"error": "Unauthorized", "message": "token expired"}, "token expired", None, None, None),
        (
            {"object": "error", "message": "m", "type": "t", "param": None, "code": "1500"},
            *("m", "1500", "t", None),
        ),
        ({"detail": "Not Found"}, "Not Found", None, None, None),
        (
            {"detail": [{"loc": ["body", "n", 0], "msg": "too big", "type": "value_error"}]},
            *("body.n.0: too big", None, "value_error", "body.n.0"),
        ),
        ("just text", "just text", None, None, None),
        (b"upstream connect error", "upstream connect error", None, None, None),
        (b'{"error": ', '{"error":', None, None, None),
        (b"", "", None, None, None),
        ({"error": {"message": {"why": 1}}}, '{"why":1}', None, None, None),
        ({"error": {"message": "\ud800"}}, "?", None, None, None),
    ],
)
def test_shapes(
    document: Any, message: str, code: str | None, type_: str | None, param: str | None
) -> None:
    found = problem(document)
    assert (found.message, found.code, found.type, found.param) == (message, code, type_, param)
    assert (found.status_code, found.flaw) == (400, None)


def test_raw_text_is_cut() -> None:
    assert len(problem(b"x" * 100_000).message) == 2000


def test_a_page_is_marked() -> None:
    found = problem(b"<html><title>403 Forbidden</title>", 403)
    assert (found.is_html, found.message, found.flaw) == (True, "403 Forbidden", None)


@pytest.mark.parametrize(
    ("document", "status_code"),
    [
        ({"error": {"code": 502, "message": "model down"}}, 502),
        ({"error": {"code": "429", "message": "slow"}}, 429),
        ({"choices": [{"error": {"code": 402, "message": "money"}}]}, 402),
        ({"choices": [{"message": {"content": "par"}, "error": {"code": 503}}]}, 503),
        ({"choices": [{"message": {"content": "par"}, "finish_reason": "error"}]}, 200),
        ({"error": {"code": 7, "message": "odd"}}, 200),
        ({"error": "text"}, 200),
        ({"choices": [{"message": {"content": "a"}}], "error": {"message": "m"}}, 200),
        ({"detail": "Not Found"}, 200),
        ({"object": "error", "message": "m", "code": 404}, 404),
    ],
)
def test_an_error_under_200_counts_by_its_own_code(document: Any, status_code: int) -> None:
    found = problem(document, 200)
    assert (found.status_code, found.flaw) == (status_code, Flaw.FAILED)
    assert found.message or "choices" in document


def test_an_http_status_is_stronger_than_the_code_in_the_body() -> None:
    assert problem({"error": {"code": 400, "message": "m"}}, 503).status_code == 503


def test_openrouter_tells_the_upstreams_words_and_marks_moderation() -> None:
    found = problem(
        {"error": {"code": 502, "message": "Provider returned error", "metadata": {"raw": "x"}}}
    )
    assert found.message == 'Provider returned error: "x"'
    raw = '{"type": "error", "error": {"message": "the \\"q\\" is long", "code": "Too_Long"}}'
    found = problem({"error": {"message": "Provider returned error", "metadata": {"raw": raw}}})
    assert found.message == "Provider returned error: \"the 'q' is long\""
    assert found.upstream == 'too_long the "q" is long'
    flagged = {"error": {"code": 403, "message": "m", "metadata": {"reasons": ["violence"]}}}
    assert problem(flagged, 403).type == "moderation"


def test_google_details_say_more_than_the_code() -> None:
    quota = {"violations": [{"quotaId": "PerMinute"}, {"quotaId": "RequestsPerDayPerModel"}]}
    error = {"code": 429, "message": "m", "status": "RESOURCE_EXHAUSTED", "details": [quota]}
    found = problem([{"error": error}], 429)
    assert (found.code, found.type) == ("requestsperdaypermodel", "resource_exhausted")
    key = {"error": {"code": 400, "message": "m", "details": [{"reason": "API_KEY_INVALID"}]}}
    assert problem(key).code == "api_key_invalid"


def test_the_wait_is_read_from_headers_and_body() -> None:
    assert problem(b"", 429, {"retry-after": "7"}).retry_after_s == 7.0
    body = {"error": {"message": "m", "details": [{"retryDelay": "36s"}]}}
    assert problem(body, 429).retry_after_s == 36.0
    assert problem({"error": "try again in 20ms"}, 429).retry_after_s == pytest.approx(0.02)
    assert problem(b"", 429).retry_after_s is None


@pytest.mark.parametrize(("text", "wish"), [("true", True), ("False", False), ("maybe", None)])
def test_x_should_retry(text: str, wish: bool | None) -> None:
    assert problem(b"", 500, {"x-should-retry": text}).should_retry is wish


def test_usage_beside_an_error_is_kept() -> None:
    found = problem({"error": {"message": "m"}, "usage": {"prompt_tokens": 5}}, 200)
    assert found.usage.input_tokens == 5
