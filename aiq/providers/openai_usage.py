"""
Tokens and cost as an OpenAI-shaped reply reports them, believed only as far as they make sense.

Servers send strings, negatives, floats and 1e308 here. A count is an integer from 0 to 10 million
or it is unknown; an unknown count never spoils the answer it came with.
"""

from __future__ import annotations

import math

from aiq.model import NANO_PER_USD, Media, Usage

_MOST_TOKENS = 10_000_000
_MOST_USD = 1_000_000.0
_TICKS_PER_NANO = 10  # xAI bills in ticks of 1e-10 USD

# Responses and chats keep their details under names of their own.
_INPUT_DETAILS = ("input_tokens_details", "prompt_tokens_details")
_OUTPUT_DETAILS = ("output_tokens_details", "completion_tokens_details")
_BESIDE = ("cache_creation_input_tokens", "cache_read_input_tokens")
"""What Anthropic's own counts leave out of the prompt's, where a gateway passes them on."""
_NO_MEDIA = Media()


def read_usage(wire: object) -> Usage:
    """Read the `usage` object of any of the four endpoints; unusable counts are None."""
    if not isinstance(wire, dict):
        return Usage()
    tokens_in = _larger(wire, "prompt_tokens", "input_tokens")
    tokens_out = _larger(wire, "completion_tokens", "output_tokens")
    details_in = _counts(wire, _INPUT_DETAILS)
    details_out = _counts(wire, _OUTPUT_DETAILS)
    cached = details_in.get("cached_tokens")
    if cached is None:
        cached = token_count(wire.get("prompt_cache_hit_tokens"))  # DeepSeek
    if tokens_in is not None and tokens_out is not None:
        written = details_in.get("cache_write_tokens")
        tokens_out += _left_out(wire, tokens_in + tokens_out, cached, written)
    return Usage(
        input_tokens=tokens_in,
        output_tokens=tokens_out,
        cached_tokens=_part_of(tokens_in, cached),
        cache_write_tokens=_part_of(tokens_in, details_in.get("cache_write_tokens")),
        media=_media(details_in, details_out) if details_in or details_out else None,
    )


def read_cost(wire: object) -> int | None:
    """
    Read the reply's own price in nano-dollars, or None.

    OpenRouter's `cost` is in US dollars; with a key of the user's own (`is_byok`) it is only the
    fee, and what the upstream charges is told beside it. xAI counts ticks.
    """
    if not isinstance(wire, dict):
        return None
    ticks = wire.get("cost_in_usd_ticks")
    if type(ticks) is int and 0 <= ticks <= _MOST_USD * NANO_PER_USD * _TICKS_PER_NANO:
        return round(ticks / _TICKS_PER_NANO)
    cost = _usd(wire.get("cost"))
    if cost is None:
        return None
    details = wire.get("cost_details")
    if wire.get("is_byok") is True and isinstance(details, dict):
        cost += _usd(details.get("upstream_inference_cost")) or 0.0
    return round(cost * NANO_PER_USD)


def token_count(value: object) -> int | None:
    """Return a plausible token count; bool is an int to Python, but not to us."""
    return value if type(value) is int and 0 <= value <= _MOST_TOKENS else None


def _larger(wire: dict[str, object], *names: str) -> int | None:
    """Return the largest count of these names; some gateways send all of them, and 0 for most."""
    counts = (token_count(wire.get(name)) for name in names)
    return max((count for count in counts if count is not None), default=None)


def _part_of(whole: int | None, part: int | None) -> int | None:
    return None if whole is None or part is None or part > whole else part


def _counts(wire: dict[str, object], groups: tuple[str, ...]) -> dict[str, int]:
    """Return the plausible counts of groups of details; where two have one, that of the first."""
    counts: dict[str, int] = {}
    for group in groups:
        details = wire.get(group)
        if isinstance(details, dict):
            for name, value in details.items():
                count = token_count(value)
                if count is not None:
                    counts.setdefault(name, count)
    return counts


def _media(details_in: dict[str, int], details_out: dict[str, int]) -> Media | None:
    """Return what of the counts was sound or pictures; None: nothing, as nearly always."""
    media = Media(
        input_audio=details_in.get("audio_tokens", 0),
        input_image=details_in.get("image_tokens", 0),
        output_audio=details_out.get("audio_tokens", 0),
        output_image=details_out.get("image_tokens", 0),
    )
    return None if media == _NO_MEDIA else media


def _left_out(wire: dict[str, object], counted: int, *cache: int | None) -> int:
    """
    Return the tokens that a server leaves out of its completion tokens, but not out of the total.

    They are its reasoning (xAI, and Gemini behind most gateways), named among the details or not.
    What was read from a cache, or written to one, beside the prompt's own tokens is none, nor is
    the sound that Mistral counts in the total and otherwise in seconds.
    """
    total = token_count(wire.get("total_tokens"))
    if total is None or total <= counted or wire.get("prompt_audio_seconds"):
        return 0  # as nearly always
    beside = (token_count(wire.get(name)) or 0 for name in _BESIDE)
    left = max(0, total - counted - sum(beside))
    known = [one for one in cache if one is not None]
    return 0 if left in (*known, sum(known)) else left


def _usd(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value <= _MOST_USD and math.isfinite(value) else None
