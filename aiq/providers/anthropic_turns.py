"""
The messages of a chat as the turns and the system text of Anthropic's Messages API.

System messages are hoisted. Tool results are blocks of one user turn, and what the user says next
joins that turn, because the API wants the results of all calls in the turn that follows them. Blank
text blocks, which the API refuses and a chat allows, are left out. A part that the API has no words
for makes the whole request `Inexpressible`: leaving it out would ask something else.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from aiq.model import JsonObject
from aiq.providers import json_text
from aiq.providers.dialect import Inexpressible

_DATA_URI = re.compile(r"data:(?P<type>[^;,]+)(?:;[^;,]+)*;base64,", re.IGNORECASE)
_MEDIA_TYPES = {"image/jpg": "image/jpeg"}  # a common misnomer, which the API does not know
_NOT_IN_AN_ID = re.compile(r"[^A-Za-z0-9_-]")


class Conversation(NamedTuple):
    """What was said, and under which instructions; `system` is None where there are none."""

    system: str | None
    turns: list[JsonObject]


def conversation(messages: Any) -> Conversation:
    """
    Return a chat's messages as turns.

    Raises:
        Inexpressible: a part has no equivalent, or there is nothing but instructions.
    """
    instructions: list[str] = []
    turns: list[JsonObject] = []
    results: list[JsonObject] | None = None  # the blocks of a turn that is still open for more
    for message in _objects(messages, "messages"):
        role, content = message.get("role"), message.get("content")
        if role in ("system", "developer"):
            instructions.append(_text(content, f"a {role} message"))
            continue
        if role == "tool":
            if results is None:
                results = []
                turns.append({"role": "user", "content": results})
            results.append(_tool_result(message))
        elif role == "user" and results is not None:
            results += _blocks(content)
            results = None
        elif role in ("user", "assistant"):
            said = _assistant(message) if role == "assistant" else _content(content)
            turns.append({"role": role, "content": said})
            results = None
        else:
            raise Inexpressible(f"Anthropic has no role `{role}`")
    if not turns:
        raise Inexpressible("Anthropic takes no chat of instructions alone")
    return Conversation("\n".join(instructions) if instructions else None, turns)


def _assistant(message: JsonObject) -> str | list[JsonObject]:
    """Return what the model said before; an earlier refusal is said text like any other."""
    if message.get("function_call"):
        raise Inexpressible("Anthropic has no `function_call`: it has no id to answer to")
    said = message.get("content") or message.get("refusal")
    calls = _objects(message.get("tool_calls") or [], "tool_calls")
    if not calls:
        return _content(said)
    return [*_blocks(said), *(_tool_use(call) for call in calls)]


def _content(content: Any) -> str | list[JsonObject]:
    """Return text as it is and parts as blocks; nothing said is an empty text."""
    return content if isinstance(content, str) else _blocks(content) or ""


def _blocks(content: Any) -> list[JsonObject]:
    if content is None:
        return []
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    blocks = [_block(part) for part in _objects(content, "content")]
    return [block for block in blocks if block["type"] != "text" or block["text"].strip()]


def _block(part: JsonObject) -> JsonObject:
    match part:
        case {"type": "text", "text": str(text)} | {"type": "refusal", "refusal": str(text)}:
            return {"type": "text", "text": text}
        case {"type": "image_url", "image_url": {"url": str(url)} | str(url)}:
            return {"type": "image", "source": _image_source(url)}
        case _:
            raise Inexpressible(f"Anthropic has no equivalent of this `{part.get('type')}` part")


def _image_source(url: str) -> JsonObject:
    if url[:5].lower() != "data:":
        return {"type": "url", "url": url}
    head = _DATA_URI.match(url)
    if head is None:
        raise Inexpressible("Anthropic takes the data of an image only as base64")
    media_type = head["type"].lower()
    return {
        "type": "base64",
        "media_type": _MEDIA_TYPES.get(media_type, media_type),
        "data": url[head.end() :],
    }


def _tool_use(call: JsonObject) -> JsonObject:
    match call:
        case {"id": str(call_id), "function": {"name": str(name), **function}}:
            arguments = _arguments(function.get("arguments"), call_id)
            return {"type": "tool_use", "id": _id(call_id), "name": name, "input": arguments}
        case _:
            raise Inexpressible("Anthropic has no calls other than of functions, each with its id")


def _arguments(text: Any, call_id: str) -> JsonObject:
    """Return the arguments as an object; a call without any has an empty text in a chat."""
    try:
        arguments = json_text.parse_exact(text or "{}")
    except (TypeError, ValueError):
        arguments = None
    if not isinstance(arguments, dict):
        raise Inexpressible(f"the arguments of the call `{call_id}` are no JSON object")
    return arguments


def _tool_result(message: JsonObject) -> JsonObject:
    call_id = message.get("tool_call_id")
    if not isinstance(call_id, str):
        raise Inexpressible("a tool message has no `tool_call_id`")
    content = _content(message.get("content"))
    return {"type": "tool_result", "tool_use_id": _id(call_id), "content": content}


def _id(call_id: str) -> str:
    """Return an id the API accepts; other vendors put dots and colons into theirs."""
    return _NOT_IN_AN_ID.sub("_", call_id)


def _text(content: Any, where: str) -> str:
    if isinstance(content, str):
        return content
    texts = [part.get("text") for part in _objects(content or [], "content")]
    known = [text for text in texts if isinstance(text, str)]
    if len(known) < len(texts):
        raise Inexpressible(f"Anthropic takes only text in {where}")
    return "\n".join(known)


def _objects(value: Any, name: str) -> list[JsonObject]:
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise Inexpressible(f"`{name}` is no array of objects")
    return value
