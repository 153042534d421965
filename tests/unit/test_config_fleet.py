"""The keys that decide between providers: strategy, regions, limits, breaker, probe, budget."""

from __future__ import annotations

from pathlib import Path

import pytest

from aiq.config import ProviderSettings, RunOverrides, Settings, load
from aiq.errors import ConfigError
from aiq.policy.defaults import BreakerSettings, LimitSettings, ProbeSettings, RateLimits


def read(folder: Path, text: str, *names: str, budget_usd: float | None = None) -> Settings:
    (folder / "aiq.toml").write_text(text, encoding="utf-8")
    return load(
        providers=names,
        overrides=RunOverrides(budget_usd=budget_usd),
        environ={"ANTHROPIC_API_KEY": "x"},
        working_directory=folder,
    )


def one(folder: Path, keys: str, kind: str = "openai") -> ProviderSettings:
    head = f'[[providers]]\nname = "one"\nkind = "{kind}"\nbase_url = "http://localhost:9"\n'
    return read(folder, head + keys).providers[0]


def regions(*tables: str) -> str:
    return '[run]\nprefer_region = "sg"\n' + "".join(
        f'[[providers]]\nname = "{name}"\nbase_url = "http://localhost:9/v1"\n{keys}\n'
        for name, _, keys in (table.partition(" ") for table in tables)
    )


@pytest.mark.parametrize(
    ("tables", "order"),
    [
        (('far region="us"', 'near region="sg"'), ["near", "far"]),
        (("none", 'near region="sg"'), ["near", "none"]),
        (('far region="us"\nrank=1', 'near region="sg"\nrank=1'), ["near", "far"]),
        (('far region="us"\nrank=1', 'near region="sg"\nrank=2'), ["far", "near"]),
        (('far region="us"\nrank=1', 'near region="sg"'), ["far", "near"]),
        (('a region="us"', 'b region="eu"'), ["a", "b"]),
    ],
)
def test_preferred_region(tmp_path: Path, tables: tuple[str, ...], order: list[str]) -> None:
    """A region wins among providers that share a rank or give none, never over a rank."""
    settings = read(tmp_path, regions(*tables))
    assert [provider.name for provider in settings.providers] == order


def test_order_of_names_is_an_order_of_ranks(tmp_path: Path) -> None:
    """What `-p` says is not turned round by a region."""
    text = regions('far region="us"', 'near region="sg"')
    assert [p.name for p in read(tmp_path, text, "far", "near").providers] == ["far", "near"]


def test_every_constant_is_settable(tmp_path: Path) -> None:
    """The tables of breaker, limits and probe take each key alone and keep the other defaults."""
    provider = one(
        tmp_path,
        "[providers.breaker]\nslow_min_s = 0.5\n[providers.limits]\nstart = 4\n"
        "[providers.probe]\nlevel = 2\n",
    )
    assert provider.breaker == BreakerSettings(slow_min_s=0.5)
    assert provider.limits == LimitSettings(start=4)
    assert provider.probe == ProbeSettings(level=2)


def test_limits_per_minute(tmp_path: Path) -> None:
    """Four numbers, each of its own."""
    keys = (
        "requests_per_minute = 1\ntokens_per_minute = 2\n"
        "input_tokens_per_minute = 3\noutput_tokens_per_minute = 4\n"
    )
    rates = RateLimits(requests=1, tokens=2, input_tokens=3, output_tokens=4)
    assert one(tmp_path, keys).rates == rates
    assert one(tmp_path, "").rates == RateLimits()


def test_adaptive_unless_told(tmp_path: Path) -> None:
    """Concurrency follows the server by default."""
    assert one(tmp_path, "").adaptive
    assert not one(tmp_path, "adaptive = false\n").adaptive


def test_anthropic_always_has_a_cap(tmp_path: Path) -> None:
    """Its API demands one, so a bound of the cost exists without a setting."""
    assert one(tmp_path, "", "anthropic").max_tokens == 8192
    assert one(tmp_path, "max_tokens = 7\n", "anthropic").max_tokens == 7
    assert one(tmp_path, "").max_tokens is None


def test_budget_of_the_command_line_wins(tmp_path: Path) -> None:
    """`--budget` over `budget_usd`, and none of both is no bound."""
    text = '[run]\nbudget_usd = 3\nstrategy = "cost"\n[[providers]]\npreset = "ollama"\n'
    assert read(tmp_path, text).run.budget_usd == 3
    assert read(tmp_path, text, budget_usd=0.5).run.budget_usd == 0.5
    assert read(tmp_path, text, budget_usd=0.5).run.strategy == "cost"
    assert read(tmp_path, text.replace("budget_usd = 3", "")).run.budget_usd is None


@pytest.mark.parametrize("tail", ["", "/openai", "/openai/deployments/mine"])
def test_azure_is_addressed_by_its_resource(tmp_path: Path, tail: str) -> None:
    """With an API version, what people copy behind the resource is cut off: the path has it."""
    text = (
        f'[[providers]]\nname = "azure"\nbase_url = "https://mine.openai.azure.com{tail}"\n'
        'api_version = "2024-10-21"\n'
    )
    assert read(tmp_path, text).providers[0].base_url == "https://mine.openai.azure.com"


def test_azure_s_newer_style_takes_no_version(tmp_path: Path) -> None:
    """One of the two, not both."""
    text = (
        '[[providers]]\nname = "azure"\nbase_url = "https://mine.openai.azure.com/openai/v1"\n'
        'api_version = "2024-10-21"\n'
    )
    with pytest.raises(ConfigError) as found:
        read(tmp_path, text)
    assert str(found.value).startswith("aiq.toml: providers[0].api_version: ")


@pytest.mark.parametrize(
    ("keys", "cap_field"),
    [
        (
            'base_url = "https://mine.openai.azure.com"\napi_version = "2024-10-21"\n',
            "max_completion_tokens",
        ),
        (
            'base_url = "https://mine.openai.azure.com"\napi_version = "2024-06-01"\n',
            "max_tokens",
        ),
        ('base_url = "https://mine.openai.azure.com/openai/v1"\n', "max_completion_tokens"),
        ('base_url = "https://mine.services.ai.azure.com/openai/v1"\n', "max_completion_tokens"),
        ('base_url = "https://api.openai.com/v1/"\n', "max_completion_tokens"),
        ('base_url = "https://gateway.example.com/v1"\n', "max_tokens"),
        (
            'base_url = "https://mine.openai.azure.com/openai/v1"\ncap_field = "max_tokens"\n',
            "max_tokens",
        ),
    ],
)
def test_azure_s_cap_has_openai_s_name(tmp_path: Path, keys: str, cap_field: str) -> None:
    """Its reasoning models refuse the older name, as OpenAI's do."""
    text = f'[[providers]]\nname = "one"\n{keys}'
    assert read(tmp_path, text).providers[0].cap_field == cap_field


@pytest.mark.parametrize(
    ("kind", "tail"), [("anthropic", "/v1"), ("gemini", "/v1beta"), ("gemini", "/x/v1/")]
)
def test_a_version_in_the_base_url_of_a_vendor_that_adds_its_own(
    tmp_path: Path, kind: str, tail: str
) -> None:
    """It would be asked for twice."""
    text = f'[[providers]]\nname = "a"\nkind = "{kind}"\nbase_url = "https://x.example{tail}"\n'
    with pytest.raises(ConfigError) as found:
        read(tmp_path, text)
    assert str(found.value).startswith("aiq.toml: providers[0].base_url: ends in a version")


def test_who_only_looks_needs_no_key(tmp_path: Path) -> None:
    """The variable that is not set is noted at its provider, and others load as ever."""
    (tmp_path / "aiq.toml").write_text(
        '[[providers]]\npreset = "openai"\n[[providers]]\npreset = "anthropic"\n', encoding="utf-8"
    )
    environ = {"ANTHROPIC_API_KEY": "x"}
    settings = load(environ=environ, working_directory=tmp_path, needs_keys=False)
    assert [p.missing_key for p in settings.providers] == ["OPENAI_API_KEY", None]
    assert [p.key_name for p in settings.providers] == [None, "ANTHROPIC_API_KEY"]
    with pytest.raises(ConfigError, match="OPENAI_API_KEY is not set"):
        load(environ=environ, working_directory=tmp_path)
