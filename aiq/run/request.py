"""
What is really asked: a prompt with the defaults under it, and the fingerprint of that.

The line wins over the flags of the command line, the flags over `[defaults]`. Both apply to chats
only; the other endpoints are passed through as they stand. The fingerprint covers what the provider
would be asked, so a changed default asks again exactly where it changes the question.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import msgspec

import aiq
from aiq.model import Endpoint, JsonObject, Prompt
from aiq.providers import json_text

_CAPS = ("max_completion_tokens", "max_tokens")
_SYSTEM_ROLES = ("system", "developer")


class Flags(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The options that are stored with a batch and reused by later runs."""

    system: str | None = None
    params: dict[str, Any] = {}
    model: str | None = None

    def over(self, stored: bytes) -> Flags:
        """Return these flags over those stored with a batch."""
        old = msgspec.convert(json_text.decode(stored), type=Flags)
        return Flags(
            system=old.system if self.system is None else self.system,
            params=self.params or old.params,
            model=old.model if self.model is None else self.model,
        )

    def to_json(self) -> bytes:
        """Return what the batch stores."""
        return json_text.encode(msgspec.to_builtins(self))


class Request(msgspec.Struct, frozen=True):
    """A question as any provider would get it, before its dialect; `model` as the user named it."""

    endpoint: Endpoint
    body: JsonObject
    model: str | None


class Overlay:
    """Lays `[defaults]` and the flags under prompts."""

    def __init__(self, defaults: JsonObject, flags: Flags) -> None:
        below = {k: v for k, v in defaults.items() if k != "system"}
        self._base = _without_other_caps(below, flags.params) | flags.params
        self._system = flags.system if flags.system is not None else defaults.get("system")
        self.model = flags.model
        """What `-m` says, for prompts that name none."""

    @property
    def caps_output(self) -> bool:
        """Whether it lays a cap on the output under every chat that names none itself."""
        return self.output_cap is not None

    @property
    def output_cap(self) -> int | None:
        """The cap on the output that it lays under every chat that names none itself."""
        given = (self._base.get(cap) for cap in _CAPS)
        return next((cap for cap in given if isinstance(cap, int)), None)

    def digest(self) -> bytes:
        """Return 16 bytes that change with what is laid under prompts, and with aiq's version."""
        laid = [aiq.__version__, self._base, self._system, self.model]
        return hashlib.blake2b(_ordered(laid), digest_size=16).digest()

    def named_model(self, prompt: Prompt) -> str | None:
        """Return the model the user named, on the line or with `-m`."""
        return prompt.model or self.model

    def request(self, prompt: Prompt) -> Request:
        """Return what to ask for a prompt."""
        model = self.named_model(prompt)
        if prompt.endpoint is not Endpoint.CHAT:
            return Request(prompt.endpoint, prompt.body, model)
        body = prompt.body
        if self._base:
            body = _without_other_caps(self._base, body) | body
        if self._system is not None and not _has_system(body["messages"]):
            system = {"role": "system", "content": self._system}
            body = body | {"messages": [system, *body["messages"]]}
        return Request(Endpoint.CHAT, body, model)


def _without_other_caps(below: JsonObject, above: JsonObject) -> JsonObject:
    """Return what goes under `above`: the output cap has two names, and only one may be sent."""
    if not any(cap in above for cap in _CAPS):
        return below
    return {k: v for k, v in below.items() if k not in _CAPS}


def _has_system(messages: list[JsonObject]) -> bool:
    return any(message.get("role") in _SYSTEM_ROLES for message in messages)


def fingerprint(request: Request) -> bytes:
    """Return 16 bytes that change when, and only when, the question changes."""
    question = [request.endpoint.value, request.model, request.body]
    return hashlib.blake2b(_ordered(question), digest_size=16).digest()


def _ordered(value: object) -> bytes:
    """Write JSON with sorted keys, so that a reformatted line is the same question."""
    try:
        return msgspec.json.encode(value, order="sorted")
    except UnicodeEncodeError:
        return json.dumps(value, sort_keys=True).encode("ascii")
