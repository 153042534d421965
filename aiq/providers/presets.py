"""
The providers `aiq` knows by name: where they listen, which variable holds their key, their quirks.

Data only. A preset names no model, except `simulated`, whose answers are made on this machine.
`base_url` is what the vendor's own SDK takes: with its version for the OpenAI kinds, without one
for anthropic and gemini.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from aiq.model import Price

ProviderKind: TypeAlias = Literal["openai", "anthropic", "gemini", "simulated"]


class Spelling(msgspec.Struct, frozen=True, kw_only=True):
    """Where an OpenAI-compatible server's chat requests differ in words, not in meaning."""

    fields: dict[str, str] = {}
    """OpenAI's name of a field to this server's."""
    tool_choice: dict[str, str] = {}
    """OpenAI's word for a tool choice to this server's."""
    has_names: bool = True
    """Whether messages may carry the `name` of who speaks; tool messages always may."""


class Preset(msgspec.Struct, frozen=True, kw_only=True):
    """One provider known by name; `key_env` lists the accepted variables, the preferred first."""

    name: str
    kind: ProviderKind = "openai"
    base_url: str
    key_env: tuple[str, ...] = ()
    needs_key: bool = True
    cap_field: str = "max_tokens"
    """What the output cap is called on the wire; only OpenAI itself insists on the newer name."""
    spelling: Spelling | None = None
    """None: as OpenAI spells it."""
    is_local: bool = False
    price_id: str | None = None
    """The provider's name in the genai-prices table, None where it lists no prices."""
    model: str | None = None
    price: Price | None = None


def _local(name: str, base_url: str, key_variable: str) -> Preset:
    return Preset(
        name=name, base_url=base_url, key_env=(key_variable,), needs_key=False, is_local=True
    )


_ALL = (
    Preset(
        name="openai",
        base_url="https://api.openai.com/v1",
        key_env=("OPENAI_API_KEY",),
        cap_field="max_completion_tokens",
        price_id="openai",
    ),
    Preset(
        name="anthropic",
        kind="anthropic",
        base_url="https://api.anthropic.com",
        key_env=("ANTHROPIC_API_KEY",),
        price_id="anthropic",
    ),
    Preset(
        name="gemini",
        kind="gemini",
        base_url="https://generativelanguage.googleapis.com",
        # Google's own SDK prefers GOOGLE_API_KEY where both are set.
        key_env=("GOOGLE_API_KEY", "GEMINI_API_KEY"),
        price_id="google",
    ),
    Preset(
        name="deepseek",
        base_url="https://api.deepseek.com/v1",
        key_env=("DEEPSEEK_API_KEY",),
        price_id="deepseek",
    ),
    Preset(
        name="mistral",
        base_url="https://api.mistral.ai/v1",
        key_env=("MISTRAL_API_KEY",),
        spelling=Spelling(
            fields={"seed": "random_seed"}, tool_choice={"required": "any"}, has_names=False
        ),
        price_id="mistral",
    ),
    Preset(
        name="groq",
        base_url="https://api.groq.com/openai/v1",
        key_env=("GROQ_API_KEY",),
        price_id="groq",
    ),
    Preset(
        name="together",
        base_url="https://api.together.ai/v1",
        key_env=("TOGETHER_API_KEY", "TOGETHER_AI_API_KEY", "TOGETHERAI_API_KEY"),
        price_id="together",
    ),
    Preset(
        name="fireworks",
        base_url="https://api.fireworks.ai/inference/v1",
        key_env=("FIREWORKS_API_KEY",),
        price_id="fireworks",
    ),
    Preset(
        name="openrouter",
        base_url="https://openrouter.ai/api/v1",
        key_env=("OPENROUTER_API_KEY",),
        price_id="openrouter",
    ),
    Preset(
        name="xai",
        base_url="https://api.x.ai/v1",
        key_env=("XAI_API_KEY",),
        price_id="x-ai",
    ),
    Preset(
        name="cerebras",
        base_url="https://api.cerebras.ai/v1",
        key_env=("CEREBRAS_API_KEY",),
        price_id="cerebras",
    ),
    _local("ollama", "http://localhost:11434/v1", "OLLAMA_API_KEY"),
    _local("lmstudio", "http://localhost:1234/v1", "LM_API_TOKEN"),
    _local("vllm", "http://localhost:8000/v1", "VLLM_API_KEY"),
    _local("llamacpp", "http://127.0.0.1:8080/v1", "LLAMA_API_KEY"),
    Preset(
        name="simulated",
        kind="simulated",
        # Never resolved: `.invalid` is reserved, and the simulation opens no socket.
        base_url="http://simulated.invalid/v1",
        needs_key=False,
        model="simulated",
        price=Price(input=0.0, output=0.0),
    ),
)

PRESETS: dict[str, Preset] = {preset.name: preset for preset in _ALL}
