"""
What the simulated server says: bodies in OpenAI shape, and text that is plausible, not true.

The text follows from the prompt and one integer, so the same request gets the same words. Tokens
are estimated at four characters each, which is what the caps and the usage go by.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
from collections.abc import Iterator
from typing import Any

from aiq.model import Endpoint, JsonObject

_CHARACTERS_PER_TOKEN = 4
_DIMENSIONS = 8
_MODEL = "simulated"
_CAPS = ("max_completion_tokens", "max_tokens", "max_output_tokens")

_WORD = re.compile(r"\w{4,24}")
_COMMON = re.compile(
    "about|answer|could|does|explain|from|give|have|into|list|make|name|please|short|should|tell|"
    "that|their|them|then|there|these|they|this|translate|using|what|when|where|which|will|with|"
    "would|write|your",
    re.IGNORECASE,
)
_OPENINGS = (
    "In short, {0} comes down to a few plain facts.",
    "There are two good ways to look at {0}.",
    "{0} is best explained with an example.",
    "The usual answer about {0} is incomplete.",
    "It helps to separate {0} from {1}.",
)
_SENTENCES = (
    "First, {0} depends on {1} more than most people expect.",
    "A careful reader would check {1} before deciding anything about {0}.",
    "Most of the cost lies in {0}; the rest is habit.",
    "Where {0} is missing, {1} has to carry the weight.",
    "The figures for {1} vary, but the order of magnitude is stable.",
    "Nothing about {0} is settled until {1} has been measured.",
    "Compare {0} with {1} side by side and the difference is plain.",
    "In practice {1} comes first and {0} follows from it.",
)
_CLOSINGS = (
    "So start with {0} and keep {1} in view.",
    "If one thing is worth remembering, it is {0}.",
    "That is enough to make a first decision about {0}.",
)


def error(message: str, code: str | None = None) -> JsonObject:
    """Return an error body."""
    return {"error": {"message": message, "type": "simulated", "param": None, "code": code}}


def failure(endpoint: Endpoint, draw: float) -> tuple[int, JsonObject]:
    """Return the status and body of a failure: mostly 500, then 503, now and then an empty 200."""
    if draw < 0.6:
        return 500, error("simulated internal error", "server_error")
    if draw < 0.9:
        return 503, error("simulated overload", "service_unavailable")
    empty = {Endpoint.EMBEDDINGS: "data", Endpoint.RESPONSES: "output"}.get(endpoint, "choices")
    return 200, {"id": "simulated-empty", "model": _MODEL, empty: []}


def answer(endpoint: Endpoint, request: JsonObject, words: int) -> JsonObject:
    """Return the body of an answer; `words` chooses among all that could be said."""
    model = request.get("model", _MODEL)
    if endpoint is Endpoint.EMBEDDINGS:
        return _embeddings(model, request)
    prompt = "\n".join(_prompt_texts(request))
    text, finish_reason = _capped(_reply_text(request, prompt, words), request)
    tokens_in, tokens_out = _tokens(prompt), _tokens(text)
    reply: JsonObject = {"id": f"simulated-{words:016x}", "created": 0, "model": model}
    if endpoint is Endpoint.RESPONSES:
        return reply | _response(text, finish_reason, tokens_in, tokens_out)
    reply["usage"] = {
        "prompt_tokens": tokens_in,
        "completion_tokens": tokens_out,
        "total_tokens": tokens_in + tokens_out,
    }
    choice: JsonObject = {"index": 0, "finish_reason": finish_reason, "logprobs": None}
    if endpoint is Endpoint.COMPLETIONS:
        return reply | {"object": "text_completion", "choices": [choice | {"text": text}]}
    message = {"role": "assistant", "content": text, "refusal": None}
    return reply | {"object": "chat.completion", "choices": [choice | {"message": message}]}


def _response(text: str, finish_reason: str, tokens_in: int, tokens_out: int) -> JsonObject:
    is_cut = finish_reason == "length"
    part = {"type": "output_text", "text": text, "annotations": []}
    return {
        "object": "response",
        "status": "incomplete" if is_cut else "completed",
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if is_cut else None,
        "output": [{"type": "message", "role": "assistant", "content": [part]}],
        "usage": {
            "input_tokens": tokens_in,
            "output_tokens": tokens_out,
            "total_tokens": tokens_in + tokens_out,
        },
    }


def _embeddings(model: object, request: JsonObject) -> JsonObject:
    given = request.get("input")
    # A list of numbers is one input, already cut into tokens.
    is_many = isinstance(given, list) and not all(isinstance(item, int) for item in given)
    inputs = given if isinstance(given, list) and is_many else [given]
    data = [
        {"object": "embedding", "index": index, "embedding": _unit_vector(item)}
        for index, item in enumerate(inputs)
    ]
    tokens = sum(len(i) if isinstance(i, list) else _tokens(str(i)) for i in inputs)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "model": model, "data": data, "usage": usage}


def _unit_vector(item: object) -> list[float]:
    digest = hashlib.blake2b(repr(item).encode(), digest_size=_DIMENSIONS).digest()
    raw = [byte - 127.5 for byte in digest]  # never 0, so the norm is not either
    norm = math.hypot(*raw)
    return [round(number / norm, 6) for number in raw]


def _reply_text(request: JsonObject, prompt: str, words: int) -> str:
    wanted = request.get("response_format")
    if not isinstance(wanted, dict):
        text = request.get("text")  # where the responses endpoint keeps it
        wanted = text.get("format") if isinstance(text, dict) else None
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    prose = _prose(prompt, words)
    if kind == "json_object":
        topics = list(itertools.islice(_topics(prompt, words), 3))
        value: Any = {"answer": prose, "topics": topics, "confidence": words % 100 / 100}
        return json.dumps(value)
    if isinstance(wanted, dict) and kind == "json_schema":
        inner = wanted.get("json_schema")
        schema = (inner if isinstance(inner, dict) else wanted).get("schema")
        return json.dumps(_instance(schema, prose, words, depth=0))
    return prose


def _prose(prompt: str, words: int) -> str:
    """Write two to six sentences about words of the prompt."""
    topics = _topics(prompt, words)
    count = 1 + words % 4
    start = words // 4 % len(_SENTENCES)
    middle = [_SENTENCES[(start + step * 3) % len(_SENTENCES)] for step in range(count)]
    opening = _OPENINGS[words // 32 % len(_OPENINGS)]
    closing = _CLOSINGS[words // 256 % len(_CLOSINGS)]
    written = (line.format(next(topics), next(topics)) for line in (opening, *middle, closing))
    return " ".join(line[0].upper() + line[1:] for line in written)


def _topics(prompt: str, words: int) -> Iterator[str]:
    """Yield words of the prompt for ever, beginning at one that `words` chooses."""
    telling = (word for word in _WORD.findall(prompt[:4000]) if not _COMMON.fullmatch(word))
    found = list(dict.fromkeys(telling))[:200] or ["the question", "its context"]
    return itertools.islice(itertools.cycle(found), words // 1024 % len(found), None)


def _instance(schema: Any, prose: str, words: int, *, depth: int) -> Any:
    """Return a value that fits the common part of JSON Schema; strings are the prose."""
    if not isinstance(schema, dict) or depth > 20:
        return None
    if isinstance(schema.get("enum"), list) and schema["enum"]:
        return schema["enum"][words % len(schema["enum"])]
    kind = schema.get("type")
    if isinstance(kind, list) and kind:
        kind = kind[0]
    if kind == "object":
        fields = schema.get("properties")
        names = fields.items() if isinstance(fields, dict) else ()
        return {k: _instance(s, prose, words // 3, depth=depth + 1) for k, s in names}
    if kind == "array":
        return [_instance(schema.get("items"), prose, words // 5, depth=depth + 1)]
    plain = {"string": prose, "integer": words % 100, "number": words % 1000 / 10}
    return words % 2 == 0 if kind == "boolean" else plain.get(str(kind))


def _capped(text: str, request: JsonObject) -> tuple[str, str]:
    """Cut the text to the request's cap; returns it with its finish reason."""
    caps = [request[name] for name in _CAPS if isinstance(request.get(name), int)]
    if caps and _tokens(text) > max(caps[0], 1):
        return text[: max(caps[0], 1) * _CHARACTERS_PER_TOKEN], "length"
    return text, "stop"


def _tokens(text: str) -> int:
    return max(1, math.ceil(len(text) / _CHARACTERS_PER_TOKEN))


def _prompt_texts(request: JsonObject) -> Iterator[str]:
    """Yield the strings of a prompt, the last user message last."""
    for name in ("instructions", "prompt"):
        if isinstance(request.get(name), str):
            yield request[name]
    turns = request.get("messages") or request.get("input")
    if isinstance(turns, str):
        yield turns
    for turn in turns if isinstance(turns, list) else ():
        said = turn.get("content") if isinstance(turn, dict) else turn
        for part in said if isinstance(said, list) else [said]:
            text = part.get("text") if isinstance(part, dict) else part
            if isinstance(text, str):
                yield text
