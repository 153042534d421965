"""
A chat request as a body of Anthropic's Messages API.

What shapes the answer is translated: messages, tools, schemas, stops, effort, sampling. Dropped is
what the API has no counterpart for and what only labels, routes or stores a request: `seed`, the
penalties, `logit_bias`, `logprobs`, `min_p`, `verbosity`, the efforts `none` and `minimal`, names
of speakers, fields we do not know. Dropped as well is `response_format` `json_object`, which in a
chat needs the word JSON in its messages anyway, so the model is still told. What would ask for
another kind of answer (audio, web search, tools other than functions) is `Inexpressible`.

Sampling depends on the API version: from 2026-10-21 on any `temperature`, `top_p` or `top_k` is an
error there, so none is sent; before, temperatures above 1 are sent as 1, the most that API takes.

`extra_body` is merged over the top. Its fields that only a chat has (`stop`, `reasoning_effort`,
...) are read as the prompt's own; all others are taken to be in the API's own form.
"""

from __future__ import annotations

from typing import Any

from aiq.model import Endpoint, JsonObject
from aiq.providers.anthropic_turns import conversation
from aiq.providers.dialect import Inexpressible, output_cap

DEFAULT_CAP = 8192
"""The cap where nobody set one: the API demands one."""

_SAMPLING = ("temperature", "top_p", "top_k")
_EFFORTS = frozenset({"low", "medium", "high", "xhigh", "max"})
_CHOICES = {"auto": "auto", "required": "any", "none": "none"}
_TIERS = {"auto": "auto", "default": "standard_only", "standard_only": "standard_only"}
_ANOTHER_KIND = ("audio", "web_search_options", "functions", "function_call")
_CHAT_ONLY = frozenset(
    {
        *("model", "messages", "max_tokens", "max_completion_tokens"),
        *(*_SAMPLING, "stop", "parallel_tool_calls"),
        *("response_format", "reasoning_effort", "user", "safety_identifier"),
        *("n", "stream", "stream_options", "seed", "logprobs", "top_logprobs", "logit_bias"),
        *("presence_penalty", "frequency_penalty", "repetition_penalty", "min_p", "verbosity"),
        *("store", "prompt_cache_key", "prompt_cache_options", "moderation", "modalities"),
        *("prediction", *_ANOTHER_KIND),
    }
)
"""Fields that `extra_body` cannot mean in the API's own form, or that mean the same in both."""


def messages_request(
    body: JsonObject, *, model: str, cap: int | None, has_sampling: bool
) -> JsonObject:
    """
    Return the request; `cap` bounds the output of a prompt that sets no cap itself.

    Raises:
        Inexpressible: something has no equivalent, and without it would be another question.
    """
    given = body.get("extra_body")
    extra: JsonObject = given if isinstance(given, dict) else {}
    own = {name: value for name, value in extra.items() if name in _CHAT_ONLY}
    chat = {name: value for name, value in {**body, **own}.items() if value is not None}
    _refuse_another_kind(chat)
    said = conversation(chat.get("messages"))
    own_cap = output_cap(Endpoint.CHAT, body)
    request: JsonObject = {
        "model": model,
        "max_tokens": next((n for n in (own_cap, cap) if n is not None), DEFAULT_CAP),
        "messages": said.turns,
    }
    if said.system is not None:
        request["system"] = said.system
    if has_sampling:
        request |= _sampling(chat)
    request |= _tools(chat) | _labels(chat) | _output(chat)
    return request | {name: value for name, value in extra.items() if name not in _CHAT_ONLY}


def _refuse_another_kind(chat: JsonObject) -> None:
    for name in _ANOTHER_KIND:
        if name in chat:
            raise Inexpressible(f"Anthropic has no equivalent of `{name}`")
    if chat.get("modalities", ["text"]) != ["text"]:
        raise Inexpressible("`modalities` asks for more than text")
    if chat.get("n", 1) != 1:
        raise Inexpressible("Anthropic gives one answer, `n` asks for more")


def _sampling(chat: JsonObject) -> JsonObject:
    sampling: JsonObject = {name: chat[name] for name in _SAMPLING if name in chat}
    temperature = sampling.get("temperature")
    if isinstance(temperature, int | float) and temperature > 1:
        sampling["temperature"] = 1
    return sampling


def _labels(chat: JsonObject) -> JsonObject:
    """Return where to stop, for whom it is, and at which tier it is served."""
    labels: JsonObject = {}
    stop = chat.get("stop")
    sequences = stop if isinstance(stop, list) else [stop]
    # The API refuses stops of white space alone.
    telling = [text for text in sequences if isinstance(text, str) and text.strip()]
    if telling:
        labels["stop_sequences"] = telling
    user = chat.get("user", chat.get("safety_identifier"))
    if user is not None:
        labels["metadata"] = {"user_id": user}
    tier = chat.get("service_tier")
    if isinstance(tier, str) and tier in _TIERS:
        labels["service_tier"] = _TIERS[tier]
    return labels


def _output(chat: JsonObject) -> JsonObject:
    config: JsonObject = {}
    match chat.get("response_format"):
        case None | {"type": "text" | "json_object"}:
            pass
        case {"type": "json_schema", "json_schema": {"schema": dict(schema)}}:
            config["format"] = {"type": "json_schema", "schema": schema}
        case _:
            raise Inexpressible("`response_format` is neither text, JSON nor a JSON schema")
    effort = chat.get("reasoning_effort")
    if isinstance(effort, str) and effort in _EFFORTS:
        config["effort"] = effort
    return {"output_config": config} if config else {}


def _tools(chat: JsonObject) -> JsonObject:
    tools = chat.get("tools")
    listed = tools if isinstance(tools, list) else [tools]
    request: JsonObject = {"tools": [_tool(tool) for tool in listed]} if tools else {}
    choice = _tool_choice(chat)
    # Without tools the API takes no choice; one that demands a call is sent to be refused there.
    if choice and (tools or choice["type"] in ("any", "tool")):
        request["tool_choice"] = choice
    return request


def _tool(tool: Any) -> JsonObject:
    match tool:
        case {"type": "function", "function": {"name": str(name), **function}}:
            schema = function.get("parameters") or {"type": "object", "properties": {}}
        case _:
            raise Inexpressible("Anthropic has no tools of yours other than functions")
    kept = {k: function[k] for k in ("description", "strict") if function.get(k) is not None}
    return {"name": name, **kept, "input_schema": schema}


def _tool_choice(chat: JsonObject) -> JsonObject:
    is_single = chat.get("parallel_tool_calls") is False
    match chat.get("tool_choice", "auto" if is_single else None):
        case None:
            return {}
        case str(word) if word in _CHOICES:
            choice: JsonObject = {"type": _CHOICES[word]}
        case {"type": "function", "function": {"name": str(name)}}:
            choice = {"type": "tool", "name": name}
        case _:
            raise Inexpressible("`tool_choice` is neither auto, required, none nor one function")
    if is_single and choice["type"] != "none":
        choice["disable_parallel_tool_use"] = True
    return choice
