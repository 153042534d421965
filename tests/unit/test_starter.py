"""The file `aiq init` writes, and the example, load as they are and once uncommented."""

from __future__ import annotations

import re
import socket
import tomllib
from pathlib import Path

import pytest

from aiq.config import Settings, load
from aiq.providers.presets import PRESETS, Preset
from aiq.run.starter import local_servers, starter_config
from tests.support.lines import lines_of

EXAMPLE = Path(__file__).parents[2] / "examples" / "aiq.toml"
EVERY_KEY = {name: "a-key" for preset in PRESETS.values() for name in preset.key_env[:1]}
LOCAL = [preset.name for preset in PRESETS.values() if preset.is_local]


def loaded(folder: Path, text: str, environ: dict[str, str]) -> Settings:
    (folder / "aiq.toml").write_text(text, encoding="utf-8")
    return load(environ=environ, working_directory=folder)


def uncommented(text: str) -> str:
    """Activate the commented providers: every comment line that is TOML by itself."""
    lines = []
    for line in lines_of(text):
        bare = re.sub(r"^# (?=\[\[providers\]\]|[a-z_]+ = )", "", line)
        lines.append(bare)
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("keys", "reachable", "expected"),
    [
        ([], [], ["simulated"]),
        (["OPENAI_API_KEY"], [], ["openai"]),
        (["GROQ_API_KEY", "OPENAI_API_KEY"], [], ["openai", "groq"]),
        ([], ["ollama"], ["ollama"]),
        (["XAI_API_KEY"], ["vllm", "ollama"], ["xai", "ollama", "vllm"]),
        (["TOGETHERAI_API_KEY"], [], ["together"]),
        (["ANTHROPIC_API_KEY"], [], ["anthropic"]),
        (["VLLM_API_KEY"], [], ["simulated"]),
    ],
)
def test_what_is_found_is_active(
    tmp_path: Path, keys: list[str], reachable: list[str], expected: list[str]
) -> None:
    """Exactly what was found is active, hosted before local; with nothing found the simulation."""
    environ = dict.fromkeys(keys, "a-key")
    settings = loaded(tmp_path, starter_config(environ, reachable), environ)
    assert [provider.name for provider in settings.providers] == expected
    assert settings.defaults == {}


def test_every_preset_is_mentioned() -> None:
    """Each available preset is in the file, active or commented, and later ones when found."""
    for environ in ({}, EVERY_KEY):
        text = starter_config(environ, LOCAL if environ else [])
        for preset in PRESETS.values():
            assert f'preset = "{preset.name}"' in text


def test_no_key_is_written() -> None:
    """The file names variables; their values stay where they are."""
    assert "hunter2" not in starter_config(dict.fromkeys(EVERY_KEY, "hunter2"), LOCAL)


def test_comments_are_true(tmp_path: Path) -> None:
    """Uncommenting the providers of the file gives a valid configuration."""
    text = starter_config({}, []).partition("# What else")[0]
    settings = loaded(tmp_path, uncommented(text), EVERY_KEY)
    names = {provider.name for provider in settings.providers}
    assert names == set(PRESETS)
    assert settings.defaults["temperature"] == 0.2


def test_options_are_true(tmp_path: Path) -> None:
    """The options the file lists are valid on a provider."""
    options = starter_config({}, []).partition("# What else")[2].partition("# Any OpenAI")[0]
    text = '[[providers]]\npreset = "openai"\n' + "\n".join(
        line.removeprefix("# ") for line in lines_of(options) if " = " in line
    )
    (provider,) = loaded(tmp_path, text, EVERY_KEY | {"GATE_TOKEN": "x"}).providers
    assert (provider.account, provider.max_in_flight) == ("team-a", 64)


def test_local_server_is_found() -> None:
    """A preset is reachable when its port accepts a connection, and not when it is hosted."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        url = f"http://127.0.0.1:{port}/v1"
        presets = [
            Preset(name="here", base_url=url, is_local=True),
            Preset(name="hosted", base_url=url),
        ]
        assert local_servers(presets) == ["here"]
    assert local_servers(presets) == []


def test_example_loads(tmp_path: Path) -> None:
    """The example has three simulated ranks that fail, throttle and hold, each with a price."""
    settings = load(config_path=EXAMPLE, environ={}, working_directory=tmp_path)
    flaky, limited, steady = settings.providers
    assert [provider.name for provider in settings.providers] == ["flaky", "limited", "steady"]
    assert all(provider.kind == "simulated" for provider in settings.providers)
    assert all(provider.price and "*" in provider.models for provider in settings.providers)
    assert len({provider.model for provider in settings.providers}) == 3
    assert flaky.simulated
    assert flaky.simulated.error_rate >= 0.2
    assert limited.simulated
    assert limited.simulated.throttle_per_minute
    assert steady.simulated
    assert steady.simulated.error_rate == 0


def test_example_uncommented(tmp_path: Path) -> None:
    """The commented providers of the example load once uncommented and given their keys."""
    text = uncommented(EXAMPLE.read_text(encoding="utf-8"))
    variables = ("GATEWAY_KEY", "GATE_TOKEN", "AZURE_OPENAI_API_KEY")
    environ = EVERY_KEY | dict.fromkeys(variables, "a-key")
    settings = loaded(tmp_path, text, environ)
    assert len(settings.providers) == len(tomllib.loads(text)["providers"]) > 6
