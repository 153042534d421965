"""Keys come from the environment over `.env`; names appear in messages, values never."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from aiq.config import Settings, load
from aiq.config.environment import read_environment
from aiq.errors import ConfigError

VALUE = "hunter2hunter2"


def with_openai(folder: Path, environ: dict[str, str]) -> Settings:
    return load(environ=environ, working_directory=folder, providers=["openai"])


def key_of(settings: Settings) -> str:
    (provider,) = settings.providers
    assert provider.key is not None
    return provider.key.reveal()


@pytest.mark.parametrize(
    "text",
    [
        f"OPENAI_API_KEY={VALUE}\n",
        f"export OPENAI_API_KEY='{VALUE}'",
        f'\ufeff# a comment\n\nOPENAI_API_KEY="  {VALUE} "\r\n',
    ],
)
def test_key_from_dotenv(tmp_path: Path, text: str) -> None:
    """A key may stand in `.env`, in any of its customary forms."""
    (tmp_path / ".env").write_text(text, encoding="utf-8")
    assert key_of(with_openai(tmp_path, {})) == VALUE


def test_dotenv_never_overrides(tmp_path: Path) -> None:
    """A variable of the process wins over `.env`, even an empty one."""
    (tmp_path / ".env").write_text(f"OPENAI_API_KEY={VALUE}\n", encoding="utf-8")
    assert key_of(with_openai(tmp_path, {"OPENAI_API_KEY": "from-process"})) == "from-process"
    with pytest.raises(ConfigError, match="OPENAI_API_KEY is empty"):
        with_openai(tmp_path, {"OPENAI_API_KEY": ""})


def test_dotenv_is_not_interpolated(tmp_path: Path) -> None:
    """A dollar sign in a key is a dollar sign."""
    (tmp_path / ".env").write_text("OPENAI_API_KEY=a${HOME}b\n", encoding="utf-8")
    assert key_of(with_openai(tmp_path, {"HOME": "elsewhere"})) == "a${HOME}b"


def test_process_environment_is_left_alone(tmp_path: Path) -> None:
    """Reading `.env` changes nothing outside the returned value."""
    (tmp_path / ".env").write_text("A=1\n", encoding="utf-8")
    environ = {"B": "2"}
    assert read_environment(environ, tmp_path).variables == {"A": "1", "B": "2"}
    assert environ == {"B": "2"}


def test_broken_line_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A line that is no NAME=value is named by its number, in the note and beside a missing key."""
    (tmp_path / ".env").write_text(f"A=1\nOPENAI_API_KEY: {VALUE}\n", encoding="utf-8")
    note = ".env: line 2 is not NAME=value and is not used"
    assert with_openai(tmp_path, {"OPENAI_API_KEY": "x"}).notes == (note,)
    with pytest.raises(ConfigError) as caught:
        with_openai(tmp_path, {})
    assert caught.value.hint is not None
    assert note in caught.value.hint
    assert VALUE not in str(caught.value) + caught.value.hint
    assert capfd.readouterr() == ("", "")


def test_unreadable_dotenv(tmp_path: Path) -> None:
    """A `.env` in another encoding is named and left out; a folder of that name is ignored."""
    (tmp_path / ".env").write_bytes(f"OPENAI_API_KEY={VALUE}".encode("utf-16"))
    assert with_openai(tmp_path, {"OPENAI_API_KEY": "x"}).notes == (
        ".env is not UTF-8 and is not used",
    )
    (tmp_path / ".env").unlink()
    (tmp_path / ".env").mkdir()
    assert with_openai(tmp_path, {"OPENAI_API_KEY": "x"}).notes == ()


@pytest.mark.parametrize("value", [f"{VALUE}\nX", f"{VALUE}é", f"{VALUE} {VALUE}", f"{VALUE}\x00"])
def test_key_that_no_header_carries(tmp_path: Path, value: str) -> None:
    """A key that is not visible ASCII is refused by its variable's name."""
    with pytest.raises(ConfigError) as caught:
        with_openai(tmp_path, {"OPENAI_API_KEY": value})
    assert str(caught.value) == "OPENAI_API_KEY holds a character that is not visible ASCII"
    assert VALUE not in (caught.value.hint or "")


def test_unset_variable_of_a_header(tmp_path: Path) -> None:
    """A header's variable that is not set is refused by its name and the header's."""
    (tmp_path / "aiq.toml").write_text(
        '[[providers]]\nname = "one"\nbase_url = "https://one.example.com/v1"\n'
        'headers = { "X-Gate" = "${GATE_ID}:${GATE_TOKEN}" }\n',
        encoding="utf-8",
    )
    with pytest.raises(ConfigError) as caught:
        load(environ={"GATE_ID": VALUE}, working_directory=tmp_path)
    assert str(caught.value) == ("provider `one`: GATE_TOKEN is not set (headers.X-Gate needs it)")


def test_reading_imports_no_client() -> None:
    """Configuration is read without the HTTP clients and the price table."""
    code = (
        "import sys, aiq.config, aiq.run.starter\n"
        "print({'httpx', 'aiohttp', 'genai_prices', 'rich', 'asyncio'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
