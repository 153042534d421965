"""
Azure OpenAI in its classic style: the deployment and an API version in the URL.

A provider of kind `openai` with an `api_version` is addressed like this. Azure's newer style (base
URL `https://RESOURCE.openai.azure.com/openai/v1`, no `api_version`) is plain OpenAI and needs
nothing of this. In both, the name of the deployment takes the place of the model.
"""

from __future__ import annotations

import re
from urllib.parse import quote, urlsplit

from aiq.model import Endpoint
from aiq.providers.openai import OpenAIDialect
from aiq.redaction import Secret

_BY_MODEL = {
    Endpoint.CHAT: "chat/completions",
    Endpoint.COMPLETIONS: "completions",
    Endpoint.EMBEDDINGS: "embeddings",
}
_TAIL = re.compile(r"(?:/openai(?:/deployments(?:/[^/]+)?)?)?/*$")
_NEWER_CAP = "2024-09"
_HOSTS = (".openai.azure.com", ".services.ai.azure.com", ".cognitiveservices.azure.com")
_NEWER = re.compile(r"/openai/v[0-9]+/*$")


class AzureDialect(OpenAIDialect):
    """A `Dialect` whose base URL is the resource itself, `https://RESOURCE.openai.azure.com`."""

    lists_models = False  # those of the region, while prompts name deployments

    def __init__(self, api_version: str) -> None:
        super().__init__()
        self._query = f"?api-version={quote(api_version, safe='')}"

    def path(self, endpoint: Endpoint, model: str) -> str:
        """Return the deployment's own path; responses alone name it in the body."""
        if endpoint is Endpoint.RESPONSES:
            return f"openai/responses{self._query}"
        deployment = quote(model, safe="", errors="replace")
        return f"openai/deployments/{deployment}/{_BY_MODEL[endpoint]}{self._query}"

    def headers(self, key: Secret | None) -> list[tuple[str, str]]:
        """Return the key; a token of Entra ID goes into the provider's `headers` instead."""
        return [] if key is None else [("api-key", key.reveal())]

    def models_path(self) -> str:
        return f"openai/models{self._query}"


def cap_field(base_url: str, api_version: str | None) -> str | None:
    """
    Return the name of the output cap at an Azure address; None: the address is not Azure's.

    The newer name came with version 2024-09-01-preview; versions are dates and compare as text.
    """
    if api_version is not None:
        return "max_completion_tokens" if api_version >= _NEWER_CAP else "max_tokens"
    host = urlsplit(base_url).hostname or ""
    return "max_completion_tokens" if host.endswith(_HOSTS) else None


def resource_url(base_url: str) -> str:
    """
    Return the resource of a classic base URL, which people copy with more of the path.

    `.../openai` and `.../openai/deployments/NAME` are cut off: the path has both, and the
    deployment is the model of each request.

    Raises:
        ValueError: it is a URL of the newer style, which knows no API version.
    """
    if _NEWER.search(base_url):
        raise ValueError("an Azure base URL that ends in a version takes no `api_version`")
    return _TAIL.sub("", base_url)
