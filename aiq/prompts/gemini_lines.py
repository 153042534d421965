"""
The request of a Gemini batch line, in chat form.

Gemini's JSON may spell every field in camelCase or snake_case; both are read. Calls and results
carry ids in a chat and often none here, so a result without one answers the oldest open call of
its function. Sampling, schemas and tools are translated; safety settings, cached contents, files
and thoughts cannot be said in a chat.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from aiq.model import JsonObject
from aiq.prompts.strict_json import BadLine
from aiq.prompts.vendor_lines import (
    Translation,
    assistant_message,
    expect_array,
    expect_object,
    expect_text,
    function_choice,
    image_part,
    json_text,
    no_equivalent,
    refuse_others,
    same,
    schema_format,
    text_part,
    tool_call,
    translated,
    user_message,
)


def chat_form(request: JsonObject) -> JsonObject:
    """
    Return the chat body, model included, that asks what this generateContent request asks.

    Raises:
        BadLine: the contents have another shape, or something has no chat equivalent.

    """
    fields = _camel(request, "`request`")
    chat = _Chat()
    system = fields.pop("systemInstruction", None)
    contents = expect_array(fields.pop("contents", None), "`request.contents`")
    if system is not None:
        chat.instruct(system)
    for position, content in enumerate(contents):
        chat.turn(_camel(content, f"`request.contents[{position}]`"))
    return {"messages": chat.messages} | translated(fields, _WORDS)


class _Chat:
    """The messages so far, and the calls in them that no result has answered yet."""

    def __init__(self) -> None:
        self.messages: list[JsonObject] = []
        self._open_calls: list[tuple[str, str]] = []  # (function, call id), oldest first
        self._calls = 0

    def instruct(self, instruction: Any) -> None:
        parts = _parts(_camel(instruction, "`systemInstruction`"))
        for part in parts:
            if part.keys() != {"text"}:
                raise no_equivalent("a `systemInstruction` that is not text")
        text = "\n".join(expect_text(part["text"], "`text` of a part") for part in parts)
        self.messages.append({"role": "system", "content": text})

    def turn(self, content: JsonObject) -> None:
        role = content.get("role")
        parts = _parts(content)
        if role == "model":
            self._model_turn(parts)
        elif role in (None, "user", "function"):
            self._user_turn(parts)
        else:
            raise BadLine("`role` of a content must be user or model")

    def _user_turn(self, parts: list[JsonObject]) -> None:
        pending: list[JsonObject] = []
        for part in parts:
            if "functionResponse" not in part:
                pending.append(_user_part(part))
                continue
            if pending:
                self.messages.append(user_message(pending))
                pending = []
            self.messages.append(self._tool_message(part["functionResponse"]))
        if pending:
            self.messages.append(user_message(pending))

    def _model_turn(self, parts: list[JsonObject]) -> None:
        texts: list[str] = []
        calls: list[JsonObject] = []
        for part in parts:
            match part:
                case {"text": str(text), **rest} if not rest:
                    texts.append(text)
                case {"functionCall": call, **rest} if not rest:
                    calls.append(self._call(_camel(call, "`functionCall`")))
                case _:
                    raise no_equivalent(_named(part, "text", "functionCall"))
        self.messages.append(assistant_message(texts, calls))

    def _call(self, call: JsonObject) -> JsonObject:
        self._calls += 1
        name = expect_text(call.get("name"), "`functionCall.name`")
        refuse_others(call, "id", "name", "args")
        call_id = expect_text(call.get("id", f"call_{self._calls}"), "`functionCall.id`")
        self._open_calls.append((name, call_id))
        return tool_call(call_id, name, expect_object(call.get("args", {}), "`functionCall.args`"))

    def _tool_message(self, response: Any) -> JsonObject:
        response = _camel(response, "`functionResponse`")
        refuse_others(response, "id", "name", "response")
        name = expect_text(response.get("name"), "`functionResponse.name`")
        call_id = response.get("id")
        for call in self._open_calls:
            if call[0] == name and call_id in (None, call[1]):
                self._open_calls.remove(call)
                content = json_text(response.get("response", {}))
                return {"role": "tool", "tool_call_id": call[1], "content": content}
        raise BadLine(f"the `functionResponse` of `{name}` answers no call")


def _camel(value: Any, where: str) -> JsonObject:
    """Return an object with its own keys in camelCase; what they hold is left alone."""
    fields = expect_object(value, where)
    return {re.sub(r"_([a-z])", lambda m: m[1].upper(), key): fields[key] for key in fields}


def _parts(content: JsonObject) -> list[JsonObject]:
    return [_camel(part, "a part") for part in expect_array(content.get("parts"), "`parts`")]


def _user_part(part: JsonObject) -> JsonObject:
    match part:
        case {"text": str(text), **rest} if not rest:
            return text_part(text)
        case {"inlineData": inline, **rest} if not rest:
            return _inline_part(_camel(inline, "`inlineData`"))
        case _:
            raise no_equivalent(_named(part, "text", "inlineData"))


def _inline_part(inline: JsonObject) -> JsonObject:
    media_type = expect_text(inline.get("mimeType"), "`inlineData.mimeType`")
    encoded = expect_text(inline.get("data"), "`inlineData.data`")
    if not media_type.startswith("image/"):
        raise no_equivalent(f"`inlineData` of type `{media_type}`")
    return image_part(f"data:{media_type};base64,{encoded}")


def _named(part: JsonObject, *known: str) -> str:
    """Name what is strange about a part: the key beside or instead of the known ones."""
    return f"a part with `{next((key for key in part if key not in known), 'nothing')}`"


def _config(config: Any) -> JsonObject:
    fields = _camel(config, "`generationConfig`")
    answer_format = _response_format(
        media_type=fields.pop("responseMimeType", None),
        schema=fields.pop("responseJsonSchema", None),
        typed_schema=fields.pop("responseSchema", None),
    )
    return translated(fields, _CONFIG_WORDS) | answer_format


def _response_format(*, media_type: Any, schema: Any, typed_schema: Any) -> JsonObject:
    if schema is None and typed_schema is not None:
        schema = _json_schema(typed_schema)
    if schema is not None:
        return {"response_format": schema_format(schema)}
    if media_type == "application/json":
        return {"response_format": {"type": "json_object"}}
    if media_type in (None, "text/plain"):
        return {}
    raise no_equivalent(f"`responseMimeType` `{media_type}`")


def _json_schema(schema: Any) -> JsonObject:
    """Turn Gemini's schema (types in capitals, `nullable`) into JSON Schema."""
    fields = _camel(schema, "a schema")
    is_nullable = fields.pop("nullable", False)
    fields.pop("propertyOrdering", None)  # JSON Schema does not order
    if type(fields.get("type")) is str:
        kind = fields["type"].lower()
        fields["type"] = [kind, "null"] if is_nullable else kind
    if "properties" in fields:
        properties = expect_object(fields["properties"], "`properties`")
        fields["properties"] = {name: _json_schema(properties[name]) for name in properties}
    if "items" in fields:
        fields["items"] = _json_schema(fields["items"])
    if "anyOf" in fields:
        fields["anyOf"] = [
            _json_schema(option) for option in expect_array(fields["anyOf"], "`anyOf`")
        ]
    return fields


def _thinking(config: Any) -> JsonObject:
    match _camel(config, "`thinkingConfig`"):
        case {"thinkingBudget": 0, **rest} if not rest:
            return {"reasoning_effort": "none"}
        case {"thinkingLevel": str(level), **rest} if not rest:
            return {"reasoning_effort": level.lower()}
        case _:
            raise no_equivalent("`thinkingConfig` other than a level or a budget of 0")


def _tools(tools: Any) -> JsonObject:
    functions: list[JsonObject] = []
    for tool in expect_array(tools, "`tools`"):
        kinds = _camel(tool, "a tool")
        declarations = kinds.pop("functionDeclarations", None)
        if kinds:
            raise no_equivalent(f"the tool `{next(iter(kinds))}`")
        functions += [_function(d) for d in expect_array(declarations, "`functionDeclarations`")]
    return {"tools": functions}


def _function(declaration: Any) -> JsonObject:
    fields = _camel(declaration, "a function declaration")
    refuse_others(fields, "name", "description", "parameters", "parametersJsonSchema")
    function: JsonObject = {"name": expect_text(fields.get("name"), "`name` of a function")}
    if fields.get("description") is not None:
        function["description"] = fields["description"]
    if fields.get("parametersJsonSchema") is not None:
        function["parameters"] = fields["parametersJsonSchema"]
    elif fields.get("parameters") is not None:
        function["parameters"] = _json_schema(fields["parameters"])
    return {"type": "function", "function": function}


def _tool_choice(config: Any) -> JsonObject:
    fields = _camel(config, "`toolConfig`")
    refuse_others(fields, "functionCallingConfig")
    calling = fields.get("functionCallingConfig", {})
    match _camel(calling, "`functionCallingConfig`"):
        case {"mode": "ANY", "allowedFunctionNames": [str(name)]}:
            return {"tool_choice": function_choice(name)}
        case {"allowedFunctionNames": [_, *_]}:
            raise no_equivalent("`allowedFunctionNames` other than one with mode ANY")
        case {"mode": "AUTO" | "ANY" | "NONE" as mode}:
            return {"tool_choice": "required" if mode == "ANY" else mode.lower()}
        case _:
            raise no_equivalent("`functionCallingConfig` without mode AUTO, ANY or NONE")


def _stop(sequences: Any) -> JsonObject:
    return {"stop": sequences} if sequences else {}


def _only(name: str, harmless: Any) -> Translation:
    """Return the translation of a field that a chat lacks: it may say only what goes without."""

    def translate(value: Any) -> JsonObject:
        if value != harmless:
            raise no_equivalent(f"`{name}`")
        return {}

    return translate


_CONFIG_WORDS: Mapping[str, Translation] = {
    "temperature": same("temperature"),
    "topP": same("top_p"),
    "topK": same("top_k"),
    "seed": same("seed"),
    "maxOutputTokens": same("max_tokens"),
    "candidateCount": same("n"),
    "presencePenalty": same("presence_penalty"),
    "frequencyPenalty": same("frequency_penalty"),
    "responseLogprobs": same("logprobs"),
    "logprobs": same("top_logprobs"),
    "stopSequences": _stop,
    "thinkingConfig": _thinking,
    "responseModalities": _only("responseModalities", ["TEXT"]),
}

_WORDS: Mapping[str, Translation] = {
    "model": lambda model: {
        "model": model.removeprefix("models/") if type(model) is str else model
    },
    "generationConfig": _config,
    "tools": _tools,
    "toolConfig": _tool_choice,
    "safetySettings": _only("safetySettings", []),
}
