"""
Is this 2xx reply of Anthropic's Messages API an answer, and what does it say?

The standard shape is decoded once into typed structs, unknown fields skipped; whatever does not fit
is read again from plain JSON. Errors have the shapes that `openai_errors` knows.

Anthropic's words become those of a chat: all text blocks are joined, thoughts are skipped, tool
calls carry their arguments as the very JSON text that came. `input_tokens` excludes what the cache
saw; ours is the sum.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from aiq.model import Answer, Content, Flaw, JsonObject, Problem, Usage
from aiq.providers import json_text, openai_errors, openai_shapes
from aiq.providers.openai_usage import token_count

_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
"""Stop reasons in a chat's words; the others (`pause_turn`) stay as Anthropic wrote them."""
_CUT_SHORT = frozenset(
    {
        *("max_tokens", "model_context_window_exceeded", "refusal"),
        *("pause_turn", "stop_sequence"),
    }
)
"""Stop reasons with which a paid answer may say nothing, and would again."""


class _Block(msgspec.Struct):
    type: str
    text: str | None = None
    id: str | None = None
    name: str | None = None
    input: msgspec.Raw = msgspec.Raw(b"{}")


class _StopDetails(msgspec.Struct):
    explanation: str | None = None


class Reply(msgspec.Struct):
    """A message; an error beside its content makes it non-standard."""

    content: list[_Block]
    id: str | None = None
    model: str | None = None
    stop_reason: str | None = None
    stop_details: _StopDetails | None = None
    usage: Any = None
    error: None = None


_STANDARD = msgspec.json.Decoder(Reply)


def read(status_code: int, headers: Mapping[str, str], body: bytes) -> Answer | Problem:
    """Say what a complete reply is; never raises."""
    if not 200 <= status_code < 300:
        return openai_errors.read_problem(status_code, headers, body)
    reply = _read_standard(body)
    if reply is not None:
        return _judged(reply, status_code)
    try:
        document = json_text.decode(body)
        reply = _read_lenient(document)
    except ValueError:
        return openai_errors.unreadable(status_code, headers, body)
    failure = openai_errors.declared(document, has_answer=reply is not None)
    usage = read_usage(document.get("usage") if isinstance(document, dict) else None)
    if failure is not None:
        return openai_errors.from_error(failure, status_code, headers, usage)
    if reply is None:
        return Problem(status_code=status_code, message="", flaw=Flaw.NO_CHOICES, usage=usage)
    return _judged(reply, status_code)


def reply_of(body: bytes) -> Reply | None:
    """Return a stored answer as it stands, or None if the bytes are none."""
    reply = _read_standard(body)
    if reply is not None:
        return reply
    try:
        return _read_lenient(json_text.decode(body))
    except ValueError:
        return None


def content(reply: Reply) -> Content:
    """Return what an answer says, in a chat's words."""
    texts = [
        block.text for block in reply.content if block.type == "text" and block.text is not None
    ]
    calls = [_tool_call(block) for block in reply.content if block.type == "tool_use"]
    details = reply.stop_details if reply.stop_reason == "refusal" else None
    return Content(
        text="".join(texts) if texts else None,
        finish_reason=openai_shapes.word(_FINISH.get(reply.stop_reason or "", reply.stop_reason)),
        tool_calls=calls or None,
        refusal=details.explanation if details is not None else None,
    )


def read_usage(wire: object) -> Usage:
    """Read `usage`; unusable counts are None, and parts of an unknown whole are not told."""
    if not isinstance(wire, dict):
        return Usage()
    tokens_out = token_count(wire.get("output_tokens"))
    plain = token_count(wire.get("input_tokens"))
    if plain is None:
        return Usage(output_tokens=tokens_out)
    read_from = token_count(wire.get("cache_read_input_tokens"))
    written = token_count(wire.get("cache_creation_input_tokens"))
    kept = wire.get("cache_creation")
    for_an_hour = kept.get("ephemeral_1h_input_tokens") if isinstance(kept, dict) else None
    return Usage(
        input_tokens=plain + (read_from or 0) + (written or 0),
        output_tokens=tokens_out,
        cached_tokens=read_from,
        cache_write_tokens=written,
        cache_write_1h_tokens=token_count(for_an_hour),
        speed=None if wire.get("speed") == "standard" else openai_shapes.word(wire.get("speed")),
    )


def _judged(reply: Reply, status_code: int) -> Answer | Problem:
    found = content(reply)
    usage = read_usage(reply.usage)
    has_said = found.text is not None or found.tool_calls or found.refusal
    if not has_said and reply.stop_reason not in _CUT_SHORT:
        return Problem(status_code=status_code, message="", flaw=Flaw.EMPTY, usage=usage)
    return Answer(
        usage=usage,
        finish_reason=found.finish_reason,
        truncated=found.finish_reason == "length",
        refused=found.finish_reason == "content_filter",
        served_model=openai_shapes.word(reply.model),
    )


def _tool_call(block: _Block) -> JsonObject:
    function = {"name": block.name or "", "arguments": bytes(block.input).decode()}
    return {"id": block.id or "", "type": "function", "function": function}


def _read_standard(body: bytes) -> Reply | None:
    try:
        # Through str, because msgspec does not check the UTF-8 of what it skips.
        return _STANDARD.decode(body.decode())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _read_lenient(document: Any) -> Reply | None:
    """
    Read what can be read of a document that has content, whatever else is odd about it.

    Raises:
        ValueError: the arguments of a call are nested too deep to be real.
    """
    if not isinstance(document, dict) or not isinstance(document.get("content"), list | str):
        return None
    said = document["content"]
    blocks = [{"type": "text", "text": said}] if isinstance(said, str) else said
    details = document.get("stop_details")
    explanation = details.get("explanation") if isinstance(details, dict) else None
    return Reply(
        content=[_lenient_block(block) for block in blocks if isinstance(block, dict)],
        id=_text(document.get("id")),
        model=_text(document.get("model")),
        stop_reason=_text(document.get("stop_reason")),
        stop_details=_StopDetails(_text(explanation)),
        usage=document.get("usage"),
    )


def _lenient_block(block: JsonObject) -> _Block:
    return _Block(
        type=_text(block.get("type")) or "",
        text=_text(block.get("text")),
        id=_text(block.get("id")),
        name=_text(block.get("name")),
        input=msgspec.Raw(json_text.encode(block.get("input", {}))),
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
