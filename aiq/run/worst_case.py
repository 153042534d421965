"""
The most tokens a request can take, on its way in and out (`design` 5).

In: one per UTF-8 byte and 16 per message; an image counts a flat 20,000, whatever its bytes. What a
request only refers to (a file by its id, an earlier response, whatever a search finds) may be of
any size, so that nobody can say. Out: the cap that goes on the wire. None: there is no bound.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from aiq.model import Endpoint, JsonObject
from aiq.providers import json_text
from aiq.providers.dialect import given_cap
from aiq.run.request import Request

IMAGE_TOKENS = 20_000
MESSAGE_TOKENS = 16

_IMAGES = frozenset({"image_url", "input_image", "image", "computer_screenshot"})
_ELSEWHERE = frozenset({"video_url", "audio_url", "document_url", "item_reference"})
_LOOKS_UP = (
    "previous_response_id",
    "conversation",
    "web_search_options",
    "plugins",
    "cachedContent",
    "cached_content",
    "contents",
)
"""Fields that bring in what the request does not hold, or other contents than its messages."""

_NO_IMAGE = re.compile(
    r"\.(?:pdf|docx?|mp4|mov|avi|webm|mpe?g|wmv|flv|3gpp?|mp3|wav|aac|ogg|flac)$"
)
"""What Gemini takes under the address of an image, of any length."""

_PLAIN_TOOLS = frozenset({"function", "custom"})


def token_bound(request: Request) -> int | None:
    """Return the most input tokens a request can be."""
    body = request.body
    if request.endpoint is Endpoint.EMBEDDINGS:
        return len(json_text.encode(body))
    if _looks_up(request.endpoint, body):
        return None
    if request.endpoint is Endpoint.CHAT:
        return _chat_bound(body)
    given = body.get("input")
    images = _images(given) if isinstance(given, list) else 0
    return None if images is None else images * IMAGE_TOKENS + len(json_text.encode(body))


def output_bound(request: Request, default: int | None) -> int | None:
    """Return the most tokens of all answers; `default` is the cap where the prompt has none."""
    if request.endpoint is Endpoint.EMBEDDINGS:
        return 0
    given = given_cap(request.endpoint, request.body)
    cap = default if given is None else given
    if type(cap) is not int or cap <= 0:
        return None
    tries = _said(request.body, "best_of") if request.endpoint is Endpoint.COMPLETIONS else None
    if tries is None:
        return cap
    return cap * max(1, tries) if type(tries) is int else None


def service_tier(request: Request) -> str | None:
    """Return the tier that a request asks to be served as; None: the standard one."""
    tier = _said(request.body, "service_tier")
    return tier if isinstance(tier, str) else None


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


def _said(body: JsonObject, name: str) -> Any:
    """Return a field as it goes on the wire: `extra_body` wins."""
    extra = body.get("extra_body")
    return extra[name] if isinstance(extra, dict) and name in extra else body.get(name)


def _looks_up(endpoint: Endpoint, body: JsonObject) -> bool:
    """Whether the provider adds to the input what the request does not hold."""
    if any(_said(body, name) is not None for name in _LOOKS_UP):
        return True
    if endpoint is Endpoint.RESPONSES and _said(body, "prompt") is not None:
        return True  # a prompt that is stored there
    tools = _said(body, "tools")
    return isinstance(tools, list) and any(
        isinstance(tool, dict) and tool.get("type", "function") not in _PLAIN_TOOLS
        for tool in tools
    )


def _chat_bound(body: JsonObject) -> int | None:
    bound = 0
    for message in body["messages"]:
        content = message.get("content")
        said = _bytes(content) if isinstance(content, str) else _parts_bound(content)
        if said is None:
            return None
        bound += MESSAGE_TOKENS + said
        if len(message) > 2 or "content" not in message:
            rest = {k: v for k, v in message.items() if k not in ("content", "role")}
            bound += len(json_text.encode(rest))
    if len(body) > 1:
        bound += len(json_text.encode({k: v for k, v in body.items() if k != "messages"}))
    return bound


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _parts_bound(content: Any) -> int | None:
    if not isinstance(content, list):
        return 0
    images = _images(content)
    if images is None:
        return None
    rest = [p for p in content if not (isinstance(p, dict) and p.get("type") in _IMAGES)]
    return images * IMAGE_TOKENS + len(json_text.encode(rest))


def _images(parts: Iterable[Any]) -> int | None:
    """Count images, those inside of parts included; None if a part is not all there."""
    images = 0
    for part in parts:
        if isinstance(part, dict):
            if _is_elsewhere(part):
                return None
            if part.get("type") in _IMAGES:
                images += 1
                continue
            inside = _images(part.values())
        elif isinstance(part, list):
            inside = _images(part)
        else:
            continue
        if inside is None:
            return None
        images += inside
    return images


def _is_elsewhere(part: JsonObject) -> bool:
    """Whether a part only says where its content is; one of files may also hold it."""
    kind = part.get("type")
    if kind == "image_url":
        held = part.get("image_url")
        url = held.get("url") if isinstance(held, dict) else held
        return isinstance(url, str) and bool(_NO_IMAGE.search(url.partition("?")[0].lower()))
    if kind == "file":
        held = part.get("file")
        return not (isinstance(held, dict) and held.get("file_data"))
    return kind in _ELSEWHERE or (kind == "input_file" and not part.get("file_data"))
