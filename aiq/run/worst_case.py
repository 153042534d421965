"""
The most tokens a request can take, on its way in and out (`design` 5).

In: one per UTF-8 byte and 16 per message; an image counts flat, whatever its bytes. On top come the
tokens that the vendor writes itself (its chat template, how to call tools, how to keep to a
schema): they are billed as input and stand nowhere in the request, so that without them a bound
could be exceeded. What a request only refers to (a file by its id, an earlier response, whatever a
search finds) may be of any size, and so may a book or a film in a few bytes: nobody can say. Out:
the cap that goes on the wire. None: there is no bound.
"""

from __future__ import annotations

from typing import Any

from aiq.model import Endpoint, JsonObject
from aiq.providers import json_text
from aiq.providers.dialect import given_cap
from aiq.run.attachments import Attachments, attachments, without_images
from aiq.run.price_table import CHEAP_TIERS, Terms
from aiq.run.request import Request

IMAGE_TOKENS = 20_000
COSTLY_IMAGE_TOKENS = 50_000
"""What `gpt-4o-mini` makes of an image: up to 2,833 and 8 tiles of 5,667. No other comes near."""

MESSAGE_TOKENS = 16
TEMPLATE_TOKENS = 96
"""
A chat's frame, with the date and what else a vendor tells the model unasked.

The longest known, of OpenAI's open models, is some 75. More would only make the last answers of a
small budget wait for nothing.
"""
INSTRUCTION_TOKENS = 1_000
"""The same with tools or a schema; Anthropic's text about tools alone is up to some 700."""

_LOOKS_UP = (
    "previous_response_id",
    "conversation",
    "web_search_options",
    "plugins",
    "models",
    "search_parameters",
    "mcp_servers",
    "cachedContent",
    "cached_content",
    "contents",
    "systemInstruction",
    "system_instruction",
)
"""Fields that bring in what the request does not hold: other contents, or a dearer model."""

_INSTRUCTS = ("tools", "functions", "response_format", "text", "output_config", "generationConfig")
"""Fields for which the vendor writes instructions of its own."""

_PLAIN_TOOLS = frozenset({"function", "custom"})

_PLAIN_FIELDS = frozenset(
    {
        *("messages", "max_tokens", "max_completion_tokens", "stop", "seed", "user"),
        *("temperature", "top_p", "top_k", "min_p", "repetition_penalty"),
        *("presence_penalty", "frequency_penalty", "reasoning_effort", "verbosity"),
    }
)
"""Fields of a chat that neither are read by the model nor move its price."""

_PLAIN_TERMS = Terms()


def is_plain(request: Request) -> bool:
    """Whether a chat holds nothing but texts and plain parameters, as nearly all do."""
    return (
        request.endpoint is Endpoint.CHAT
        and request.body.keys() <= _PLAIN_FIELDS
        and all(
            len(message) == 2 and "role" in message and type(message.get("content")) is str
            for message in request.body["messages"]
        )
    )


def plain_bound(request: Request) -> int:
    """Return the most input tokens of a plain chat; it is reckoned for every request."""
    messages = request.body["messages"]
    return (
        TEMPLATE_TOKENS
        + MESSAGE_TOKENS * len(messages)
        + sum(_bytes(message["content"]) for message in messages)
    )


def token_bound(request: Request, model: str = "") -> int | None:
    """
    Return the most input tokens a request can be; the model says what an image takes.

    Raises:
        ValueError: the request cannot be written down at all.
    """
    if is_plain(request):
        return plain_bound(request)
    body = _wire(request.body)
    if request.endpoint is Endpoint.EMBEDDINGS:
        return len(json_text.encode(body))
    if _looks_up(request.endpoint, body):
        return None
    held = attachments(_given(request.endpoint, body))
    written = _chat_bound(body) if request.endpoint is Endpoint.CHAT else _other_bound(body)
    if written is None or held is None:
        return None
    instructs = any(body.get(name) is not None for name in _INSTRUCTS)
    each = COSTLY_IMAGE_TOKENS if "4o-mini" in model.lower() else IMAGE_TOKENS
    return written + held.images * each + (INSTRUCTION_TOKENS if instructs else TEMPLATE_TOKENS)


def output_bound(request: Request, default: int | None) -> int | None:
    """
    Return the most tokens of all answers; `default` is the cap where the prompt has none.

    A prediction that turns out wrong is billed as output, and no cap holds for it.

    Raises:
        ValueError: the request cannot be written down at all.
    """
    if request.endpoint is Endpoint.EMBEDDINGS:
        return 0
    given = given_cap(request.endpoint, request.body)
    cap = default if given is None else given
    if type(cap) is not int or cap <= 0:
        return None
    answers = [_said(request.body, name) for name in ("n", "best_of")]
    tries = [1 if number is None else number for number in answers]
    if not all(type(number) is int for number in tries):
        return None
    prediction = _said(request.body, "prediction")
    rejected = 0 if prediction is None else len(json_text.encode(prediction))
    return cap * max(1, *tries) + rejected


def terms(request: Request) -> Terms:
    """Return what of a request may move its price."""
    if is_plain(request):
        return _PLAIN_TERMS
    speed = _said(request.body, "speed")
    return Terms(
        tier=service_tier(request),
        speed=speed if isinstance(speed, str) else None,
        may_keep=may_cache(request),
        has_media=attachments(_given(request.endpoint, _wire(request.body))) != Attachments(),
    )


def service_tier(request: Request) -> str | None:
    """Return the one tier that a request asks to be served as; None: whatever the account has."""
    said = (_said(request.body, name) for name in ("service_tier", "serviceTier"))
    tiers = [tier for tier in said if isinstance(tier, str)]
    dear = [tier for tier in tiers if tier not in CHEAP_TIERS]
    return next(iter(dear or tiers), None)


def may_cache(request: Request) -> bool:
    """Whether the request may ask the vendor to put its input into a cache, which costs extra."""
    body = request.body
    if "extra_body" in body or "cache_control" in body:
        return True
    messages, tools = body.get("messages"), body.get("tools")
    marked = [*(messages or ()), *(tools if isinstance(tools, list) else ())]
    for message in messages or ():
        content = message.get("content")
        if isinstance(content, list):
            marked += content
    return any(isinstance(one, dict) and "cache_control" in one for one in marked)


def _wire(body: JsonObject) -> JsonObject:
    """Return the fields as they go on the wire: those of `extra_body` win."""
    extra = body.get("extra_body")
    return body | extra if isinstance(extra, dict) else body


def _said(body: JsonObject, name: str) -> Any:
    """Return a field as it goes on the wire."""
    extra = body.get("extra_body")
    return extra[name] if isinstance(extra, dict) and name in extra else body.get(name)


def _given(endpoint: Endpoint, body: JsonObject) -> Any:
    """Return what may hold more than text."""
    return body.get("messages" if endpoint is Endpoint.CHAT else "input")


def _looks_up(endpoint: Endpoint, body: JsonObject) -> bool:
    """Whether the provider adds to the input what the request does not hold."""
    if any(body.get(name) is not None for name in _LOOKS_UP):
        return True
    if endpoint is Endpoint.RESPONSES and body.get("prompt") is not None:
        return True  # a prompt that is stored there
    tools = body.get("tools")
    return isinstance(tools, list) and not all(_is_plain_tool(tool) for tool in tools)


def _is_plain_tool(tool: Any) -> bool:
    kind = tool.get("type", "function") if isinstance(tool, dict) else "function"
    return isinstance(kind, str) and kind in _PLAIN_TOOLS


def _chat_bound(body: JsonObject) -> int | None:
    """Return the bytes of a chat with its messages' frames; None: it refers to what was said."""
    messages = body["messages"]
    if not isinstance(messages, list) or not all(isinstance(one, dict) for one in messages):
        return None
    if any(message.get("audio") is not None for message in messages):
        return None  # an answer that was spoken earlier, by its id
    texts = sum(_message_bound(message) for message in messages)
    rest = {name: value for name, value in body.items() if name != "messages"}
    return texts + (len(json_text.encode(rest)) if rest else 0)


def _message_bound(message: JsonObject) -> int:
    content = message.get("content")
    if isinstance(content, str):
        said = _bytes(content)
    else:
        said = len(json_text.encode(without_images(content))) if content else 0
    if len(message) > 2 or "content" not in message:
        rest = {k: v for k, v in message.items() if k not in ("content", "role")}
        said += len(json_text.encode(rest))
    return MESSAGE_TOKENS + said


def _other_bound(body: JsonObject) -> int:
    given = body.get("input")
    if not isinstance(given, list):
        return len(json_text.encode(body))
    messages = MESSAGE_TOKENS * len(given)
    return messages + len(json_text.encode(body | {"input": without_images(given)}))


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
