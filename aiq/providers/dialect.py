"""
How to speak to one kind of model server: the interface the run uses, one class per vendor family.

A dialect is pure: it turns a prompt into bytes and bytes into facts. It opens no socket, reads no
clock and decides nothing about retries; `read` says what a reply is (`Answer`) or what is wrong
with it (`Problem`), and policy decides what that means.

Header mappings are looked up in lower case: pass a case-insensitive mapping or lower-cased keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from aiq.model import Answer, Content, Endpoint, JsonObject, Problem
from aiq.redaction import Secret

_CAPS: dict[Endpoint, tuple[str, ...]] = {
    Endpoint.CHAT: ("max_completion_tokens", "max_tokens"),
    Endpoint.COMPLETIONS: ("max_tokens", "max_completion_tokens"),
    Endpoint.RESPONSES: ("max_output_tokens", "max_completion_tokens", "max_tokens"),
    Endpoint.EMBEDDINGS: (),
}


class Dialect(Protocol):
    """What the run asks of a vendor's wire format."""

    def path(self, endpoint: Endpoint, model: str) -> str:
        """Return the path of a request, relative to the provider's base URL."""

    def headers(self, key: Secret | None) -> list[tuple[str, str]]:
        """Return the headers that carry the credential, and no others."""

    def encode(
        self, endpoint: Endpoint, body: JsonObject, *, model: str, cap: int | None, cap_field: str
    ) -> bytes:
        """
        Return the body on the wire, with the model as the provider names it.

        `cap` is the number of output tokens to allow when the prompt sets none itself; None sends
        none. `cap_field` is the name this server has for the cap of a chat.
        """

    def read(
        self, endpoint: Endpoint, status_code: int, headers: Mapping[str, str], body: bytes
    ) -> Answer | Problem:
        """Say what a complete reply is; never raises, whatever the bytes."""

    def content(self, endpoint: Endpoint, body: bytes) -> Content:
        """Return what a person wants out of a stored reply; never raises, at worst it is empty."""


def cap_names(endpoint: Endpoint) -> tuple[str, ...]:
    """Return the names under which a prompt may set its output cap, the strongest first."""
    return _CAPS[endpoint]


def output_cap(endpoint: Endpoint, body: JsonObject) -> int | None:
    """Return the prompt's own cap on output tokens, also from `extra_body`, or None."""
    extra = body.get("extra_body")
    for name in _CAPS[endpoint]:
        for source in (extra, body):
            cap = source.get(name) if isinstance(source, dict) else None
            if isinstance(cap, int) and not isinstance(cap, bool):
                return cap
    return None


def request_id(headers: Mapping[str, str]) -> str | None:
    """Return the id under which the vendor's support finds this request, at most 200 characters."""
    found = headers.get("x-request-id") or headers.get("request-id")
    return found[:200] if found else None
