"""Bodies as an Anthropic server writes them: answers, refusals, errors, a list of models."""

from __future__ import annotations

from typing import Any


def anthropic_body(
    model: str,
    text: str,
    usage: tuple[int, int],
    *,
    stop: str = "end_turn",
    blocks: list[dict[str, Any]] | None = None,
    cache_read: int = 0,
    cache_written: int = 0,
    explanation: str | None = None,
) -> dict[str, Any]:
    """
    Return a message.

    `usage` is input without what the cache saw, and output; `blocks` replaces the one block that
    holds `text`; an `explanation` belongs to a refusal.
    """
    details = {"type": "refusal", "category": None, "explanation": explanation}
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [{"type": "text", "text": text}] if blocks is None else blocks,
        "stop_reason": stop,
        "stop_sequence": None,
        "stop_details": None if explanation is None else details,
        "usage": {
            "input_tokens": usage[0],
            "output_tokens": usage[1],
            "cache_creation_input_tokens": cache_written,
            "cache_read_input_tokens": cache_read,
            "service_tier": "standard",
        },
    }


def anthropic_tool_use(call_id: str, name: str, **arguments: Any) -> dict[str, Any]:
    """Return the block that calls a tool."""
    return {"type": "tool_use", "id": call_id, "name": name, "input": arguments}


def anthropic_error(
    kind: str, message: str = "scripted error", *, code: str | None = None
) -> dict[str, Any]:
    """Return an error body; `kind` is its type, `code` its error code where it has one."""
    error: dict[str, Any] = {"type": kind, "message": message}
    if code is not None:
        error["details"] = {"error_code": code}
    return {"type": "error", "error": error, "request_id": "req_1"}


def anthropic_models(*names: str) -> dict[str, Any]:
    """Return the list of models."""
    return {
        "data": [
            {
                "type": "model",
                "id": name,
                "display_name": name,
                "created_at": "2026-02-04T00:00:00Z",
                "lifecycle": "active",
            }
            for name in names
        ],
        "has_more": False,
        "first_id": names[0] if names else None,
        "last_id": names[-1] if names else None,
    }
