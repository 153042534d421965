"""
The providers of a run as things one can send to, and who may serve which model.

Here settings meet policy and wire: each provider gets its dialect, its transport, prepared URLs and
headers, its standing and its prices. Candidates are cached per model name, so that routing compares
ready-made tuples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

import httpx
import msgspec

import aiq
from aiq.clock import Clock
from aiq.config import ProviderSettings
from aiq.model import Endpoint, Kind
from aiq.policy.account import Account
from aiq.policy.admission import Candidate
from aiq.policy.concurrency import Concurrency
from aiq.policy.defaults import LimitSettings, RateLimits
from aiq.policy.limits import Limits
from aiq.policy.standing import Standing
from aiq.policy.switch import Switch
from aiq.providers.dialect import Dialect
from aiq.providers.dialects import dialect_for
from aiq.providers.presets import PRESETS
from aiq.providers.proxies import proxy_for
from aiq.run.pricing import Pricer
from aiq.run.request import Request

Transports: TypeAlias = Callable[[ProviderSettings], httpx.AsyncBaseTransport]
"""What stands between a provider and the network: the one seam to whoever answers."""

USER_AGENT = f"aiq/{aiq.__version__}"
MODELS_CACHED = 4096
"""Models whose candidates, and whose addresses at a provider, are kept ready."""


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
        self.dialect: Dialect = dialect_for(
            settings.kind,
            api_version=settings.api_version,
            spelling=PRESETS[settings.preset].spelling if settings.preset else None,
        )
        self.transport = transport
        self.standing = Standing(
            account,
            max_in_flight=settings.max_in_flight or concurrency,
            breaker=settings.breaker,
        )
        self.pricer = Pricer(settings)
        self.headers = httpx.Headers(
            [
                ("Accept", "application/json"),
                ("Accept-Encoding", "identity"),
                ("Content-Type", "application/json"),
                ("User-Agent", USER_AGENT),
                *self.dialect.headers(settings.key),
            ]
        )
        for name, value in settings.headers:  # instead of ours, where there is one of that name
            self.headers[name] = value.reveal()
        self._urls: dict[str, httpx.URL] = {}

    def url(self, endpoint: Endpoint, model: str) -> httpx.URL:
        """Return the parsed URL of an endpoint."""
        path = self.dialect.path(endpoint, model)
        if path not in self._urls:
            if len(self._urls) >= MODELS_CACHED:
                self._urls.clear()
            self._urls[path] = httpx.URL(f"{self.settings.base_url}/{path}")
        return self._urls[path]

    def serves(self, endpoint: Endpoint) -> bool:
        """Whether it can be asked at an endpoint: chat everywhere, the rest at OpenAI's kind."""
        return endpoint is Endpoint.CHAT or self.settings.kind in ("openai", "simulated")

    def resolve(self, model: str | None) -> str | None:
        """Return this provider's name for the model a prompt wants; None: it cannot serve it."""
        return self.settings.name_of(model, own=self.model)

    @property
    def why_out(self) -> str | None:
        """Why it, or a model of it, is out for the rest of the run, and what to check."""
        if self.standing.switch is not Switch.ON:
            return f"{self.name}: disabled {self.standing.switch.reason}"
        whole = self.standing.why_refused
        if whole is not None:
            return f"{self.name}: {whole}{self._suspect(whole)}"
        models = (f"{model}: {one.reason}" for model, one in self.standing.refused_models.items())
        reason = next(models, None)
        return None if reason is None else f"{self.name}: {reason}"

    def _suspect(self, reason: str) -> str:
        """Name the setting that a reason is about, by the kind of outcome that it begins with."""
        if reason.startswith(f"{Kind.NOT_FOUND}:"):
            return f" (check base_url: {self.settings.base_url})"
        if not reason.startswith((f"{Kind.AUTH}:", f"{Kind.OUT_OF_CREDIT}:")):
            return ""
        key = self.settings.key_name
        return f" (key: {key})" if key else " (no key is set)"

    def encode(self, request: Request, model: str) -> bytes:
        """Return the body on the wire."""
        return self.dialect.encode(
            request.endpoint,
            request.body,
            model=model,
            cap=self.settings.max_tokens,
            cap_field=self.settings.cap_field,
        )


class Prices(msgspec.Struct, frozen=True, kw_only=True):
    """What a fleet wants to know of prices, as of an instant; looking one up is not for free."""

    are_compared: bool = False
    are_required: bool = False
    """
    Under a budget, whoever has no price is left out, because its worst case is unknown.

    Where nobody has one, all stay: the job is not to blame, and waits for a run that can pay it.
    """
    utc_us: int = 0

    def of(self, provider: Provider, model: str) -> int | None:
        """Return the price to compare a model by; None: unknown, or nobody wants to know."""
        if not (self.are_compared or self.are_required):
            return None
        return provider.pricer.typical(model, utc_us=self.utc_us)


class Fleet:
    """All providers of a run, in rank order."""

    def __init__(self, providers: Iterable[Provider], prices: Prices) -> None:
        self.providers = {provider.name: provider for provider in providers}
        self._prices = prices
        self._candidates: dict[tuple[str | None, Endpoint], tuple[Candidate, ...]] = {}

    @classmethod
    def of(
        cls,
        settings: Iterable[ProviderSettings],
        *,
        concurrency: int,
        transports: Transports,
        prices: Prices | None = None,
    ) -> Fleet:
        """Build the fleet that settings describe; no socket is opened yet."""
        all_settings = list(settings)
        accounts = {
            name: _account([s for s in all_settings if s.account == name], concurrency)
            for name in dict.fromkeys(s.account for s in all_settings)
        }
        providers = [
            Provider(
                one,
                account=accounts[one.account],
                concurrency=concurrency,
                transport=transports(one),
            )
            for one in all_settings
        ]
        return cls(providers, prices or Prices())

    def candidates(
        self, model: str | None, endpoint: Endpoint = Endpoint.CHAT
    ) -> tuple[Candidate, ...]:
        """Return who can serve a model name (None: the provider's own), in rank order."""
        known = self._candidates.get((model, endpoint))
        if known is None:
            if len(self._candidates) >= MODELS_CACHED:
                self._candidates.clear()
            serving = tuple(self._serving(model, endpoint))
            if self._prices.are_required:
                serving = tuple(c for c in serving if c.unit_cost is not None) or serving
            known = self._candidates[model, endpoint] = serving
        return known

    def remember(
        self, openings: Mapping[tuple[str, str], int], cooldowns: Mapping[str, float]
    ) -> None:
        """
        Take up what earlier runs had come to.

        Args:
            openings: of breakers, by base URL and model.
            cooldowns: the instants at which those that are not over end, by provider.
        """
        for provider in self.providers.values():
            if (until := cooldowns.get(provider.name)) is not None:
                provider.standing.account.remember(until)
            own = provider.settings.base_url
            provider.standing.remember(
                {model: count for (base_url, model), count in openings.items() if base_url == own}
            )

    def has_price(self, provider: Provider, model: str) -> bool:
        """Whether a provider's price for a model is known."""
        return provider.pricer.typical(model, utc_us=self._prices.utc_us) is not None

    def require_prices(self) -> None:
        """Leave out from now on whoever has no price, as under a budget."""
        self._prices = msgspec.structs.replace(self._prices, are_required=True)
        self._candidates.clear()

    def _serving(self, model: str | None, endpoint: Endpoint) -> Iterable[Candidate]:
        for provider in self.providers.values():
            resolved = provider.resolve(model)
            if resolved is None or not provider.serves(endpoint):
                continue
            cost = self._prices.of(provider, resolved)
            yield Candidate(
                provider=provider.name,
                model=resolved,
                standing=provider.standing,
                channel=provider.standing.channel(resolved),
                context_window=provider.settings.context_window,
                unit_cost=cost,
            )

    @property
    def is_all_open(self) -> bool:
        """Whether the breakers of all providers that are still in the run are open."""
        left = [p.standing for p in self.providers.values() if p.standing.why_out is None]
        return bool(left) and all(standing.is_open for standing in left)

    @property
    def is_hopeless(self) -> bool:
        """Whether every provider is out for the rest of the run."""
        return all(p.standing.is_gone for p in self.providers.values())

    @property
    def is_held(self) -> bool:
        """Whether nobody can be asked, but would be if an operator let him."""
        is_out = all(p.standing.why_out is not None for p in self.providers.values())
        return is_out and not self.is_hopeless

    @property
    def switched_off(self) -> tuple[str, ...]:
        """Whom an operator keeps out, in this run or since an earlier one."""
        return tuple(
            name for name, p in self.providers.items() if p.standing.switch is not Switch.ON
        )

    @property
    def why_hopeless(self) -> str:
        """Return why each provider is out, and what to check, a line each."""
        reasons = (one.why_out for one in self.providers.values())
        return "\n".join(reason for reason in reasons if reason is not None)

    async def close(self) -> None:
        """Close every transport."""
        for provider in self.providers.values():
            await provider.transport.aclose()


def _account(sharing: Sequence[ProviderSettings], concurrency: int) -> Account:
    """
    Build what providers of one account share.

    Of several configured rates that is the smallest, of `limits` what the first provider says that
    says anything.
    """
    rates = RateLimits(
        **{
            name: min(given, default=None)
            for name in RateLimits.__struct_fields__
            if (given := [n for s in sharing if (n := getattr(s.rates, name)) is not None])
        }
    )
    first = next((s for s in sharing if s.limits != LimitSettings()), sharing[0])
    ceiling = min(concurrency, sum(s.max_in_flight or concurrency for s in sharing))
    return Account(
        Limits(first.limits, rates),
        Concurrency(first.limits, ceiling=ceiling, adaptive=all(s.adaptive for s in sharing)),
        shared_as=first.account if len(sharing) > 1 else None,
    )


def transports(clock: Clock, environ: Mapping[str, str]) -> Transports:
    """Return what opens the way to real servers, and to the simulated provider."""

    def open_way(settings: ProviderSettings) -> httpx.AsyncBaseTransport:
        if settings.simulated is not None:
            from aiq.providers.simulated_transport import SimulatedTransport  # noqa: PLC0415

            return SimulatedTransport(settings.simulated, clock)
        from aiq.providers.transport import SocketTransport  # noqa: PLC0415 - the sockets' 0.2 s

        return SocketTransport(
            connect_timeout_s=settings.connect_timeout_s,
            proxy=proxy_for(settings.base_url, environ),
        )

    return open_way
