"""JSON that standard readers choke on: lone surrogates, and numbers that no float holds."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

TOO_LARGE = "a number that no float holds"
ODD = st.sampled_from(["\ud800", TOO_LARGE, "\ud800"])
"""Leaves to mix into values that are written with `as_json`; one alone harms nobody."""

ODD_LISTS = st.lists(ODD, min_size=2, max_size=3)


def as_json(value: Any) -> str:
    """Write a value as a server does that knows no limits of numbers."""
    return json.dumps(value).replace(f'"{TOO_LARGE}"', "1e999")
