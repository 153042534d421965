"""
The price table of genai-prices: what counted tokens cost, and the most that tokens can cost.

It is bundled, works offline and is imported only when it is needed. Arithmetic is exact and ends in
whole nano-dollars.

A charge is as of its own time; a ceiling holds for as long as an attempt may take, because prices
change by the hour and by the day. It is reckoned at the quarters of the hours, kept, and costs a
request no more than a multiplication.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from decimal import ROUND_CEILING, ROUND_HALF_UP, Decimal
from typing import Any, NamedTuple

import msgspec

from aiq.config import ProviderSettings
from aiq.model import NANO_PER_USD, Media
from aiq.providers.presets import PRESETS

PER_TOKENS = 1_000_000
RATES_PER_NANO = 10**9
"""Rates are kept to 18 digits of a dollar per token, nine beyond the nano-dollar."""

UNASKED_TIERS = ("priority", "fast")
"""Dearer tiers that an account may be served as although its request names none."""

CHEAP_TIERS = frozenset({"default", "standard", "standard_only", "flex"})
"""Who asks for one of these is not served as a dearer one."""

_QUARTER_US = 15 * 60 * 1_000_000
_SETTLING_US = 60 * 1_000_000
"""What may pass between the end of a reply and its settlement."""

CEILINGS_KEPT = 4096
UNLISTED_KEPT = 10_000
"""Models known not to be listed; of any more that is found out for every request."""

_TEXT_RATES = frozenset({"input_mtok", "cache_read_mtok", "cache_write_mtok"})
"""What text may cost going in: some vendors write to their cache unasked."""


class Charge(msgspec.Struct, frozen=True):
    """A cost with where it comes from."""

    nano: int | None
    source: str | None = None


UNKNOWN = Charge(None)


class Counts(NamedTuple):
    """Tokens as they are priced: all known, and no part larger than the whole."""

    input: int
    output: int
    cached: int = 0
    written: int = 0
    """Input put into the vendor's cache, for minutes or, `written_1h` of it, for an hour."""
    written_1h: int = 0
    media: Media | None = None
    tier: str | None = None
    speed: str | None = None


class Terms(NamedTuple):
    """What of a request moves its price, beside the number of its tokens."""

    tier: str | None = None
    """The service tier it asks for; None: whatever the account has."""
    speed: str | None = None
    may_keep: bool = False
    """It may ask the vendor to keep its input for an hour, at up to twice the price."""
    has_media: bool = False
    """It holds more than text, so that any price of input may apply."""


class Step(NamedTuple):
    """Dearest rates, 1e-18 dollars per token, of requests with more than `above` input tokens."""

    above: int
    input: int
    output: int


class _Price(NamedTuple):
    is_output: bool
    above: int
    rate: int


class Ceiling(NamedTuple):
    """The dearest rates; steps ascend, and so do their rates."""

    steps: tuple[Step, ...]

    def nano(self, input_tokens: int, output_tokens: int) -> int:
        """Return the most so many tokens, or fewer, can cost, in nano-dollars rounded up."""
        found = self.steps[0]
        for step in self.steps[1:]:
            if input_tokens > step.above:
                found = step
        total = found.input * input_tokens + found.output * output_tokens
        return -(-total // RATES_PER_NANO)


class PriceTable:
    """The genai-prices table for one provider."""

    def __init__(self, *, provider_id: str | None, base_url: str) -> None:
        self._provider_id = provider_id
        self._base_url = base_url
        self._unlisted: set[str] = set()
        self._ceilings: dict[tuple[str, Terms, int, int], Ceiling | None] = {}

    @staticmethod
    def of(provider: ProviderSettings) -> PriceTable | None:
        """Return the table, or None for servers on this machine, which no table lists."""
        if provider.is_local or provider.kind == "simulated":
            return None
        preset = PRESETS.get(provider.preset or "")
        is_preset_url = preset is not None and preset.base_url == provider.base_url
        provider_id = preset.price_id if preset is not None and is_preset_url else None
        return PriceTable(provider_id=provider_id, base_url=provider.base_url)

    def charge(self, model: str, counts: Counts, utc_us: int) -> Charge:
        """Look a price up as of the call's own time."""
        context = _context(counts.tier, counts.speed)
        found = self._look_up(model, _usage(counts), utc_us, context)
        if found is None:
            return UNKNOWN
        import genai_prices  # noqa: PLC0415 - as in `_look_up`

        return Charge(_nano(found.total_price), f"genai-prices {genai_prices.__version__}")

    def ceiling(self, model: str, terms: Terms, *, utc_us: int, within_s: float) -> Ceiling | None:
        """Return the dearest rates from now until an attempt is settled; None: there are none."""
        first = utc_us // _QUARTER_US
        last = (utc_us + round(within_s * 1e6) + _SETTLING_US) // _QUARTER_US
        key = (model, terms, first, last)
        if key not in self._ceilings:
            if len(self._ceilings) >= CEILINGS_KEPT:
                self._ceilings.clear()
            # A price that changes within a quarter is in force at one end of it.
            instants = [quarter * _QUARTER_US for quarter in range(first, last + 2)]
            self._ceilings[key] = self._reckoned(model, terms, instants)
        return self._ceilings[key]

    def _reckoned(self, model: str, terms: Terms, instants: Iterable[int]) -> Ceiling | None:
        prices: list[_Price] = []
        for utc_us in instants:
            for context in _contexts(terms):
                found = self._look_up(model, {"input_tokens": 0}, utc_us, context)
                if found is None:
                    return None
                prices += _prices(found.model_price, terms)
        return _ceiling(prices)

    def _look_up(
        self, model: str, usage: dict[str, int], utc_us: int, context: dict[str, str]
    ) -> Any:
        """Return the calculation, or None for a model that is not listed."""
        model = model.removeprefix("models/")  # as Gemini's own lists write its names
        if model in self._unlisted:
            return None
        import genai_prices  # noqa: PLC0415 - 0.2 s that only priced runs pay

        price = functools.partial(
            genai_prices.calc_price,
            genai_prices.Usage(**usage),
            model,
            genai_request_timestamp=datetime.fromtimestamp(utc_us / 1_000_000, UTC),
            price_context=context or None,
        )
        try:
            if self._provider_id is not None:
                return price(provider_id=self._provider_id)
            return price(provider_api_url=self._base_url)
        except LookupError:
            if len(self._unlisted) < UNLISTED_KEPT:
                self._unlisted.add(model)
            return None
        except ValueError:  # of this usage nobody can tell the price
            return None


def rate(usd_per_million: float | Decimal) -> int:
    """Return a price as a rate, rounded to its nearest last digit."""
    return _rate(usd_per_million, ROUND_HALF_UP)


def _rate(usd_per_million: float | Decimal, rounding: str) -> int:
    exact = Decimal(str(usd_per_million)) * NANO_PER_USD * RATES_PER_NANO / PER_TOKENS
    return int(exact.to_integral_value(rounding=rounding))


def _nano(usd: Decimal) -> int:
    return int((usd * NANO_PER_USD).to_integral_value(rounding=ROUND_HALF_UP))


def _usage(counts: Counts) -> dict[str, int]:
    usage = {
        "input_tokens": counts.input,
        "cache_read_tokens": counts.cached,
        "cache_write_tokens": counts.written,
        "output_tokens": counts.output,
    }
    if counts.written_1h:
        usage["cache_write_1h_tokens"] = counts.written_1h
    media = counts.media
    if media is not None:
        usage |= {
            "input_audio_tokens": media.input_audio,
            "input_image_tokens": media.input_image,
            "cache_audio_read_tokens": media.cached_audio,
            "cache_image_read_tokens": media.cached_image,
            "output_audio_tokens": media.output_audio,
            "output_image_tokens": media.output_image,
        }
    return usage


def _context(tier: str | None, speed: str | None) -> dict[str, str]:
    named = {"service_tier": tier, "speed": speed}
    return {name: value for name, value in named.items() if value is not None}


def _contexts(terms: Terms) -> Iterator[dict[str, str]]:
    """Give all that a request may be served as; what the table does not know is the standard."""
    unasked = () if terms.tier in CHEAP_TIERS else UNASKED_TIERS
    for tier in dict.fromkeys((None, terms.tier, *unasked)):
        yield _context(tier, None)
        if terms.speed is not None:
            yield _context(tier, terms.speed)


def _prices(model_price: Any, terms: Terms) -> Iterator[_Price]:
    """Give the prices per token that may apply."""
    for name, price in vars(model_price).items():
        is_output = name.startswith("output_")
        if price is None or not name.endswith("_mtok") or not (is_output or _may_be(name, terms)):
            continue
        yield _Price(is_output, 0, _rate(getattr(price, "base", price), ROUND_CEILING))
        for tier in getattr(price, "tiers", ()):
            yield _Price(is_output, tier.start, _rate(tier.price, ROUND_CEILING))


def _may_be(name: str, terms: Terms) -> bool:
    """Whether a price of input may apply."""
    if name.endswith("_write_1h_mtok"):
        return terms.may_keep
    return terms.has_media or name in _TEXT_RATES


def _ceiling(prices: list[_Price]) -> Ceiling:
    steps = []
    for above in sorted({0, *(price.above for price in prices)}):
        within = [price for price in prices if price.above <= above]
        steps.append(
            Step(
                above,
                max((price.rate for price in within if not price.is_output), default=0),
                max((price.rate for price in within if price.is_output), default=0),
            )
        )
    return Ceiling(tuple(steps))
