"""
Where the answer stands in a decoded 2xx reply, for each of the four endpoints.

Lenient: any JSON value may stand anywhere. An answer has text, tool calls or a refusal. A reply
without any of them is still an answer when its finish reason says why (`length`, `content_filter`):
it is paid, and asking again would end alike.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiq.model import Content, Endpoint, Flaw, JsonObject
from aiq.providers import json_text

_CUT_SHORT = ("length", "content_filter")
_LONGEST_WORD = 200
# Items of a `response` that wait for the caller; other calls were made by the server itself.
_CALLS = ("function_call", "custom_tool_call", "computer_call", "local_shell_call")


def find(endpoint: Endpoint, document: JsonObject) -> Content | Flaw:
    """Return what a reply says, or why it says nothing."""
    return _SHAPES[endpoint](document)


def word(value: object) -> str | None:
    """Return a short string of the reply, fit for the ledger, or None."""
    if not isinstance(value, str):
        return None
    return json_text.without_surrogates(value[:_LONGEST_WORD])


def _chat(document: JsonObject) -> Content | Flaw:
    choice = _first(document.get("choices"))
    if choice is None:
        return Flaw.NO_CHOICES
    message = choice.get("message")
    if not isinstance(message, dict):
        message = {}
    found = Content(
        text=_text(message.get("content")),
        finish_reason=word(choice.get("finish_reason")),
        tool_calls=_tool_calls(message),
        refusal=_text(message.get("refusal")) or None,
    )
    return found if _is_answer(found) or message.get("audio") else Flaw.EMPTY


def _completion(document: JsonObject) -> Content | Flaw:
    choice = _first(document.get("choices"))
    if choice is None:
        return Flaw.NO_CHOICES
    found = Content(text=_text(choice.get("text")), finish_reason=word(choice.get("finish_reason")))
    return found if _is_answer(found) else Flaw.EMPTY


def _embeddings(document: JsonObject) -> Content | Flaw:
    """One vector for one input, a list of vectors in the order of the inputs for several."""
    items = document.get("data")
    if not isinstance(items, list) or not items:
        return Flaw.NO_CHOICES
    vectors = [item.get("embedding") if isinstance(item, dict) else None for item in items]
    if not all(isinstance(vector, list | str) and vector for vector in vectors):
        return Flaw.EMPTY
    return Content(embedding=vectors[0] if len(vectors) == 1 else vectors)


def _response(document: JsonObject) -> Content | Flaw:
    """The text of all output messages; `finish_reason` in the words of chat."""
    output = document.get("output")
    if not isinstance(output, list):
        return Flaw.NO_CHOICES
    items = [item for item in output if isinstance(item, dict)]
    parts = [part for item in items for part in _list(item.get("content"))]
    found = Content(
        text=_joined(parts, "output_text", "text"),
        finish_reason=_response_finish(document),
        tool_calls=[item for item in items if item.get("type") in _CALLS] or None,
        refusal=_joined(parts, "refusal", "refusal"),
    )
    if _is_answer(found):
        return found
    return Flaw.EMPTY if items else Flaw.NO_CHOICES


def _response_finish(document: JsonObject) -> str | None:
    status = document.get("status")
    if status == "completed":
        return "stop"
    if status != "incomplete":
        return word(status)
    details = document.get("incomplete_details")
    reason = details.get("reason") if isinstance(details, dict) else None
    return "content_filter" if reason == "content_filter" else "length"


def _is_answer(found: Content) -> bool:
    return (
        found.text is not None
        or bool(found.tool_calls)
        or bool(found.refusal)
        or found.finish_reason in _CUT_SHORT
    )


def _text(value: object) -> str | None:
    """Return a string as it is and the text parts of a list joined."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        return None
    texts = [part.get("text") if isinstance(part, dict) else part for part in value]
    known = [text for text in texts if isinstance(text, str)]
    return "".join(known) if known else None


def _joined(parts: list[Any], kind: str, field: str) -> str | None:
    texts = [
        part[field]
        for part in parts
        if isinstance(part, dict) and part.get("type") == kind and isinstance(part.get(field), str)
    ]
    return "".join(texts) if texts else None


def _tool_calls(message: JsonObject) -> list[Any] | None:
    """Return the tool calls; the older single `function_call` becomes one of them."""
    calls = message.get("tool_calls")
    if isinstance(calls, list) and calls:
        return calls
    single = message.get("function_call")
    return [{"type": "function", "function": single}] if isinstance(single, dict) else None


def _first(value: object) -> JsonObject | None:
    return value[0] if isinstance(value, list) and value and isinstance(value[0], dict) else None


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


_SHAPES: dict[Endpoint, Callable[[JsonObject], Content | Flaw]] = {
    Endpoint.CHAT: _chat,
    Endpoint.COMPLETIONS: _completion,
    Endpoint.EMBEDDINGS: _embeddings,
    Endpoint.RESPONSES: _response,
}
