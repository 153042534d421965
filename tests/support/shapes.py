"""
The same answer in the words of three vendors, and the prompt found in their requests.

Which vendor is asked follows from the path: `/v1/messages`, `.../models/NAME:generateContent`, and
anything else is OpenAI's. Finish reasons are given in OpenAI's words.
"""

from __future__ import annotations

import json
import re
from typing import Any

from tests.support.anthropic_replies import anthropic_body, anthropic_models, anthropic_tool_use
from tests.support.gemini_replies import gemini_body, gemini_models

_GEMINI = re.compile(r"/models/(?P<model>[^/?]+):generateContent")
_STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}
_FINISH_REASONS = {
    "stop": "STOP",
    "length": "MAX_TOKENS",
    "tool_calls": "STOP",
    "content_filter": "SAFETY",
}
CALL = ("call_1", "look_up", {"city": "Oslo", "days": 2})
"""The id, the name and the arguments of the call that an answer with `tool_calls` makes."""


def chat_answer(
    path: str, model: str, text: str, usage: tuple[int, int], finish: str = "stop"
) -> dict[str, Any]:
    """Return the body of an answer to a chat, as the vendor at this path writes it."""
    is_call = finish == "tool_calls"
    call_id, name, arguments = CALL
    if path.endswith("/v1/messages"):
        block = anthropic_tool_use(call_id, name, **arguments)
        blocks = [block] if is_call else None
        return anthropic_body(model, text, usage, stop=_STOP_REASONS[finish], blocks=blocks)
    if _GEMINI.search(path):
        part = {"functionCall": {"id": call_id, "name": name, "args": arguments}}
        parts = [part] if is_call else None
        return gemini_body(model, text, usage, finish=_FINISH_REASONS[finish], parts=parts)
    call = {
        "id": call_id,
        "type": "function",
        "function": {"name": name, "arguments": json.dumps(arguments, separators=(",", ":"))},
    }
    spoken = {"content": None, "tool_calls": [call]} if is_call else {"content": text}
    return chat_body(model, text, usage, finish, message=spoken)


def chat_body(
    model: str,
    text: str,
    usage: tuple[int, int],
    finish: str,
    *,
    message: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return an OpenAI chat completion; `message` replaces the one that holds `text`."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", **(message or {"content": text})},
                "finish_reason": finish,
            }
        ],
        "usage": {
            "prompt_tokens": usage[0],
            "completion_tokens": usage[1],
            "total_tokens": sum(usage),
        },
    }


def models_body(path: str) -> dict[str, Any]:
    """Return the list of models; only Anthropic's is asked for with a `limit`."""
    if "/v1beta/" in path:
        return gemini_models("model")
    if "limit=" in path:
        return anthropic_models("model")
    model = {"id": "model", "object": "model", "created": 0, "owned_by": "x"}
    return {"object": "list", "data": [model]}


def model_of(path: str, request: Any) -> str:
    """Return the model a request is for; Gemini has it in the path."""
    named = _GEMINI.search(path)
    if named is not None:
        return named["model"]
    return str(request.get("model", "model")) if isinstance(request, dict) else "model"


def prompt_of(request: Any) -> str:
    """Return the text that identifies a request: the last user text, input or prompt."""
    if not isinstance(request, dict):
        return ""
    said = request.get("messages") or request.get("contents") or ()
    texts = [_text(turn) for turn in said if isinstance(turn, dict) and turn.get("role") == "user"]
    for text in reversed(texts):
        if text:
            return text
    given = request.get("input", request.get("prompt", ""))
    return given if isinstance(given, str) else json.dumps(given)


def _text(turn: dict[str, Any]) -> str:
    """Return what a user says in a turn; images and results of tools say nothing."""
    parts = turn.get("content", turn.get("parts"))
    if not isinstance(parts, list):
        return parts if isinstance(parts, str) else ""
    return "".join(str(part.get("text", "")) for part in parts if isinstance(part, dict))
