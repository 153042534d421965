"""
The providers of a run as things one can send to, and who may serve which model.

Here settings meet policy and wire: each provider gets its dialect, its transport, prepared URLs and
headers, its standing and its prices. Candidates are cached per model name, so that routing compares
ready-made tuples.
"""

from __future__ import annotations

from collections.abc import Iterable

import httpx

import aiq
from aiq.clock import Clock
from aiq.config import ProviderSettings
from aiq.model import Endpoint
from aiq.policy.routing import Candidate
from aiq.policy.standing import Account, Standing
from aiq.providers.dialect import Dialect
from aiq.providers.openai import OpenAIDialect
from aiq.providers.proxies import proxy_for
from aiq.run.pricing import Pricer
from aiq.run.request import Request

USER_AGENT = f"aiq/{aiq.__version__}"
MODELS_CACHED = 4096


class Provider:
    """One provider, ready to be asked."""

    def __init__(
        self,
        settings: ProviderSettings,
        *,
        account: Account,
        concurrency: int,
        transport: httpx.AsyncBaseTransport,
    ) -> None:
        self.settings = settings
        self.name = settings.name
        self.model = settings.model
        self.dialect: Dialect = OpenAIDialect()
        self.transport = transport
        self.standing = Standing(account, max_in_flight=settings.max_in_flight or concurrency)
        self.pricer = Pricer(settings)
        self.headers = httpx.Headers(
            [
                ("Accept", "application/json"),
                ("Accept-Encoding", "identity"),
                ("Content-Type", "application/json"),
                ("User-Agent", USER_AGENT),
                *self.dialect.headers(settings.key),
                *((name, value.reveal()) for name, value in settings.headers),
            ]
        )
        self._urls: dict[str, httpx.URL] = {}

    def url(self, endpoint: Endpoint, model: str) -> httpx.URL:
        """Return the parsed URL of an endpoint."""
        path = self.dialect.path(endpoint, model)
        if path not in self._urls:
            self._urls[path] = httpx.URL(f"{self.settings.base_url}/{path}")
        return self._urls[path]

    def resolve(self, model: str | None) -> str | None:
        """Return this provider's name for the model a prompt wants; None: it cannot serve it."""
        settings = self.settings
        if model is None:
            return self.model
        mapped = settings.models.get(model) or settings.models.get("*")
        if mapped is not None:
            return mapped
        return None if settings.strict_models and model != self.model else model

    @property
    def why_out(self) -> str:
        """Return why it is out for the rest of the run, and where its key came from."""
        reason = self.standing.disabled or self.standing.account.disabled
        key = self.settings.key_name
        return f"{self.name}: {reason}" + (f" (key: {key})" if key else "")

    def encode(self, request: Request, model: str) -> bytes:
        """Return the body on the wire."""
        return self.dialect.encode(
            request.endpoint,
            request.body,
            model=model,
            cap=self.settings.max_tokens,
            cap_field=self.settings.cap_field,
        )


class Fleet:
    """All providers of a run, in rank order."""

    def __init__(self, providers: Iterable[Provider]) -> None:
        self.providers = {provider.name: provider for provider in providers}
        self._candidates: dict[str | None, tuple[Candidate, ...]] = {}

    @classmethod
    def of(
        cls,
        settings: Iterable[ProviderSettings],
        *,
        concurrency: int,
        clock: Clock,
        environ: dict[str, str],
    ) -> Fleet:
        """Build the fleet that settings describe; no socket is opened yet."""
        accounts: dict[str, Account] = {}
        return cls(
            Provider(
                one,
                account=accounts.setdefault(one.account, Account()),
                concurrency=concurrency,
                transport=_transport(one, clock, environ),
            )
            for one in settings
        )

    def candidates(self, model: str | None) -> tuple[Candidate, ...]:
        """Return who can serve a model name (None: the provider's own), in rank order."""
        known = self._candidates.get(model)
        if known is None:
            if len(self._candidates) >= MODELS_CACHED:
                self._candidates.clear()
            known = self._candidates[model] = tuple(self._serving(model))
        return known

    def _serving(self, model: str | None) -> Iterable[Candidate]:
        for provider in self.providers.values():
            resolved = provider.resolve(model)
            if resolved is not None:
                yield Candidate(
                    provider.name, resolved, provider.standing, provider.settings.context_window
                )

    @property
    def is_hopeless(self) -> bool:
        """Whether every provider is out for the rest of the run."""
        return all(
            p.standing.disabled or p.standing.account.disabled for p in self.providers.values()
        )

    @property
    def why_hopeless(self) -> str:
        """Return why each provider is out, and what to check."""
        return "; ".join(one.why_out for one in self.providers.values())

    async def close(self) -> None:
        """Close every transport."""
        for provider in self.providers.values():
            await provider.transport.aclose()


def _transport(
    settings: ProviderSettings, clock: Clock, environ: dict[str, str]
) -> httpx.AsyncBaseTransport:
    if settings.simulated is not None:
        from aiq.providers.simulated_transport import SimulatedTransport  # noqa: PLC0415

        return SimulatedTransport(settings.simulated, clock)
    from aiq.providers.transport import SocketTransport  # noqa: PLC0415 - the sockets' own 0.2 s

    return SocketTransport(
        connect_timeout_s=settings.connect_timeout_s,
        proxy=proxy_for(settings.base_url, environ),
    )
