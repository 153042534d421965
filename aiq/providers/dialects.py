"""
Which dialect a provider speaks: the one place that knows all of them.

Azure has no kind of its own: it is an OpenAI server, and a provider of that kind with an API
version is addressed in Azure's classic way. The simulated server speaks OpenAI.
"""

from __future__ import annotations

from aiq.providers.anthropic import AnthropicDialect
from aiq.providers.azure import AzureDialect
from aiq.providers.dialect import Dialect
from aiq.providers.gemini import GeminiDialect
from aiq.providers.openai import OpenAIDialect
from aiq.providers.presets import Spelling


def dialect_for(
    kind: str, *, api_version: str | None = None, spelling: Spelling | None = None
) -> Dialect:
    """
    Return how to speak to a provider of this kind; without a version, the dialect's own default.

    `spelling` is what a compatible server words differently (`Preset.spelling`).

    Raises:
        ValueError: there is no such kind.
    """
    match kind:
        case "anthropic":
            return AnthropicDialect(api_version)
        case "gemini":
            return GeminiDialect(api_version)
        case "openai" if api_version is not None:
            return AzureDialect(api_version)
        case "openai" | "simulated":
            return OpenAIDialect(spelling)
        case _:
            raise ValueError(f"there is no kind of provider `{kind}`")
