"""The example files are what a newcomer runs first: every line must be valid, and varied."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from aiq.model import Endpoint, Prompt
from aiq.prompts.lines import read_lines
from aiq.prompts.shapes import parse

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = ["prompts.jsonl", "openai_batch.jsonl", "embeddings.jsonl"]


def raw(name: str) -> list[bytes]:
    return [data for _, data in read_lines(EXAMPLES / name) if data is not None]


def prompts(name: str) -> list[Prompt]:
    mistyped: dict[str, str] = {}
    parsed = [parse(data, mistyped) for data in raw(name)]
    assert mistyped == {}
    return parsed


def scripts(text: str) -> set[str]:
    """Return the first words of the letters' Unicode names: LATIN, CYRILLIC, CJK..."""
    return {unicodedata.name(c).split()[0] for c in text if c.isalpha()}


@pytest.mark.parametrize("name", NAMES)
def test_every_line_is_a_prompt_of_its_own(name: str) -> None:
    """All lines are valid, no id and no text comes twice."""
    parsed = prompts(name)
    ids = [prompt.id for prompt in parsed if prompt.id is not None]
    assert len(ids) == len(set(ids))
    assert len({json.dumps(prompt.body) for prompt in parsed}) == len(parsed)


def test_the_main_example_has_every_shape_and_many_scripts() -> None:
    parsed = prompts("prompts.jsonl")
    texts = [json.dumps(prompt.body["messages"], ensure_ascii=False) for prompt in parsed]
    lines: list[Any] = [json.loads(data) for data in raw("prompts.jsonl")]
    assert len(parsed) == 220
    assert all(prompt.endpoint is Endpoint.CHAT for prompt in parsed)
    assert sum(type(line) is str for line in lines) >= 5
    keys = {key for line in lines if type(line) is dict for key in line}
    assert keys >= {"prompt", "messages", "system", "body", "params", "request", "key"}
    languages = {(prompt.metadata or {}).get("lang") for prompt in parsed}
    assert len(languages) >= 45
    assert len(set().union(*map(scripts, texts))) >= 16
    assert sum(len(text.encode()) >= 1000 for text in texts) >= 12
    assert sum(len(text) < 120 for text in texts) >= 60


def test_the_main_example_uses_what_a_line_can_say() -> None:
    parsed = prompts("prompts.jsonl")
    bodies = [prompt.body for prompt in parsed]
    formats = [body["response_format"]["type"] for body in bodies if "response_format" in body]
    assert {prompt.model for prompt in parsed} == {None, "fast", "careful"}
    assert sum(prompt.model is not None for prompt in parsed) < 12
    assert formats.count("json_object") >= 4
    assert formats.count("json_schema") >= 10
    assert sum("tools" in body for body in bodies) >= 7
    assert sum(len(body["messages"]) >= 3 for body in bodies) >= 15
    assert sum(prompt.priority != 0 for prompt in parsed) >= 6
    assert 10 <= sum(prompt.id is None for prompt in parsed) <= 30
    used = {key for body in bodies for key in body}
    assert used >= {"temperature", "top_p", "max_tokens", "seed", "stop", "tool_choice"}


@pytest.mark.parametrize(
    ("name", "endpoint"),
    [("openai_batch.jsonl", Endpoint.CHAT), ("embeddings.jsonl", Endpoint.EMBEDDINGS)],
)
def test_batch_examples_have_exactly_the_documented_shape(name: str, endpoint: Endpoint) -> None:
    lines = [json.loads(data) for data in raw(name)]
    assert len(lines) == 25
    for line in lines:
        assert list(line) == ["custom_id", "method", "url", "body"]
        assert (line["method"], line["url"]) == ("POST", endpoint)
    assert all(prompt.endpoint is endpoint and prompt.model for prompt in prompts(name))


def test_the_embeddings_example_has_texts_and_lists() -> None:
    inputs = [prompt.body["input"] for prompt in prompts("embeddings.jsonl")]
    assert {type(given) for given in inputs} == {str, list}
