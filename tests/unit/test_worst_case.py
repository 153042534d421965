"""The most tokens a request can take: nothing is left out, and what nobody knows has no bound."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiq.model import Endpoint, JsonObject
from aiq.providers.openai import OpenAIDialect
from aiq.run.attachments import text_size
from aiq.run.price_table import Terms
from aiq.run.request import Request
from aiq.run.worst_case import (
    TEMPLATE_TOKENS,
    may_cache,
    output_bound,
    service_tier,
    terms,
    token_bound,
)

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
    found = token_bound(Request(Endpoint.CHAT, {"messages": messages}, None))
    assert found == bound + TEMPLATE_TOKENS


def test_an_image_counts_flat_whatever_its_bytes() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 100_000}}
    text = {"type": "text", "text": "what is it?"}
    message = {"role": "user", "content": [text, image, image]}
    bound = token_bound(chat(message)) or 0
    assert 40_000 + 16 + 11 <= bound < 40_400


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
        {"extra_body": {"models": ["a-dearer-one"]}},
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
        ({"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA"}}, False),
        ({"type": "file", "file": {"file_data": "data:video/mp4;base64,AAAA"}}, False),
        ({"type": "file", "file": {"file_data": "data:text/plain;base64,AAAA"}}, True),
        ({"type": "file", "file": {"file_data": "data:image/png;base64,AAAA"}}, True),
        ({"type": "file", "file": {"file_data": "AAAA"}}, False),
        ({"type": "file", "file": {"file_data": "data:text/csv,a", "file_id": "file-1"}}, False),
        ({"type": "file", "file": ["x"]}, False),
        ({"type": "input_file", "file_data": "data:text/plain;base64,AAAA"}, True),
        ({"type": "document", "source": {"type": "url", "url": "https://x.example/a"}}, False),
        ({"type": "video_url", "video_url": {"url": "https://films.example/1.mp4"}}, False),
        ({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}, True),
        ({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}}, True),
        ({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "flac"}}, False),
        ({"type": "input_audio", "input_audio": {"data": "AAAA", "format": ["wav"]}}, False),
        ({"type": "text", "text": "AAAA"}, True),
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
        ("HTTPS://X.EXAMPLE/1.JPEG?size=3", True),
        ("data:image/webp;base64,AAAA", True),
        ("data:application/pdf;base64,AAAA", False),
        ("data:video/mp4;base64,AAAA", False),
        ("data:text/plain;base64,AAAA", False),
        ("data:,AAAA", False),
        ("https://x.example/picture", False),
        ("https://x.example/book.pdf", False),
        ("https://x.example/book.pdf#1.png", False),
        ("https://x.example/get?f=1.png", False),
        ("https://www.youtube.com/watch?v=abcdefg", False),
        ("https://youtu.be/1.png", False),
        ("https://generativelanguage.googleapis.com/v1beta/files/abc.png", False),
        ("https:///1.png", False),
        ("https://[/1.png", False),
        ("gs://bucket/1.png", False),
        ("ftp://x.example/1.png", False),
        ("gs://x/Film.MP4?a=b.png", False),
    ],
)
@pytest.mark.parametrize("is_nested", [True, False])
def test_a_book_under_the_address_of_an_image_has_no_bound(
    url: str, is_bounded: bool, is_nested: bool
) -> None:
    """Gemini takes any file there; an image is one where its address says so."""
    image = {"type": "image_url", "image_url": {"url": url} if is_nested else url}
    found = token_bound(chat({"role": "user", "content": [image]}))
    assert (found is not None) == is_bounded


@pytest.mark.parametrize("field", ["cachedContent", "cached_content", "contents"])
def test_contents_from_elsewhere_have_no_bound(field: str) -> None:
    body = {"messages": [], "extra_body": {field: "x"}}
    assert token_bound(Request(Endpoint.CHAT, body, None)) is None


@pytest.mark.parametrize("kind", [["string", "null"], {"a": 1}, None, 5, True])
def test_a_type_that_is_no_text_names_no_kind_of_part(kind: object) -> None:
    """A JSON schema has lists of types, and stands in tools, in answers and in what tools said."""
    nested = {"type": "x", "schema": {"type": kind}}
    assert token_bound(chat({"role": "user", "content": [nested]})) is not None
    assert token_bound(responses(input=[nested])) is not None
    is_absent = token_bound(responses(tools=[{"type": kind}])) is None
    assert is_absent, "a tool of no kind that is known may look anything up"


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["type", "image_url", "url", "file", "source", "input_audio", "format"])
            | st.sampled_from(["content", "tools", "file_data", "audio", "role", "extra_body"]),
            inner
            | st.sampled_from(["image_url", "file", "input_audio", "image", "function", "user"]),
            max_size=4,
        ),
    ),
    max_leaves=15,
)


@given(JSON, JSON, JSON, st.sampled_from(Endpoint))
def test_whatever_a_request_holds_it_has_a_bound_or_none(
    part: Any, field: Any, extra: Any, endpoint: Endpoint
) -> None:
    """An odd line is about its own job, never about the run."""
    body = {"messages": [{"role": "user", "content": part}], "input": part, "tools": field}
    body |= {"prediction": field, "service_tier": field, "extra_body": extra, "speed": field}
    request = Request(endpoint, body, None)
    for found in (token_bound(request, "gpt-4o-mini"), output_bound(request, 10)):
        assert found is None or found >= 0
    hash(terms(request))
    assert text_size(100, body) >= 0


@pytest.mark.parametrize(
    ("fields", "least"),
    [
        ({}, 96),
        ({"temperature": 0.5, "max_tokens": 10}, 96),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, 1_000),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": {}}}}, 1_000),
        ({"extra_body": {"tools": [{"type": "function", "function": {"name": "f"}}]}}, 1_000),
    ],
)
def test_what_the_vendor_writes_itself_is_counted(fields: JsonObject, least: int) -> None:
    """Its template and how it explains tools are billed and stand nowhere in the request."""
    request = Request(Endpoint.CHAT, {"messages": [{"role": "user", "content": "spam?"}]}, None)
    found = token_bound(Request(Endpoint.CHAT, request.body | fields, None)) or 0
    assert least + 16 + 5 <= found < least + 400


def test_plain_parameters_are_not_read_by_the_model() -> None:
    body = {"messages": [{"role": "user", "content": "abc"}]}
    plain = token_bound(Request(Endpoint.CHAT, body, None))
    more = {"temperature": 1.0, "seed": 5, "max_tokens": 100}
    assert token_bound(Request(Endpoint.CHAT, body | more, None)) == plain


def test_one_model_makes_far_more_of_an_image_than_all_others() -> None:
    """GPT-4o mini bills up to 48,169 tokens for one, so 20,000 would not be its most."""
    image = chat({"role": "user", "content": [{"type": "image_url", "image_url": IMAGE_URL}]})
    assert 20_000 <= (token_bound(image, "gpt-4o") or 0) < 21_000
    for name in ("gpt-4o-mini", "openai/gpt-4o-mini-2024-07-18"):
        assert 48_169 <= (token_bound(image, name) or 0) < 51_000


def test_an_image_inside_a_response_counts_flat_whatever_its_bytes() -> None:
    image = {"type": "input_image", "image_url": "data:image/png;base64," + "A" * 100_000}
    found = token_bound(responses(input=[{"role": "user", "content": [image]}]))
    assert 20_000 <= (found or 0) < 21_000


def test_an_answer_that_was_spoken_earlier_has_no_bound() -> None:
    """Its id stands for a sound of any length."""
    spoken = {"role": "assistant", "content": None, "audio": {"id": "audio_1"}}
    assert token_bound(chat(spoken, {"role": "user", "content": "x"})) is None


def test_a_prediction_is_billed_as_output_beside_the_cap() -> None:
    """What of it the model did not write is rejected, and rejected tokens are paid."""
    prediction = {"type": "content", "content": "x" * 5_000}
    body = {"messages": [], "max_tokens": 10, "prediction": prediction}
    found = output_bound(Request(Endpoint.CHAT, body, None), None)
    assert found is not None
    assert 5_010 <= found < 5_100


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, Terms()),
        ({"temperature": 0.5}, Terms()),
        ({"service_tier": "flex"}, Terms(tier="flex")),
        ({"service_tier": ["flex"]}, Terms()),
        ({"extra_body": {"speed": "fast"}}, Terms(speed="fast", may_keep=True)),
        ({"extra_body": {"serviceTier": "priority"}}, Terms(tier="priority", may_keep=True)),
        (
            {"service_tier": "flex", "extra_body": {"serviceTier": "priority"}},
            Terms(tier="priority", may_keep=True),
        ),
    ],
)
def test_what_moves_the_price_is_told_from_the_request(body: JsonObject, expected: Terms) -> None:
    messages = [{"role": "user", "content": "x"}]
    assert terms(Request(Endpoint.CHAT, {"messages": messages} | body, None)) == expected


@pytest.mark.parametrize(
    ("part", "has_media"),
    [
        ({"type": "text", "text": "x"}, False),
        ({"type": "image_url", "image_url": IMAGE_URL}, True),
        ({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}, True),
    ],
)
def test_sound_and_pictures_have_prices_of_their_own(part: JsonObject, has_media: bool) -> None:
    assert terms(chat({"role": "user", "content": [part]})).has_media is has_media


def test_an_image_is_a_thousand_tokens_of_text_to_an_estimate() -> None:
    """Its bytes in base64 say nothing about what a model makes of it."""
    url = "data:image/png;base64," + "A" * 5_000_000
    image = {"type": "image_url", "image_url": {"url": url}}
    body = {"messages": [{"role": "user", "content": [{"type": "text", "text": "what?"}, image]}]}
    assert 4_000 <= text_size(5_000_200, body) < 4_300
    assert text_size(5_000, {"messages": [{"role": "user", "content": "x" * 4_900}]}) == 5_000
    assert text_size(5_000, {"input": "x" * 4_900}) == 5_000


def test_the_tier_is_the_one_on_the_wire() -> None:
    body = {"messages": [], "service_tier": "flex", "extra_body": {"service_tier": "priority"}}
    assert service_tier(Request(Endpoint.CHAT, body, None)) == "priority"
    assert service_tier(chat()) is None
