"""
The request of an Anthropic Message Batches item, in chat form.

System text moves into the messages, blocks become parts, tool calls and tool messages. Dropped is
only `cache_control`, which changes the price and never the answer.
"""

from __future__ import annotations

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

_TOOL_FIELDS = ("type", "name", "description", "input_schema", "strict", "cache_control")


def chat_form(params: JsonObject) -> JsonObject:
    """
    Return the chat body, model included, that asks what these Messages API parameters ask.

    Raises:
        BadLine: the messages have another shape, or something has no chat equivalent.

    """
    fields = dict(params)
    turns = expect_array(fields.pop("messages", None), "`params.messages`")
    system = fields.pop("system", None)
    messages: list[JsonObject] = []
    if system is not None:
        messages.append({"role": "system", "content": _joined_text(system, "`system`")})
    for position, turn in enumerate(turns):
        messages += _turn(turn, f"params.messages[{position}]")
    return {"messages": messages} | translated(fields, _WORDS)


def _turn(turn: Any, where: str) -> list[JsonObject]:
    turn = expect_object(turn, f"`{where}`")
    role, content = turn.get("role"), turn.get("content")
    if role not in ("user", "assistant"):
        raise BadLine(f"`{where}.role` must be user or assistant")
    if type(content) is str:
        return [{"role": role, "content": content}]
    blocks = [
        expect_object(block, f"`{where}.content[{position}]`")
        for position, block in enumerate(expect_array(content, f"`{where}.content`"))
    ]
    return _user_turn(blocks) if role == "user" else [_assistant_turn(blocks)]


def _user_turn(blocks: list[JsonObject]) -> list[JsonObject]:
    """A tool's result is a message of its own in a chat, so one turn can be several messages."""
    messages: list[JsonObject] = []
    parts: list[JsonObject] = []
    for block in blocks:
        if block.get("type") != "tool_result":
            parts.append(_part(block))
            continue
        if parts:
            messages.append(user_message(parts))
            parts = []
        messages.append(_tool_message(block))
    return messages + ([user_message(parts)] if parts else [])


def _part(block: JsonObject) -> JsonObject:
    match block.get("type"):
        case "text":
            return text_part(_text(block))
        case "image":
            return image_part(_image_url(expect_object(block.get("source"), "`image.source`")))
        case kind:
            raise no_equivalent(f"a `{kind}` block in a user turn")


def _image_url(source: JsonObject) -> str:
    match source:
        case {"type": "base64", "media_type": str(media_type), "data": str(encoded)}:
            return f"data:{media_type};base64,{encoded}"
        case {"type": "url", "url": str(url)}:
            return url
        case _:
            raise no_equivalent(f"an `image` from `{source.get('type')}`")


def _tool_message(block: JsonObject) -> JsonObject:
    call_id = expect_text(block.get("tool_use_id"), "`tool_result.tool_use_id`")
    content = block.get("content")
    text = "" if content is None else _joined_text(content, "`tool_result.content`")
    if block.get("is_error"):
        # A chat has no mark for a failed call; the model must still learn that it failed.
        text = json_text({"error": text})
    return {"role": "tool", "tool_call_id": call_id, "content": text}


def _assistant_turn(blocks: list[JsonObject]) -> JsonObject:
    texts: list[str] = []
    calls: list[JsonObject] = []
    for block in blocks:
        match block.get("type"):
            case "text":
                texts.append(_text(block))
            case "tool_use":
                calls.append(_call(block))
            case kind:
                raise no_equivalent(f"a `{kind}` block in an assistant turn")
    return assistant_message(texts, calls)


def _call(block: JsonObject) -> JsonObject:
    return tool_call(
        expect_text(block.get("id"), "`tool_use.id`"),
        expect_text(block.get("name"), "`tool_use.name`"),
        expect_object(block.get("input"), "`tool_use.input`"),
    )


def _text(block: JsonObject) -> str:
    return expect_text(block.get("text"), "`text` of a block")


def _joined_text(content: Any, where: str) -> str:
    if type(content) is str:
        return content
    blocks = [expect_object(block, f"a block of {where}") for block in expect_array(content, where)]
    for block in blocks:
        if block.get("type") != "text":
            raise no_equivalent(f"a `{block.get('type')}` block in {where}")
    return "\n".join(_text(block) for block in blocks)


def _tools(tools: Any) -> JsonObject:
    return {
        "tools": [_tool(expect_object(tool, "a tool")) for tool in expect_array(tools, "`tools`")]
    }


def _tool(tool: JsonObject) -> JsonObject:
    if tool.get("type") not in (None, "custom"):
        raise no_equivalent(f"the tool `{tool['type']}`")
    refuse_others(tool, *_TOOL_FIELDS)
    function = {
        "name": expect_text(tool.get("name"), "`name` of a tool"),
        "parameters": expect_object(tool.get("input_schema"), "`input_schema` of a tool"),
    }
    function |= {key: tool[key] for key in ("description", "strict") if tool.get(key) is not None}
    return {"type": "function", "function": function}


def _tool_choice(choice: Any) -> JsonObject:
    choice = expect_object(choice, "`tool_choice`")
    match choice:
        case {"type": "tool", "name": str(name)}:
            body: JsonObject = {"tool_choice": function_choice(name)}
        case {"type": "auto" | "any" | "none" as kind}:
            body = {"tool_choice": "required" if kind == "any" else kind}
        case _:
            raise no_equivalent(f"`tool_choice` `{choice.get('type')}`")
    if choice.get("disable_parallel_tool_use"):
        body["parallel_tool_calls"] = False
    return body


def _stop(sequences: Any) -> JsonObject:
    return {"stop": sequences} if sequences else {}


def _user(metadata: Any) -> JsonObject:
    return translated(expect_object(metadata, "`params.metadata`"), {"user_id": same("user")})


def _service_tier(tier: Any) -> JsonObject:
    return {"service_tier": "default" if tier == "standard_only" else tier}


def _thinking(thinking: Any) -> JsonObject:
    if expect_object(thinking, "`thinking`").get("type") == "disabled":
        return {}
    raise no_equivalent("`thinking`")


def _output_format(wanted: Any) -> JsonObject:
    match wanted:
        case {"type": "json_schema", "schema": schema}:
            return {"response_format": schema_format(schema)}
        case _:
            raise no_equivalent("an output format that is no `json_schema`")


def _output_config(config: Any) -> JsonObject:
    words = {"effort": same("reasoning_effort"), "format": _output_format}
    return translated(expect_object(config, "`output_config`"), words)


_WORDS: Mapping[str, Translation] = {
    "model": same("model"),
    "max_tokens": same("max_tokens"),
    "temperature": same("temperature"),
    "top_p": same("top_p"),
    "top_k": same("top_k"),
    "stream": same("stream"),
    "stop_sequences": _stop,
    "tools": _tools,
    "tool_choice": _tool_choice,
    "metadata": _user,
    "service_tier": _service_tier,
    "thinking": _thinking,
    "output_config": _output_config,
    "output_format": _output_format,
    "cache_control": lambda _: {},
}
