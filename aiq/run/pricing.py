"""
What an attempt cost, and the most it can cost.

Source of truth, in this order: the reply's own statement, the configured price, the price table of
genai-prices (bundled, offline, imported only when it is needed), else unknown. Arithmetic is exact
and ends in whole nano-dollars; an unknown price stays None and never becomes zero.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import NamedTuple

import msgspec

from aiq.config import ProviderSettings
from aiq.model import NANO_PER_USD, Answer, Endpoint, Price, Usage
from aiq.providers.presets import PRESETS
from aiq.store.jobs import Load

PER_TOKENS = 1_000_000


class Charge(msgspec.Struct, frozen=True):
    """A cost with where it comes from."""

    nano: int | None
    source: str | None = None


UNKNOWN = Charge(None)


class Pricer:
    """Prices attempts at one provider."""

    def __init__(self, provider: ProviderSettings) -> None:
        self._price = provider.price
        self._rates = Rates(provider.price) if provider.price else None
        self._table = None if provider.price else PriceTable.of(provider)

    def charge(self, endpoint: Endpoint, model: str, answer: Answer, *, utc_us: int) -> Charge:
        """Return what an answered attempt cost; `model` is what was asked for."""
        if answer.cost_nano is not None:
            return Charge(answer.cost_nano, "reply")
        return self.usage_charge(endpoint, answer.served_model or model, answer.usage, utc_us)

    def usage_charge(self, endpoint: Endpoint, model: str, usage: Usage, utc_us: int) -> Charge:
        """Return the price of reported usage."""
        output = usage.output_tokens
        if output is None and endpoint is Endpoint.EMBEDDINGS:
            output = 0
        if self.is_free:
            return Charge(0, "config")
        if usage.input_tokens is None or output is None:
            return UNKNOWN
        return self._of(model, _counts(usage, usage.input_tokens, output), utc_us)

    def bound(
        self,
        model: str,
        *,
        input_bound: int,
        output_cap: int | None,
        utc_us: int,
        may_cache: bool = False,
        tier: str | None = None,
    ) -> int | None:
        """
        Return the most an attempt can cost; None without a price or an output cap.

        `may_cache` says that the request may put its input into the vendor's cache, which can cost
        up to twice the input itself; `tier` is the service tier it asks for.
        """
        if self.is_free:
            return 0
        if output_cap is None:
            return None
        price = self._price
        is_cached_dearer = price is not None and (price.cached_input or 0) > price.input
        cached = input_bound if is_cached_dearer else 0
        plain = _Counts(input_bound, output_cap, cached)
        worst = [plain]
        if may_cache:
            worst.append(plain._replace(cached=0, written=input_bound, written_1h=input_bound))
        if tier is not None:
            worst += [counts._replace(tier=tier) for counts in worst]
        costs = [self._of(model, counts, utc_us).nano for counts in worst]
        return None if costs[0] is None else max(cost or 0 for cost in costs)

    def typical(self, model: str, *, utc_us: int) -> int | None:
        """Return what a request of typical size costs, to compare models by; None: unknown."""
        usage = Usage(input_tokens=TYPICAL_INPUT_TOKENS, output_tokens=TYPICAL_OUTPUT_TOKENS)
        return self.usage_charge(Endpoint.CHAT, model, usage, utc_us).nano

    @property
    def is_free(self) -> bool:
        """Whether it is configured to cost nothing."""
        return self._price is not None and _is_free(self._price)

    @property
    def knows_prices(self) -> bool:
        """Whether a bound can be had at all, so that nobody counts tokens for nothing."""
        return self._price is not None or self._table is not None

    def _of(self, model: str, counts: _Counts, utc_us: int) -> Charge:
        if self._rates is not None:
            return Charge(self._rates.nano(counts), "config")
        if self._table is not None:
            return self._table.charge(model, counts, utc_us)
        return UNKNOWN


class _Counts(NamedTuple):
    """Tokens as they are priced: all known, and no part larger than the whole."""

    input: int
    output: int
    cached: int = 0
    written: int = 0
    """Input put into the vendor's cache, for minutes or, `written_1h` of it, for an hour."""
    written_1h: int = 0
    tier: str | None = None


def _counts(usage: Usage, tokens: int, output: int) -> _Counts:
    cached = min(usage.cached_tokens or 0, tokens)
    written = min(usage.cache_write_tokens or 0, tokens - cached)
    written_1h = min(usage.cache_write_1h_tokens or 0, written)
    return _Counts(tokens, output, cached, written, written_1h, usage.service_tier)


TYPICAL_INPUT_TOKENS = 768
TYPICAL_OUTPUT_TOKENS = 256
"""What an estimate assumes for answers, where no smaller cap is set; and three times as much going
in, where models are compared."""


def _tokens(count: int, size: int) -> int:
    """Return about how many tokens prompts of this size in all are: four bytes each, and frames."""
    return size // 4 + 4 * count


def input_tokens(loads: Iterable[Load]) -> int:
    """Return about how many tokens go in."""
    return sum(
        _tokens(load.texts, load.text_bytes) + _tokens(load.vectors, load.vector_bytes)
        for load in loads
    )


def estimate(
    provider: ProviderSettings,
    loads: Iterable[Load],
    *,
    own_model: str | None,
    utc_us: int,
    cap: int | None = None,
) -> int | None:
    """
    Return about what loads cost at a provider, in nano-dollars.

    None if it cannot serve one of their models, or knows no price for it. `own_model` is what
    prompts that name none are asked with, `cap` what bounds their answers before the provider's.
    """
    pricer, total = Pricer(provider), 0
    output = assumed_output(provider, cap)
    for load in loads:
        model = provider.name_of(load.model, own=own_model)
        if model is None and load.model is not None:
            return None
        cost = _load_cost(pricer, load, model or "", output, utc_us)
        if cost is None:
            return None
        total += cost
    return total


def assumed_output(provider: ProviderSettings, cap: int | None = None) -> int:
    """Return how many tokens an estimate takes an answer for, under a cap or the provider's."""
    return min(cap or provider.max_tokens or TYPICAL_OUTPUT_TOKENS, TYPICAL_OUTPUT_TOKENS)


def _load_cost(pricer: Pricer, load: Load, model: str, output: int, utc_us: int) -> int | None:
    total = 0
    for count, size, each in (
        (load.texts, load.text_bytes, output),
        (load.vectors, load.vector_bytes, 0),
    ):
        if not count:
            continue
        usage = Usage(input_tokens=_tokens(count, size) // count, output_tokens=each)
        one = pricer.usage_charge(Endpoint.CHAT, model, usage, utc_us)
        if one.nano is None:
            return None
        total += one.nano * count
    return total


def _is_free(price: Price) -> bool:
    return not (price.input or price.output or price.cached_input)


class Rates:
    """A configured price as exact integers, 1e-18 dollars per token."""

    def __init__(self, price: Price) -> None:
        cached = price.input if price.cached_input is None else price.cached_input
        self.input, self.output, self.cached = map(_rate, (price.input, price.output, cached))

    def nano(self, counts: _Counts) -> int:
        """Return the cost in nano-dollars, halves rounded up; cache writes are plain input."""
        uncached = counts.input - counts.cached
        total = self.input * uncached + self.cached * counts.cached + self.output * counts.output
        return (total + _RATES_PER_NANO // 2) // _RATES_PER_NANO


_RATES_PER_NANO = 10**9
"""Rates are kept to 18 digits of a dollar per token, nine beyond the nano-dollar."""


def _rate(usd_per_million: float) -> int:
    exact = Decimal(str(usd_per_million)) * NANO_PER_USD * _RATES_PER_NANO / PER_TOKENS
    return int(exact.to_integral_value(rounding=ROUND_HALF_UP))


def _nano(usd: Decimal) -> int:
    return int((usd * NANO_PER_USD).to_integral_value(rounding=ROUND_HALF_UP))


class PriceTable:
    """The genai-prices table for one provider."""

    def __init__(self, *, provider_id: str | None, base_url: str) -> None:
        self._provider_id = provider_id
        self._base_url = base_url
        self._unlisted: set[str] = set()

    @staticmethod
    def of(provider: ProviderSettings) -> PriceTable | None:
        """Return the table, or None for servers on this machine, which no table lists."""
        if provider.is_local or provider.kind == "simulated":
            return None
        preset = PRESETS.get(provider.preset or "")
        is_preset_url = preset is not None and preset.base_url == provider.base_url
        provider_id = preset.price_id if preset is not None and is_preset_url else None
        return PriceTable(provider_id=provider_id, base_url=provider.base_url)

    def charge(self, model: str, counts: _Counts, utc_us: int) -> Charge:
        """Look a price up as of the call's own time."""
        model = model.removeprefix("models/")  # as Gemini's own lists write its names
        if model in self._unlisted:
            return UNKNOWN
        import genai_prices  # noqa: PLC0415 - 0.2 s that only priced runs pay

        usage = genai_prices.Usage(
            input_tokens=counts.input,
            cache_read_tokens=counts.cached,
            cache_write_tokens=counts.written,
            output_tokens=counts.output,
            **({"cache_write_1h_tokens": counts.written_1h} if counts.written_1h else {}),
        )
        price = functools.partial(
            genai_prices.calc_price,
            usage,
            model,
            genai_request_timestamp=datetime.fromtimestamp(utc_us / 1_000_000, UTC),
            price_context=None if counts.tier is None else {"service_tier": counts.tier},
        )
        try:
            if self._provider_id is not None:
                found = price(provider_id=self._provider_id)
            else:
                found = price(provider_api_url=self._base_url)
        except (LookupError, ValueError):
            if len(self._unlisted) < 10_000:
                self._unlisted.add(model)
            return UNKNOWN
        return Charge(_nano(found.total_price), f"genai-prices {genai_prices.__version__}")
