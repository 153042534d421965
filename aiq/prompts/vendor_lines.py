"""
What the Anthropic and the Gemini line have in common: pieces of a chat, and how to refuse.

Both vocabularies are turned into chat form completely or not at all: whatever would change the
answer and has no chat equivalent makes the line invalid under its own name, nothing is dropped in
silence. Here are the pieces of the target and the checks on the way; the words of each vendor are
in `anthropic_lines` and `gemini_lines`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from aiq.model import JsonObject
from aiq.prompts.strict_json import BadLine

Translation: TypeAlias = Callable[[Any], JsonObject]
"""From the value of one vendor field to the chat fields that say the same."""


def no_equivalent(what: str) -> BadLine:
    """Name what a chat cannot say."""
    return BadLine(f"{what} has no chat equivalent")


def refuse_others(fields: JsonObject, *known: str) -> None:
    """Raise BadLine for a field that says something, and is none of those that are read."""
    for name, value in fields.items():
        if name not in known and value is not None:
            raise no_equivalent(f"`{name}`")


def expect_object(value: Any, where: str) -> JsonObject:
    """Return the value if it is an object, else raise BadLine."""
    if type(value) is not dict:
        raise BadLine(f"{where} must be an object")
    return value


def expect_array(value: Any, where: str) -> list[Any]:
    """Return the value if it is an array with something in it, else raise BadLine."""
    if type(value) is not list or not value:
        raise BadLine(f"{where} must be a non-empty array")
    return value


def expect_text(value: Any, where: str) -> str:
    """Return the value if it is a string, else raise BadLine."""
    if type(value) is not str:
        raise BadLine(f"{where} must be a string")
    return value


def same(name: str) -> Translation:
    """Return the translation of a field that means the same under this chat name."""
    return lambda value: {name: value}


def translated(fields: JsonObject, words: Mapping[str, Translation]) -> JsonObject:
    """Translate field by field; one that `words` does not know raises BadLine, null is skipped."""
    body: JsonObject = {}
    for name, value in fields.items():
        if name not in words:
            raise no_equivalent(f"`{name}`")
        if value is not None:
            body |= words[name](value)
    return body


def text_part(text: str) -> JsonObject:
    """Return a part of a user message that is text."""
    return {"type": "text", "text": text}


def image_part(url: str) -> JsonObject:
    """Return a part of a user message that is an image, by its URL or as a data URI."""
    return {"type": "image_url", "image_url": {"url": url}}


def user_message(parts: list[JsonObject]) -> JsonObject:
    """Return a user message; a single text is given as a string, which every server reads."""
    is_one_text = len(parts) == 1 and parts[0]["type"] == "text"
    return {"role": "user", "content": parts[0]["text"] if is_one_text else parts}


def assistant_message(texts: list[str], calls: list[JsonObject]) -> JsonObject:
    """Return an assistant message of texts, read as one, and tool calls."""
    message: JsonObject = {"role": "assistant", "content": "".join(texts) if texts else None}
    if calls:
        message["tool_calls"] = calls
    return message


def tool_call(call_id: str, name: str, arguments: JsonObject) -> JsonObject:
    """Return one call of an assistant message; a chat carries its arguments as JSON text."""
    function = {"name": name, "arguments": json_text(arguments)}
    return {"id": call_id, "type": "function", "function": function}


def json_text(value: Any) -> str:
    """Write JSON inside a string; unlike msgspec's, the standard encoder takes any text."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def function_choice(name: str) -> JsonObject:
    """Return the `tool_choice` that demands one function."""
    return {"type": "function", "function": {"name": name}}


def schema_format(schema: Any) -> JsonObject:
    """
    Return the `response_format` for a JSON schema.

    `strict` is left out: a chat provider takes it only with schemas that close every object,
    which the vendors' own schemas need not do.
    """
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
