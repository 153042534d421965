from __future__ import annotations

import json
from typing import Any

import pytest

from aiq.model import Endpoint, Prompt
from aiq.prompts.request_fields import CHAT, mistyped
from aiq.prompts.shapes import BadLine, digest, parse
from aiq.prompts.strict_json import DEPTH_LIMIT, DIGIT_LIMIT

HELLO = {"role": "user", "content": "hello"}


def line(**keys: Any) -> bytes:
    return json.dumps(keys).encode()


def asked(**keys: Any) -> Prompt:
    return parse(line(prompt="hello", **keys))


def refusal(data: bytes) -> str:
    with pytest.raises(BadLine) as caught:
        parse(data)
    return str(caught.value)


@pytest.mark.parametrize(
    "data",
    [
        b'"hello"',
        b'{"prompt": "hello"}',
        b'{"messages": [{"role": "user", "content": "hello"}]}',
        b'{"body": {"messages": [{"role": "user", "content": "hello"}]}}',
        b'{"params": {"messages": [{"role": "user", "content": "hello"}]}}',
        b'{"request": {"contents": [{"parts": [{"text": "hello"}]}]}}',
        b'{"prompt": "hello", "messages": null, "id": null, "model": null, "metadata": null}',
    ],
)
def test_every_shape_asks_the_same(data: bytes) -> None:
    """What comes out does not tell the shape a line had; null is a key left out."""
    assert parse(data) == Prompt(body={"messages": [HELLO]})


def test_a_full_line_keeps_everything() -> None:
    parameters = {"temperature": 0, "max_tokens": 5, "stop": ["."], "extra_body": {"best": True}}
    prompt = asked(id="a", system="Be brief.", model="fast", priority=-3, source="x", **parameters)
    assert prompt == Prompt(
        body={"messages": [{"role": "system", "content": "Be brief."}, HELLO], **parameters},
        id="a",
        model="fast",
        priority=-3,
        metadata={"source": "x"},
    )


@pytest.mark.parametrize(
    "text", ["\ud800", "a\x00b", "\u2028\u2029\x85", "😀🏳️‍🌈", "\ufeff", "שלום ﷺ"]
)
def test_any_text_is_carried_exactly(text: str) -> None:
    """Lone surrogates, NUL and separators arrive as they were written."""
    prompt = parse(line(prompt=f"<{text}>", system=text, metadata={text: text}))
    system, user = prompt.body["messages"]
    assert (system["content"], user["content"]) == (text, f"<{text}>")
    assert prompt.metadata == {text: text}


def test_the_last_of_equal_keys_wins() -> None:
    prompt = parse(b'{"prompt": "a", "prompt": "hello", "id": 1, "id": 2}')
    assert prompt == Prompt(body={"messages": [HELLO]}, id="2")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("row", "row"),
        (1, "1"),
        ("1", "1"),
        (1.0, "1"),
        (-0.0, "0"),
        (1.5, "1.5"),
        (2**63, "9223372036854775808"),
        ("../a\nb\x00", "../a\nb\x00"),
        ("é" * 256, "é" * 256),
    ],
)
@pytest.mark.parametrize("name", ["id", "custom_id"])
def test_an_id_is_a_text(name: str, value: Any, expected: str) -> None:
    """A number is the text of its shortest form."""
    assert asked(**{name: value}).id == expected


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"id": "a", "custom_id": "a"}, "both `id` and `custom_id`"),
        ({"id": ""}, "empty `id`"),
        ({"id": True}, "`id` must be a string or a number"),
        ({"custom_id": ["a"]}, "`custom_id` must be a string or a number"),
        ({"id": "é" * 257}, "`id` is longer than 512 bytes"),
        ({"id": int("9" * 513)}, "`id` is longer than 512 bytes"),
        ({"id": "\ud800"}, "`id` holds a lone surrogate"),
        ({"model": ""}, "`model` must be a non-empty string"),
        ({"model": 4}, "`model` must be a non-empty string"),
        ({"system": ["a"]}, "`system` must be a string"),
        ({"priority": "high"}, "`priority` must be an integer of at most 64 bits"),
        ({"priority": True}, "`priority` must be an integer of at most 64 bits"),
        ({"priority": 2**63}, "`priority` must be an integer of at most 64 bits"),
        ({"metadata": "a"}, "`metadata` must be an object"),
        ({"messages": [HELLO]}, "both `prompt` and `messages`"),
        ({"body": {}}, "both `prompt` and `body`"),
        ({"params": {"temperature": 1}}, "both `prompt` and `params`"),
        ({"stream": True}, "`stream` is not supported in a batch"),
        ({"n": 2}, "`n` must be 1: each answer is its own job"),
        ({"n": 0}, "`n` must be 1: each answer is its own job"),
        ({"temperature": "warm"}, "`temperature` must be a number"),
        ({"temperature": True}, "`temperature` must be a number"),
        ({"max_tokens": 0}, "`max_tokens` must be a positive integer"),
        ({"max_completion_tokens": 10.5}, "`max_completion_tokens` must be a positive integer"),
        ({"seed": 1.5}, "`seed` must be an integer"),
        ({"stop": [1]}, "`stop` must be a string or an array of strings"),
        ({"tools": {}}, "`tools` must be an array"),
        ({"tool_choice": 1}, "`tool_choice` must be a string or an object"),
        ({"response_format": "json"}, "`response_format` must be an object"),
        ({"logprobs": 1}, "`logprobs` must be true or false"),
        ({"reasoning_effort": 3}, "`reasoning_effort` must be a string"),
        (
            {"extra_body": {"stream": True}},
            "`extra_body` must be an object without input, messages, model, n, prompt, stream",
        ),
    ],
)
def test_a_wrong_key_is_refused_by_name(keys: dict[str, Any], reason: str) -> None:
    assert refusal(line(prompt="hello", **keys)) == reason


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"1", "a prompt must be a string or an object"),
        (b"[]", "a prompt must be a string or an object"),
        (b"null", "a prompt must be a string or an object"),
        (b'""', "empty prompt"),
        (b'{"prompt": " \\n"}', "empty prompt"),
        (b'{"prompt": null}', "no `prompt` or `messages`"),
        (b"{}", "no `prompt` or `messages`"),
        (b'{"promt": "x"}', "no `prompt` or `messages`; is `promt` meant to be `prompt`?"),
        (b'{"prompt": 5}', "`prompt` must be a string"),
        (b'{"body": "x"}', "`body` must be an object"),
        (b'{"body": {}, "params": {}}', "both `body` and `params`"),
        (b'{"messages": []}', "`messages` must be a non-empty array"),
        (b'{"messages": "x"}', "`messages` must be a non-empty array"),
        (b'{"messages": ["x"]}', "`messages[0]` must be an object"),
        (
            b'{"messages": [{"role": ["user"], "content": "x"}]}',
            "`messages[0].role` must be one of assistant, developer, function, system, tool, user",
        ),
        (b'{"messages": [{"role": "user"}]}', "`messages[0]` has no `content`"),
        (
            b'{"messages": [{"role": "user", "content": 5}]}',
            "`messages[0].content` must be a string or an array",
        ),
        (
            b'{"messages": [{"role": "user", "content": ["x"]}]}',
            "`messages[0].content[0]` must be an object with a `type`",
        ),
        (b'{"messages": [{"role": "user", "content": ""}]}', "empty prompt"),
    ],
)
def test_a_line_that_asks_nothing_is_refused(data: bytes, reason: str) -> None:
    assert refusal(data) == reason


def test_a_chat_may_hold_calls_and_parts() -> None:
    """An assistant may say nothing beside its calls; what parts hold is the provider's business."""
    messages = [
        {"role": "developer", "content": "x"},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
        {"role": "tool", "tool_call_id": "1", "content": ""},
    ]
    assert parse(line(messages=messages)).body == {"messages": messages}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'{"prompt" "a"}', "not valid JSON: expecting ':' delimiter at column 11"),
        (b'{"prompt": "a}', "not valid JSON: unterminated string starting at column 12"),
        (b'"a" "b"', "not valid JSON: extra data at column 5"),
        (b'"\x00"', "not valid JSON: invalid control character at column 2"),
        (b'{"prompt": "a\xff"}', "invalid UTF-8 at byte offset 13"),
        (b'"\xed\xa0\x80"', "invalid UTF-8 at byte offset 1"),
        (b'{"prompt": "a", "seed": NaN}', "NaN is not a JSON number"),
        (b'{"prompt": "a", "seed": -Infinity}', "-Infinity is not a JSON number"),
        (b'{"prompt": "a", "seed": 1e999}', "number out of range: 1e999"),
        (b'{"prompt": "a", "seed": %s}' % (b"9" * 5000), "an integer of more than 4300 digits"),
        (b"[" * 100_000, "nested deeper than 100"),
        (b'{"a":' * 100_000, "nested deeper than 100"),
    ],
)
def test_what_is_not_strict_json_is_refused(data: bytes, reason: str) -> None:
    assert refusal(data) == reason


@pytest.mark.parametrize("text", ["\ufeff{}", "{}\ufeff", '{"prompt": "a\ufeffb"}'])
def test_a_byte_order_mark_inside_the_file_is_refused(text: str) -> None:
    assert refusal(text.encode()).startswith("byte order mark inside the file")


@pytest.mark.parametrize("filler", ["", '", "\\\\", "\\"[[[{{{'])
def test_nesting_is_counted_outside_strings(filler: str) -> None:
    """A line may nest 100 deep, and brackets inside a text do not count."""
    text = json.dumps(filler + "[{" * 200)
    deep = f'{{"prompt": {text}, "note": {"[" * (DEPTH_LIMIT - 1)}{"]" * (DEPTH_LIMIT - 1)}}}'
    assert parse(deep.encode()).metadata is not None
    deeper = deep.replace('"note": ', '"note": [').replace("]}", "]]}")
    assert refusal(deeper.encode()) == "nested deeper than 100"


def test_an_integer_at_the_limit_is_read_by_both_parsers() -> None:
    """Which parser meets a number does not decide whether it is one."""
    digits = "9" * DIGIT_LIMIT
    for text in ("hello", "\ud800"):
        data = line(prompt=text, count=0).replace(b": 0", b": " + digits.encode())
        assert parse(data).metadata == {"count": int(digits)}


def test_a_reason_can_be_stored_and_listed() -> None:
    """Whatever it quotes, a reason is short and has no lone surrogate."""
    data = line(params={"messages": [{"role": "user", "content": [{"type": "\ud800" * 999}]}]})
    reason = refusal(data)
    assert "\\ud800" in reason
    assert len(reason) <= 200 * len("\\ud800")
    assert reason.encode()


def test_other_keys_become_metadata() -> None:
    """A line's own `metadata` wins over a key of the same name."""
    prompt = asked(source="line", lang="fr", metadata={"source": "metadata", "rows": [1]})
    assert prompt.metadata == {"source": "metadata", "lang": "fr", "rows": [1]}
    assert prompt.body == {"messages": [HELLO]}


def test_keys_that_look_like_slips_are_noted() -> None:
    """Only keys that were no field are noted, never those inside `metadata`."""
    noted: dict[str, str] = {}
    parse(line(prompt="hello", max_token=5, source="x", metadata={"modle": 1}), noted)
    parse(line(prompt="hello", topP=1, priority=1), noted)
    assert noted == {"max_token": "max_tokens", "topP": "top_p"}


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("max_token", "max_tokens"),
        ("max_tokenss", "max_tokens"),
        ("max_tokesn", "max_tokens"),
        ("maxTokens", "max_tokens"),
        ("max-tokens", "max_tokens"),
        ("temprature", "temperature"),
        ("Temperature", "temperature"),
        ("sytem", "system"),
        ("modle", "model"),
        ("source", None),
        ("tempertur", None),
        ("m", None),
        ("id", None),
        ("max_token\ud800", None),
    ],
)
def test_one_edit_makes_a_slip(key: str, meant: str | None) -> None:
    assert mistyped(key) == meant


def test_no_field_is_a_slip_of_another() -> None:
    """A note never names a field that was written right."""
    assert [name for name in CHAT if mistyped(name)] == []


def test_slips_of_the_pen_are_remembered_up_to_a_number() -> None:
    """A file made of nothing else must not fill the memory, or the screen."""
    slips: dict[str, str] = {}
    for number in range(128):
        parse(line(prompt="x", **{f"temperature{chr(number)}": 1}), slips)
    assert len(slips) == 20


BATCH_BODIES = {
    Endpoint.CHAT: {"messages": [HELLO], "store": True, "metadata": {"a": "b"}, "odd": 1},
    Endpoint.EMBEDDINGS: {"input": ["a", "b"], "dimensions": 8, "user": None},
    Endpoint.COMPLETIONS: {"prompt": "hello", "logprobs": 2, "stream": False, "n": 1},
    Endpoint.RESPONSES: {"input": "hello", "max_output_tokens": 5},
}


@pytest.mark.parametrize("endpoint", list(Endpoint))
def test_a_batch_line_is_carried_untouched(endpoint: Endpoint) -> None:
    """The body goes out as it came, without its model; the envelope tells about the job."""
    body = BATCH_BODIES[endpoint]
    data = line(
        custom_id="r-1",
        method="POST",
        url=str(endpoint),
        body={"model": "m", **body},
        priority=2,
        metadata={"a": 1},
        note="x",
    )
    assert parse(data) == Prompt(
        endpoint=endpoint,
        body=body,
        id="r-1",
        model="m",
        priority=2,
        metadata={"a": 1, "note": "x"},
    )


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"url": "https://api.openai.com/v1/chat/completions"}, "`url` must be one of /v1/"),
        ({"url": "/v1/moderations"}, "`url` must be one of /v1/"),
        ({"url": "//host/v1/chat/completions"}, "`url` must be one of /v1/"),
        ({"url": ["/v1/embeddings"]}, "`url` must be one of /v1/"),
        ({"method": "GET"}, "`method` must be POST"),
        ({"model": "m"}, "`model` belongs inside `body`"),
        ({"temperature": 1}, "`temperature` belongs inside `body`"),
        ({"body": {}}, "`messages` must be a non-empty array"),
        ({"body": {"messages": [HELLO], "model": 1}}, "`model` must be a non-empty string"),
        ({"body": {"messages": [HELLO], "stream": True}}, "`stream` is not supported"),
        ({"body": {"messages": [HELLO], "n": 3}}, "`n` must be 1"),
        ({"body": {"messages": [HELLO], "max_tokens": "9"}}, "`max_tokens` must be"),
    ],
)
def test_a_wrong_batch_line_is_refused(keys: dict[str, Any], reason: str) -> None:
    assert refusal(line(**{"custom_id": "a", "body": {"messages": [HELLO]}, **keys})).startswith(
        reason
    )


@pytest.mark.parametrize(
    ("endpoint", "body", "reason"),
    [
        (Endpoint.EMBEDDINGS, {}, "`input` must be a string"),
        (Endpoint.EMBEDDINGS, {"input": 5}, "`input` must be a string"),
        (Endpoint.EMBEDDINGS, {"input": ["a", 5]}, "`input` must be a string"),
        (Endpoint.EMBEDDINGS, {"input": []}, "empty `input`"),
        (Endpoint.EMBEDDINGS, {"input": ["a", ""]}, "empty `input`"),
        (Endpoint.EMBEDDINGS, {"input": "a", "dimensions": 0}, "`dimensions` must be"),
        (Endpoint.COMPLETIONS, {}, "`prompt` must be a string"),
        (Endpoint.COMPLETIONS, {"prompt": ["a", "b"]}, "`prompt` must be one text"),
        (Endpoint.COMPLETIONS, {"prompt": [" "]}, "empty prompt"),
        (Endpoint.COMPLETIONS, {"prompt": []}, "`prompt` must be a string"),
        (Endpoint.RESPONSES, {"input": ["a"]}, "`input` must be a string"),
        (Endpoint.RESPONSES, {"input": ""}, "empty `input`"),
        (Endpoint.RESPONSES, {"input": "a", "background": True}, "`background` is not"),
    ],
)
def test_every_endpoint_knows_what_it_needs(
    endpoint: Endpoint, body: dict[str, Any], reason: str
) -> None:
    assert refusal(line(url=str(endpoint), body=body)).startswith(reason)


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [
        (Endpoint.EMBEDDINGS, {"input": [1, 2, 3]}),
        (Endpoint.EMBEDDINGS, {"input": [[1, 2], [3]]}),
        (Endpoint.COMPLETIONS, {"prompt": ["a"]}),
        (Endpoint.COMPLETIONS, {"prompt": [[1, 2]]}),
        (Endpoint.COMPLETIONS, {"prompt": [1, 2]}),
        (Endpoint.RESPONSES, {"input": [{"role": "user", "content": "a"}]}),
        (Endpoint.RESPONSES, {"prompt": {"id": "pmpt_1"}}),
    ],
)
def test_other_forms_of_contents_are_taken(endpoint: Endpoint, body: dict[str, Any]) -> None:
    """Tokens are texts too, and a stored prompt brings its own input."""
    assert parse(line(url=str(endpoint), body=body)).body == body


def test_a_digest_tells_lines_apart() -> None:
    assert len(digest(b'"a"')) == 16
    assert digest(b'"a"') == digest(b'"a"') != digest(b'"a" ')
