"""
The environment as the configuration sees it: the process's variables over those of `.env`.

`.env` is the one in the working directory, read without interpolation, and never overrides: a
variable set in the process wins even when it is empty. A `.env` that cannot be read stops nothing
by itself; a note names it. Values appear in no message.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from pathlib import Path

import msgspec
from dotenv.parser import parse_stream

from aiq.errors import ConfigError
from aiq.redaction import Secret

KEYS_FILE = ".env"

_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_HEADER_TEXT = re.compile(r"[\x20-\x7e]*")
_VISIBLE_ASCII = re.compile(r"[\x21-\x7e]+")


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """Variables by name, and what could not be read on the way."""

    variables: Mapping[str, str]
    notes: tuple[str, ...] = ()

    def is_set(self, name: str) -> bool:
        """Tell whether the variable holds more than blanks."""
        return bool(self.variables.get(name, "").strip())

    def secret(self, name: str) -> Secret | None:
        """
        Return the trimmed value of a variable, None where it is unset or blank.

        Raises:
            ConfigError: the value is not visible ASCII, so no header could carry it.
        """
        value = self.variables.get(name, "").strip()
        if not value:
            return None
        if not _VISIBLE_ASCII.fullmatch(value):
            raise ConfigError(
                f"{name} holds a character that is not visible ASCII",
                hint="copy the key again, without quotes, spaces or line breaks in it",
            )
        return Secret(name, value)


def read_environment(environ: Mapping[str, str], working_directory: Path) -> Environment:
    """Lay the process's variables over those of `.env` in the working directory."""
    try:
        text = (working_directory / KEYS_FILE).read_text(encoding="utf-8-sig")
    except (FileNotFoundError, IsADirectoryError):
        # Some people call their virtual environment `.env`; a directory is none of our business.
        return Environment(variables=dict(environ))
    except UnicodeDecodeError:
        return Environment(variables=dict(environ), notes=(".env is not UTF-8 and is not used",))
    except OSError as error:
        note = f".env cannot be read ({error.strerror}) and is not used"
        return Environment(variables=dict(environ), notes=(note,))
    variables: dict[str, str] = {}
    notes: list[str] = []
    for binding in parse_stream(io.StringIO(text)):
        if binding.error:
            notes.append(f".env: line {binding.original.line} is not NAME=value and is not used")
        elif binding.key is not None and binding.value is not None:
            variables[binding.key] = binding.value
    return Environment(variables=variables | dict(environ), notes=tuple(notes))


def references(template: str) -> list[str]:
    """
    Return the variables that a header's value names as `${VAR}`, in order.

    Raises:
        ValueError: a `${` that is no complete reference; the message does not repeat the value.
    """
    if "${" in _REFERENCE.sub("", template):
        raise ValueError("has a `${` that is not a complete ${NAME}")
    return _REFERENCE.findall(template)


def is_header_text(text: str) -> bool:
    """Tell whether a header can carry the text: printable ASCII."""
    return _HEADER_TEXT.fullmatch(text) is not None


def expand(template: str, secrets: Mapping[str, Secret]) -> str:
    """Replace each `${NAME}` by its value; every name must be among `secrets`."""
    return _REFERENCE.sub(lambda match: secrets[match[1]].reveal(), template)
