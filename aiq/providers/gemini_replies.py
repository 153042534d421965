"""
Is this 2xx reply of a Gemini server an answer, and what does it say?

The standard shape is decoded once into typed structs, unknown fields skipped; whatever does not fit
is read again from plain JSON. Errors have the shapes that `openai_errors` knows.

Gemini's words become those of a chat: text parts are joined without the thoughts, calls get JSON
text for arguments, `STOP` with calls is `tool_calls`. A prompt that was refused is an answer too:
it was read, and paid for. Counts of zero are left out on the wire, thoughts are counted beside the
candidate, and both are output.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from aiq.model import Answer, Content, Flaw, JsonObject, Media, Problem, Usage
from aiq.providers import json_text, openai_errors, openai_shapes
from aiq.providers.openai_usage import token_count

_FINISH = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "CONTINUATION": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "MODEL_ARMOR": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
}
"""Finish reasons in a chat's words; the others stay as Gemini wrote them."""
_CUT_SHORT = ("length", "content_filter")
_UNSAID = (None, "stop", "FINISH_REASON_UNSPECIFIED")
_PRICED_APART = ("AUDIO", "IMAGE")
_STANDARD_TIERS = ("standard", "unspecified")
_ABOUT_THE_ACCOUNT = "PUP_LIMITED_DISABLED"
"""The one finish reason that is not about this answer: the account broke the use policy."""


class _Call(msgspec.Struct):
    id: str | None = None
    name: str = ""
    args: dict[str, Any] | None = None


class _Part(msgspec.Struct, rename="camel"):
    text: str | None = None
    thought: bool | None = None
    function_call: _Call | None = None
    thought_signature: str | None = None


class _Parts(msgspec.Struct):
    parts: list[_Part] | None = None


class _Candidate(msgspec.Struct, rename="camel"):
    content: _Parts | None = None
    finish_reason: str | None = None
    finish_message: str | None = None


class _Feedback(msgspec.Struct, rename="camel"):
    block_reason: str | None = None
    block_reason_message: str | None = None


class Reply(msgspec.Struct, rename="camel"):
    """A `generateContent` reply; an error beside the candidates makes it non-standard."""

    candidates: list[_Candidate] | None = None
    prompt_feedback: _Feedback | None = None
    usage_metadata: Any = None
    model_version: str | None = None
    response_id: str | None = None
    error: None = None

    @property
    def is_answer(self) -> bool:
        """Whether a model spoke, or the prompt itself was refused."""
        feedback = self.prompt_feedback
        return bool(self.candidates) or (feedback is not None and bool(feedback.block_reason))


_STANDARD = msgspec.json.Decoder(Reply)


def read(status_code: int, headers: Mapping[str, str], body: bytes) -> Answer | Problem:
    """Say what a complete reply is; never raises."""
    if not 200 <= status_code < 300:
        return openai_errors.read_problem(status_code, headers, body)
    reply = _read_standard(body)
    if reply is not None and reply.is_answer:
        return _judged(reply, status_code, headers)
    try:
        document = json_text.decode(body)
    except ValueError:
        return openai_errors.unreadable(status_code, headers, body)
    reply = _read_lenient(document)
    failure = openai_errors.declared(document, has_answer=reply.is_answer)
    if failure is not None:
        usage = read_usage(reply.usage_metadata)
        return openai_errors.from_error(failure, status_code, headers, usage)
    return _judged(reply, status_code, headers)


def reply_of(body: bytes) -> Reply | None:
    """Return a stored answer as it stands, or None if the bytes are none."""
    reply = _read_standard(body)
    if reply is None:
        try:
            reply = _read_lenient(json_text.decode(body))
        except ValueError:
            return None
    return reply if reply.is_answer else None


def content(reply: Reply) -> Content:
    """Return what an answer says, in a chat's words; nothing if its calls cannot be written."""
    if not reply.candidates:
        feedback = reply.prompt_feedback or _Feedback()
        reason = feedback.block_reason_message or feedback.block_reason
        return Content(finish_reason="content_filter", refusal=reason)
    candidate = reply.candidates[0]
    parts = (candidate.content and candidate.content.parts) or []
    texts = [part.text for part in parts if part.text is not None and not part.thought]
    asked = [(part.function_call, part.thought_signature) for part in parts]
    made = [(call, signature) for call, signature in asked if call is not None]
    try:
        calls = [
            _tool_call(call, number, mark) for number, (call, mark) in enumerate(made, start=1)
        ]
    except ValueError:
        return Content()
    native = candidate.finish_reason
    finish = _FINISH.get(native or "", native)
    is_refused = finish == "content_filter" and not texts
    return Content(
        text="".join(texts) if texts else None,
        finish_reason="tool_calls" if calls and finish == "stop" else finish,
        tool_calls=calls or None,
        refusal=(candidate.finish_message or native) if is_refused else None,
    )


def read_usage(wire: object) -> Usage:
    """Read `usageMetadata`; unusable counts are None, and a count that is left out is zero."""
    if not isinstance(wire, dict) or "promptTokenCount" not in wire:
        return Usage()
    tokens_in = _sum(wire, "promptTokenCount", "toolUsePromptTokenCount")
    cached = token_count(wire.get("cachedContentTokenCount"))
    if cached is not None and (tokens_in is None or cached > tokens_in):
        cached = None
    return Usage(
        input_tokens=tokens_in,
        output_tokens=_sum(wire, "candidatesTokenCount", "thoughtsTokenCount"),
        cached_tokens=cached,
        media=_media(wire),
        service_tier=_tier(wire.get("serviceTier")),
    )


def _media(wire: dict[str, object]) -> Media | None:
    """Read what of the counts was sound or pictures; None: nothing."""
    given = _by_modality(wire, "promptTokensDetails", "toolUsePromptTokensDetails")
    cached = _by_modality(wire, "cacheTokensDetails")
    made = _by_modality(wire, "candidatesTokensDetails")
    if not (given or made):
        return None
    return Media(
        input_audio=given.get("AUDIO", 0),
        input_image=given.get("IMAGE", 0),
        cached_audio=cached.get("AUDIO", 0),
        cached_image=cached.get("IMAGE", 0),
        output_audio=made.get("AUDIO", 0),
        output_image=made.get("IMAGE", 0),
    )


def _by_modality(wire: dict[str, object], *groups: str) -> dict[str, int]:
    """Return the tokens of sound and of pictures in lists of counts, where there are any."""
    found: dict[str, int] = {}
    for group in groups:
        listed = wire.get(group)
        for entry in listed if isinstance(listed, list) else ():
            modality = entry.get("modality") if isinstance(entry, dict) else None
            if modality in _PRICED_APART:
                count = token_count(entry.get("tokenCount")) or 0
                found[modality] = found.get(modality, 0) + count
    return found


def _tier(said: object) -> str | None:
    """Return the tier it was served as, in the price table's words; None: the standard one."""
    tier = said.lower() if isinstance(said, str) else None
    return None if tier in _STANDARD_TIERS else openai_shapes.word(tier)


def _sum(wire: dict[str, object], *names: str) -> int | None:
    counts = [token_count(wire.get(name, 0)) for name in names]
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _judged(reply: Reply, status_code: int, headers: Mapping[str, str]) -> Answer | Problem:
    """Return the answer, or why there is none: nothing was said, or the model failed to say it."""
    usage = read_usage(reply.usage_metadata)
    if not reply.is_answer:
        return Problem(status_code=status_code, message="", flaw=Flaw.NO_CHOICES, usage=usage)
    found = content(reply)
    says_something = found.text is not None or bool(found.tool_calls)
    if not says_something and found.finish_reason not in _CUT_SHORT:
        failure = {} if found.finish_reason in _UNSAID else _failure(reply)
        problem = openai_errors.from_error(failure, status_code, headers, usage)
        if found.finish_reason == _ABOUT_THE_ACCOUNT:
            return problem
        # The message quotes the model, whose words say nothing about the provider.
        return msgspec.structs.replace(problem, flaw=Flaw.EMPTY)
    return Answer(
        usage=usage,
        finish_reason=openai_shapes.word(found.finish_reason),
        truncated=found.finish_reason == "length",
        refused=found.finish_reason == "content_filter",
        served_model=openai_shapes.word(reply.model_version),
    )


def _failure(reply: Reply) -> JsonObject:
    """Return the error that a candidate without any content declares by its finish reason."""
    candidate = (reply.candidates or [_Candidate()])[0]
    why = f": {candidate.finish_message}" if candidate.finish_message else ""
    return {
        "code": candidate.finish_reason,
        "message": f"the model ended with {candidate.finish_reason}{why}",
    }


def _tool_call(asked: _Call, number: int, signature: str | None) -> JsonObject:
    """Return a call; without an id it is named by its place. The signature is for its replay."""
    arguments = json_text.encode(asked.args or {}).decode()
    call: JsonObject = {
        "id": asked.id or f"call_{number}",
        "type": "function",
        "function": {"name": asked.name, "arguments": arguments},
    }
    if signature is not None:
        call["extra_content"] = {"google": {"thought_signature": signature}}
    return call


def _read_standard(body: bytes) -> Reply | None:
    try:
        # Through str, because msgspec does not check the UTF-8 of what it skips.
        return _STANDARD.decode(body.decode())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _read_lenient(document: Any) -> Reply:
    """Read JSON that only the standard module could, or that holds an error; never raises."""
    fields = document if isinstance(document, dict) else {}
    try:
        return _converted(fields)
    except (msgspec.ValidationError, UnicodeEncodeError, RecursionError):
        return Reply(usage_metadata=fields.get("usageMetadata"))


def _converted(fields: JsonObject) -> Reply:
    try:
        return msgspec.convert({**fields, "error": None}, Reply)
    except UnicodeEncodeError:  # a name that it looks up, or a text in the wrong place
        return msgspec.convert({**_with_plain_names(fields), "error": None}, Reply)


def _with_plain_names(value: Any) -> Any:
    """Return a value with no lone surrogate in its names; texts stay as they are."""
    if isinstance(value, dict):
        return {
            json_text.without_surrogates(name): _with_plain_names(one)
            for name, one in value.items()
        }
    return [_with_plain_names(one) for one in value] if isinstance(value, list) else value
