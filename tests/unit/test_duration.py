"""Durations as people read them: never off by more than the smaller of two units."""

from __future__ import annotations

import pytest

from aiq.policy.duration import shown_duration


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-5.0, "0 s"),
        (1.4, "1 s"),
        (119.4, "119 s"),
        (119.6, "2 min"),
        (7199.0, "119 min"),
        (7260.0, "2 h 1 min"),
        (172_799.0, "47 h 59 min"),
        (200_000.0, "2 d 7 h"),
    ],
)
def test_a_duration_is_said_in_units_that_fit_it(seconds: float, said: str) -> None:
    assert shown_duration(seconds) == said
