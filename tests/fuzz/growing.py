"""Bytes as a JSON value, so that a fuzzer which flips bytes explores shapes and not commas."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from aiq.config.tables import CHOICES, SECTIONS
from aiq.prompts.request_fields import CHAT

_REPLIES = (
    *("choices", "message", "content", "text", "delta", "finish_reason", "usage", "prompt_tokens"),
    *("completion_tokens", "total_tokens", "prompt_tokens_details", "cached_tokens", "output"),
    *("completion_tokens_details", "reasoning_tokens", "cost", "cost_in_usd_ticks", "is_byok"),
    *("cost_details", "upstream_inference_cost", "model", "id", "data", "embedding", "refusal"),
    *("tool_calls", "function", "name", "arguments", "type", "status", "incomplete_details"),
    *("error", "code", "param", "detail", "loc", "msg", "metadata", "raw", "details", "retryDelay"),
    *("violations", "quotaId", "reason", "input_tokens", "output_tokens", "cache_creation"),
    *("cache_read_input_tokens", "cache_creation_input_tokens", "ephemeral_1h_input_tokens"),
    *("stop_reason", "stop_details", "explanation", "service_tier", "input", "candidates", "parts"),
    *("thought", "functionCall", "args", "finishReason", "finishMessage", "promptFeedback"),
    *("blockReason", "usageMetadata", "promptTokenCount", "candidatesTokenCount", "modelVersion"),
    *("thoughtsTokenCount", "cachedContentTokenCount", "toolUsePromptTokenCount", "models"),
)
_REQUESTS = (
    *("prompt", "messages", "role", "system", "id", "custom_id", "key", "priority", "url"),
    *("method", "body", "params", "request", "contents", "systemInstruction", "generationConfig"),
    *("safetySettings", "toolConfig", "functionCallingConfig", "mode", "functionDeclarations"),
    *("functionResponse", "response", "inlineData", "mimeType", "fileData", "fileUri", "source"),
    *("media_type", "image_url", "tool_use_id", "tool_call_id", "input_schema", "parameters"),
    *("parametersJsonSchema", "responseSchema", "maxOutputTokens", "stopSequences", "topP"),
    *("thinking", "budget_tokens", "output_config", "effort", "format", "schema", "json_schema"),
    *("stop_sequences", "is_error", "signature", "cache_control", "instructions", "title"),
)
NAMES = tuple(dict.fromkeys((*_REPLIES, *_REQUESTS, *CHAT)))
WORDS = (
    *("user", "assistant", "model", "tool", "text", "image", "image_url", "tool_use", "function"),
    *("tool_result", "POST", "/v1/embeddings", "/v1/responses", "/v1/completions", "stop", "auto"),
    *("length", "content_filter", "end_turn", "max_tokens", "refusal", "STOP", "SAFETY", "AUTO"),
    *("MAX_TOKENS", "completed", "incomplete", "failed", "output_text", "insufficient_quota"),
    *("429", "3.5s", "", " ", "\ud800", "\0", "a\nb", "{}", "[1]", "data:image/png;base64,QUJD"),
    *("https://a.example/b.png", "base64", "json_schema", "json_object", "object", "string"),
)
NUMBERS = (0, 1, -1, 7, 2.5, -0.0, 1e300, 10**7, 10**9, 2**53, 2**63, 2**64, 10**30, 200, 429, 503)
DEPTH = 9


SETTINGS = tuple(sorted({name for table in SECTIONS.values() for name in table.__struct_fields__}))
SETTING_WORDS = (
    *sorted({word for words in CHOICES.values() for word in words}),
    *("http://localhost:1/v1", "https://a.example", "${A}", "A", "m", "${", "\x1b[2J", "simulated"),
    *("openai", "ollama", "anthropic", "gemini", "sk-abcdefghijklmnopqrstuvwxyz", "*", "é", ""),
)


def grown(
    data: bytes, names: Sequence[str] = NAMES, words: Sequence[str] = WORDS, depth: int = DEPTH
) -> Any:
    """Return the value that the bytes spell; any bytes spell one."""
    return _Growth(data, names, words).value(depth)


def spelled(value: Any) -> bytes:
    """Return bytes from which about this value grows; an unknown word becomes another one."""
    if isinstance(value, dict):
        inner = b"".join(bytes((_at(NAMES, name),)) + spelled(one) for name, one in value.items())
        return bytes((96, len(value))) + inner
    if isinstance(value, list):
        return bytes((64, len(value))) + b"".join(map(spelled, value))
    if isinstance(value, str):
        return bytes((32, _at(WORDS, value)))
    if value is None or isinstance(value, bool):
        return bytes((1 if value else 2 if value is False else 0,))
    return bytes((8, _at(NUMBERS, value)))


def _at(options: Sequence[Any], wanted: Any) -> int:
    return options.index(wanted) if wanted in options else 3


def settings(data: bytes) -> dict[str, Any]:
    """Return tables of a configuration: any of its keys, with values that often fit."""
    growth = _Growth(data, SETTINGS, SETTING_WORDS)
    providers = [{"name": f"p{n}", **growth.table(3)} for n in range(growth.take() % 3)]
    return {"run": growth.table(2), "defaults": growth.table(4), "providers": providers}


class _Growth:
    def __init__(self, data: bytes, names: Sequence[str], words: Sequence[str]) -> None:
        self._rest: Iterator[int] = iter(data)
        self._names = names
        self._words = words

    def take(self) -> int:
        return next(self._rest, 0)

    def table(self, depth: int) -> dict[str, Any]:
        names = (self._names[self.take() % len(self._names)] for _ in range(self.take() % 7))
        return {name: self.value(depth - 1) for name in names}

    def value(self, depth: int) -> Any:
        kind = self.take()
        if kind >= 96 and depth:
            return self.table(depth)
        if kind >= 64 and depth:
            return [self.value(depth - 1) for _ in range(self.take() % 4)]
        if kind >= 32:
            return self._words[self.take() % len(self._words)]
        if kind >= 8:
            return NUMBERS[self.take() % len(NUMBERS)]
        return (None, True, False, None)[kind % 4]
