"""
Guesses the tokens of a request from the bytes of its prompt and from the answers before it.

No tokenizer: a ratio learned from the first replies beats any of them across vendors. One
`TokenRatio` serves one model of one provider.
"""

from __future__ import annotations

import math

import msgspec

from aiq.model import Usage

TOKENS_PER_BYTE = 0.25
"""Before anything is known: right for English within a seventh, for other text within a half."""

FIRST_OUTPUT_TOKENS = 256

_LEAST, _MOST = 0.01, 4.0
"""Tokens per byte: near the one is a file in base64, near the other a chat of two bytes."""

_WEIGHT = 0.1
"""Of the latest reply in the moving means."""


class Estimate(msgspec.Struct, frozen=True):
    """The tokens a request is expected to take."""

    input_tokens: int
    output_tokens: int


class TokenRatio:
    """
    What one model makes of a byte, and how much it answers.

    The ratio is the quotient of two moving means, tokens and bytes, so that long prompts count for
    more than the fixed overhead of short ones.
    """

    __slots__ = ("_input_bytes", "_input_tokens", "_output_tokens")

    def __init__(self) -> None:
        self._input_tokens = 0.0
        self._input_bytes = 0.0
        self._output_tokens: float | None = None

    @property
    def per_byte(self) -> float:
        """Return tokens per UTF-8 byte."""
        if self._input_bytes == 0.0:
            return TOKENS_PER_BYTE
        return min(_MOST, max(_LEAST, self._input_tokens / self._input_bytes))

    def estimate(self, size_bytes: int, cap: int | None) -> Estimate:
        """Return what a prompt of this size takes; `cap` is its limit of output tokens."""
        expected = self._output_tokens
        output = FIRST_OUTPUT_TOKENS if expected is None else math.ceil(expected)
        if cap is not None and cap < output:
            output = cap
        return Estimate(math.ceil(size_bytes * self.per_byte), output)

    def learn(self, size_bytes: int, usage: Usage) -> None:
        """Take a reply's usage into account; counts it does not report teach nothing."""
        if usage.input_tokens is None:
            return
        if size_bytes > 0 and usage.input_tokens > 0:
            self._learn_input(size_bytes, usage.input_tokens)
        output = usage.output_tokens or 0  # a reply without output is an embedding
        if self._output_tokens is None:
            self._output_tokens = float(output)
        else:
            self._output_tokens += _WEIGHT * (output - self._output_tokens)

    def _learn_input(self, size_bytes: int, input_tokens: int) -> None:
        if self._input_bytes == 0.0:
            self._input_tokens, self._input_bytes = float(input_tokens), float(size_bytes)
            return
        self._input_tokens += _WEIGHT * (input_tokens - self._input_tokens)
        self._input_bytes += _WEIGHT * (size_bytes - self._input_bytes)
