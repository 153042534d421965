"""Untrusted text on a screen: nothing in it acts, nothing in it hides."""

import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import aiq.cli
from aiq.untrusted import ACCENTS, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain [b]text[/b] :smile:", "plain [b]text[/b] :smile:"),
        ("tab\tand\nline", "tab\\x09and\\x0aline"),
        ("\x1b]52;c;aGk=\x07", "\\x1b]52;c;aGk=\\x07"),
        ("\x9b31mred", "\\x9b31mred"),
        ("del\x7f", "del\\x7f"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("zero\u200bwidth\ufeff", "zero\\u200bwidth\\ufeff"),
        ("line\u2028break", "line\\u2028break"),
        ("filler\u3164", "filler\\u3164"),
        ("tag\U000e0041", "tag\\U000e0041"),
        ("kept\u2065for\ufff0later\U000e0fff", "kept\\u2065for\\ufff0later\\U000e0fff"),
        ("葛\U000e0100 \ue000", "葛\U000e0100 \ue000"),
        ("lone\ud800", "lone\\ud800"),
        ("日本語 Straße 🎉 naïve", "日本語 Straße 🎉 naïve"),
    ],
)
def test_what_acts_or_hides_becomes_an_escape(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_layout_stays_where_lines_are_wanted() -> None:
    """Line feeds and tabs are layout in an answer; a carriage return never is."""
    assert visible("a\n\tb\rc", lines=True) == "a\n\tb\\x0dc"


def test_piles_of_accents_stop_growing() -> None:
    """A letter keeps the accents of real scripts; the flood after them is spelled out."""
    shown = visible("e" + "\u0301" * 50)
    assert shown.count("\u0301") == ACCENTS
    assert "\\u0301" in shown


@pytest.mark.parametrize(("length", "cut"), [(9, False), (10, False), (11, True)])
def test_length_is_capped_with_an_ellipsis(length: int, cut: bool) -> None:
    shown = visible("x" * length, 10)
    assert len(shown) == min(length, 10)
    assert shown.endswith("…") is cut


def test_escapes_count_towards_the_cap() -> None:
    assert len(visible("\x1b" * 100, 20)) == 20


@given(st.text(alphabet=st.characters(), max_size=400))
def test_whatever_comes_in_nothing_active_comes_out(text: str) -> None:
    shown = visible(text)
    assert len(shown) <= 300
    for char in shown:
        assert unicodedata.category(char) not in {"Cc", "Cf", "Cs", "Zl", "Zp"}


def test_no_other_module_gives_text_a_meaning() -> None:
    """Markup, ANSI parsing and highlighting of foreign text occur nowhere in the command line."""
    active = re.compile(
        r"from_markup|from_ansi|markup=True|highlight=True|emoji=True|rich\.markdown"
    )
    for path in Path(aiq.cli.__file__).parent.glob("*.py"):
        assert not active.search(path.read_text(encoding="utf-8")), path.name
