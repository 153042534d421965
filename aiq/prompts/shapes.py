"""
One raw line as a prompt, or the reason why it is none.

The decision hidden here is what the six shapes of a line mean: whatever the shape, what comes out
is a request in OpenAI form without its model, and beside it what the line says about the job. The
shape is read off each line by itself. Every refusal is a `BadLine` whose text is fit for a list.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from aiq.model import Endpoint, JsonObject, Prompt
from aiq.prompts import anthropic_lines, gemini_lines
from aiq.prompts.contents import checked_messages, is_blank
from aiq.prompts.request_fields import (
    BESIDE_PROMPT,
    CHAT,
    check_body,
    check_field,
    mistyped,
)
from aiq.prompts.strict_json import BadLine, decode

__all__ = ["BadLine", "digest", "parse"]

_ID_LIMIT = 512  # bytes of UTF-8
_PRIORITY_LIMIT = 2**63  # what a column of the job table holds
_MISTYPED_KEPT = 20  # of a whole file: nobody reads on
_ENVELOPES = frozenset({"body", "params", "request"})
_IDS = ("id", "custom_id")
_MISPLACED = (BESIDE_PROMPT | CHAT.keys()) - {"custom_id", "priority"}
_ENDPOINTS = {endpoint.value: endpoint for endpoint in Endpoint}


def parse(line: bytes, mistyped_keys: dict[str, str] | None = None) -> Prompt:
    """
    Return the prompt of one line.

    A key that is no request field ends up in `Prompt.metadata` beside the line's own `metadata`,
    which wins where both have it; null is the same as leaving a key out.

    Args:
        line: the line without its ending, not blank.
        mistyped_keys: receives, for each such key that looks like a slip of the pen, the field
            it probably means (`max_token` -> `max_tokens`), up to 20. One dict serves a whole
            file: the same slip comes on every line, and wrapping each prompt to carry it would
            cost more.

    Raises:
        BadLine: the line is no prompt.

    """
    value = decode(line)
    if type(value) is str:
        return Prompt(body={"messages": [_user_message(value)]})
    if type(value) is not dict:
        raise BadLine("a prompt must be a string or an object")
    envelope = None if _ENVELOPES.isdisjoint(value) else _envelope(value)
    if envelope is None:
        return _bare_line(value, mistyped_keys)
    content = value.pop(envelope)
    misplaced = next((k for k in value if k in _MISPLACED and value[k] is not None), None)
    if misplaced is not None:
        raise BadLine(f"`{misplaced}` belongs inside `{envelope}`")
    return _SHAPES[envelope](content, value)


def digest(line: bytes) -> bytes:
    """Return the 16 bytes by which a line without an id is known."""
    return hashlib.blake2b(line, digest_size=16).digest()


def _envelope(line: JsonObject) -> str | None:
    """Return the key that holds the request, None if the line itself does."""
    held = [name for name in ("body", "params", "request") if type(line.get(name)) is dict]
    shapes = [name for name in ("prompt", "messages") if line.get(name) is not None] + held
    if held and len(shapes) > 1:
        raise BadLine(f"both `{shapes[0]}` and `{shapes[1]}`")
    return held[0] if held else None


def _bare_line(line: JsonObject, mistyped_keys: dict[str, str] | None) -> Prompt:
    body: JsonObject = {"messages": _messages(line)}
    for name in [name for name in line if name in CHAT]:
        value = line.pop(name)
        if value is not None:
            check_field(name, CHAT[name], value)
            body[name] = value
    model = _model(line.pop("model", None))
    identity = _identity(line, _IDS)
    if mistyped_keys is not None and line:
        _note_mistyped(line, mistyped_keys)
    return _prompt(line, identity, body, model=model)


def _messages(line: JsonObject) -> list[Any]:
    prompt, given = line.pop("prompt", None), line.pop("messages", None)
    system = line.pop("system", None)
    if prompt is None and given is None:
        raise _shapeless(line)
    if prompt is not None and given is not None:
        raise BadLine("both `prompt` and `messages`")
    messages = [_user_message(prompt)] if given is None else checked_messages(given)
    if system is not None:
        if type(system) is not str:
            raise BadLine("`system` must be a string")
        messages.insert(0, {"role": "system", "content": system})
    return messages


def _user_message(prompt: Any) -> JsonObject:
    if type(prompt) is not str:
        raise BadLine("`prompt` must be a string")
    if is_blank(prompt):
        raise BadLine("empty prompt")
    return {"role": "user", "content": prompt}


def _shapeless(line: JsonObject) -> BadLine:
    for key in line:
        if key in _ENVELOPES:
            return BadLine(f"`{key}` must be an object")
        if mistyped(key) in ("prompt", "messages"):
            return BadLine(f"no `prompt` or `messages`; is `{key}` meant to be `{mistyped(key)}`?")
    return BadLine("no `prompt` or `messages`")


def _openai_line(body: JsonObject, line: JsonObject) -> Prompt:
    url = line.pop("url", None)
    method = line.pop("method", None)
    endpoint = Endpoint.CHAT if url is None else _endpoint(url)
    if method not in (None, "POST"):
        raise BadLine("`method` must be POST")
    model = _model(body.pop("model", None))
    check_body(endpoint, body)
    return _prompt(line, _identity(line, _IDS), body, endpoint=endpoint, model=model)


def _endpoint(url: Any) -> Endpoint:
    endpoint = _ENDPOINTS.get(url) if type(url) is str else None
    if endpoint is None:
        raise BadLine(f"`url` must be one of {', '.join(_ENDPOINTS)}")
    return endpoint


def _anthropic_line(params: JsonObject, line: JsonObject) -> Prompt:
    return _translated(anthropic_lines.chat_form(params), line, _IDS)


def _gemini_line(request: JsonObject, line: JsonObject) -> Prompt:
    return _translated(gemini_lines.chat_form(request), line, ("key", *_IDS))


def _translated(body: JsonObject, line: JsonObject, ids: tuple[str, ...]) -> Prompt:
    model = _model(body.pop("model", None))
    check_body(Endpoint.CHAT, body)
    return _prompt(line, _identity(line, ids), body, model=model)


_SHAPES: dict[str, Callable[[JsonObject, JsonObject], Prompt]] = {
    "body": _openai_line,
    "params": _anthropic_line,
    "request": _gemini_line,
}


def _identity(line: JsonObject, names: tuple[str, ...]) -> str | None:
    given = [(name, line.pop(name)) for name in names if name in line]
    given = [(name, value) for name, value in given if value is not None]
    if not given:
        return None
    if len(given) > 1:
        raise BadLine(f"both `{given[0][0]}` and `{given[1][0]}`")
    return _id_text(*given[0])


def _id_text(name: str, value: Any) -> str:
    """Write an id as text; a number as its shortest form, so that 1, 1.0 and "1" are one id."""
    if type(value) is str:
        text = value
    elif type(value) is float and not value.is_integer():
        text = str(value)
    elif type(value) in (int, float):
        text = str(int(value))
    else:
        raise BadLine(f"`{name}` must be a string or a number")
    if not text:
        raise BadLine(f"empty `{name}`")
    if len(_encoded(name, text)) > _ID_LIMIT:
        raise BadLine(f"`{name}` is longer than {_ID_LIMIT} bytes")
    return text


def _model(value: Any) -> str | None:
    if value is None:
        return None
    if type(value) is not str or not value:
        raise BadLine("`model` must be a non-empty string")
    _encoded("model", value)
    return value


def _encoded(name: str, text: str) -> bytes:
    """Refuse names that no database column can hold as text."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise BadLine(f"`{name}` holds a lone surrogate") from None


def _note_mistyped(line: JsonObject, mistyped_keys: dict[str, str]) -> None:
    for key in line:
        meant = mistyped(key)
        if meant is not None and len(mistyped_keys) < _MISTYPED_KEPT:
            mistyped_keys[key] = meant


def _prompt(
    line: JsonObject,
    identity: str | None,
    body: JsonObject,
    *,
    endpoint: Endpoint = Endpoint.CHAT,
    model: str | None,
) -> Prompt:
    """Put the prompt together; what is left on the line is about the job."""
    if not line:
        return Prompt(endpoint=endpoint, body=body, id=identity, model=model)
    priority = line.pop("priority", None)
    metadata = line.pop("metadata", None)
    if priority is None:
        priority = 0
    elif type(priority) is not int or not -_PRIORITY_LIMIT <= priority < _PRIORITY_LIMIT:
        raise BadLine("`priority` must be an integer of at most 64 bits")
    if metadata is not None:
        if type(metadata) is not dict:
            raise BadLine("`metadata` must be an object")
        line |= metadata
    return Prompt(
        endpoint=endpoint,
        body=body,
        id=identity,
        model=model,
        priority=priority,
        metadata=line or None,
    )
