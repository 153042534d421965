"""
An answer of any vendor in the shape of an OpenAI chat completion, for exports.

Strict readers of that shape know five finish reasons and integers for usage. So a reason of
another vocabulary becomes `stop`, with the vendor's own word beside it, as OpenRouter does; and
usage that was not reported whole is left out.
"""

from __future__ import annotations

from aiq.model import Content, JsonObject, Usage

_FINISH_REASONS = frozenset({"stop", "length", "tool_calls", "content_filter", "function_call"})


def chat_completion(
    found: Content, usage: Usage, *, reply_id: str | None, model: str | None
) -> JsonObject:
    """Return the completion; `created` is 0, because these vendors do not say when."""
    message: JsonObject = {
        "role": "assistant",
        "content": found.text,
        "refusal": found.refusal,
    }
    if found.tool_calls:
        message["tool_calls"] = found.tool_calls
    choice: JsonObject = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    if found.finish_reason in _FINISH_REASONS:
        choice["finish_reason"] = found.finish_reason
    elif found.finish_reason is not None:
        choice["native_finish_reason"] = found.finish_reason
    completion: JsonObject = {
        "id": reply_id or "",
        "object": "chat.completion",
        "created": 0,
        "model": model or "",
        "choices": [choice],
    }
    if usage.input_tokens is not None and usage.output_tokens is not None:
        completion["usage"] = {
            "prompt_tokens": usage.input_tokens,
            "completion_tokens": usage.output_tokens,
            "total_tokens": usage.input_tokens + usage.output_tokens,
            "prompt_tokens_details": {"cached_tokens": usage.cached_tokens or 0},
        }
    return completion
