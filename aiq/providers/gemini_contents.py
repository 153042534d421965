"""
The messages of a chat as Gemini's `contents` and `systemInstruction`.

System messages are hoisted. The results of one turn's calls stand together in one content, as the
API demands, and each names its function, which a chat says only in the call. A part that the API
has no words for makes the whole request `Inexpressible`: leaving it out would ask something else.

Gemini 3 refuses a call of its own that comes back without the signature it was made with. A chat
carries it as Google's OpenAI endpoint does, in `extra_content` of the call; a call from elsewhere
gets the sentinel that Google documents for that case.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from aiq.model import JsonObject
from aiq.providers import json_text
from aiq.providers.dialect import Inexpressible

_DATA_URI = re.compile(r"data:(?P<type>[^;,]+)(?:;[^;,]+)*;base64,", re.IGNORECASE)
_NO_SIGNATURE = "skip_thought_signature_validator"
# By the end of a URL; any other goes without a type, which the server then finds out.
_MEDIA_TYPES = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "gif": "image/gif",
    "heic": "image/heic",
    "heif": "image/heif",
    "pdf": "application/pdf",
}


class Conversation(NamedTuple):
    """What was said, and under which instructions; both as Gemini writes them."""

    instructions: list[JsonObject]
    contents: list[JsonObject]


def conversation(messages: list[JsonObject], *, is_signed: bool) -> Conversation:
    """
    Return a chat's messages as contents; `is_signed` if the model checks signatures of calls.

    Raises:
        Inexpressible: a part has no equivalent, or there is nothing but instructions.
    """
    said = _Conversation(is_signed=is_signed)
    for message in messages:
        said.add(message)
    if not said.contents:
        raise Inexpressible("Gemini takes no chat of instructions alone")
    return Conversation(said.instructions, said.contents)


class _Conversation:
    """The contents so far, the functions behind the ids of calls, and the results of this turn."""

    def __init__(self, *, is_signed: bool) -> None:
        self.instructions: list[JsonObject] = []
        self.contents: list[JsonObject] = []
        self._is_signed = is_signed
        self._functions: dict[str, str] = {}
        self._results: list[JsonObject] | None = None

    def add(self, message: JsonObject) -> None:
        role, content = message.get("role"), message.get("content")
        if role in ("system", "developer"):
            self.instructions += [{"text": text} for text in _texts(content, f"a {role} message")]
        elif role in ("tool", "function"):
            self._add_result(message)
        elif role == "user":
            self._add_turn("user", _user_parts(content))
        elif role == "assistant":
            self._add_turn("model", self._model_parts(message))
        else:
            raise Inexpressible(f"Gemini has no role `{role}`")

    def _add_turn(self, role: str, parts: list[JsonObject]) -> None:
        self.contents.append({"role": role, "parts": parts})
        self._results = None

    def _model_parts(self, message: JsonObject) -> list[JsonObject]:
        said = message.get("content") or message.get("refusal")
        parts: list[JsonObject] = [{"text": text} for text in _texts(said, "an assistant message")]
        asked = message.get("tool_calls") or []
        if not asked and message.get("function_call"):
            asked = [{"function": message["function_call"]}]
        calls = [self._call(call) for call in (asked if isinstance(asked, list) else [asked])]
        if calls and self._is_signed:
            calls[0].setdefault("thoughtSignature", _NO_SIGNATURE)
        return parts + calls or [{"text": ""}]

    def _call(self, call: Any) -> JsonObject:
        match call:
            case {"function": {"name": str(name), **function}}:
                asked = {"name": name, "args": _arguments(function.get("arguments"))}
            case _:
                raise Inexpressible("Gemini has no calls other than of functions")
        call_id = call.get("id")
        if isinstance(call_id, str):
            self._functions[call_id] = name
            asked["id"] = call_id
        match call:
            case {"extra_content": {"google": {"thought_signature": str(signature)}}}:
                return {"functionCall": asked, "thoughtSignature": signature}
        return {"functionCall": asked}

    def _add_result(self, message: JsonObject) -> None:
        call_id = message.get("tool_call_id")
        name = self._functions.get(call_id) if isinstance(call_id, str) else None
        name = name or message.get("name")
        if not isinstance(name, str):
            raise Inexpressible("a tool message answers no call, so its function is unknown")
        answered: JsonObject = {"name": name, "response": _result(message.get("content"))}
        if isinstance(call_id, str):
            answered["id"] = call_id
        if self._results is None:
            self._results = []
            self.contents.append({"role": "user", "parts": self._results})
        self._results.append({"functionResponse": answered})


def _user_parts(content: Any) -> list[JsonObject]:
    if not isinstance(content, list):
        return [{"text": text} for text in _texts(content, "a user message")]
    return [_user_part(part) for part in content]


def _user_part(part: Any) -> JsonObject:
    match part:
        case {"type": "text", "text": str(text)}:
            return {"text": text}
        case {"type": "image_url", "image_url": {"url": str(url)} | str(url)}:
            return _inline(url) or _elsewhere(url)
        case {"type": "input_audio", "input_audio": {"data": str(encoded), "format": str(form)}}:
            return {"inlineData": {"mimeType": f"audio/{form}", "data": encoded}}
        case {"type": "file", "file": {"file_data": str(url)}}:
            held = _inline(url)
            if held is None:  # of any size, so that no budget could bound it
                raise Inexpressible("`file_data` is no data URI")
            return held
        case _:
            raise Inexpressible(f"Gemini has no equivalent of {_named(part)} of a user message")


def _inline(url: str) -> JsonObject | None:
    """Return a file in the request itself (a data URI); None: it is elsewhere."""
    start = _DATA_URI.match(url)
    if start is not None:
        return {"inlineData": {"mimeType": start["type"], "data": url[start.end() :]}}
    if url[:5].lower() == "data:":
        raise Inexpressible("Gemini takes no data URI other than base64 with a media type")
    return None


def _elsewhere(url: str) -> JsonObject:
    media_type = _MEDIA_TYPES.get(url.partition("?")[0].rpartition(".")[2].lower())
    named = {"mimeType": media_type} if media_type else {}
    return {"fileData": {**named, "fileUri": url}}


def _texts(content: Any, where: str) -> list[str]:
    """Return the texts of a content that may hold nothing else; null has none."""
    if content is None or isinstance(content, str):
        return [content] if content is not None else []
    texts = []
    for part in content if isinstance(content, list) else [content]:
        match part:
            case {"type": "text", "text": str(text)} | {"type": "refusal", "refusal": str(text)}:
                texts.append(text)
            case _:
                raise Inexpressible(f"Gemini has no equivalent of {_named(part)} of {where}")
    return texts


def _arguments(written: Any) -> JsonObject:
    """Return a call's arguments; a chat has them as JSON text, and none as an empty one."""
    if written in (None, ""):
        return {}
    arguments = _json(written) if isinstance(written, str) else written
    if not isinstance(arguments, dict):
        raise Inexpressible("the `arguments` of a tool call are no JSON object")
    return arguments


def _result(content: Any) -> JsonObject:
    """Return what a tool said; what is no JSON object goes under the name Gemini has for it."""
    text = "".join(_texts(content, "a tool message"))
    result = _json(text)
    return result if isinstance(result, dict) else {"output": text}


def _json(text: str) -> Any:
    """Return the JSON in a text, or None if it is none that can be sent on as it is."""
    try:
        return json_text.parse_exact(text)
    except ValueError:
        return None


def _named(part: Any) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    return f"a `{kind}` part" if isinstance(kind, str) else "a part without a type"
