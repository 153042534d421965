"""Bodies as a Gemini server writes them: answers, blocked prompts, errors, a list of models."""

from __future__ import annotations

from typing import Any


def gemini_body(
    model: str,
    text: str,
    usage: tuple[int, int],
    *,
    finish: str = "STOP",
    parts: list[dict[str, Any]] | None = None,
    thoughts: int = 0,
    cached: int = 0,
) -> dict[str, Any]:
    """
    Return a `generateContent` reply of one candidate.

    `usage` is input and output without thoughts; `parts` replaces the one part that holds `text`.
    Counts of zero are left out, as the server does.
    """
    content = {"role": "model", "parts": [{"text": text}] if parts is None else parts}
    counts = {
        "promptTokenCount": usage[0],
        "cachedContentTokenCount": cached,
        "candidatesTokenCount": usage[1],
        "thoughtsTokenCount": thoughts,
        "totalTokenCount": sum(usage) + thoughts,
    }
    return {
        "candidates": [{"content": content, "finishReason": finish, "index": 0}],
        "usageMetadata": {name: count for name, count in counts.items() if count},
        "modelVersion": model.removeprefix("models/"),
        "responseId": "response-1",
    }


def gemini_blocked(model: str, reason: str = "SAFETY", tokens: int = 7) -> dict[str, Any]:
    """Return the reply to a prompt that was refused: HTTP 200 without any candidate."""
    return {
        "promptFeedback": {"blockReason": reason},
        "usageMetadata": {"promptTokenCount": tokens, "totalTokenCount": tokens},
        "modelVersion": model.removeprefix("models/"),
        "responseId": "response-1",
    }


def gemini_error(
    code: int, status: str, message: str = "scripted error", *details: dict[str, Any]
) -> dict[str, Any]:
    """Return an error body; its status line says `code` as well."""
    error: dict[str, Any] = {"code": code, "message": message, "status": status}
    return {"error": error | ({"details": list(details)} if details else {})}


def gemini_quota(quota_id: str, delay: str | None = None) -> list[dict[str, Any]]:
    """Return the details of a 429: which quota is used up, and how long to wait."""
    violation = {"quotaMetric": "generate_content", "quotaId": quota_id, "quotaValue": "10"}
    google = "type.googleapis.com/google.rpc."
    details: list[dict[str, Any]] = [{"@type": f"{google}QuotaFailure", "violations": [violation]}]
    if delay is not None:
        details.append({"@type": f"{google}RetryInfo", "retryDelay": delay})
    return details


def gemini_models(*names: str) -> dict[str, Any]:
    """Return the list of models, whose names carry the vendor's prefix."""
    return {
        "models": [
            {
                "name": f"models/{name}",
                "version": "001",
                "displayName": name,
                "inputTokenLimit": 1_048_576,
                "outputTokenLimit": 65_536,
                "supportedGenerationMethods": ["generateContent", "countTokens"],
            }
            for name in names
        ]
    }
