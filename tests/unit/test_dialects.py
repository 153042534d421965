"""Who speaks what, and what OpenAI's own dialect says of models and exports."""

from __future__ import annotations

import pytest

from aiq.model import Endpoint
from aiq.providers.anthropic import AnthropicDialect
from aiq.providers.azure import AzureDialect
from aiq.providers.dialect import Dialect
from aiq.providers.dialects import dialect_for
from aiq.providers.gemini import GeminiDialect
from aiq.providers.openai import OpenAIDialect


@pytest.mark.parametrize(
    ("kind", "api_version", "expected"),
    [
        ("openai", None, OpenAIDialect),
        ("openai", "2024-10-21", AzureDialect),
        ("simulated", None, OpenAIDialect),
        ("anthropic", None, AnthropicDialect),
        ("anthropic", "2026-10-21", AnthropicDialect),
        ("gemini", None, GeminiDialect),
    ],
)
def test_each_kind_has_its_dialect(
    kind: str, api_version: str | None, expected: type[Dialect]
) -> None:
    assert type(dialect_for(kind, api_version=api_version)) is expected


def test_the_version_reaches_the_wire() -> None:
    told = dialect_for("anthropic", api_version="2026-10-21").headers(None)
    assert told == [("anthropic-version", "2026-10-21")]


def test_an_unknown_kind_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="no kind of provider `smoke`"):
        dialect_for("smoke")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"object": "list", "data": [{"id": "a"}, {"id": "b"}]}', ["a", "b"]),
        (b'[{"id": "a"}]', ["a"]),
        (b'{"data": [{"id": "a"}, {"id": 5}, "junk"]}', ["a"]),
        (b'{"data": []}', []),
        (b'{"data": {}}', None),
        (b'{"error": "no"}', None),
        (b'"text"', None),
        (b"<html>", None),
        (b"\xff", None),
    ],
)
def test_model_names_of_openai_servers(body: bytes, expected: list[str] | None) -> None:
    """Together sends the bare list."""
    assert OpenAIDialect().model_names(body) == expected


def test_an_openai_reply_is_exported_as_it_is() -> None:
    dialect = OpenAIDialect()
    assert dialect.models_path() == "models"
    assert dialect.completion(Endpoint.CHAT, b'{"choices": [], "x": 1}') == {"choices": [], "x": 1}
    assert dialect.completion(Endpoint.CHAT, b"[]") is None
    assert dialect.completion(Endpoint.CHAT, b"\xff") is None
