"""Which providers are used: `-p`, the file, or the one key in the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from aiq.config import Settings, load
from aiq.errors import ConfigError

TWO = """
[run]
concurrency = 9
[[providers]]
name = "primary"
base_url = "https://one.example.com/v1"
api_key_env = "PRIMARY_KEY"
[[providers]]
name = "groq"
base_url = "https://two.example.com/v1"
api_key_env = "SECOND_KEY"
"""
KEYS = {"PRIMARY_KEY": "one", "SECOND_KEY": "two", "OPENAI_API_KEY": "three"}


def read(
    folder: Path, *names: str, environ: dict[str, str] | None = None, text: str | None = TWO
) -> Settings:
    if text is not None:
        (folder / "aiq.toml").write_text(text, encoding="utf-8")
    environ = KEYS if environ is None else environ
    return load(environ=environ, working_directory=folder, providers=names)


def refusal(
    folder: Path, *names: str, environ: dict[str, str] | None = None, text: str | None = TWO
) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        read(folder, *names, environ=environ, text=text)
    return caught.value


def ranked(settings: Settings) -> list[tuple[int, str]]:
    return [(provider.rank, provider.name) for provider in settings.providers]


def test_without_names_the_file_decides(tmp_path: Path) -> None:
    """All providers of the file are used; keys of presets in the environment play no part."""
    settings = read(tmp_path)
    assert ranked(settings) == [(1, "primary"), (2, "groq")]
    assert settings.notes == ()


def test_order_of_names_replaces_rank(tmp_path: Path) -> None:
    """`-p` order is rank order, and only the named are used."""
    assert ranked(read(tmp_path, "groq", "primary")) == [(1, "groq"), (2, "primary")]
    assert ranked(read(tmp_path, "groq")) == [(1, "groq")]


def test_configured_name_wins_over_preset(tmp_path: Path) -> None:
    """A configured provider of a preset's name is the one meant."""
    (provider,) = read(tmp_path, "groq").providers
    assert provider.base_url == "https://two.example.com/v1"
    assert read(tmp_path, "groq").notes == ()


def test_preset_bypasses_the_file(tmp_path: Path) -> None:
    """A preset named by `-p` is used instead of the file's providers, and a note says so."""
    settings = read(tmp_path, "openai")
    assert [provider.preset for provider in settings.providers] == ["openai"]
    assert settings.notes == ("`openai` is the preset; the 2 providers of aiq.toml are not used",)
    assert settings.run.concurrency == 9


def test_preset_beside_configured(tmp_path: Path) -> None:
    """Presets and configured providers mix; the note says which is which."""
    settings = read(tmp_path, "simulated", "primary")
    assert ranked(settings) == [(1, "simulated"), (2, "primary")]
    assert settings.notes == ("`simulated` is the preset, not one of the 2 providers of aiq.toml",)


def test_only_used_providers_need_keys(tmp_path: Path) -> None:
    """A missing key is refused for a provider that is used, by the variable's name."""
    assert ranked(read(tmp_path, "primary", environ={"PRIMARY_KEY": "x"})) == [(1, "primary")]
    error = refusal(tmp_path, environ={"PRIMARY_KEY": "x"})
    assert str(error) == "provider `groq`: SECOND_KEY is not set"
    assert error.hint == "export SECOND_KEY=..., or put it into .env"


def test_unknown_name(tmp_path: Path) -> None:
    """An unknown name is refused with the nearest one, the configured ones and the presets."""
    error = refusal(tmp_path, "primry")
    assert str(error) == "no provider or preset is named `primry`"
    assert error.hint is not None
    assert error.hint.startswith("did you mean `primary`? configured: `primary`, `groq`; presets: ")
    error = refusal(tmp_path, "\x1b[2J" + "x" * 500)
    assert "\x1b" not in str(error)
    assert len(str(error)) < 150


def test_name_given_twice(tmp_path: Path) -> None:
    """A provider cannot have two ranks."""
    assert "twice" in str(refusal(tmp_path, "primary", "groq", "primary"))


@pytest.mark.parametrize("text", [None, "", "[run]\nconcurrency = 2\n", "providers = []\n"])
def test_one_key_needs_no_name(tmp_path: Path, text: str | None) -> None:
    """Without providers in a file, the one preset whose key is set is used, and a note says so."""
    settings = read(tmp_path, environ={"GROQ_API_KEY": "x", "OPENAI_API_KEY": " "}, text=text)
    assert [provider.preset for provider in settings.providers] == ["groq"]
    assert settings.notes == ("GROQ_API_KEY is the only key set: using the preset groq",)
    assert (settings.path is None) == (text is None)


def test_several_keys_need_a_name(tmp_path: Path) -> None:
    """With several vendors' keys nobody is chosen: all are listed."""
    environ = {"OPENAI_API_KEY": "a", "ANTHROPIC_API_KEY": "b", "TOGETHERAI_API_KEY": "c"}
    error = refusal(tmp_path, environ=environ, text=None)
    for listed in ("OPENAI_API_KEY (openai)", "ANTHROPIC_API_KEY (anthropic)", "(together)"):
        assert listed in str(error)
    assert error.hint is not None
    assert "-p openai" in error.hint
    assert ranked(read(tmp_path, "openai", environ=environ, text=None)) == [(1, "openai")]


def test_two_variables_of_one_preset(tmp_path: Path) -> None:
    """Two accepted variables of one preset are one vendor; the preferred one is used."""
    environ = {"TOGETHER_API_KEY": "new", "TOGETHERAI_API_KEY": "old"}
    (provider,) = read(tmp_path, environ=environ, text=None).providers
    assert provider.key is not None
    assert (provider.key.reveal(), provider.key_name) == ("new", "TOGETHER_API_KEY")


@pytest.mark.parametrize(
    ("text", "source"), [(None, "there is no aiq.toml"), ("", "aiq.toml names none")]
)
def test_nothing_to_go_by(tmp_path: Path, text: str | None, source: str) -> None:
    """Without a provider and a key the refusal shows the ways to start."""
    error = refusal(tmp_path, environ={}, text=text)
    assert str(error).startswith(f"no provider: {source}")
    assert error.hint is not None
    for way in ("-p simulated", "-p ollama", "OPENAI_API_KEY", "aiq init"):
        assert way in error.hint


@pytest.mark.parametrize(
    "environ", [{}, {"OPENAI_API_KEY": "a", "GROQ_API_KEY": "b"}], ids=["no key", "two"]
)
def test_where_names_need_no_option_the_hint_has_none(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    """`probe` and `monitor` take names as they are: what is to be typed works there."""
    with pytest.raises(ConfigError) as caught:
        load(environ=environ, working_directory=tmp_path, naming="aiq monitor")
    hint = str(caught.value.hint)
    assert ("aiq monitor openai" if environ else "try aiq monitor simulated (") in hint
    assert "-p" not in hint


def test_local_presets_need_no_key(tmp_path: Path) -> None:
    """A local preset works without a key and sends one that is set."""
    (provider,) = read(tmp_path, "vllm", environ={}, text=None).providers
    assert (provider.key, provider.is_local, provider.account) == (None, True, "vllm")
    (provider,) = read(tmp_path, "vllm", environ={"VLLM_API_KEY": "x"}, text=None).providers
    assert provider.key_name == "VLLM_API_KEY"


def test_missing_key_of_a_preset(tmp_path: Path) -> None:
    """A hosted preset without its key is refused by the preferred variable's name."""
    error = refusal(tmp_path, "together", environ={}, text=None)
    assert str(error) == "provider `together`: TOGETHER_API_KEY is not set"


def test_broken_file_is_not_bypassed(tmp_path: Path) -> None:
    """A file that is there is checked whole, whatever `-p` says."""
    assert "run.x" in str(refusal(tmp_path, "simulated", text="[run]\nx = 1\n"))
