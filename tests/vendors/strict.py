"""
The vendors' published request types as judges that refuse any field they do not know.

OpenAI and Anthropic publish typed dictionaries, which by themselves ignore unknown keys and check
the items of an iterable only when somebody reads them; both are made up for here. Google publishes
a model for each part of a request; the request itself is put together from them.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

import pydantic
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming
from google.genai import types as google
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from pydantic.alias_generators import to_camel


class _GeminiRequest(pydantic.BaseModel, extra="forbid", alias_generator=to_camel):
    contents: list[google.Content]
    system_instruction: google.Content | None = None
    generation_config: google.GenerationConfig | None = None
    tools: list[google.Tool] = []
    tool_config: google.ToolConfig | None = None
    safety_settings: list[google.SafetySetting] = []


def check_openai(body: bytes) -> None:
    """Raise `pydantic.ValidationError` unless this is a request of OpenAI's chat completions."""
    _consume(_OPENAI.validate_python(json.loads(body), extra="forbid"))


def check_anthropic(body: bytes) -> None:
    """Raise `pydantic.ValidationError` unless this is a request of Anthropic's messages."""
    _consume(_ANTHROPIC.validate_python(json.loads(body), extra="forbid"))


def check_anthropic_2023(body: bytes) -> None:
    """Check a request of the older API version; the types of today have no sampling any more."""
    request = json.loads(body)
    sampling = {name: request.pop(name) for name in _SAMPLING if name in request}
    _SAMPLED.validate_python(sampling)
    check_anthropic(json.dumps(request).encode())


def check_gemini(body: bytes) -> None:
    """Raise `pydantic.ValidationError` unless this is a request of Gemini's `generateContent`."""
    _GeminiRequest.model_validate_json(body, extra="forbid")


def _consume(value: Any) -> None:
    """Read everything: pydantic checks the items of an `Iterable` when they are read."""
    if isinstance(value, dict):
        for one in value.values():
            _consume(one)
    elif not isinstance(value, str | bytes) and hasattr(value, "__iter__"):
        for one in value:
            _consume(one)


_SAMPLING = ("temperature", "top_p")
_SAMPLED = pydantic.TypeAdapter(dict[str, Annotated[float, pydantic.Field(ge=0, le=1)]])
_OPENAI = pydantic.TypeAdapter(CompletionCreateParamsNonStreaming)
_ANTHROPIC = pydantic.TypeAdapter(MessageCreateParamsNonStreaming)
