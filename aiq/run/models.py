"""Which models a provider has, and which one prompts get that name none: its only one, if local."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator

import httpx
import msgspec

from aiq.errors import Refused, Unusable
from aiq.model import Answer, Endpoint, Flaw, Outcome, Problem
from aiq.policy import outcomes
from aiq.providers.exchange import BrokenReply, never_sent, prepare
from aiq.redaction import Redactor
from aiq.run.fleet import Fleet, Provider
from aiq.run.request import Overlay
from aiq.store.backlog import Load

_TELLING = (None, Flaw.HTML, Flaw.FAILED)
"""What a reply can be that explains itself; the rest are flaws of an answer nobody asked for."""


async def settle_models(fleet: Fleet, overlays: Iterable[Overlay], redactor: Redactor) -> None:
    """
    Make sure that prompts without a model can be served.

    Raises:
        Refused: no provider has a model for them, or serves the one that `-m` names.
        Unusable: a local server that would have to be asked cannot be reached.
    """
    wanted = [overlay.model for overlay in overlays]
    for model in wanted:
        if model is not None and not any(p.resolve(model) for p in fleet.providers.values()):
            raise Refused(
                f"no provider serves the model `{model}` that `-m` names",
                hint="add it to a provider's `models`, or leave out its `strict_models`",
            )
    if None not in wanted:
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


def asked_as_named(fleet: Fleet, loads: Iterable[Load]) -> Iterator[str]:
    """
    Yield a sentence for each model that prompts name and some provider may well not have.

    One that has a model of its own and no name for theirs is asked for exactly theirs. Of a single
    provider the user knows what it has.
    """
    if len(fleet.providers) < 2:
        return
    for load in loads:
        strangers = [
            name
            for name, provider in fleet.providers.items()
            if load.model is not None
            and provider.settings.kind != "simulated"
            and provider.model not in (None, load.model)
            and provider.resolve(load.model) == load.model
            and load.model not in provider.settings.models
        ]
        if strangers:
            verb = "is" if len(strangers) == 1 else "are"
            yield (
                f"{load.jobs:,} prompt(s) name the model `{load.model}`, and"
                f" {', '.join(strangers)} {verb} asked for exactly that; if it has another name"
                f' there: models = {{ "{load.model}" = "..." }}'
            )


async def _only_model(provider: Provider, redactor: Redactor) -> str:
    limit_s = provider.settings.connect_timeout_s
    models = await listed_models(provider, redactor, limit_s=limit_s)
    if isinstance(models, Outcome):
        raise Unusable(
            f"`{provider.name}` at {_url(provider)} does not say which models it has:"
            f" {models.message}",
            hint="start the server, or name the model with `-m MODEL`",
        )
    if len(models) != 1:
        names = ", ".join(f"`{name}`" for name in models[:10]) or "none"
        raise Refused(
            f"`{provider.name}` has {len(models)} models: {names}",
            hint="name one with `-m MODEL`",
        )
    return models[0]


async def listed_models(
    provider: Provider, redactor: Redactor, *, limit_s: float
) -> list[str] | Outcome:
    """
    Return the names of a provider's models, or the outcome that came instead of a list.

    Asking costs nothing. What is returned is free of secrets; an outcome always has a message.
    """
    request = prepare("GET", _url(provider), provider.headers)
    try:
        async with asyncio.timeout(limit_s):
            response = await provider.transport.handle_async_request(request)
    except TimeoutError:
        return outcomes.interrupted(f"no reply within {round(limit_s, 1):g} s", timed_out=True)
    except BrokenReply as broken:
        return _redacted(outcomes.broken(broken.status_code, broken.flaw, str(broken)), redactor)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        lost = outcomes.not_sent if never_sent(error) else outcomes.interrupted
        return _redacted(lost(str(error) or type(error).__name__), redactor)
    names = provider.dialect.model_names(response.content) if response.is_success else None
    if names is not None:
        return [redactor.text(name) for name in names]
    return _redacted(_unlisted(provider, response), redactor)


def _unlisted(provider: Provider, response: httpx.Response) -> Outcome:
    """Classify a reply that lists no models: an error, a page, or something else altogether."""
    status_code = response.status_code
    reading = provider.dialect.read(Endpoint.CHAT, status_code, response.headers, response.content)
    if isinstance(reading, Answer) or reading.flaw not in _TELLING:
        reading = Problem(
            status_code=status_code,
            message=f"no list of models (HTTP {status_code})",
            flaw=Flaw.FAILED,
        )
    return outcomes.classify(reading, elapsed_s=0.0, answered_before=False)


def _redacted(outcome: Outcome, redactor: Redactor) -> Outcome:
    return msgspec.structs.replace(outcome, message=redactor.text(outcome.message or ""))


def _url(provider: Provider) -> httpx.URL:
    return httpx.URL(f"{provider.settings.base_url}/{provider.dialect.models_path()}")
