"""The most tokens a request can take: nothing is left out, and what nobody knows has no bound."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aiq.model import Endpoint, JsonObject
from aiq.providers.openai import OpenAIDialect
from aiq.run.request import Request
from aiq.run.worst_case import may_cache, output_bound, service_tier, token_bound

IMAGE_URL = "https://pictures.example/1.png"


def chat(*messages: JsonObject) -> Request:
    return Request(Endpoint.CHAT, {"messages": list(messages)}, None)


def responses(**body: Any) -> Request:
    return Request(Endpoint.RESPONSES, {"input": "x", "max_output_tokens": 10} | body, None)


def wire_cap(request: Request, default: int | None) -> object:
    """Return the cap that goes out, whatever it is."""
    wire = OpenAIDialect().encode(
        request.endpoint, request.body, model="m", cap=default, cap_field="max_tokens"
    )
    return json.loads(wire).get("max_tokens")


@pytest.mark.parametrize(
    ("messages", "bound"),
    [
        ([], 0),
        ([{"role": "user", "content": ""}], 16),
        ([{"role": "user", "content": "abc"}], 19),
        ([{"role": "user", "content": "é"}], 18),
        ([{"role": "user", "content": "🙂"}], 20),
        ([{"role": "user", "content": "\ud800"}], 19),
        ([{"role": "user", "content": "abc"}] * 3, 57),
    ],
)
def test_a_chat_is_bounded_by_its_bytes_and_16_per_message(
    messages: list[JsonObject], bound: int
) -> None:
    assert token_bound(Request(Endpoint.CHAT, {"messages": messages}, None)) == bound


def test_an_image_counts_flat_whatever_its_bytes() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 100_000}}
    text = {"type": "text", "text": "what is it?"}
    message = {"role": "user", "content": [text, image, image]}
    bound = token_bound(chat(message)) or 0
    assert 40_000 + 16 + 11 <= bound < 40_200


@pytest.mark.parametrize(
    "message",
    [
        {"role": "assistant", "content": None, "tool_calls": [{"arguments": "x" * 5000}]},
        {"role": "assistant", "tool_calls": [{"arguments": "x" * 5000}]},
        {"role": "user", "content": "hi", "name": "x" * 5000},
    ],
)
def test_everything_in_a_message_is_counted(message: JsonObject) -> None:
    """A bound that leaves something out is none: the budget rests on it."""
    assert (token_bound(chat(message)) or 0) >= 5000


def test_tools_and_other_endpoints_are_counted_by_their_bytes() -> None:
    tools = {"messages": [], "tools": [{"description": "x" * 1000}]}
    assert (token_bound(Request(Endpoint.CHAT, tools, None)) or 0) >= 1000
    embeddings = {"input": ["é" * 500, "b" * 500]}
    assert (token_bound(Request(Endpoint.EMBEDDINGS, embeddings, None)) or 0) >= 1500


@pytest.mark.parametrize("kind", ["input_image", "computer_screenshot"])
def test_an_image_of_a_response_counts_flat_although_its_address_is_short(kind: str) -> None:
    image = {"type": kind, "image_url": IMAGE_URL}
    given = [
        {"role": "user", "content": [image]},
        {"type": "function_call_output", "output": [image]},
    ]
    assert (token_bound(responses(input=given)) or 0) >= 40_000


@pytest.mark.parametrize(
    "body",
    [
        {"previous_response_id": "resp_1"},
        {"conversation": "conv_1"},
        {"prompt": {"id": "pmpt_1"}},
        {"tools": [{"type": "web_search"}]},
        {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]}]},
        {"input": [{"type": "item_reference", "id": "item_1"}]},
        {"extra_body": {"previous_response_id": "resp_1"}},
    ],
)
def test_what_a_response_only_refers_to_has_no_bound(body: JsonObject) -> None:
    """A few bytes may bring in a whole conversation."""
    assert token_bound(responses()) is not None
    assert token_bound(responses(**body)) is None


@pytest.mark.parametrize(
    ("part", "is_bounded"),
    [
        ({"type": "file", "file": {"file_id": "file-1"}}, False),
        ({"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA"}}, True),
        ({"type": "video_url", "video_url": {"url": "https://films.example/1.mp4"}}, False),
        ({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}, True),
    ],
)
def test_a_part_that_is_not_in_the_request_has_no_bound(part: JsonObject, is_bounded: bool) -> None:
    found = token_bound(chat({"role": "user", "content": [part]}))
    assert (found is not None) == is_bounded


@pytest.mark.parametrize("own", [None, 10, 0, -1000, 5000.0, "5000", True])
@pytest.mark.parametrize("extra", [{}, *({"max_tokens": cap} for cap in (None, 7, 0, -1000, 7.0))])
@pytest.mark.parametrize("default", [None, 100])
def test_the_output_is_bounded_by_what_goes_on_the_wire(
    own: object, extra: JsonObject, default: int | None
) -> None:
    """A cap that is no positive integer bounds nothing, whoever may understand it."""
    said = {} if own is None else {"max_tokens": own}
    request = Request(Endpoint.CHAT, {"messages": [], "extra_body": extra} | said, None)
    sent = wire_cap(request, default)
    is_cap = type(sent) is int and sent > 0
    assert output_bound(request, default) == (sent if is_cap else None)


@pytest.mark.parametrize(("best_of", "bound"), [(None, 10), (1, 10), (5, 50), ("5", None)])
def test_all_answers_of_a_completion_count(best_of: object, bound: int | None) -> None:
    body = {"prompt": "x", "max_tokens": 10, "best_of": best_of}
    assert output_bound(Request(Endpoint.COMPLETIONS, body, None), None) == bound


def test_an_embedding_writes_nothing() -> None:
    assert output_bound(Request(Endpoint.EMBEDDINGS, {"input": "x"}, None), None) == 0


_MARK = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}


@pytest.mark.parametrize(
    ("body", "may"),
    [
        ({"messages": [{"role": "user", "content": "x"}]}, False),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]}, False),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "x"} | _MARK]}]},
            True,
        ),
        ({"messages": [{"role": "user", "content": "x"} | _MARK]}, True),
        ({"messages": [], "tools": [{"type": "function"} | _MARK]}, True),
        ({"messages": []} | _MARK, True),
        ({"messages": [], "extra_body": {}}, True),
    ],
)
def test_a_mark_for_the_vendor_s_cache_is_seen_wherever_it_stands(
    body: JsonObject, may: bool
) -> None:
    """A reseller passes it on to the vendor, who charges up to twice the input for it."""
    assert may_cache(Request(Endpoint.CHAT, body, None)) is may


@pytest.mark.parametrize(
    ("url", "is_bounded"),
    [
        (IMAGE_URL, True),
        ("https://x.example/picture", True),
        ("https://x.example/book.pdf", False),
        ("gs://x/Film.MP4?a=b.png", False),
    ],
)
@pytest.mark.parametrize("is_nested", [True, False])
def test_a_book_under_the_address_of_an_image_has_no_bound(
    url: str, is_bounded: bool, is_nested: bool
) -> None:
    """Gemini takes any file there; where nothing in the address says so, it is an image."""
    image = {"type": "image_url", "image_url": {"url": url} if is_nested else url}
    found = token_bound(chat({"role": "user", "content": [image]}))
    assert (found is not None) == is_bounded


@pytest.mark.parametrize("field", ["cachedContent", "cached_content", "contents"])
def test_contents_from_elsewhere_have_no_bound(field: str) -> None:
    body = {"messages": [], "extra_body": {field: "x"}}
    assert token_bound(Request(Endpoint.CHAT, body, None)) is None


def test_the_tier_is_the_one_on_the_wire() -> None:
    body = {"messages": [], "service_tier": "flex", "extra_body": {"service_tier": "priority"}}
    assert service_tier(Request(Endpoint.CHAT, body, None)) == "priority"
    assert service_tier(chat()) is None
