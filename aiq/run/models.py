"""Which model prompts get that name none: a local server's only one, or a refusal with advice."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import httpx
import msgspec

from aiq.errors import Refused, Unusable
from aiq.providers.exchange import prepare
from aiq.redaction import Redactor
from aiq.run.fleet import Fleet, Provider
from aiq.run.request import Overlay


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model]


async def settle_models(fleet: Fleet, overlays: Iterable[Overlay], redactor: Redactor) -> None:
    """
    Make sure that prompts without a model can be served.

    Raises:
        Refused: no provider has a model for them.
        Unusable: a local server that would have to be asked cannot be reached.
    """
    if all(overlay.model is not None for overlay in overlays):
        return
    for provider in fleet.providers.values():
        if provider.model is None and provider.settings.is_local:
            provider.model = await _only_model(provider, redactor)
    if all(provider.model is None for provider in fleet.providers.values()):
        names = ", ".join(f"`{name}`" for name in fleet.providers)
        raise Refused(
            f"some prompts name no model, and neither does {names}",
            hint="name one with `-m MODEL`, for example `-m gpt-4.1-mini`,"
            " or set `model` for the provider in aiq.toml",
        )


async def _only_model(provider: Provider, redactor: Redactor) -> str:
    url = httpx.URL(f"{provider.settings.base_url}/models")
    limit_s = provider.settings.connect_timeout_s
    try:
        async with asyncio.timeout(limit_s):
            response = await provider.transport.handle_async_request(
                prepare("GET", url, provider.headers)
            )
        models = msgspec.json.decode(response.content, type=_Models).data
    except (httpx.HTTPError, TimeoutError) as error:
        reason = redactor.text(str(error)) or f"no reply within {limit_s:g} s"
        raise _silent(provider, url, reason) from error
    except msgspec.DecodeError as error:
        raise _silent(provider, url, f"no list of models (HTTP {response.status_code})") from error
    if len(models) != 1:
        names = ", ".join(f"`{model.id}`" for model in models[:10]) or "none"
        raise Refused(
            f"`{provider.name}` has {len(models)} models: {names}",
            hint="name one with `-m MODEL`",
        )
    return models[0].id


def _silent(provider: Provider, url: httpx.URL, reason: str) -> Unusable:
    return Unusable(
        f"`{provider.name}` at {url} does not say which models it has: {reason}",
        hint="start the server, or name the model with `-m MODEL`",
    )
