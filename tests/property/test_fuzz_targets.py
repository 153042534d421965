"""
The promises that `tests.fuzz` holds against any bytes, for a moment in every run of the tests.

Inputs start from the same seeds, with a piece of them replaced; what a fuzzer found is among them.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.growing import spelled
from tests.fuzz.targets import SEEDS, TARGETS

MIB = 1024 * 1024
FOUND: dict[str, list[bytes]] = {
    # A text with a lone surrogate where a list belongs.
    "reply": [b"\2\0\0" + spelled({"candidates": "\ud800", "content": [1]})],
    # Tokens from a cache, of an input that is not told.
    "reply_text": [b'\1\0\0{"content": "hi", "usage": {"cache_read_input_tokens": 1}}'],
    "waits": [b"e\xc5949"],
    # Code points without a meaning so far.
    "screen": [b"A\x1f]5\xef\xbf\xb0\xe2\x81\xa5", "\u0f98".encode()],
}
ENDLESS = {
    "brackets": b"[" * MIB,
    "objects": b'{"a":' * (MIB // 5),
    "backslashes": b'"' + b"\\" * MIB,
    "quotes": b'"' * MIB,
    "escaped quotes": b'"' + b'\\"' * (MIB // 2),
    "blanks": b" " * MIB + b"x",
    "digits": b"9" * MIB,
    "a fraction": b"1" * MIB + b".5e5",
    "tags": b"<html>" * (MIB // 6),
    "surrogates": b'"' + b"\\ud800" * (MIB // 6) + b'"',
    "marks": b"\xef\xbb\xbf" * (MIB // 3),
    "accents": b"e" + b"\xcc\x81" * (MIB // 2),
    "a wait": b'{"error": {"message": "retry after ' + b"1" * MIB + b'!"}}',
    "units": b'{"error": {"message": "try again in ' + b"1h" * (MIB // 2) + b'!"}}',
    "hints": b'{"error": {"message": "' + b"try again in 1" * (MIB // 14) + b'"}}',
}


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_keeps_its_promise(name: str) -> None:
    seeds = SEEDS[name] + FOUND.get(name, [])

    @settings(max_examples=50)
    @given(st.data())
    def holds(data: st.DataObject) -> None:
        seed = data.draw(st.sampled_from(seeds) | st.binary(max_size=200))
        start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(seed))] * 2)))
        TARGETS[name](seed[:start] + data.draw(st.binary(max_size=12)) + seed[end:])

    holds()
    for seed in seeds:
        TARGETS[name](seed)


@pytest.mark.parametrize("shape", ENDLESS)
def test_time_grows_no_faster_than_the_input(shape: str) -> None:
    """A megabyte of anything is read at once; a step for each pair of its bytes would take days."""
    data = ENDLESS[shape]
    TARGETS["lines"](data[:MIB])
    TARGETS["prompt_text"](data)
    TARGETS["waits"](data)
    TARGETS["encoded"](data)
    TARGETS["screen"](data)
    for dialect in range(3):
        for status in (0, 12):
            TARGETS["reply_text"](bytes((dialect, 0, status)) + data)
