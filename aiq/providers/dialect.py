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
from aiq.providers import json_text
from aiq.redaction import Secret


class Inexpressible(ValueError):
    """A dialect has no words for a part of this request; the message names the part."""


_CAPS: dict[Endpoint, tuple[str, ...]] = {
    Endpoint.CHAT: ("max_completion_tokens", "max_tokens"),
    Endpoint.COMPLETIONS: ("max_tokens", "max_completion_tokens"),
    Endpoint.RESPONSES: ("max_output_tokens", "max_completion_tokens", "max_tokens"),
    Endpoint.EMBEDDINGS: (),
}


class Dialect(Protocol):
    """What the run asks of a vendor's wire format."""

    lists_models: bool
    """Whether the names in its list of models are the ones that prompts use."""

    def path(self, endpoint: Endpoint, model: str) -> str:
        """Return the path of a request, relative to the provider's base URL."""

    def headers(self, key: Secret | None) -> list[tuple[str, str]]:
        """Return the headers this vendor demands: the credential, and the version if it has one."""

    def encode(
        self, endpoint: Endpoint, body: JsonObject, *, model: str, cap: int | None, cap_field: str
    ) -> bytes:
        """
        Return the body on the wire, with the model as the provider names it.

        `cap` is the number of output tokens to allow when the prompt sets none itself; None sends
        none. `cap_field` is the name this server has for the cap of a chat.

        Raises:
            Inexpressible: the request holds something that this format cannot say, and without
                which it would be another question. Nothing was sent.
        """

    def read(
        self, endpoint: Endpoint, status_code: int, headers: Mapping[str, str], body: bytes
    ) -> Answer | Problem:
        """Say what a complete reply is; never raises, whatever the bytes."""

    def content(self, endpoint: Endpoint, body: bytes) -> Content:
        """Return what a person wants out of a stored reply; never raises, at worst it is empty."""

    def completion(self, endpoint: Endpoint, body: bytes) -> JsonObject | None:
        """
        Return a stored reply in the shape of OpenAI's own endpoint; never raises.

        None: the bytes are no answer of this vendor.
        """

    def models_path(self) -> str:
        """Return the path of the list of models, relative to the provider's base URL."""

    def model_names(self, body: bytes) -> list[str] | None:
        """
        Return the names under which a list of models offers them; never raises.

        None: the bytes are no such list.
        """


def cap_names(endpoint: Endpoint) -> tuple[str, ...]:
    """Return the names under which a prompt may set its output cap, the strongest first."""
    return _CAPS[endpoint]


def given_cap(endpoint: Endpoint, body: JsonObject) -> object:
    """
    Return what a prompt says of its cap on output tokens, None if nothing.

    It is what goes on the wire, of whatever type: `extra_body` wins, also where it says null.
    """
    extra = body.get("extra_body")
    said = body | extra if isinstance(extra, dict) else body
    return next((said[name] for name in _CAPS[endpoint] if said.get(name) is not None), None)


def output_cap(endpoint: Endpoint, body: JsonObject) -> int | None:
    """Return the prompt's own cap on output tokens, also from `extra_body`, or None."""
    cap = given_cap(endpoint, body)
    return cap if isinstance(cap, int) and not isinstance(cap, bool) else None


def written(request: JsonObject) -> bytes:
    """
    Return a request as bytes.

    Raises:
        Inexpressible: no JSON can hold it.
    """
    try:
        return json_text.encode(request)
    except ValueError as error:
        raise Inexpressible(f"the request cannot be written: {error}") from error


def names_in(listed: object, field: str) -> list[str] | None:
    """Return a field of every item of a decoded list of models; None if it is no list of items."""
    if not isinstance(listed, list):
        return None
    names = [item.get(field) if isinstance(item, dict) else None for item in listed]
    return [name for name in names if isinstance(name, str)]
