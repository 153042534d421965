"""
A chat request as a Gemini `generateContent` body.

What shapes the answer is translated: sampling, caps, stops, schemas, tools, reasoning. What only
labels, routes or stores a request (`user`, `metadata`, `service_tier`, ...) is dropped, and so are
settings that merely lean on the sampling and have no counterpart (`logit_bias`, `min_p`,
`repetition_penalty`, `verbosity`, `parallel_tool_calls`). What would ask for another kind of answer
(audio, web search, tools other than functions) is `Inexpressible`.

`extra_body` wins over the prompt's own fields. Of it, what is no chat field goes on the wire as it
is, its `generationConfig` merged key by key; only the cap that the budget was reckoned with and the
single candidate stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from aiq.model import Endpoint, JsonObject
from aiq.providers.dialect import Inexpressible, cap_names, output_cap
from aiq.providers.gemini_contents import conversation

# Models before Gemini 3 count thoughts in tokens and sign no calls; all later ones have levels.
_COUNTS_THOUGHTS = re.compile(r"(?:models/)?gemini-[12]\.")
# The numbers are those of Google's own OpenAI endpoint; 0 is off, where the model can.
_BUDGETS = {
    "none": 0,
    "minimal": 1_024,
    "low": 1_024,
    "medium": 8_192,
    "high": 24_576,
    "xhigh": 24_576,
    "max": 24_576,
}
# These models cannot be told not to think; the least is what they have.
_LEVELS = {
    "none": "MINIMAL",
    "minimal": "MINIMAL",
    "low": "LOW",
    "medium": "MEDIUM",
    "high": "HIGH",
    "xhigh": "XHIGH",
    "max": "XHIGH",
}
_SAME = {
    "temperature": "temperature",
    "top_p": "topP",
    "top_k": "topK",
    "seed": "seed",
    "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty",
    "logprobs": "responseLogprobs",
    "top_logprobs": "logprobs",
}
_MODES = {"auto": "AUTO", "required": "ANY", "none": "NONE"}
_ANOTHER_KIND = ("audio", "web_search_options", "functions", "function_call")
_DROPPED = frozenset(
    {
        *("user", "metadata", "service_tier", "store", "prediction", "moderation"),
        *("prompt_cache_key", "prompt_cache_options", "safety_identifier"),
        *("logit_bias", "min_p", "repetition_penalty", "verbosity", "parallel_tool_calls"),
        *("n", "stream", "stream_options"),
    }
)


def chat_request(body: JsonObject, *, model: str, cap: int | None) -> JsonObject:
    """
    Return the request; `cap` bounds the output of a prompt that sets no cap itself.

    Raises:
        Inexpressible: something has no equivalent, and without it would be another question.
    """
    given = body.get("extra_body")
    extra: JsonObject = given if isinstance(given, dict) else {}
    chat = {name: value for name, value in {**body, **extra}.items() if value is not None}
    _refuse_another_kind(chat)
    counts_thoughts = _COUNTS_THOUGHTS.match(model) is not None
    said = conversation(chat["messages"], is_signed=not counts_thoughts)
    request: JsonObject = {"contents": said.contents}
    if said.instructions:
        request["systemInstruction"] = {"parts": said.instructions}
    config: JsonObject = {wire: chat[name] for name, wire in _SAME.items() if name in chat}
    for name, translate in _CONFIG.items():
        if name in chat:
            config |= translate(chat[name])
    if "reasoning_effort" in chat:
        config |= _thinking(chat["reasoning_effort"], counts_thoughts=counts_thoughts)
    for name, translate in _TOOLS.items():
        if name in chat:
            request |= translate(chat[name])
    own_cap = output_cap(Endpoint.CHAT, body)
    return _merged(request, config, extra, cap if own_cap is None else own_cap)


def _merged(
    request: JsonObject, config: JsonObject, extra: JsonObject, cap: int | None
) -> JsonObject:
    """Put a request together; Gemini reads every name in snake_case as well, so both are one."""
    more = {_camel(name): value for name, value in extra.items() if name not in _CHAT_FIELDS}
    own = more.pop("generationConfig", None)
    if isinstance(own, dict):
        config |= {_camel(name): value for name, value in own.items()}
        config.pop("candidateCount", None)
    if cap is not None:
        config["maxOutputTokens"] = cap
    if config:
        request["generationConfig"] = config
    return request | more


def _refuse_another_kind(chat: JsonObject) -> None:
    for name in _ANOTHER_KIND:
        if name in chat:
            raise Inexpressible(f"Gemini has no equivalent of `{name}`")
    if chat.get("modalities", ["text"]) != ["text"]:
        raise Inexpressible("`modalities` asks for more than text")


def _camel(name: str) -> str:
    return re.sub(r"_([a-z])", lambda letter: letter[1].upper(), name)


def _stop(stop: Any) -> JsonObject:
    sequences = [stop] if isinstance(stop, str) else stop
    return {"stopSequences": sequences} if sequences else {}


def _response_format(wanted: Any) -> JsonObject:
    match wanted:
        case {"type": "text"}:
            return {}
        case {"type": "json_object"}:
            return {"responseMimeType": "application/json"}
        case {"type": "json_schema", "json_schema": {"schema": dict(schema)}}:
            return {"responseMimeType": "application/json", "responseJsonSchema": schema}
        case _:
            raise Inexpressible("`response_format` is neither text, JSON nor a JSON schema")


def _thinking(effort: Any, *, counts_thoughts: bool) -> JsonObject:
    if not isinstance(effort, str) or effort not in _LEVELS:
        raise Inexpressible(f"Gemini has no equivalent of the `reasoning_effort` `{effort}`")
    if counts_thoughts:
        return {"thinkingConfig": {"thinkingBudget": _BUDGETS[effort]}}
    return {"thinkingConfig": {"thinkingLevel": _LEVELS[effort]}}


def _tools(tools: Any) -> JsonObject:
    declarations = [_declaration(tool) for tool in (tools if isinstance(tools, list) else [tools])]
    return {"tools": [{"functionDeclarations": declarations}]} if declarations else {}


def _declaration(tool: Any) -> JsonObject:
    """Return a function; its parameters are JSON Schema, which `parameters` itself is not."""
    match tool:
        case {"type": "function", "function": {"name": str(name), **function}}:
            declaration: JsonObject = {"name": name}
        case _:
            raise Inexpressible("Gemini has no tools of yours other than functions")
    if function.get("description") is not None:
        declaration["description"] = function["description"]
    if function.get("parameters") is not None:
        declaration["parametersJsonSchema"] = function["parameters"]
    return declaration


def _tool_choice(choice: Any) -> JsonObject:
    match choice:
        case str(word) if word in _MODES:
            calling: JsonObject = {"mode": _MODES[word]}
        case {"type": "function", "function": {"name": str(name)}}:
            calling = {"mode": "ANY", "allowedFunctionNames": [name]}
        case _:
            raise Inexpressible("`tool_choice` is neither auto, required, none nor one function")
    return {"toolConfig": {"functionCallingConfig": calling}}


_CONFIG: dict[str, Callable[[Any], JsonObject]] = {
    "stop": _stop,
    "response_format": _response_format,
}
_TOOLS: dict[str, Callable[[Any], JsonObject]] = {"tools": _tools, "tool_choice": _tool_choice}
_CHAT_FIELDS = frozenset(
    {
        *("model", "messages", "modalities", "reasoning_effort"),
        *_ANOTHER_KIND,
        *cap_names(Endpoint.CHAT),
        *_SAME,
        *_CONFIG,
        *_TOOLS,
        *_DROPPED,
    }
)
