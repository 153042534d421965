"""
The Gemini API in its native form: `models/{model}:generateContent`.

Requests are built in `gemini_requests`, replies read in `gemini_replies`. The key goes out as a
header and never as `?key=`, which would put it into every log on the way.

Version: `v1beta` unless the configuration says otherwise. It is the one that has always had system
instructions, function calling and JSON schemas; `v1` answered them with "Unknown name" for years,
although Google's newest SDK now calls it.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from aiq.model import Answer, Content, Endpoint, JsonObject, Problem
from aiq.providers import gemini_replies, json_text
from aiq.providers.completion import chat_completion
from aiq.providers.dialect import Inexpressible, names_in, written
from aiq.providers.gemini_requests import chat_request
from aiq.redaction import Secret

DEFAULT_VERSION = "v1beta"
_COLLECTION = "models/"


class GeminiDialect:
    """A `Dialect`; only its version tells one from another."""

    lists_models = True

    def __init__(self, api_version: str | None = None) -> None:
        self._version = api_version or DEFAULT_VERSION

    def path(self, endpoint: Endpoint, model: str) -> str:  # noqa: ARG002 - chat is all there is
        name = quote(model.removeprefix(_COLLECTION), safe="", errors="replace")
        return f"{self._version}/{_COLLECTION}{name}:generateContent"

    def headers(self, key: Secret | None) -> list[tuple[str, str]]:
        return [] if key is None else [("x-goog-api-key", key.reveal())]

    def encode(
        self,
        endpoint: Endpoint,
        body: JsonObject,
        *,
        model: str,
        cap: int | None,
        cap_field: str,  # noqa: ARG002 - this API has one name for the cap
    ) -> bytes:
        if endpoint is not Endpoint.CHAT:
            raise Inexpressible(f"Gemini has no {endpoint.value}")
        return written(chat_request(body, model=model, cap=cap))

    def read(
        self,
        endpoint: Endpoint,  # noqa: ARG002 - chat is all there is
        status_code: int,
        headers: Mapping[str, str],
        body: bytes,
    ) -> Answer | Problem:
        return gemini_replies.read(status_code, headers, body)

    def content(self, endpoint: Endpoint, body: bytes) -> Content:  # noqa: ARG002 - as in `read`
        reply = gemini_replies.reply_of(body)
        return Content() if reply is None else gemini_replies.content(reply)

    def completion(self, endpoint: Endpoint, body: bytes) -> JsonObject | None:  # noqa: ARG002
        reply = gemini_replies.reply_of(body)
        if reply is None:
            return None
        return chat_completion(
            gemini_replies.content(reply),
            gemini_replies.read_usage(reply.usage_metadata),
            reply_id=reply.response_id,
            model=reply.model_version,
        )

    def models_path(self) -> str:
        """Return the path of the first page; a thousand is the most a page may hold."""
        return f"{self._version}/models?pageSize=1000"

    def model_names(self, body: bytes) -> list[str] | None:
        """Return the names as prompts use them, without the vendor's prefix."""
        try:
            document = json_text.decode(body)
        except ValueError:
            return None
        listed = document.get("models") if isinstance(document, dict) else None
        names = names_in(listed, "name")
        return names and [name.removeprefix(_COLLECTION) for name in names]
