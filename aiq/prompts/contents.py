"""
What a request asks about, per endpoint: the part of a body that no request can do without.

Strict on shape, because a provider would refuse it anyway after a round trip; lenient on what the
parts of a message hold, because providers differ and add to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from aiq.model import Endpoint, JsonObject
from aiq.prompts.strict_json import BadLine

_ROLES = frozenset({"developer", "system", "user", "assistant", "tool", "function"})


def check_contents(endpoint: Endpoint, body: JsonObject) -> None:
    """Raise BadLine if a body has nothing to ask, or asks it in a shape the endpoint lacks."""
    _CHECKS[endpoint](body)


def is_blank(text: str) -> bool:
    """Say whether a text has nothing but white space."""
    return not text or text.isspace()


def checked_messages(messages: Any) -> list[Any]:
    """
    Return the messages of a chat, their shape checked: roles and contents, not the parts' insides.

    Raises:
        BadLine: no non-empty array of messages with known roles, or nothing in any of them.

    """
    if type(messages) is not list or not messages:
        raise BadLine("`messages` must be a non-empty array")
    says_something = False
    for position, message in enumerate(messages):
        where = f"messages[{position}]"
        if type(message) is not dict:
            raise BadLine(f"`{where}` must be an object")
        role = message.get("role")
        if type(role) is not str or role not in _ROLES:
            raise BadLine(f"`{where}.role` must be one of {', '.join(sorted(_ROLES))}")
        if _has_content(message.get("content"), role, where) or message.get("tool_calls"):
            says_something = True
    if not says_something:
        raise BadLine("empty prompt")
    return messages


def _has_content(content: Any, role: str, where: str) -> bool:
    if type(content) is str:
        return not is_blank(content)
    if type(content) is list:
        for position, part in enumerate(content):
            if type(part) is not dict or type(part.get("type")) is not str:
                raise BadLine(f"`{where}.content[{position}]` must be an object with a `type`")
        return bool(content)
    if content is not None:
        raise BadLine(f"`{where}.content` must be a string or an array")
    if role != "assistant":
        raise BadLine(f"`{where}` has no `content`")
    return False


def _check_chat(body: JsonObject) -> None:
    checked_messages(body.get("messages"))


def _check_embeddings(body: JsonObject) -> None:
    """Texts or token numbers: one, or an array of them."""
    given = body.get("input")
    items = given if type(given) is list else [given]
    if not items:
        raise BadLine("empty `input`")
    kinds = {type(item) for item in items}
    is_lone_token = kinds == {int} and given is not items
    if len(kinds) > 1 or not kinds <= {str, int, list} or is_lone_token:
        raise BadLine("`input` must be a string, or an array of strings or of tokens")
    if any(item == [] or (type(item) is str and is_blank(item)) for item in items):
        raise BadLine("empty `input`")


def _check_completions(body: JsonObject) -> None:
    """One text, or one text's tokens: an array of several would have several answers."""
    prompt = body.get("prompt")
    if type(prompt) is list and len(prompt) == 1 and type(prompt[0]) in (str, list):
        prompt = prompt[0]
    if type(prompt) is list and prompt and all(type(token) is int for token in prompt):
        return
    if type(prompt) is list and len(prompt) > 1:
        raise BadLine("`prompt` must be one text: each answer is its own job")
    if type(prompt) is not str:
        raise BadLine("`prompt` must be a string")
    if is_blank(prompt):
        raise BadLine("empty prompt")


def _check_responses(body: JsonObject) -> None:
    given = body.get("input")
    if type(given) is list:
        if not given or any(type(item) is not dict for item in given):
            raise BadLine("`input` must be a string or a non-empty array of objects")
        return
    # A stored prompt brings its own input.
    if given is None and type(body.get("prompt")) is dict:
        return
    if type(given) is not str:
        raise BadLine("`input` must be a string or a non-empty array of objects")
    if is_blank(given):
        raise BadLine("empty `input`")


_CHECKS: Mapping[Endpoint, Callable[[JsonObject], None]] = {
    Endpoint.CHAT: _check_chat,
    Endpoint.EMBEDDINGS: _check_embeddings,
    Endpoint.COMPLETIONS: _check_completions,
    Endpoint.RESPONSES: _check_responses,
}
