"""
What an attempt cost, and the most it can cost.

Source of truth, in this order: the reply's own statement, the configured price, the price table of
genai-prices (bundled, offline, imported only when it is needed), else unknown. Arithmetic is exact
and ends in whole nano-dollars; an unknown price stays None and never becomes zero.
"""

from __future__ import annotations

from collections.abc import Iterable

from aiq.config import ProviderSettings
from aiq.model import Answer, Endpoint, Media, Outcome, Price, Usage
from aiq.run.price_table import (
    RATES_PER_NANO,
    UNKNOWN,
    Ceiling,
    Charge,
    Counts,
    PriceTable,
    Step,
    Terms,
    rate,
)
from aiq.store.backlog import Load

PLAIN = Terms()


class Pricer:
    """Prices attempts at one provider."""

    def __init__(self, provider: ProviderSettings) -> None:
        self._price = provider.price
        self._rates = Rates(provider.price) if provider.price else None
        self._ceiling = self._rates.ceiling if self._rates else None
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

    def failure_charge(
        self, endpoint: Endpoint, model: str, outcome: Outcome, *, utc_us: int
    ) -> Charge:
        """Return what an attempt cost that was paid and brought no answer."""
        if outcome.cost_nano is not None:
            return Charge(outcome.cost_nano, "reply")
        return self.usage_charge(endpoint, model, outcome.usage, utc_us)

    def bound(
        self,
        model: str,
        *,
        input_bound: int,
        output_cap: int | None,
        utc_us: int,
        within_s: float = 0.0,
        terms: Terms = PLAIN,
    ) -> int | None:
        """
        Return the most an attempt can cost; None without a price or an output cap.

        It is settled up to `within_s` from now, when another price may hold.
        """
        if self.is_free:
            return 0
        if output_cap is None:
            return None
        ceiling = self._ceiling
        if ceiling is None and self._table is not None:
            ceiling = self._table.ceiling(model, terms, utc_us=utc_us, within_s=within_s)
        return None if ceiling is None else ceiling.nano(input_bound, output_cap)

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

    def _of(self, model: str, counts: Counts, utc_us: int) -> Charge:
        if self._rates is not None:
            return Charge(self._rates.nano(counts), "config")
        if self._table is not None:
            return self._table.charge(model, counts, utc_us)
        return UNKNOWN


def _counts(usage: Usage, tokens: int, output: int) -> Counts:
    """Return what is priced: all known, and no part larger than the whole."""
    cached = min(usage.cached_tokens or 0, tokens)
    written = min(usage.cache_write_tokens or 0, tokens - cached)
    written_1h = min(usage.cache_write_1h_tokens or 0, written)
    return Counts(
        tokens,
        output,
        cached,
        written,
        written_1h,
        media=usage.media and _media(usage.media, tokens, output, cached),
        tier=usage.service_tier,
        speed=usage.speed,
    )


def _media(said: Media, tokens: int, output: int, cached: int) -> Media:
    """
    Return the media as parts of the counts.

    How much of the cached input was sound or pictures is not always told: as little as can be.
    """
    audio = min(said.input_audio, tokens)
    image = min(said.input_image, tokens - audio)
    beyond_text = max(0, cached - (tokens - audio - image))
    cached_audio = min(audio, cached, max(said.cached_audio, beyond_text - image))
    cached_image = min(
        image, cached - cached_audio, max(said.cached_image, beyond_text - cached_audio)
    )
    output_audio = min(said.output_audio, output)
    return Media(
        input_audio=audio,
        input_image=image,
        cached_audio=cached_audio,
        cached_image=cached_image,
        output_audio=output_audio,
        output_image=min(said.output_image, output - output_audio),
    )


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
        self.input, self.output, self.cached = map(rate, (price.input, price.output, cached))

    @property
    def ceiling(self) -> Ceiling:
        """Return the most it makes of a number of tokens; it may be the cached that are dear."""
        return Ceiling((Step(0, max(self.input, self.cached), self.output),))

    def nano(self, counts: Counts) -> int:
        """
        Return the cost in nano-dollars, halves rounded up.

        Whatever a table prices apart (writes to a cache, sound, pictures, tiers) is plain here.
        """
        uncached = counts.input - counts.cached
        total = self.input * uncached + self.cached * counts.cached + self.output * counts.output
        return (total + RATES_PER_NANO // 2) // RATES_PER_NANO
