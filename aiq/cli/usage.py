"""What Typer refuses, in the words of every other refusal."""

from __future__ import annotations

import re

_VALUE = re.compile(r"Invalid value for '([^']+)'[^:]*: (.*)", re.DOTALL)
_WORDS = (
    (re.compile(r"Value error, (.*?)\.?"), r"\1"),
    (re.compile(r"Input should be a valid integer.*"), "needs a whole number"),
    (re.compile(r"Input should be a valid number.*"), "needs a number"),
    (re.compile(r"Input should be greater than or equal to (.*)"), r"needs at least \1"),
    (re.compile(r"Input should be less than or equal to (.*)"), r"needs at most \1"),
)


def refusal_text(message: str) -> str:
    """Return a message with the option before its colon and what it needs behind it."""
    message = message.replace("\n\t", " ")  # a list, which belongs on its line
    found = _VALUE.fullmatch(message)
    if found is None:
        return message
    for pattern, words in _WORDS:
        if what := pattern.fullmatch(found[2]):
            return f"{found[1]}: {what.expand(words)}"
    return f"{found[1]}: {found[2]}"
