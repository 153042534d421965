"""
Is this 2xx reply an answer? Replies of chat, completions, embeddings and responses.

The standard shape is decoded once into typed structs, unknown fields skipped. Whatever does not fit
is read again as plain JSON by `openai_shapes`, which knows the quirks of compatible servers; so
a quirk costs microseconds, not an answer. `content` reads a stored body by the same two steps, so
what was accepted can always be exported.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from aiq.model import Answer, Content, Endpoint, Flaw, Problem, Usage
from aiq.providers import json_text, openai_errors, openai_shapes
from aiq.providers.openai_usage import read_cost, read_usage


class _Message(msgspec.Struct):
    content: str
    refusal: str | None = None
    tool_calls: list[Any] | None = None


class _ChatChoice(msgspec.Struct):
    message: _Message
    finish_reason: str | None = None
    error: None = None


class _TextChoice(msgspec.Struct):
    text: str
    finish_reason: str | None = None
    error: None = None


class _Vector(msgspec.Struct):
    """One embedding, looked at but not read: it may be thousands of numbers."""

    embedding: msgspec.Raw

    def __post_init__(self) -> None:
        raw = memoryview(self.embedding)
        if raw[0] not in b'["' or len(raw) <= len("[]"):
            raise ValueError("neither a list of numbers nor base64 text")


class _Reply(msgspec.Struct):
    """What every standard reply has; an error beside the answer makes it non-standard."""

    model: str | None = None
    usage: Any = None
    service_tier: Any = None
    error: None = None

    def content(self) -> Content:
        raise NotImplementedError


class _ChatReply(_Reply, kw_only=True):
    choices: Annotated[list[_ChatChoice], msgspec.Meta(min_length=1)]

    def content(self) -> Content:
        choice = self.choices[0]
        return Content(
            text=choice.message.content,
            finish_reason=choice.finish_reason,
            tool_calls=choice.message.tool_calls or None,
            refusal=choice.message.refusal or None,
        )


class _TextReply(_Reply, kw_only=True):
    choices: Annotated[list[_TextChoice], msgspec.Meta(min_length=1)]

    def content(self) -> Content:
        return Content(text=self.choices[0].text, finish_reason=self.choices[0].finish_reason)


class _VectorReply(_Reply, kw_only=True):
    data: Annotated[list[_Vector], msgspec.Meta(min_length=1)]

    def content(self) -> Content:
        """Return nothing: the vectors are read only when somebody wants them."""
        return Content()


_STANDARD_TIERS = frozenset({"default", "auto"})
_STANDARD: dict[Endpoint, msgspec.json.Decoder[_Reply]] = {
    Endpoint.CHAT: msgspec.json.Decoder(_ChatReply),
    Endpoint.COMPLETIONS: msgspec.json.Decoder(_TextReply),
    Endpoint.EMBEDDINGS: msgspec.json.Decoder(_VectorReply),
}


def read(
    endpoint: Endpoint, status_code: int, headers: Mapping[str, str], body: bytes
) -> Answer | Problem:
    """Say what a complete reply is; never raises."""
    if not 200 <= status_code < 300:
        return openai_errors.read_problem(status_code, headers, body)
    reply = _read_standard(endpoint, body)
    if reply is not None:
        found = reply.content()
        if found.finish_reason != "error":
            usage = _usage(endpoint, reply.usage, reply.service_tier)
            return _answer(found, usage, reply.usage, reply.model)
    try:
        document = json_text.decode(body)
    except ValueError:
        return openai_errors.unreadable(status_code, headers, body)
    return _read_lenient(endpoint, status_code, headers, document)


def content(endpoint: Endpoint, body: bytes) -> Content:
    """Return what a person wants out of a stored reply; empty if the bytes are no answer."""
    reply = _read_standard(endpoint, body) if endpoint is not Endpoint.EMBEDDINGS else None
    if reply is not None:
        return reply.content()
    try:
        document = json_text.decode(body)
    except ValueError:
        return Content()
    found = openai_shapes.find(endpoint, document) if isinstance(document, dict) else None
    return found if isinstance(found, Content) else Content()


def _read_standard(endpoint: Endpoint, body: bytes) -> _Reply | None:
    decoder = _STANDARD.get(endpoint)
    if decoder is None:
        return None
    try:
        # Through str, because msgspec does not check the UTF-8 of what it skips.
        return decoder.decode(body.decode())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _read_lenient(
    endpoint: Endpoint, status_code: int, headers: Mapping[str, str], document: Any
) -> Answer | Problem:
    found: Content | Flaw = Flaw.NO_CHOICES
    usage, wire = Usage(), None
    failure = None
    if isinstance(document, dict):
        wire = document.get("usage")
        usage = _usage(endpoint, wire, document.get("service_tier"))
        found = openai_shapes.find(endpoint, document)
        if endpoint is Endpoint.RESPONSES:
            failure = openai_errors.failed_response(document)
    if failure is None:
        failure = openai_errors.declared(document, has_answer=isinstance(found, Content))
    if failure is not None:
        cost_nano = read_cost(wire)
        return openai_errors.from_error(failure, status_code, headers, usage, cost_nano)
    if isinstance(found, Flaw):
        return Problem(
            status_code=status_code,
            message="",
            flaw=found,
            usage=usage,
            cost_nano=read_cost(wire),
        )
    return _answer(found, usage, wire, document.get("model"))


def _answer(found: Content, usage: Usage, wire: object, model: object) -> Answer:
    return Answer(
        usage=usage,
        finish_reason=openai_shapes.word(found.finish_reason),
        truncated=found.finish_reason == "length",
        refused=found.finish_reason == "content_filter" or bool(found.refusal),
        served_model=openai_shapes.word(model),
        cost_nano=read_cost(wire),
    )


def _usage(endpoint: Endpoint, wire: object, tier: object) -> Usage:
    usage = read_usage(wire)
    if isinstance(tier, str) and tier not in _STANDARD_TIERS:
        usage = msgspec.structs.replace(usage, service_tier=tier)
    if endpoint is Endpoint.EMBEDDINGS and usage.input_tokens is not None:
        return msgspec.structs.replace(usage, output_tokens=0)
    return usage
