"""What aiq sends is what the vendors' own published types allow, to the letter."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pydantic
import pytest

from aiq.model import Endpoint
from aiq.providers.dialects import dialect_for
from tests.support.vendor_prompts import chats
from tests.vendors.strict import (
    check_anthropic,
    check_anthropic_2023,
    check_gemini,
    check_openai,
)

Check = Callable[[bytes], None]
VENDORS = [
    pytest.param("openai", None, check_openai, id="openai"),
    pytest.param("anthropic", None, check_anthropic_2023, id="anthropic"),
    pytest.param("anthropic", "2026-10-21", check_anthropic, id="anthropic-2026"),
    pytest.param("gemini", None, check_gemini, id="gemini"),
]
CHATS = list(chats())
MODELS = {"openai": "gpt-4.1", "anthropic": "claude-sonnet-4-5", "gemini": "gemini-2.5-flash"}


def encode(kind: str, api_version: str | None, chat: dict[str, Any]) -> bytes:
    return dialect_for(kind, api_version=api_version).encode(
        Endpoint.CHAT, chat, model=MODELS[kind], cap=256, cap_field="max_completion_tokens"
    )


def test_there_are_two_hundred_different_prompts() -> None:
    assert len(CHATS) == 200
    assert len({json.dumps(chat["messages"]) for chat in CHATS}) == 200


@pytest.mark.parametrize(("kind", "api_version", "check"), VENDORS)
def test_every_request_fits_the_published_types(
    kind: str, api_version: str | None, check: Check
) -> None:
    for chat in CHATS:
        check(encode(kind, api_version, chat))


@pytest.mark.parametrize("model", ["gemini-3-pro", "models/gemini-3-flash"])
def test_newer_gemini_models_think_in_levels(model: str) -> None:
    dialect = dialect_for("gemini")
    for chat in CHATS:
        check_gemini(dialect.encode(Endpoint.CHAT, chat, model=model, cap=9, cap_field=""))


def objects(value: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the ways to every object of a request whose keys are the API's own."""
    free = {"properties", "args", "input", "response", "schema", "parameters", "input_schema"}
    free |= {"parametersJsonSchema", "responseJsonSchema"}
    found: list[tuple[Any, ...]] = []
    if isinstance(value, dict):
        found.append(way)
        for key, one in value.items():
            if key not in free:
                found += objects(one, (*way, key))
    elif isinstance(value, list):
        for position, one in enumerate(value):
            found += objects(one, (*way, position))
    return found


@pytest.mark.parametrize(("kind", "api_version", "check"), VENDORS)
def test_a_misspelt_field_fails_wherever_it_stands(
    kind: str, api_version: str | None, check: Check
) -> None:
    """The proof above would be worth nothing if the judges let an unknown field through."""
    tried = 0
    for chat in CHATS[::7]:
        body = encode(kind, api_version, chat)
        for way in objects(json.loads(body)):
            request = json.loads(body)
            spot = request
            for step in way:
                spot = spot[step]
            spot["max_tokenz"] = 1
            with pytest.raises(pydantic.ValidationError):
                check(json.dumps(request).encode())
            tried += 1
    assert tried > 50


@pytest.mark.parametrize(("kind", "api_version", "check"), VENDORS)
def test_a_wrong_type_fails(kind: str, api_version: str | None, check: Check) -> None:
    request = json.loads(encode(kind, api_version, CHATS[0]))
    key = "contents" if kind == "gemini" else "messages"
    for wrong in ("text", [{"role": "user"} | dict.fromkeys(["content", "parts"], 5)]):
        with pytest.raises(pydantic.ValidationError):
            check(json.dumps(request | {key: wrong}).encode())
