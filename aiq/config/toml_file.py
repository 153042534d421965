"""
Reads `aiq.toml` into its tables, and says what is wrong with it by line or by the key's path.

Values are judged by type and range here. No message repeats a value, except a word where one of a
few was expected.
"""

from __future__ import annotations

import datetime as dt
import difflib
import json
import math
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from aiq.config.tables import (
    CHOICES,
    MISPLACED,
    SECRET_KEYS,
    SECTIONS,
    ConfigTable,
)
from aiq.errors import ConfigError
from aiq.model import JsonObject

# Deeper and longer than any real file; a hostile one must not exhaust stack or memory.
MAX_DEPTH = 50
MAX_LENGTH = 1024 * 1024

_POSITION = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
_PATH = re.compile(r"^(.*) - at `(?:key in )?\$\.?(.*)`$", re.DOTALL)
_UNKNOWN_KEY = re.compile(r"^Object contains unknown field `(.*)`$", re.DOTALL)
_MISSING_KEY = re.compile(r"^Object missing required field `(.*)`$")
_UNKNOWN_WORD = re.compile(r"""^Invalid enum value (['"]?)(.*)\1$""", re.DOTALL)
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_HEADERS = {"run": "[run]", "providers[]": "[[providers]]", "defaults": "[defaults]"}
_TYPE_NAMES = {
    "str": "string",
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "object": "table",
}
# What the vendors' keys look like: a prefix of their own and a long run of key characters.
_KEY_SHAPE = re.compile(
    r"(?:Bearer\s+)?(?:sk-|sk_|gsk_|xai-|csk-|hf_|r8_|fw_|tgp_|nvapi-|AIza|ghp_|eyJ)"
    r"[A-Za-z0-9_.\-]{16,}"
)

NO_KEYS = "keys do not belong in this file"
NO_KEYS_HINT = (
    "put it into the environment or .env and name the variable here: "
    'api_key_env = "NAME", or "${NAME}" in a header'
)


class Fault(NamedTuple):
    """What is wrong with a value, and at which path of the file."""

    place: str
    reason: str
    hint: str | None


def read(path: Path, shown: str) -> tuple[ConfigTable, JsonObject]:
    """
    Return the tables of a configuration file and its `[defaults]` as written.

    Args:
        path: where the file is.
        shown: how messages call it.

    Raises:
        FileNotFoundError: there is no such file; whether that matters is the caller's to say.
        ConfigError: the file cannot be read, is no TOML, or holds a key or value that is refused.
    """
    try:
        text = _text(path, shown)
        document = tomllib.loads(text)
        _refuse_anywhere(document, shown, "", 0)
        table = msgspec.convert(document, ConfigTable)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ConfigError(f"{shown}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{shown}: is not UTF-8", hint="save it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise _syntax_error(shown, text, str(error)) from None
    except RecursionError:
        raise ConfigError(f"{shown}: is nested too deeply") from None
    except msgspec.ValidationError as error:
        fault = explain(str(error))
        place = f"{shown}: {fault.place}" if fault.place else shown
        raise ConfigError(f"{place}: {fault.reason}", hint=fault.hint) from None
    except ValueError:  # tomllib lets the interpreter's own limit on digits through
        raise ConfigError(f"{shown}: holds an integer of too many digits") from None
    return table, document.get("defaults", {})


def _text(path: Path, shown: str) -> str:
    with path.open(encoding="utf-8-sig") as stream:
        text = stream.read(MAX_LENGTH + 1)
    if len(text) > MAX_LENGTH:
        raise ConfigError(f"{shown}: is too large to be a configuration", hint="check the path")
    return text


def nearest(word: str, valid: Iterable[str]) -> str:
    """Return a hint for an unknown word: the one it resembles most, else all that are valid."""
    valid = list(valid)
    close = difflib.get_close_matches(word, valid, n=1)
    return f"did you mean `{close[0]}`?" if close else f"valid: {', '.join(valid)}"


def quoted(word: str, limit: int = 60) -> str:
    """Show a word from the user between backticks, escaped where it is not printable."""
    word = word if len(word) <= limit else word[:limit] + "..."
    return f"`{word if word.isprintable() else json.dumps(word)[1:-1]}`"


def looks_like_key(text: str) -> bool:
    """Tell whether a text has the shape of a vendor's API key."""
    return _KEY_SHAPE.fullmatch(text.strip()) is not None


def _syntax_error(file: str, text: str, message: str) -> ConfigError:
    found = _POSITION.search(message)
    reason = message[: found.start()] if found else message
    if found and found[1]:
        return ConfigError(f"{file}: line {found[1]}, column {found[2]}: {reason}")
    last = text.rstrip("\n").count("\n") + 1  # TOML knows no other line end
    return ConfigError(f"{file}: line {last}: {reason}")


def _refuse_anywhere(value: Any, file: str, path: str, depth: int) -> None:
    """Refuse what no key may hold: keys of vendors, values without a JSON form, endless nesting."""
    if depth > MAX_DEPTH:
        raise ConfigError(f"{file}: {path.partition('.')[0]}: is nested too deeply")
    if isinstance(value, dict):
        for key, child in value.items():
            _refuse_anywhere(child, file, join(path, key), depth + 1)
    elif isinstance(value, list):
        for index, child in enumerate(value):
            _refuse_anywhere(child, file, f"{path}[{index}]", depth + 1)
    elif isinstance(value, str) and looks_like_key(value):
        raise literal_key(f"{file}: {path}")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{file}: {path}: must be a finite number")
    elif isinstance(value, dt.date | dt.time):
        raise ConfigError(f"{file}: {path}: is a date or time", hint="put it between quotes")


def join(path: str, key: str) -> str:
    """Append a key to a path as TOML would write it."""
    key = key if _BARE_KEY.fullmatch(key) else json.dumps(key)
    return f"{path}.{key}" if path else key


def literal_key(where: str) -> ConfigError:
    """Return the refusal of a key written into the file; `where` names its place."""
    return ConfigError(f"{where}: {NO_KEYS}", hint=NO_KEYS_HINT)


def typed_key(where: str) -> ConfigError:
    """Return the refusal of a key on the command line, which everybody on the machine can read."""
    return ConfigError(
        f"{where}: keys do not belong on the command line",
        hint="put it into the environment or .env, and think of it as known by now",
    )


def explain(message: str) -> Fault:
    """Translate the text of a msgspec error into the key's path, TOML's words and a hint."""
    found = _PATH.match(message)
    reason, place = (found[1], found[2]) if found else (message, "")
    unknown = _UNKNOWN_KEY.match(reason)
    if unknown:
        return _unknown_key(place, unknown[1])
    missing = _MISSING_KEY.match(reason)
    if missing:
        return Fault(join(place, missing[1]), "is missing", None)
    word = _UNKNOWN_WORD.match(reason)
    key = place.rpartition(".")[2]
    if word and key in CHOICES:
        return Fault(place, f"unknown value {quoted(word[2])}", nearest(word[2], CHOICES[key]))
    if place == "defaults.n":
        return Fault(place, "must be 1", "each answer is its own job: repeat the prompt instead")
    reason = re.sub(r"`([^`]*)`", lambda match: _type_words(match[1]), reason)
    reason = reason[:1].lower() + reason[1:]
    if place.endswith("[...]"):
        place, reason = place.removesuffix("[...]"), f"one of its values: {reason}"
    hint = "write [[providers]], once per provider" if place == "providers" else None
    return Fault(place, reason, hint)


def _type_words(types: str) -> str:
    words = [_TYPE_NAMES.get(name, name) for name in types.split(" | ") if name != "null"]
    return " or ".join(words)


def _unknown_key(place: str, key: str) -> Fault:
    section = re.sub(r"\[\d+\]", "[]", place)
    where = join(place, key)
    if key.lower() in SECRET_KEYS:
        return Fault(where, NO_KEYS, NO_KEYS_HINT)
    if key in MISPLACED.get(section, {}):
        return Fault(where, "does not belong here", MISPLACED[section][key])
    valid = _keys(section)
    owner = next((header for name, header in _HEADERS.items() if key in _keys(name)), None)
    if owner and not difflib.get_close_matches(key, valid, n=1):
        return Fault(where, "unknown key", f"`{key}` is a key of {owner}")
    return Fault(where, "unknown key", nearest(key, valid))


def _keys(section: str) -> list[str]:
    return [field.encode_name for field in msgspec.structs.fields(SECTIONS[section])]
