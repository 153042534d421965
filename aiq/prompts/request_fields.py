"""
What a request may hold, per endpoint: the fields' names and the types they must have.

Types only: ranges differ between providers and models, and the provider judges them better. Two
values are refused although the wire knows them, `stream` and `n` above 1: a job has one answer,
read whole. `null` is any field's "not given".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

from aiq.model import Endpoint, JsonObject
from aiq.prompts.contents import check_contents
from aiq.prompts.strict_json import BadLine


class Field(NamedTuple):
    """A predicate on a value, and what to say after the field's name when it does not hold."""

    accepts: Callable[[Any], bool]
    complaint: str


Fields: TypeAlias = Mapping[str, Field]

# bool is an int to Python and not to JSON, hence `type(value) is` instead of isinstance.
_NUMBER = Field(lambda value: type(value) in (int, float), "must be a number")
_INTEGER = Field(lambda value: type(value) is int, "must be an integer")
_POSITIVE = Field(lambda value: type(value) is int and value > 0, "must be a positive integer")
_BOOLEAN = Field(lambda value: type(value) is bool, "must be true or false")
_TEXT = Field(lambda value: type(value) is str, "must be a string")
_OBJECT = Field(lambda value: type(value) is dict, "must be an object")
_ARRAY = Field(lambda value: type(value) is list, "must be an array")
_TEXT_OR_OBJECT = Field(lambda value: type(value) in (str, dict), "must be a string or an object")
_TEXTS = Field(
    lambda value: (
        type(value) is str or (type(value) is list and all(type(text) is str for text in value))
    ),
    "must be a string or an array of strings",
)
_NEVER = Field(lambda value: value is False, "is not supported in a batch")
_ONE = Field(
    lambda value: type(value) is int and value == 1, "must be 1: each answer is its own job"
)

# It is merged into the request when it is sent, after everything else was checked.
_SETTLED = frozenset({"model", "messages", "input", "prompt", "n", "stream"})
_EXTRA = Field(
    lambda value: type(value) is dict and _SETTLED.isdisjoint(value),
    f"must be an object without {', '.join(sorted(_SETTLED))}",
)

_SHARED: Fields = {
    "n": _ONE,
    "stream": _NEVER,
    "user": _TEXT,
    "extra_body": _EXTRA,
}

_SAMPLING: Fields = {
    "temperature": _NUMBER,
    "top_p": _NUMBER,
    "top_k": _INTEGER,
    "min_p": _NUMBER,
    "seed": _INTEGER,
    "presence_penalty": _NUMBER,
    "frequency_penalty": _NUMBER,
    "repetition_penalty": _NUMBER,
    "logit_bias": _OBJECT,
    "stop": _TEXTS,
    "stream_options": _OBJECT,
}

CHAT: Fields = {
    **_SHARED,
    **_SAMPLING,
    "max_tokens": _POSITIVE,
    "max_completion_tokens": _POSITIVE,
    "logprobs": _BOOLEAN,
    "top_logprobs": _INTEGER,
    "response_format": _OBJECT,
    "tools": _ARRAY,
    "tool_choice": _TEXT_OR_OBJECT,
    "parallel_tool_calls": _BOOLEAN,
    "reasoning_effort": _TEXT,
    "verbosity": _TEXT,
    "service_tier": _TEXT,
    "store": _BOOLEAN,
    "prompt_cache_key": _TEXT,
    "prompt_cache_options": _OBJECT,
    "safety_identifier": _TEXT,
    "moderation": _TEXT_OR_OBJECT,
    "modalities": _ARRAY,
    "audio": _OBJECT,
    "prediction": _OBJECT,
    "web_search_options": _OBJECT,
}

_BODIES: Mapping[Endpoint, Fields] = {
    Endpoint.CHAT: CHAT,
    Endpoint.EMBEDDINGS: {**_SHARED, "encoding_format": _TEXT, "dimensions": _POSITIVE},
    Endpoint.COMPLETIONS: {
        **_SHARED,
        **_SAMPLING,
        "max_tokens": _POSITIVE,
        "logprobs": _INTEGER,
        "suffix": _TEXT,
        "echo": _BOOLEAN,
    },
    Endpoint.RESPONSES: {
        **_SHARED,
        "temperature": _NUMBER,
        "top_p": _NUMBER,
        "max_output_tokens": _POSITIVE,
        "instructions": _TEXT,
        "text": _OBJECT,
        "reasoning": _OBJECT,
        "tools": _ARRAY,
        "tool_choice": _TEXT_OR_OBJECT,
        "parallel_tool_calls": _BOOLEAN,
        "store": _BOOLEAN,
        # A response made in the background comes back queued, without its answer.
        "background": _NEVER,
    },
}

BESIDE_PROMPT = frozenset({"prompt", "messages", "system", "model", "custom_id", "priority"})
"""What a line may say beside the request fields; `id` and `metadata` stand anywhere."""

# A name this short is one edit away from too many innocent ones.
_SHORTEST_MISTYPED = 4
_NAMES = tuple(
    name for name in sorted({*CHAT, *BESIDE_PROMPT, "metadata"}) if len(name) >= _SHORTEST_MISTYPED
)


def check_field(name: str, field: Field, value: Any) -> None:
    """Raise BadLine if the value has not the field's type; null passes."""
    if value is not None and not field.accepts(value):
        raise BadLine(f"`{name}` {field.complaint}")


def check_body(endpoint: Endpoint, body: JsonObject) -> None:
    """
    Check a whole request body; keys that are not known pass, the provider may know them.

    Raises:
        BadLine: what the endpoint works on is missing or empty, or a known field has a wrong type.

    """
    check_contents(endpoint, body)
    fields = _BODIES[endpoint]
    for name, value in body.items():
        field = fields.get(name)
        if field is not None:
            check_field(name, field, value)


@lru_cache(maxsize=4096)
def mistyped(key: str) -> str | None:
    """
    Return the field that an unknown key probably means, or None.

    It does when it is one edit away (a letter more, less or different, or two swapped), or the
    same in another spelling (`maxTokens`, `top-p`).
    """
    if key in _NAMES or not key.isascii() or len(key) < _SHORTEST_MISTYPED:
        return None
    spelled = _BY_PLAIN_NAME.get(_plain(key))
    return spelled or next((name for name in _NAMES if _is_one_edit(key, name)), None)


def _plain(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()


_BY_PLAIN_NAME = {_plain(name): name for name in _NAMES}


def _is_one_edit(first: str, second: str) -> bool:
    if abs(len(first) - len(second)) > 1:
        return False
    same = 0
    while same < min(len(first), len(second)) and first[same] == second[same]:
        same += 1
    one, other = first[same:], second[same:]
    return (
        one[1:] == other[1:]
        or one == other[1:]
        or one[1:] == other
        or (one[:2] == other[:2][::-1] and one[2:] == other[2:])
    )
