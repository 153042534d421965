"""
Anthropic's Messages API in its native form.

Requests are built in `anthropic_requests`, replies read in `anthropic_replies`. It answers chats
only; the base URL comes without a version, because the path carries it.

API version: `2023-06-01` unless the configuration says otherwise. It is the one under which
`temperature` and its like still work; from `2026-10-21` on they are errors, and are not sent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from aiq.model import Answer, Content, Endpoint, JsonObject, Problem
from aiq.providers import anthropic_replies, json_text
from aiq.providers.anthropic_requests import messages_request
from aiq.providers.completion import chat_completion
from aiq.providers.dialect import Inexpressible, names_in, written
from aiq.redaction import Secret

DEFAULT_VERSION = "2023-06-01"
_DATE = re.compile(r"-20[0-9]{6}$")
_WITHOUT_SAMPLING = "2026-10-21"  # versions are dates and compare as text


class AnthropicDialect:
    """A `Dialect`; only its version tells one from another."""

    lists_models = True

    def __init__(self, api_version: str | None = None) -> None:
        self._version = api_version or DEFAULT_VERSION

    def path(self, endpoint: Endpoint, model: str) -> str:  # noqa: ARG002 - chat is all there is
        return "v1/messages"

    def headers(self, key: Secret | None) -> list[tuple[str, str]]:
        version = [("anthropic-version", self._version)]
        return version if key is None else [("x-api-key", key.reveal()), *version]

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
            raise Inexpressible(f"Anthropic has no {endpoint.value}")
        has_sampling = self._version < _WITHOUT_SAMPLING
        return written(messages_request(body, model=model, cap=cap, has_sampling=has_sampling))

    def read(
        self,
        endpoint: Endpoint,  # noqa: ARG002 - chat is all there is
        status_code: int,
        headers: Mapping[str, str],
        body: bytes,
    ) -> Answer | Problem:
        return anthropic_replies.read(status_code, headers, body)

    def content(self, endpoint: Endpoint, body: bytes) -> Content:  # noqa: ARG002 - as in `read`
        reply = anthropic_replies.reply_of(body)
        return Content() if reply is None else anthropic_replies.content(reply)

    def completion(self, endpoint: Endpoint, body: bytes) -> JsonObject | None:  # noqa: ARG002
        reply = anthropic_replies.reply_of(body)
        if reply is None:
            return None
        return chat_completion(
            anthropic_replies.content(reply),
            anthropic_replies.read_usage(reply.usage),
            reply_id=reply.id,
            model=reply.model,
        )

    def models_path(self) -> str:
        """Return the path of the first page; a thousand is the most a page may hold."""
        return "v1/models?limit=1000"

    def model_names(self, body: bytes) -> list[str] | None:
        """Return the ids, and those that end in a date without it too, which the API accepts."""
        try:
            document = json_text.decode(body)
        except ValueError:
            return None
        ids = names_in(document.get("data") if isinstance(document, dict) else None, "id")
        return ids and list(dict.fromkeys([*ids, *(_DATE.sub("", name) for name in ids)]))
