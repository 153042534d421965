"""
Which kind of outcome a reply is that is no answer.

The body's own code is asked first, then the text of its message, then the status: a 429 may be
about money, and a 200 may be a failure. The tables are the decision; the functions only say in
which order they are asked. Every integer is a status somebody will send, so every integer has a
kind.

Two judgements worth knowing. A server that forbids a retry (`x-should-retry: false`) on a failure
of its own is obeyed: the job fails at once as `bad_request`. And a local server that is still
loading its model or whose queue is full asks for patience, so its 503 is `rate_limited`.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from aiq.model import Flaw, Kind, Problem

LATE_S = 5.0  # a gateway that gives up sooner never reached a model

# The words of `error.code` and `error.type` that decide alone. Words as general as
# `invalid_request_error` or `server_error` are left to the status.
_KIND_OF_WORD: dict[str, Kind] = {
    # money
    "insufficient_quota": Kind.OUT_OF_CREDIT,
    "credit_balance_exhausted": Kind.OUT_OF_CREDIT,
    "organization_spend_limit_exceeded": Kind.OUT_OF_CREDIT,
    "project_spend_limit_exceeded": Kind.OUT_OF_CREDIT,
    "organization_usage_limit_exceeded": Kind.OUT_OF_CREDIT,
    "billing_not_active": Kind.OUT_OF_CREDIT,
    "billing_hard_limit_reached": Kind.OUT_OF_CREDIT,
    "billing_error": Kind.OUT_OF_CREDIT,
    "enforced_spend_limit_reached": Kind.OUT_OF_CREDIT,
    "contract_spend_limit_reached": Kind.OUT_OF_CREDIT,
    "billing_disabled": Kind.OUT_OF_CREDIT,
    # credentials
    "invalid_api_key": Kind.AUTH,
    "api_key_invalid": Kind.AUTH,
    "authentication_error": Kind.AUTH,
    "unauthenticated": Kind.AUTH,
    "organization_on_hold": Kind.AUTH,  # Anthropic: disabled for reasons of trust and safety
    "cmek_key_disabled": Kind.AUTH,  # Anthropic: the workspace's own encryption key
    "pup_limited_disabled": Kind.AUTH,  # Gemini: the account broke the use policy
    # the model
    "model_not_found": Kind.NOT_FOUND,
    "model_not_available": Kind.NOT_FOUND,
    "model_decommissioned": Kind.NOT_FOUND,
    "invalid_model": Kind.NOT_FOUND,
    "deploymentnotfound": Kind.NOT_FOUND,
    # this request's size
    "context_length_exceeded": Kind.CONTEXT_TOO_LONG,
    "exceed_context_size_error": Kind.CONTEXT_TOO_LONG,
    "string_above_max_length": Kind.CONTEXT_TOO_LONG,
    "request_too_large": Kind.CONTEXT_TOO_LONG,
    # this request's content
    "content_filter": Kind.BAD_REQUEST,
    "content_policy_violation": Kind.BAD_REQUEST,
    "responsibleaipolicyviolation": Kind.BAD_REQUEST,
    "moderation": Kind.BAD_REQUEST,
    "unsupported_parameter": Kind.BAD_REQUEST,
    "unsupported_value": Kind.BAD_REQUEST,
    "invalid_prompt": Kind.BAD_REQUEST,
    "previous_response_not_found": Kind.BAD_REQUEST,
    # pace
    "slow_down": Kind.RATE_LIMITED,
    "ramp_limit_exceeded": Kind.RATE_LIMITED,
    "overloaded_error": Kind.RATE_LIMITED,
    "capacity_exceeded": Kind.RATE_LIMITED,
}


class _Text(NamedTuple):
    """A sentence that decides, where the status leaves it open. `statuses` may hold 200."""

    kind: Kind
    statuses: frozenset[int]
    pattern: re.Pattern[str]


def _text(kind: Kind, statuses: set[int], *patterns: str) -> _Text:
    return _Text(kind, frozenset(statuses), re.compile("|".join(patterns), re.IGNORECASE))


_TEXTS = (
    _text(
        Kind.CONTEXT_TOO_LONG,
        {200, 400, 413, 422, 429},
        r"exceed context limit",
        r"(?:model|endpoint)'s maximum (?:context|prompt) length is",  # OpenRouter, xAI
        r"exceeds? the model's maximum context length",
        r"string too long\. expected a string with maximum length",
        r"model's maximum context limit",
        r"is longer than the model's context length",
        r"input tokens exceed the configured limit",
        r"exceeds the available context size",
        r"exceeds the maximum number of tokens allowed",
        r"prompt is too long",
        r"current length is \d+ while limit is",
        r"request too large for",
    ),
    _text(
        Kind.OUT_OF_CREDIT,
        {200, 400, 403, 429},
        r"credit balance is too low",
        r"insufficient (?:account )?(?:balance|credits|funds)",
        r"used all available credits",
        r"reached your specified (?:workspace )?(?:api )?usage limits?",
        r"\bcredits are depleted\b",
        r"\bspending cap\b",
        r"\bdoes(?:n.t| not) have any credits\b",
    ),
    _text(
        Kind.OUT_OF_CREDIT,
        {400, 403},
        r"\b(?:spend|spending|usage|billing) limit\b",
        r"\benable billing\b",
    ),
    _text(
        Kind.AUTH,
        {200, 400},
        r"\bapi key not valid\b",
        r"\bincorrect api key\b",
        r"\bapi_key_invalid\b",
        r"\borganization has been disabled\b",
        r"\blocation is not supported\b",
        r"\bnot available in your (?:country|region)\b",
    ),
    _text(
        Kind.NOT_FOUND,
        {200, 400, 422},
        r"\bmodel:? (?:\S{1,120} )?(?:(?:does )?not exist|(?:was |is )?not found|is not available)",
        r"\b(?:unknown|invalid) model\b",
        r"\bis not a valid model\b",
        r"\bno such model\b",
    ),
    # A refusal of one file or one model says nothing about the key.
    _text(
        Kind.BAD_REQUEST,
        {403},
        r"\bmoderation\b",
        r"\bpermission to access the (?:file|cachedcontent)\b",
        r"\bcachedcontent not found\b",
    ),
    _text(
        Kind.NOT_FOUND,
        {403},
        r"\b(?:permission|access|allowed) to (?:(?:use|access|sample from) )?(?:the |this )?"
        r"(?:specified |requested )?model\b",
    ),
    _text(
        Kind.RATE_LIMITED,
        {503},
        r"\bloading model\b",
        r"maximum pending requests exceeded",
    ),
)
_LONG_WORDS = [word for word, kind in _KIND_OF_WORD.items() if kind is Kind.CONTEXT_TOO_LONG]
_LONG_TEXTS = [text.pattern.pattern for text in _TEXTS if text.kind is Kind.CONTEXT_TOO_LONG]
_TOO_LONG_UPSTREAM = re.compile("|".join([*_LONG_WORDS, *_LONG_TEXTS]), re.IGNORECASE)
"""
Of whoever a gateway has asked, only this speaks of the prompt. His credit, his limits and his keys
are the gateway's matter, which has others to ask.
"""
_QUOTED = re.compile(r"""(?<!\w)"[^"]*"(?!\w) | (?<!\w)'[^']*'(?!\w) | `[^`]*`""", re.VERBOSE)
"""What a message quotes (a model, a part of the prompt, an upstream) is not the server's word."""
_NO_DAILY_QUOTA = re.compile(r"per-?day|\blimit: 0\b(?!\.[0-9])", re.IGNORECASE)

_KIND_OF_STATUS: dict[int, Kind] = {
    401: Kind.AUTH,
    402: Kind.OUT_OF_CREDIT,
    403: Kind.AUTH,
    404: Kind.NOT_FOUND,
    405: Kind.NOT_FOUND,  # the path exists for another method: a wrong base URL
    407: Kind.AUTH,
    408: Kind.SERVER_ERROR,
    409: Kind.SERVER_ERROR,
    410: Kind.NOT_FOUND,
    413: Kind.CONTEXT_TOO_LONG,
    425: Kind.SERVER_ERROR,
    429: Kind.RATE_LIMITED,
    498: Kind.RATE_LIMITED,  # Groq: the flex tier is full
    499: Kind.SERVER_ERROR,
    529: Kind.RATE_LIMITED,  # Anthropic: overloaded
}
_KIND_OF_HUNDRED: dict[int, Kind] = {
    3: Kind.NOT_FOUND,  # redirects are never followed: the base URL is wrong
    4: Kind.BAD_REQUEST,
    5: Kind.SERVER_ERROR,
}
_GATEWAY_TIMEOUTS = frozenset({502, 504, 524})


def kind_of(problem: Problem, *, elapsed_s: float, answered_before: bool) -> Kind:
    """
    Return the kind of outcome.

    `elapsed_s` tells a quick refusal from a gateway that cut a long answer; `answered_before` says
    that the provider gave an `ok` in this run, so its address is right and a page is a firewall's.
    """
    kind = _kind_by_body(problem) or _kind_by_status(problem.status_code)
    if kind is Kind.SERVER_ERROR:
        return _kind_of_failure(problem, elapsed_s)
    if problem.is_html and kind in (Kind.AUTH, Kind.NOT_FOUND, Kind.BAD_REQUEST):
        if not answered_before:
            return Kind.NOT_FOUND  # no API lives at this address
        if problem.status_code == 403:
            return Kind.BAD_REQUEST  # a firewall that dislikes this prompt
    return kind


def _kind_by_body(problem: Problem) -> Kind | None:
    """Classify by what the body says; a page or a cut reply says nothing."""
    if problem.is_html or problem.flaw not in (None, Flaw.FAILED):
        return None
    if problem.status_code == 429 and is_daily_quota(problem):
        return Kind.OUT_OF_CREDIT
    if problem.upstream is not None and _TOO_LONG_UPSTREAM.search(problem.upstream):
        return Kind.CONTEXT_TOO_LONG
    for word in (problem.code, problem.type):
        if word in _KIND_OF_WORD:
            return _KIND_OF_WORD[word]
    status = 200 if 200 <= problem.status_code < 300 else problem.status_code
    own_words = _own_words(problem)
    for text in _TEXTS:
        if status in text.statuses and text.pattern.search(own_words):
            return text.kind
    return None


def _own_words(problem: Problem) -> str:
    return _QUOTED.sub("_", problem.message)


def _kind_by_status(status_code: int) -> Kind:
    """A status outside 300 to 599 that brought no answer is a reply we cannot use."""
    by_hundred = _KIND_OF_HUNDRED.get(status_code // 100, Kind.BAD_RESPONSE)
    return _KIND_OF_STATUS.get(status_code, by_hundred)


def _kind_of_failure(problem: Problem, elapsed_s: float) -> Kind:
    """
    Tell a server's failure from a wait it asks for and from a gateway that cut a paid answer.

    What a 200 says of itself is no gateway's word: whoever wrote that knows how it ended.
    """
    if problem.status_code == 503 and problem.retry_after_s is not None:
        return Kind.RATE_LIMITED
    is_cut = problem.status_code in _GATEWAY_TIMEOUTS and problem.flaw is not Flaw.FAILED
    if is_cut and elapsed_s > LATE_S:
        return Kind.INTERRUPTED
    return Kind.BAD_REQUEST if problem.should_retry is False else Kind.SERVER_ERROR


def is_daily_quota(problem: Problem) -> bool:
    """
    Whether a quota of one model is used up until tomorrow, or was never granted.

    Vendors whose daily limit refills steadily write "per day" in words and say how long to wait;
    that is a wait like any other.
    """
    if problem.status_code != 429:
        return False
    return "perday" in (problem.code or "") or bool(_NO_DAILY_QUOTA.search(_own_words(problem)))


def is_about_address(problem: Problem) -> bool:
    """
    Whether a `not_found` says that nothing of the kind lives at this address.

    A page, a redirect or a refused method means a wrong base URL, for every model; anything else is
    taken to be about the model that was asked for.
    """
    return problem.is_html or 300 <= problem.status_code < 400 or problem.status_code == 405
