"""Money to the nano-dollar: who states it, how it is computed, and that unknown is never zero."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from aiq.config import ProviderSettings
from aiq.model import Answer, Endpoint, Price, Usage
from aiq.run.price_table import UNKNOWN, Charge, Terms
from aiq.run.pricing import Pricer, estimate
from aiq.store.backlog import Load
from tests.support.factories import NOW_US, provider

IN_2026_US = 1_795_348_800_000_000
OPENAI = provider(preset="openai", base_url="https://api.openai.com/v1")


def priced(**price: float) -> Pricer:
    return Pricer(provider(price=Price(**price)))


def charge(
    pricer: Pricer,
    usage: Usage,
    *,
    model: str = "m",
    endpoint: Endpoint = Endpoint.CHAT,
    **facts: Any,
) -> Charge:
    return pricer.charge(endpoint, model, Answer(usage=usage, **facts), utc_us=NOW_US)


def used(tokens: int | None, output: int | None, cached: int | None = None) -> Usage:
    return Usage(input_tokens=tokens, output_tokens=output, cached_tokens=cached)


@pytest.mark.parametrize(
    ("price", "usage", "nano"),
    [
        ({"input": 0.40, "output": 1.60}, used(1, 0), 400),
        ({"input": 0.40, "output": 1.60}, used(1_000_000, 1_000_000), 2_000_000_000),
        ({"input": 0.40, "output": 1.60, "cached_input": 0.10}, used(1000, 10, 400), 296_000),
        ({"input": 0.40, "output": 1.60}, used(1000, 10, 400), 416_000),
        ({"input": 0.40, "output": 1.60, "cached_input": 0.0}, used(1000, 0, 1000), 0),
        ({"input": 0.0001, "output": 0}, used(5, 0), 1),
        ({"input": 0.0001, "output": 0}, used(4, 0), 0),
        ({"input": 1, "output": 1}, used(10**12, 0), 10**15),
        ({"input": 0.1, "output": 0.2}, used(3, 0), 300),
    ],
)
def test_a_configured_price_is_exact(price: dict[str, float], usage: Usage, nano: int) -> None:
    """Half a nano-dollar rounds up; nothing passes through binary fractions."""
    assert charge(priced(**price), usage) == Charge(nano, "config")


def test_more_cached_than_input_is_read_as_all_cached() -> None:
    """Some servers report cached tokens beside the input instead of within it."""
    pricer = priced(input=1.0, output=0.0, cached_input=0.5)
    assert charge(pricer, used(10, 0, 50)).nano == 5_000


@pytest.mark.parametrize("usage", [used(None, 5), used(5, None), used(None, None)])
def test_usage_that_was_not_reported_has_no_price(usage: Usage) -> None:
    assert charge(priced(input=1, output=1), usage) == UNKNOWN
    assert UNKNOWN.nano is None


@pytest.mark.parametrize(
    "price", [{"input": 0, "output": 0}, {"input": 0, "output": 0, "cached_input": 0}]
)
def test_what_is_free_costs_nothing_without_usage(price: dict[str, float]) -> None:
    pricer = priced(**price)
    assert charge(pricer, used(None, None)) == Charge(0, "config")
    assert pricer.bound("m", input_bound=10**9, output_cap=None, utc_us=NOW_US) == 0


def test_a_price_for_cached_input_alone_is_not_free() -> None:
    assert charge(priced(input=0, output=0, cached_input=1), used(10, 0, 10)).nano == 10_000


@pytest.mark.parametrize("cost_nano", [0, 123])
def test_the_replys_own_cost_wins(cost_nano: int) -> None:
    """Also over the configured price, and when it says that it was free."""
    found = charge(priced(input=1, output=1), used(1000, 1000), cost_nano=cost_nano)
    assert found == Charge(cost_nano, "reply")


def test_embeddings_have_no_output_to_report() -> None:
    pricer = priced(input=0.02, output=0)
    assert charge(pricer, used(100, None), endpoint=Endpoint.EMBEDDINGS).nano == 2_000
    assert charge(pricer, used(100, None)).nano is None


# Published prices in USD per million tokens: input, cached input, output.
PUBLISHED = [
    ("gpt-4.1-mini", "0.40", "0.10", "1.60"),
    ("gpt-4.1-nano", "0.10", "0.025", "0.40"),
    ("gpt-4o", "2.50", "1.25", "10.00"),
]


@pytest.mark.parametrize(("model", "fresh", "cached", "output"), PUBLISHED)
def test_the_price_table_knows_published_prices(
    model: str, fresh: str, cached: str, output: str
) -> None:
    found = charge(Pricer(OPENAI), used(1000, 77, 300), model=model)
    total = Decimal(fresh) * 700 + Decimal(cached) * 300 + Decimal(output) * 77
    assert found.nano == total * 1000
    assert found.source is not None
    assert found.source.startswith("genai-prices ")


def test_the_price_table_knows_embeddings() -> None:
    found = charge(
        Pricer(OPENAI),
        used(1000, None),
        model="text-embedding-3-small",
        endpoint=Endpoint.EMBEDDINGS,
    )
    assert found.nano == 20_000


def test_the_model_that_answered_is_priced_not_the_one_asked_for() -> None:
    found = charge(
        Pricer(OPENAI), used(1000, 0), model="gpt-4o", served_model="gpt-4.1-mini-2025-04-14"
    )
    assert found.nano == 400_000


def test_a_model_the_table_does_not_list_stays_unknown() -> None:
    pricer = Pricer(OPENAI)
    for _ in range(2):
        assert charge(pricer, used(1000, 10), model="no-such-model-7b") == UNKNOWN
    assert pricer.bound("no-such-model-7b", input_bound=10, output_cap=10, utc_us=NOW_US) is None


@pytest.mark.parametrize(
    "settings",
    [
        provider(base_url="https://gateway.example/v1"),
        provider(preset="openai", base_url="https://gateway.example/v1"),
        provider(base_url="http://127.0.0.1:8000/v1", is_local=True),
        provider(kind="simulated"),
    ],
)
def test_a_server_no_table_lists_has_no_price(settings: ProviderSettings) -> None:
    """Also behind a preset whose URL was replaced: a gateway sets its own prices."""
    pricer = Pricer(settings)
    assert charge(pricer, used(1000, 10), model="gpt-4.1-mini") == UNKNOWN
    assert pricer.bound("gpt-4.1-mini", input_bound=1, output_cap=1, utc_us=NOW_US) is None


def test_a_configured_price_wins_over_the_table() -> None:
    settings = provider(
        preset="openai", base_url="https://api.openai.com/v1", price=Price(input=7, output=7)
    )
    assert charge(Pricer(settings), used(1, 1), model="gpt-4.1-mini") == Charge(14_000, "config")


def test_without_an_output_cap_nobody_can_say_the_most() -> None:
    pricer = priced(input=1, output=1)
    assert pricer.bound("m", input_bound=10, output_cap=None, utc_us=NOW_US) is None
    assert pricer.bound("m", input_bound=10, output_cap=0, utc_us=NOW_US) == 10_000


def test_the_bound_holds_where_cached_input_is_the_dearer_one() -> None:
    pricer = priced(input=0.1, output=0.0, cached_input=0.4)
    bound = pricer.bound("m", input_bound=100, output_cap=0, utc_us=NOW_US)
    cost = charge(pricer, used(100, 0, 100)).nano
    assert bound is not None
    assert cost is not None
    assert bound >= cost


def test_an_estimate_scales_with_prompts_and_stays_unknown_without_a_price() -> None:
    known = provider(price=Price(input=1, output=0))
    one, ten = (
        estimate(known, [Load(None, n, 400 * n)], own_model="m", utc_us=NOW_US) for n in (1, 10)
    )
    assert one is not None
    assert ten == 10 * one
    nothing = provider(is_local=True)
    assert estimate(nothing, [Load(None, 1, 4)], own_model="m", utc_us=NOW_US) is None


def test_an_estimate_prices_each_model_that_prompts_name() -> None:
    """As the provider calls it; a model that it does not serve makes the sum unknown."""
    openai = msgspec.structs.replace(OPENAI, models={"fast": "gpt-4.1-nano"}, strict_models=True)
    mixed = [Load("fast", 10, 4000), Load(None, 10, 4000)]
    dear = [Load(None, 20, 8000)]
    costs = [estimate(openai, loads, own_model="gpt-4.1", utc_us=NOW_US) for loads in (mixed, dear)]
    assert costs[0] is not None
    assert costs[1] is not None
    assert costs[0] < costs[1]
    other = [Load("other", 1, 4), *mixed]
    assert estimate(openai, other, own_model="gpt-4.1", utc_us=NOW_US) is None


def test_an_estimate_charges_no_output_for_vectors() -> None:
    """Embeddings write no text, so an output price is nothing to them."""
    known = provider(price=Price(input=1, output=1000))
    cost = estimate(known, [Load(None, 0, 0, 10, 4000)], own_model="m", utc_us=NOW_US)
    assert cost == 10 * (4000 // 4 // 10 + 4) * 1000


@pytest.mark.parametrize(
    ("written", "for_an_hour", "nano"),
    [(0, 0, 3_000_000), (400, 0, 3_300_000), (400, 100, 3_525_000), (5_000, 0, 3_750_000)],
)
def test_what_is_written_into_a_cache_costs_more(written: int, for_an_hour: int, nano: int) -> None:
    """
    Claude Sonnet 4.5 is 3 USD a million in, 3.75 into the cache and 6 into that of an hour.

    More written than there was input is read as all written.
    """
    pricer = Pricer(provider(preset="anthropic", base_url="https://api.anthropic.com"))
    usage = Usage(
        input_tokens=1000,
        output_tokens=0,
        cache_write_tokens=written,
        cache_write_1h_tokens=for_an_hour,
    )
    found = charge(pricer, usage, model="claude-sonnet-4-5")
    assert found.nano == nano


def test_a_configured_price_knows_no_cache_writes() -> None:
    usage = Usage(input_tokens=1000, output_tokens=0, cache_write_tokens=400)
    assert charge(priced(input=3.0, output=15.0), usage).nano == 3_000_000


def test_the_bound_holds_for_what_may_be_written_into_a_cache() -> None:
    """An hour's cache costs more than the input it holds; only `extra_body` can ask for one."""
    pricer = Pricer(provider(preset="anthropic", base_url="https://api.anthropic.com"))
    usage = Usage(
        input_tokens=1000, output_tokens=10, cache_write_tokens=1000, cache_write_1h_tokens=1000
    )
    cost = pricer.usage_charge(Endpoint.CHAT, "claude-sonnet-4-5", usage, NOW_US).nano
    assert cost is not None
    plain, cached = (
        pricer.bound(
            "claude-sonnet-4-5",
            input_bound=1000,
            output_cap=10,
            utc_us=NOW_US,
            terms=Terms(may_keep=may_keep),
        )
        for may_keep in (False, True)
    )
    assert plain is not None
    assert cached is not None
    assert plain < cost <= cached


def test_a_model_of_gemini_has_one_price_under_both_its_names() -> None:
    """Its lists, and people who copy from them, put `models/` before every name."""
    pricer = Pricer(
        provider(
            preset="gemini", kind="gemini", base_url="https://generativelanguage.googleapis.com"
        )
    )
    plain = charge(pricer, used(1000, 100), model="gemini-2.5-flash")
    assert plain.nano is not None
    assert charge(pricer, used(1000, 100), model="models/gemini-2.5-flash") == plain


@pytest.mark.parametrize(
    ("tier", "nano"), [(None, 11_250_000), ("priority", 22_500_000), ("flex", 5_625_000)]
)
def test_the_tier_that_served_it_has_its_own_price(tier: str | None, nano: int) -> None:
    """GPT-5 is 1.25 USD a million in and 10 out; twice that served first, half served last."""
    usage = Usage(input_tokens=1000, output_tokens=1000, service_tier=tier)
    answer = Answer(usage=usage)
    assert Pricer(OPENAI).charge(Endpoint.CHAT, "gpt-5", answer, utc_us=IN_2026_US).nano == nano
