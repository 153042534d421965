"""No secret shows itself, and none passes the redactor."""

from __future__ import annotations

import copy

import pytest

from aiq.redaction import REDACTED, Redactor, Secret

KEY = "sk-live-0123456789"


def redactor(*values: str) -> Redactor:
    return Redactor(Secret(f"KEY_{n}", value) for n, value in enumerate(values))


@pytest.mark.parametrize(
    "shown",
    [
        repr(Secret("OPENAI_API_KEY", KEY)),
        str(Secret("OPENAI_API_KEY", KEY)),
        f"{Secret('OPENAI_API_KEY', KEY)}",
        f"{Secret('OPENAI_API_KEY', KEY)!r:>60}",
        "%s" % Secret("OPENAI_API_KEY", KEY),  # noqa: UP031 - the old form is what is tested
        repr([Secret("OPENAI_API_KEY", KEY)]),
        repr(copy.copy(Secret("OPENAI_API_KEY", KEY))),
    ],
)
def test_a_secret_never_shows_its_value(shown: str) -> None:
    assert KEY not in shown
    assert "OPENAI_API_KEY" in shown


def test_secrets_are_equal_by_value() -> None:
    assert Secret("A", KEY) == Secret("B", KEY)
    assert hash(Secret("A", KEY)) == hash(Secret("B", KEY))
    assert Secret("A", KEY) != KEY
    assert Secret("A", KEY).reveal() == KEY


def test_every_occurrence_is_taken_out_of_text_and_bytes() -> None:
    clean = redactor(KEY)
    assert clean.text(f"{KEY}, again {KEY}{KEY}") == f"{REDACTED}, again {REDACTED}{REDACTED}"
    assert clean.body(f'{{"key": "{KEY}"}}'.encode()) == f'{{"key": "{REDACTED}"}}'.encode()


def test_a_longer_secret_goes_before_one_that_it_contains() -> None:
    """Else the rest of the longer one would stay."""
    clean = redactor("abcdef", "abcdef-and-the-rest")
    assert clean.text("abcdef-and-the-rest abcdef") == f"{REDACTED} {REDACTED}"


@pytest.mark.parametrize(("value", "is_hidden"), [("EMPTY", False), ("x" * 6, True)])
def test_values_under_six_characters_are_left(value: str, is_hidden: bool) -> None:
    """Replacing `EMPTY` would damage answers that the user paid for."""
    assert (value not in redactor(value).text(f"an {value} word")) is is_hidden


def test_what_holds_no_secret_is_returned_as_it_is() -> None:
    text, body = "nothing here \ud800", b"\xff\xfe not even UTF-8"
    assert redactor(KEY).text(text) is text
    assert redactor(KEY).body(body) is body
    assert Redactor().text(KEY) == KEY


@pytest.mark.parametrize("length", range(6, len(KEY)))
def test_a_body_that_was_cut_inside_a_secret_ends_before_it(length: int) -> None:
    """What the server left off, or we did not keep, does not make the rest harmless."""
    body = b"the key is " + KEY[:length].encode()
    assert redactor("another-4711", KEY).body(body) == f"the key is {REDACTED}".encode()


def test_a_body_that_ends_like_any_word_is_left() -> None:
    body = b"the key is " + KEY[:5].encode()
    assert redactor(KEY).body(body) is body
