"""Option values that need more than a type: models, request fields as `KEY=JSON`, kinds, ages."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from aiq.config.toml_file import looks_like_key, nearest, quoted, typed_key
from aiq.errors import Refused
from aiq.model import DAMAGED, JobState, Kind
from aiq.prompts.request_fields import CHAT, check_field, mistyped
from aiq.prompts.strict_json import BadLine, decode

_OWN_OPTIONS = {"model": "-m MODEL", "system": "--system TEXT"}

_ENDED_WELL = (Kind.OK, Kind.CANCELLED)
FAILING = (
    *(kind.value for kind in Kind if kind not in _ENDED_WELL),
    DAMAGED,
    JobState.CANCELLED.value,
)
"""The kinds a job can have failed with, and what else can be put back."""


def parameters(given: Sequence[str]) -> dict[str, Any]:
    """
    Return request fields from `--param KEY=JSON`.

    Raises:
        Refused: no `=`, no JSON, no request field, a value of the wrong type, or an API key.
    """
    fields: dict[str, Any] = {}
    for one in given:
        name, equals, text = one.partition("=")
        if looks_like_key(name):
            raise typed_key("--param")
        if not equals:
            raise Refused(
                f"--param {quoted(one)}: has no `=`", hint="write `--param temperature=0.2`"
            )
        if name in _OWN_OPTIONS:
            raise Refused(
                f"--param {name}: has an option of its own", hint=f"write `{_OWN_OPTIONS[name]}`"
            )
        if name not in CHAT:
            meant = mistyped(name)
            hint = f"did you mean `{meant}`?" if meant in CHAT else nearest(name, CHAT)
            raise Refused(f"--param {quoted(name)}: is no request field", hint=hint)
        fields[name] = _value(name, text)
    return fields


def _value(name: str, text: str) -> Any:
    try:
        value = decode(text.encode("utf-8", "surrogateescape"))
    except BadLine as bad:
        raise Refused(
            f"--param {name}: the value is not JSON: {bad}",
            hint=f"quote strings twice, once for the shell: --param '{name}=\"...\"'",
        ) from None
    try:
        check_field(name, CHAT[name], value)
    except BadLine as bad:
        raise Refused(f"--param {name}: {bad}") from None
    if _holds_key(value):
        raise typed_key(f"--param {name}")
    return value


def _holds_key(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_holds_key, (*value, *value.values())))
    if isinstance(value, list):
        return any(map(_holds_key, value))
    return isinstance(value, str) and looks_like_key(value)


def model_name(given: str | None) -> str | None:
    """Return the model of `-m`; raises `Refused` for what must be a key in the wrong place."""
    if given is not None and looks_like_key(given):
        raise typed_key("-m")
    return given


_AGE = re.compile(r"([0-9]{1,6})([mhd])")
_UNIT_US = {"m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}


def age_us(option: str, given: str) -> int:
    """Return microseconds from `30m`, `12h` or `7d`; raises `Refused` for all else and zero."""
    found = _AGE.fullmatch(given)
    if found is None:
        raise Refused(
            f"{option} {quoted(given)}: is no age",
            hint="write a whole number of minutes, hours or days: `30m`, `12h`, `7d`",
        )
    if not int(found[1]):
        raise Refused(f"{option} {quoted(given)}: is no time at all", hint="the least is `1m`")
    return int(found[1]) * _UNIT_US[found[2]]


def kinds(option: str, given: Sequence[str]) -> tuple[str, ...]:
    """Return kinds of outcome that a job can fail with; raises `Refused` for any other word."""
    for word in given:
        if word not in FAILING:
            raise Refused(
                f"{option} {quoted(word)}: a job does not fail so", hint=nearest(word, FAILING)
            )
    return tuple(given)
