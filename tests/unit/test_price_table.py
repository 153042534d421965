"""The most that tokens can cost by the table: at any hour, in any tier, of any kind."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import genai_prices
import pytest
from genai_prices.data import providers
from hypothesis import given, settings
from hypothesis import strategies as st

from aiq.model import Answer, Endpoint, Kind, Media, Outcome, Price, Usage
from aiq.providers.presets import PRESETS
from aiq.run.fleet import Provider
from aiq.run.price_table import CHEAP_TIERS, Ceiling, Charge, Step, Terms
from aiq.run.pricing import Pricer
from aiq.run.request import Request
from aiq.run.settlement import cost_bound
from tests.support.factories import job, provider

AS_OF_0_2_3 = pytest.mark.skipif(
    genai_prices.__version__ != "0.2.3", reason="figures of one version of the table"
)
PRESET_NAMES = ("openai", "anthropic", "gemini", "deepseek", "xai", "openrouter", "mistral")


def pricer(preset: str) -> Pricer:
    found = PRESETS[preset]
    return Pricer(provider(preset=preset, kind=found.kind, base_url=found.base_url))


def at(hour: int, minute: int = 0, *, day: int = 25, month: int = 11) -> int:
    return int(datetime(2026, month, day, hour, minute, tzinfo=UTC).timestamp() * 1e6)


def cost(preset: str, model: str, usage: Usage, *, utc_us: int) -> int:
    found = pricer(preset).charge(Endpoint.CHAT, model, Answer(usage=usage), utc_us=utc_us)
    assert found.nano is not None
    return found.nano


def bound(
    preset: str,
    model: str,
    tokens: tuple[int, int],
    *,
    utc_us: int,
    within_s: float = 600,
    terms: Terms = Terms(),  # noqa: B008 - immutable
) -> int:
    found = pricer(preset).bound(
        model,
        input_bound=tokens[0],
        output_cap=tokens[1],
        utc_us=utc_us,
        within_s=within_s,
        terms=terms,
    )
    assert found is not None
    return found


def test_fewer_tokens_than_the_bound_may_be_cheaper_by_the_piece() -> None:
    """Prices by size rise with it, and the step is taken above its number, not at it."""
    ceiling = Ceiling((Step(0, 10**9, 2 * 10**9), Step(100, 3 * 10**9, 4 * 10**9)))
    assert ceiling.nano(100, 10) == 120
    assert ceiling.nano(101, 10) == 343


def test_a_ceiling_is_rounded_up() -> None:
    assert Ceiling((Step(0, 1, 0),)).nano(1, 0) == 1


@AS_OF_0_2_3
@pytest.mark.parametrize(
    ("asked_at", "answered_at"), [(at(0, 58), at(1, 1)), (at(5, 59), at(6, 1)), (at(0, 51), at(1))]
)
def test_a_price_that_rises_while_an_answer_is_made_is_in_the_bound(
    asked_at: int, answered_at: int
) -> None:
    """DeepSeek's peak is twice the rest; what is asked before it may be answered in it."""
    usage = Usage(input_tokens=90, output_tokens=8192)
    found = bound("deepseek", "deepseek-flash", (400, 8192), utc_us=asked_at)
    assert cost("deepseek", "deepseek-flash", usage, utc_us=answered_at) <= found
    calm = bound("deepseek", "deepseek-flash", (400, 8192), utc_us=at(12))
    assert found > 1.9 * calm


@AS_OF_0_2_3
def test_a_price_that_starts_tomorrow_is_in_the_bound_of_tonight() -> None:
    """Gemini 3.6 Flash costs twice as much from the first of January on."""
    tonight = at(23, 55, day=31, month=12)
    usage = Usage(input_tokens=1000, output_tokens=1000)
    asked = bound("gemini", "gemini-3.6-flash", (1000, 1000), utc_us=tonight)
    assert cost("gemini", "gemini-3.6-flash", usage, utc_us=tonight + 10 * 60_000_000) <= asked
    assert bound("gemini", "gemini-3.6-flash", (1000, 1000), utc_us=at(12)) < asked


@AS_OF_0_2_3
@pytest.mark.parametrize(
    ("tier", "nano"),
    [
        (None, 22_500_000),
        ("auto", 22_500_000),
        ("priority", 22_500_000),
        *((tier, 11_250_000) for tier in sorted(CHEAP_TIERS)),
    ],
)
def test_a_tier_nobody_asked_for_is_in_the_bound(tier: str | None, nano: int) -> None:
    """An account may be served first by default; only a request that says otherwise is not."""
    found = bound("openai", "gpt-5", (1000, 1000), utc_us=at(12), terms=Terms(tier=tier))
    assert found == nano


@AS_OF_0_2_3
def test_who_asks_for_speed_pays_for_it() -> None:
    usage = Usage(input_tokens=1000, output_tokens=1000, speed="fast")
    paid = cost("anthropic", "claude-opus-5", usage, utc_us=at(12))
    assert paid == 60_000_000
    fast = bound(
        "anthropic", "claude-opus-5", (1000, 1000), utc_us=at(12), terms=Terms(speed="fast")
    )
    assert bound("anthropic", "claude-opus-5", (1000, 1000), utc_us=at(12)) < paid <= fast


@AS_OF_0_2_3
def test_a_cache_that_is_written_unasked_is_in_the_bound() -> None:
    """Some vendors put what they read into their cache by themselves, and charge for it."""
    usage = Usage(input_tokens=90_000, output_tokens=10, cache_write_tokens=90_000)
    paid = cost("openai", "gpt-6-sol", usage, utc_us=at(12))
    found = bound("openai", "gpt-6-sol", (90_000, 10), utc_us=at(12), terms=Terms(tier="default"))
    assert paid == found == 225_100_000


@AS_OF_0_2_3
@pytest.mark.parametrize(
    ("preset", "model", "media", "nano"),
    [
        ("gemini", "gemini-2.5-flash", Media(input_audio=900), 930_000),
        ("gemini", "gemini-2.5-flash", Media(input_audio=900, cached_audio=100), 840_000),
        ("gemini", "gemini-2.5-flash", Media(input_image=900), 300_000),
        ("openai", "gpt-audio", Media(input_audio=1000), 32_000_000),
        ("openai", "gpt-audio", Media(input_audio=10**7, cached_audio=10**7), 32_000_000),
    ],
)
def test_sound_is_not_priced_as_text(preset: str, model: str, media: Media, nano: int) -> None:
    """Gemini 2.5 Flash takes 1 USD a million for sound, 30 cents for text; cached, a tenth."""
    usage = Usage(input_tokens=1000, output_tokens=0, cached_tokens=media.cached_audio, media=media)
    assert cost(preset, model, usage, utc_us=at(12)) == nano


@AS_OF_0_2_3
def test_what_a_model_says_or_draws_has_its_own_price() -> None:
    spoken = Usage(input_tokens=0, output_tokens=1000, media=Media(output_audio=1000))
    drawn = Usage(input_tokens=0, output_tokens=1000, media=Media(output_image=1000))
    assert cost("openai", "gpt-audio", spoken, utc_us=at(12)) == 64_000_000
    assert cost("gemini", "gemini-2.5-flash-image", drawn, utc_us=at(12)) == 30_000_000
    assert bound("openai", "gpt-audio", (0, 1000), utc_us=at(12)) == 64_000_000


def test_a_configured_price_knows_no_sound() -> None:
    priced = Pricer(provider(price=Price(input=1.0, output=2.0)))
    usage = Usage(input_tokens=10, output_tokens=10, media=Media(input_audio=10, output_audio=10))
    found = priced.charge(Endpoint.CHAT, "m", Answer(usage=usage), utc_us=at(12))
    assert found == Charge(30_000, "config")


def test_a_failure_costs_what_it_says_else_what_its_usage_costs() -> None:
    """The order of truth is the same for all that is paid."""
    priced = Pricer(provider(price=Price(input=1.0, output=2.0)))
    usage = Usage(input_tokens=10, output_tokens=10)
    for stated, charge in ((77, Charge(77, "reply")), (None, Charge(30_000, "config"))):
        outcome = Outcome(kind=Kind.SERVER_ERROR, usage=usage, cost_nano=stated)
        assert priced.failure_charge(Endpoint.CHAT, "m", outcome, utc_us=at(12)) == charge


def test_odd_counts_of_one_reply_leave_the_model_its_price() -> None:
    """A model whose price could not be told once has one all the same."""
    prices = pricer("openai")
    odd = Usage(input_tokens=10**7, output_tokens=0, media=Media(input_image=1, cached_image=10**7))
    prices.charge(Endpoint.CHAT, "gpt-image-1", Answer(usage=odd), utc_us=at(12))
    usage = Usage(input_tokens=10, output_tokens=10)
    found = prices.charge(Endpoint.CHAT, "gpt-image-1", Answer(usage=usage), utc_us=at(12))
    assert found.nano is not None


def listed(preset: str) -> list[str]:
    wanted = PRESETS[preset].price_id
    return [model.id for one in providers if one.id == wanted for model in one.models]


MODELS = [(preset, model) for preset in PRESET_NAMES for model in listed(preset)]
PRICERS = {preset: pricer(preset) for preset in PRESET_NAMES}
COUNTS = st.integers(0, 300_000)


@settings(max_examples=100)
@given(
    st.sampled_from(MODELS),
    st.tuples(COUNTS, COUNTS, COUNTS, COUNTS),
    st.builds(
        Media,
        **{name: COUNTS | st.just(0) for name in Media.__struct_fields__},
    ),
    st.sampled_from([None, "flex", "priority", "fast", "default"]),
    st.tuples(st.integers(at(0), at(0, day=26)), st.floats(0, 660)),
)
def test_no_usage_within_its_bounds_costs_more_than_the_bound(
    listing: tuple[str, str],
    tokens: tuple[int, int, int, int],
    media: Media,
    tier: str | None,
    when: tuple[int, float],
) -> None:
    """For every model of the table, whatever was cached, heard, drawn, and whenever it came."""
    preset, model = listing
    utc_us, later_s = when
    tokens_in, output, cached, written = tokens
    usage = Usage(
        input_tokens=tokens_in,
        output_tokens=output,
        cached_tokens=cached,
        cache_write_tokens=written,
        media=media,
        service_tier=tier,
    )
    found = PRICERS[preset].charge(
        Endpoint.CHAT, model, Answer(usage=usage), utc_us=utc_us + round(later_s * 1e6)
    )
    most = PRICERS[preset].bound(
        model,
        input_bound=tokens_in,
        output_cap=output,
        utc_us=utc_us,
        within_s=600,
        terms=Terms(has_media=True),
    )
    if found.nano is not None:
        assert most is not None
        assert found.nano <= most


def test_a_request_that_cannot_be_written_has_no_bound_and_harms_nobody() -> None:
    """It will not be sent either; the run goes on with all others."""
    deep: list[Any] = []
    for _ in range(5_000):
        deep = [deep]
    body = {"messages": [{"role": "user", "content": "x"}], "tools": deep, "max_tokens": 10}
    asked = job(1)
    asked.request = Request(Endpoint.CHAT, body, None)
    settings = provider(price=Price(input=1.0, output=2.0))
    serving = SimpleNamespace(pricer=Pricer(settings), settings=settings)
    assert cost_bound(asked, cast("Provider", serving), "m", utc_us=at(12)) is None
