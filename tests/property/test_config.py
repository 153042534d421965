"""Whatever the file and the environment hold, the answer is settings or one plain refusal."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from aiq.config import Settings, load
from aiq.config.tables import CHOICES, SECTIONS
from aiq.errors import ConfigError

KEY_NAMES = sorted({name for table in SECTIONS.values() for name in table.__struct_fields__})
SECRET = "hunter2hunter2"
WORDS = sorted({word for words in CHOICES.values() for word in words})

scalars = st.one_of(
    st.integers(-3, 10**12).map(str),
    st.sampled_from(["true", "false", "nan", "-inf", "1.5", "2026-01-01", "[]", "{}", '""']),
    st.sampled_from(WORDS).map(lambda word: f'"{word}"'),
    st.sampled_from(["http://localhost:1/v1", "https://x.example/v1", "${SECRET}", "SECRET"]).map(
        lambda word: f'"{word}"'
    ),
    st.text(st.characters(codec="utf-8", categories=["L", "N"]), max_size=8).map(
        lambda t: f'"{t}"'
    ),
)
tables = st.recursive(
    scalars,
    lambda inner: st.dictionaries(st.sampled_from([*KEY_NAMES, "*"]), inner, max_size=3).map(
        lambda table: "{" + ", ".join(f'"{key}" = {value}' for key, value in table.items()) + "}"
    ),
    max_leaves=4,
)


def bodies(section: str, *plausible: dict[str, str]) -> st.SearchStrategy[str]:
    """Lines for one table: something that works, under at most two of its keys with any value."""
    names = [*SECTIONS[section].__struct_fields__, "wild"]
    extra: st.SearchStrategy[dict[str, str]] = st.just({}) | st.dictionaries(
        st.sampled_from(sorted(names)), tables, max_size=2
    )
    return st.builds(lambda works, wild: {**works, **wild}, st.sampled_from(plausible), extra).map(
        lambda table: "".join(f"{key} = {value}\n" for key, value in table.items())
    )


OWN = {"name": '"own"', "base_url": '"http://localhost:1/v1"', "models": '{ "*" = "m" }'}
documents = st.builds(
    "[run]\n{}[defaults]\n{}{}".format,
    bodies("run", {"concurrency": "3"}),
    bodies("defaults", {"temperature": "0.5"}),
    st.lists(
        bodies("providers[]", {"preset": '"simulated"'}, {"preset": '"ollama"'}, OWN).map(
            lambda body: f"[[providers]]\n{body}"
        ),
        max_size=2,
    ).map("".join),
)


def outcome(data: bytes, environ: dict[str, str], names: list[str]) -> Settings | ConfigError:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "aiq.toml").write_bytes(data)
        try:
            return load(environ=environ, working_directory=Path(folder), providers=names)
        except ConfigError as error:
            return error


@given(documents, st.lists(st.sampled_from(["simulated", "ollama", "openai"]), unique=True))
def test_any_document(text: str, names: list[str]) -> None:
    """Well-formed TOML with any keys and values is either settings that hold or a refusal."""
    result = outcome(text.encode(), {"SECRET": SECRET, "OPENAI_API_KEY": SECRET}, names)
    if isinstance(result, ConfigError):
        shown = f"{result} {result.hint}"
        assert SECRET not in shown
        assert shown.isprintable()
        return
    ranks = [provider.rank for provider in result.providers]
    assert ranks
    assert ranks == sorted(set(ranks))
    assert result.run.concurrency >= 1
    assert all(provider.timeout_s > 0 for provider in result.providers)
    assert SECRET not in repr(result)


@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    """No file of any bytes raises anything but a refusal."""
    assert isinstance(outcome(data, {}, ["simulated"]), ConfigError | Settings)


@given(st.text(max_size=40))
def test_any_key(value: str) -> None:
    """A key of any characters is taken trimmed or refused by name, and never shown."""
    result = outcome(b"", {"OPENAI_API_KEY": value}, ["openai"])
    if isinstance(result, Settings):
        (provider,) = result.providers
        assert provider.key is not None
        assert provider.key.reveal() == value.strip()
        assert provider.key.reveal().isascii()
    else:
        assert "OPENAI_API_KEY" in str(result)


@given(st.text(min_size=1, max_size=80))
def test_any_name(name: str) -> None:
    """Any name after `-p` is a preset or refused in one printable line."""
    result = outcome(b"", {}, [name])
    if isinstance(result, ConfigError):
        assert str(result).isprintable()
