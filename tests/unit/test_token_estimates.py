"""Tokens guessed from bytes: right before anything is known, better after the first replies."""

from __future__ import annotations

import pytest

from aiq.model import Usage
from aiq.policy.tokens import Estimate, TokenRatio


def usage(tokens_in: int | None = None, tokens_out: int | None = None) -> Usage:
    return Usage(input_tokens=tokens_in, output_tokens=tokens_out)


@pytest.mark.parametrize(
    ("size", "cap", "expected"),
    [
        (0, None, Estimate(0, 256)),
        (1, None, Estimate(1, 256)),
        (4000, None, Estimate(1000, 256)),
        (4000, 100, Estimate(1000, 100)),
        (4000, 256, Estimate(1000, 256)),
        (4000, 8192, Estimate(1000, 256)),
        (4000, 0, Estimate(1000, 0)),
    ],
)
def test_before_any_reply_a_token_is_four_bytes(
    size: int, cap: int | None, expected: Estimate
) -> None:
    """And an answer is 256 tokens, or what the cap allows."""
    assert TokenRatio().estimate(size, cap) == expected


def test_the_first_reply_counts_in_full() -> None:
    ratio = TokenRatio()
    ratio.learn(1000, usage(500, 40))
    assert ratio.estimate(2000, None) == Estimate(1000, 40)
    assert ratio.estimate(2000, 10) == Estimate(1000, 10)


def test_later_replies_move_the_mean() -> None:
    ratio = TokenRatio()
    ratio.learn(1000, usage(200, 100))
    for _ in range(100):
        ratio.learn(1000, usage(400, 300))
    assert ratio.per_byte == pytest.approx(0.4, rel=0.01)
    assert ratio.estimate(0, None).output_tokens == 300


def test_one_odd_reply_does_not_turn_the_ratio() -> None:
    ratio = TokenRatio()
    for _ in range(50):
        ratio.learn(1000, usage(250, 100))
    ratio.learn(10, usage(40, 100))
    assert ratio.per_byte == pytest.approx(0.25, rel=0.1), "long prompts count for more"


@pytest.mark.parametrize(("tokens", "per_byte"), [(0, 0.25), (1, 0.01), (10_000_000, 4.0)])
def test_what_makes_no_sense_is_bounded(tokens: int, per_byte: float) -> None:
    ratio = TokenRatio()
    ratio.learn(1000, usage(tokens, 1))
    assert ratio.per_byte == per_byte


def test_a_reply_without_usage_teaches_nothing() -> None:
    ratio = TokenRatio()
    ratio.learn(1000, usage())
    ratio.learn(1000, usage(None, 5000))
    assert ratio.estimate(4000, None) == Estimate(1000, 256)


def test_embeddings_have_no_output() -> None:
    """They report their input alone."""
    ratio = TokenRatio()
    ratio.learn(1000, usage(250))
    assert ratio.estimate(1000, None) == Estimate(250, 0)


def test_a_prompt_of_no_size_does_not_spoil_the_ratio() -> None:
    ratio = TokenRatio()
    ratio.learn(0, usage(1000, 10))
    assert ratio.per_byte == 0.25
