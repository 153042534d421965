"""
The OpenAI wire format, as spoken by OpenAI itself and by every compatible server.

Requests are built here; replies are read in `openai_replies`, what went wrong in `openai_errors`.
The four endpoints of an OpenAI Batch file are supported; chat is the one that other dialects can
serve as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiq.model import Answer, Content, Endpoint, JsonObject, Problem
from aiq.providers import json_text, openai_replies
from aiq.providers.dialect import cap_names, names_in, written
from aiq.providers.presets import Spelling
from aiq.redaction import Secret

_PATHS = {endpoint: endpoint.value.removeprefix("/v1/") for endpoint in Endpoint}
_CAP_FIELDS = {Endpoint.COMPLETIONS: "max_tokens", Endpoint.RESPONSES: "max_output_tokens"}


class OpenAIDialect:
    """A `Dialect`; `spelling` is what a compatible server words differently in a chat."""

    lists_models = True

    def __init__(self, spelling: Spelling | None = None) -> None:
        self._spelling = spelling

    def path(self, endpoint: Endpoint, model: str) -> str:  # noqa: ARG002 - the model is in the body
        return _PATHS[endpoint]

    def headers(self, key: Secret | None) -> list[tuple[str, str]]:
        """Return the bearer credential; local servers often want none."""
        return [] if key is None else [("Authorization", f"Bearer {key.reveal()}")]

    def encode(
        self, endpoint: Endpoint, body: JsonObject, *, model: str, cap: int | None, cap_field: str
    ) -> bytes:
        """
        Return the body on the wire; `body` itself is left as it is.

        `extra_body` is merged over the top level, as the vendor's own client does, but the model
        stays the one the ledger names. A cap goes out under the server's name for it.
        """
        wire = {"model": model, **body}
        extra = wire.pop("extra_body", None)
        if isinstance(extra, dict):
            wire.update(extra)
        wire["model"] = model
        if self._spelling is not None and endpoint is Endpoint.CHAT:
            _respell(wire, self._spelling)
        if endpoint is not Endpoint.EMBEDDINGS:
            sent = cap
            for name in reversed(cap_names(endpoint)):  # the strongest comes last
                own = wire.pop(name, None)
                sent = sent if own is None else own
            if sent is not None:
                wire[_CAP_FIELDS.get(endpoint, cap_field)] = sent
        return written(wire)

    def read(
        self, endpoint: Endpoint, status_code: int, headers: Mapping[str, str], body: bytes
    ) -> Answer | Problem:
        return openai_replies.read(endpoint, status_code, headers, body)

    def content(self, endpoint: Endpoint, body: bytes) -> Content:
        return openai_replies.content(endpoint, body)

    def completion(self, endpoint: Endpoint, body: bytes) -> JsonObject | None:  # noqa: ARG002
        """Return the stored reply itself, which has the shape already."""
        try:
            document = json_text.decode(body)
        except ValueError:
            return None
        return document if isinstance(document, dict) else None

    def models_path(self) -> str:
        return "models"

    def model_names(self, body: bytes) -> list[str] | None:
        """Return the ids under `data`; Together sends the bare list."""
        try:
            document = json_text.decode(body)
        except ValueError:
            return None
        return names_in(document.get("data") if isinstance(document, dict) else document, "id")


def _respell(wire: JsonObject, spelling: Spelling) -> None:
    """Put a chat into a server's own words; those the prompt used already are left alone."""
    for name, own in spelling.fields.items():
        if name in wire:
            wire.setdefault(own, wire.pop(name))
    choice = wire.get("tool_choice")
    if isinstance(choice, str):
        wire["tool_choice"] = spelling.tool_choice.get(choice, choice)
    messages = wire.get("messages")
    if not spelling.has_names and isinstance(messages, list):
        wire["messages"] = [_unnamed(message) for message in messages]


def _unnamed(message: Any) -> Any:
    if not isinstance(message, dict) or "name" not in message or message.get("role") == "tool":
        return message
    return {name: value for name, value in message.items() if name != "name"}
