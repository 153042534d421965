"""What a good configuration becomes: precedence, defaults, preset and own values."""

from __future__ import annotations

from pathlib import Path

import pytest

from aiq.config import ProviderSettings, RunOverrides, RunSettings, Settings, load
from aiq.errors import ConfigError
from aiq.model import Price
from aiq.providers.simulated import SimulatedSettings

FULL = """
[run]
concurrency = 12
max_attempts = 3
strategy = "rank"
overflow = false
timeout_s = 120
max_wait_s = 30.5
on_unknown = "fail"
on_changed = "keep"

[defaults]
system = "Answer briefly."
temperature = 0.2
n = 1
extra_body = { guided = true, top_k = 20 }

[[providers]]
name = "second"
preset = "openai"
base_url = "https://proxy.example.com/v1/"
model = "gpt-4.1-mini"
rank = 7
adaptive = false
timeout_s = 60
headers = { "X-Title" = "nightly", "X-Gate" = "Token ${GATE_TOKEN}" }

[[providers]]
name = "first"
kind = "openai"
base_url = "http://gateway.internal:8000/v1"
api_key_env = "GATE_KEY"
model = "large"
models = { fast = "small", "*" = "large" }
strict_models = true
rank = 2
context_window = 128_000
max_in_flight = 64
connect_timeout_s = 3
max_tokens = 1024
cap_field = "max_completion_tokens"
price = { input = 0.40, output = 1.60, cached_input = 0.10 }
account = "team-a"
allow_http = true
"""
ENVIRON = {"OPENAI_API_KEY": " openai-key\n", "GATE_KEY": "gate-key", "GATE_TOKEN": "gate-token"}


def read(folder: Path, text: str, overrides: RunOverrides | None = None) -> Settings:
    (folder / "aiq.toml").write_text(text, encoding="utf-8")
    return load(environ=ENVIRON, working_directory=folder, overrides=overrides)


def only(folder: Path, text: str) -> ProviderSettings:
    (provider,) = read(folder, text).providers
    return provider


def test_every_key_arrives(tmp_path: Path) -> None:
    """Each key of a full file is in the settings, providers sorted by rank."""
    settings = read(tmp_path, FULL)
    assert settings.run == RunSettings(
        concurrency=12,
        max_attempts=3,
        timeout_s=120,
        max_wait_s=30.5,
        on_unknown="fail",
        on_changed="keep",
    )
    assert settings.defaults == {
        "system": "Answer briefly.",
        "temperature": 0.2,
        "n": 1,
        "extra_body": {"guided": True, "top_k": 20},
    }
    assert settings.path == tmp_path / "aiq.toml"
    assert settings.notes == ()
    first, second = settings.providers
    assert (first.name, first.rank, second.name, second.rank) == ("first", 2, "second", 7)
    assert first.models == {"fast": "small", "*": "large"}
    assert (first.context_window, first.max_in_flight, first.max_tokens) == (128_000, 64, 1024)
    assert (first.timeout_s, first.connect_timeout_s) == (120, 3)
    assert first.price == Price(input=0.40, output=1.60, cached_input=0.10)
    assert (first.cap_field, first.account) == ("max_completion_tokens", "team-a")
    assert first.strict_models
    assert first.key is not None
    assert (first.key.reveal(), first.key_name) == ("gate-key", "GATE_KEY")


def test_preset_under_own_values(tmp_path: Path) -> None:
    """What a provider does not say comes from its preset; its own words win."""
    second = read(tmp_path, FULL).providers[1]
    assert second.base_url == "https://proxy.example.com/v1"
    assert second.key is not None
    assert (second.key.reveal(), second.key_name) == ("openai-key", "OPENAI_API_KEY")
    assert (second.kind, second.preset, second.cap_field) == (
        "openai",
        "openai",
        "max_completion_tokens",
    )
    assert (second.account, second.timeout_s, second.connect_timeout_s) == (
        "OPENAI_API_KEY",
        60,
        10,
    )


def test_headers_are_expanded(tmp_path: Path) -> None:
    """`${VAR}` becomes its value; only variables count as secrets, never a literal header."""
    second = read(tmp_path, FULL).providers[1]
    headers = {name: value.reveal() for name, value in second.headers}
    assert headers == {"X-Title": "nightly", "X-Gate": "Token gate-token"}
    assert {secret.reveal() for secret in second.secrets} == {"openai-key", "gate-token"}
    assert "gate-token" not in repr(second)
    assert "openai-key" not in repr(second)


def test_defaults_of_an_own_server(tmp_path: Path) -> None:
    """A provider with nothing but a loopback URL is local, needs no key and has its own account."""
    provider = only(tmp_path, '[[providers]]\nname = "own"\nbase_url = "http://[::1]:8000/v1"\n')
    assert (provider.kind, provider.preset, provider.cap_field) == ("openai", None, "max_tokens")
    assert (provider.key, provider.key_name, provider.account) == (None, None, "own")
    assert provider.is_local
    assert (provider.rank, provider.timeout_s, provider.model) == (1, 600, None)
    assert provider.max_in_flight is None
    assert provider.simulated is None


def test_simulated_kind(tmp_path: Path) -> None:
    """A simulated provider has a model, a price of zero and settings without being told."""
    provider = only(tmp_path, '[[providers]]\nname = "fake"\nkind = "simulated"\n')
    assert (provider.kind, provider.model) == ("simulated", "simulated")
    assert provider.price == Price(input=0, output=0)
    assert provider.simulated == SimulatedSettings()
    assert not provider.is_local
    text = '[[providers]]\npreset = "simulated"\nmodel = "m"\n[providers.simulated]\nseed = 4\n'
    provider = only(tmp_path, text + "outages = [[5, 8]]\n")
    assert (provider.name, provider.model) == ("simulated", "m")
    assert provider.simulated is not None
    assert provider.simulated.seed == 4
    assert [tuple(outage) for outage in provider.simulated.outages] == [(5, 8)]


def test_ranks_fill_gaps(tmp_path: Path) -> None:
    """Providers without a rank take the free ones in the order of the file."""
    text = "".join(
        f'[[providers]]\nname = "{name}"\nkind = "simulated"\n{rank}\n'
        for name, rank in (("a", ""), ("b", "rank = 1"), ("c", ""), ("d", "rank = 9"))
    )
    ranks = [(provider.name, provider.rank) for provider in read(tmp_path, text).providers]
    assert ranks == [("b", 1), ("a", 2), ("c", 3), ("d", 9)]


def test_command_line_wins(tmp_path: Path) -> None:
    """Options of the command line win over `[run]`, `--timeout` also over a provider's own."""
    settings = read(tmp_path, FULL, RunOverrides(concurrency=1, timeout_s=5, on_changed="rerun"))
    assert (settings.run.concurrency, settings.run.timeout_s) == (1, 5)
    assert (settings.run.on_changed, settings.run.on_unknown) == ("rerun", "fail")
    assert {provider.timeout_s for provider in settings.providers} == {5}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (RunOverrides(concurrency=0), "--concurrency: needs a whole number of at least 1"),
        (RunOverrides(max_attempts=0), "--max-attempts: needs a whole number of at least 1"),
        (RunOverrides(timeout_s=float("nan")), "--timeout: needs a number above 0"),
        (RunOverrides(timeout_s=float("inf")), "--timeout: needs a number of at most 1e+09"),
        (RunOverrides(max_wait_s=-1), "--max-wait: needs a number above 0"),
        (RunOverrides(on_unknown="retri"), "--on-unknown: unknown value `retri`"),
        (RunOverrides(on_changed="x\x1b"), "--on-changed: unknown value `x\\x1b`"),
    ],
)
def test_nonsense_options(tmp_path: Path, overrides: RunOverrides, message: str) -> None:
    """An option outside its range is refused by the option's name."""
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, FULL, overrides)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("url", "is_refused"),
    [
        ("http://gateway.internal/v1", True),
        ("http://192.168.1.4/v1", True),
        ("http://localhost.evil.example/v1", True),
        ("https://gateway.internal/v1", False),
        ("http://gateway.localhost/v1", True),
        ("http://localhost:8000/v1", False),
        ("http://127.0.0.2:8000/v1", False),
        ("http://0.0.0.0:8000/v1", False),
    ],
)
@pytest.mark.parametrize(
    "secret", ['api_key_env = "GATE_KEY"', 'headers = { "X-Gate" = "${GATE_KEY}" }']
)
def test_plain_http(tmp_path: Path, url: str, is_refused: bool, secret: str) -> None:
    """A key over plain http off this machine is refused, in a header too."""
    text = f'[[providers]]\nname = "own"\nbase_url = "{url}"\n{secret}\n'
    if not is_refused:
        assert only(tmp_path, text).secrets
        return
    with pytest.raises(
        ConfigError, match=r"providers\[0\].base_url: would send GATE_KEY"
    ) as caught:
        only(tmp_path, text)
    assert "gate-key" not in str(caught.value)
    assert only(tmp_path, text + "allow_http = true\n").secrets


def test_plain_http_without_key(tmp_path: Path) -> None:
    """Without anything secret, plain http is the user's own business."""
    text = '[[providers]]\nname = "own"\nbase_url = "http://gateway.internal/v1"\n'
    provider = only(tmp_path, text + 'headers = { "X-Title" = "nightly" }\n')
    assert provider.base_url == "http://gateway.internal/v1"
    assert not provider.is_local


def test_file_with_byte_order_mark(tmp_path: Path) -> None:
    """A file saved with a byte order mark is read as if it had none."""
    text = '\ufeff[[providers]]\npreset = "simulated"\n'
    assert only(tmp_path, text).name == "simulated"
