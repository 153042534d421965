from __future__ import annotations

import json
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from aiq.prompts.shapes import BadLine, parse

TEXTS = st.text(st.characters(codec=None, exclude_categories=())).filter(
    lambda text: "\ufeff" not in text
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
KEYS = st.sampled_from(
    [
        "prompt", "messages", "system", "id", "custom_id", "key", "model", "priority", "metadata",
        "temperature", "stop", "n", "stream", "tools", "extra_body", "url", "method", "body",
        "params", "request", "max_tokens", "input", "contents", "parts", "role", "content", "type",
        "text", "generationConfig", "tool_choice", "source", "functionCall",
    ]
)  # fmt: skip
LINES = st.recursive(
    VALUES | st.sampled_from(["user", "assistant", "model", "text", "POST", "/v1/embeddings"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=20,
)


def refusal(data: bytes) -> str | None:
    try:
        parse(data, {})
    except BadLine as bad:
        return str(bad)
    return None


@given(st.binary())
@example(b"\xff")
@example(b"[" * 5000)
@example(b'"\\ud800')
def test_any_bytes_make_a_prompt_or_a_reason(data: bytes) -> None:
    """Nothing but `BadLine` ever leaves `parse`, and its reason can be stored."""
    reason = refusal(data)
    assert reason is None or reason.encode()


@given(LINES)
def test_any_json_makes_a_prompt_or_a_reason(value: Any) -> None:
    """Wrong types at any place are a reason, never a crash."""
    reason = refusal(json.dumps(value, allow_nan=False).encode() if _finite(value) else b"NaN")
    assert reason is None or reason.encode()


def _finite(value: Any) -> bool:
    return "Infinity" not in json.dumps(value)


@given(TEXTS, TEXTS.filter(lambda text: bool(text.strip())), st.booleans())
def test_texts_survive(system: str, prompt: str, ascii_only: bool) -> None:
    """What a line says arrives exactly, written with escapes or without."""
    written = json.dumps({"prompt": prompt, "system": system}, ensure_ascii=ascii_only)
    parsed = parse(written.encode("utf-8", "surrogatepass" if ascii_only else "replace"))
    if not ascii_only:
        system, prompt = (t.encode("utf-8", "replace").decode() for t in (system, prompt))
    assert parsed.body == {
        "messages": [
            {"role": "system", "content": system},
            {"role": "user", "content": prompt},
        ]
    }


@given(st.dictionaries(TEXTS, VALUES, max_size=5))
def test_metadata_survives(metadata: dict[str, Any]) -> None:
    """Metadata is anything JSON can say, carried as it is."""
    written = json.dumps({"prompt": "x", "metadata": metadata})
    if "Infinity" not in written:
        assert parse(written.encode()).metadata == (metadata or None)
