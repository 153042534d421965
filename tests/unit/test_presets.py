"""The presets are complete, usable as they are, and name no model."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest
from genai_prices import data_snapshot

from aiq.config import load
from aiq.config.base_url import is_loopback, normalize
from aiq.providers.presets import PRESETS, Preset

NAMES = [
    *("openai", "anthropic", "gemini", "deepseek", "mistral", "groq", "together", "fireworks"),
    *("openrouter", "xai", "cerebras", "ollama", "lmstudio", "vllm", "llamacpp", "simulated"),
]


def test_names() -> None:
    """The presets are those users were promised, each under its own name."""
    assert list(PRESETS) == NAMES
    assert all(name == preset.name for name, preset in PRESETS.items())


@pytest.mark.parametrize("preset", PRESETS.values(), ids=NAMES)
def test_each_preset_is_sound(preset: Preset) -> None:
    """A preset's URL is normal, local exactly where it is loopback, encrypted exactly where not."""
    assert normalize(preset.base_url) == preset.base_url
    assert is_loopback(preset.base_url) == preset.is_local
    if preset.kind != "simulated":
        assert urlsplit(preset.base_url).scheme == ("http" if preset.is_local else "https")
        assert preset.key_env
        assert preset.needs_key is not preset.is_local
        assert (preset.model, preset.price) == (None, None)


def test_key_variables_are_distinct() -> None:
    """No variable belongs to two presets, or one key would look like two vendors."""
    variables = [name for preset in PRESETS.values() for name in preset.key_env]
    assert len(variables) == len(set(variables))


def test_price_ids_exist() -> None:
    """Hosted presets have prices under the name the price table uses."""
    known = {provider.id for provider in data_snapshot.get_snapshot().providers}
    for preset in PRESETS.values():
        if preset.price_id is None:
            assert preset.is_local or preset.kind == "simulated"
        else:
            assert preset.price_id in known


def test_only_openai_has_the_newer_cap() -> None:
    """Compatible servers know `max_tokens`; OpenAI's reasoning models refuse it."""
    newer = [name for name, p in PRESETS.items() if p.cap_field == "max_completion_tokens"]
    assert newer == ["openai"]


@pytest.mark.parametrize(
    "preset",
    PRESETS.values(),
    ids=lambda preset: preset.name,
)
def test_each_preset_loads(tmp_path: Path, preset: Preset) -> None:
    """Every available preset becomes a provider with nothing but its key."""
    environ = dict.fromkeys(preset.key_env[:1], "a-key")
    settings = load(environ=environ, working_directory=tmp_path, providers=[preset.name])
    (provider,) = settings.providers
    assert (provider.name, provider.kind, provider.base_url) == (
        preset.name,
        preset.kind,
        preset.base_url,
    )
    assert (provider.key is not None) == bool(preset.key_env)
