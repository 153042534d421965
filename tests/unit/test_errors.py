"""The error tree: one exit status each, and the drawing in the module is the tree that is there."""

from __future__ import annotations

import inspect

import pytest

from aiq import errors
from aiq.errors import (
    AiqError,
    ConfigError,
    ExitCode,
    InputError,
    Refused,
    StoreError,
    UnknownName,
    Unusable,
)
from tests.support.lines import lines_of

# The contract's table of exit statuses, written out again.
STATUSES = {
    "OK": 0,
    "SOME_FAILED": 1,
    "REFUSED": 2,
    "NO_PROVIDER": 3,
    "BUDGET": 4,
    "STORE": 5,
    "BUG": 70,
    "SIGINT": 130,
    "SIGTERM": 143,
}


def test_exit_statuses_are_the_contract() -> None:
    assert {code.name: int(code) for code in ExitCode} == STATUSES


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (AiqError, 70),
        (Refused, 2),
        (ConfigError, 2),
        (InputError, 2),
        (UnknownName, 2),
        (Unusable, 3),
        (StoreError, 5),
    ],
)
def test_each_error_has_its_status_text_and_hint(error: type[AiqError], status: int) -> None:
    raised = error("what is wrong", hint="what to do")
    assert raised.exit_code == status
    assert str(raised) == "what is wrong"
    assert raised.hint == "what to do"
    assert error("alone").hint is None


def test_the_drawing_names_every_error_with_its_status() -> None:
    """Readers trust the tree in the module's docstring."""
    drawing = inspect.getdoc(errors) or ""
    for name, one in inspect.getmembers(errors, inspect.isclass):
        if issubclass(one, AiqError) and one is not AiqError:
            (line,) = [row for row in lines_of(drawing) if f"─ {name} " in row]
            assert f" {int(one.exit_code)} " in line
