"""
The vocabulary every other module speaks: prompts, jobs, outcomes, usage and money.

Values only. Nothing here reads a clock, a file or a socket, and nothing here imports the rest of
the program. Money is an integer of nano-dollars (1e-9 USD); None means the price is unknown,
which is never the same as zero.
"""

from __future__ import annotations

import enum
from typing import Any, TypeAlias

import msgspec

JsonObject: TypeAlias = dict[str, Any]

NANO_PER_USD = 1_000_000_000


class Endpoint(enum.StrEnum):
    """What a prompt asks for; the value is the path an OpenAI Batch line names."""

    CHAT = "/v1/chat/completions"
    EMBEDDINGS = "/v1/embeddings"
    COMPLETIONS = "/v1/completions"
    RESPONSES = "/v1/responses"


class JobState(enum.StrEnum):
    """
    Where a job stands. "Waiting" is not a state: it is `pending` with `not_before` in the future.

    `pending`    may be leased (from `not_before` on).
    `running`    leased: the attempt that holds it is committed and may have left the machine.
    `succeeded`  its answer is stored.
    `failed`     it will not be asked again unless the user says so; its last attempt says why.
    `cancelled`  the user took it back.
    """

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Kind(enum.StrEnum):
    """The kinds of outcome of an attempt; the values are what users see and type."""

    OK = "ok"
    CONNECT = "connect"
    INTERRUPTED = "interrupted"
    RATE_LIMITED = "rate_limited"
    OUT_OF_CREDIT = "out_of_credit"
    AUTH = "auth"
    NOT_FOUND = "not_found"
    BAD_REQUEST = "bad_request"
    CONTEXT_TOO_LONG = "context_too_long"
    SERVER_ERROR = "server_error"
    BAD_RESPONSE = "bad_response"
    CANCELLED = "cancelled"


DAMAGED = "damaged"
"""Beside the kinds, what a stored answer can have become; no attempt ends so."""


class Billed(enum.StrEnum):
    """Whether the provider charges for an attempt, as far as the reply lets us know."""

    YES = "yes"
    NO = "no"
    MAYBE = "maybe"


class Prompt(msgspec.Struct, frozen=True, kw_only=True):
    """
    One valid input line.

    `body` is the request in OpenAI form without its model: for chat it holds `messages` (a `system`
    given beside a prompt already stands first among them) and the line's own parameters.
    """

    endpoint: Endpoint = Endpoint.CHAT
    body: JsonObject
    id: str | None = None
    model: str | None = None
    priority: int = 0
    metadata: JsonObject | None = None


class Media(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of sound and of pictures, which are part of a usage's counts and priced apart."""

    input_audio: int = 0
    input_image: int = 0
    cached_audio: int = 0
    cached_image: int = 0
    output_audio: int = 0
    output_image: int = 0


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """
    Tokens as the provider reports them: input includes cached, output includes reasoning.

    Cache writes are part of the input as well, and dearer than the rest of it. They, the media, the
    tier and the speed are there for the price alone: the ledger keeps the cost, not them.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_write_1h_tokens: int | None = None
    """Those of the cache writes that are kept for an hour instead of minutes, and cost more."""
    media: Media | None = None
    service_tier: str | None = None
    """What the request was served as, where that is not the standard and has its own price."""
    speed: str | None = None
    """How fast it was served, likewise (Anthropic's `fast`)."""

    @property
    def is_reported(self) -> bool:
        """Whether a count was told at all, so that something was read or written."""
        return self.input_tokens is not None or self.output_tokens is not None


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a usable 2xx reply says about itself; its text stays in the raw body."""

    usage: Usage = Usage()
    finish_reason: str | None = None
    truncated: bool = False
    refused: bool = False
    served_model: str | None = None
    cost_nano: int | None = None
    """The reply's own statement of its cost (OpenRouter, xAI)."""


class Flaw(enum.StrEnum):
    """Why a reply with a 2xx status (or a cut one) cannot be used as an answer."""

    HTML = "html"
    NOT_JSON = "not_json"
    NO_CHOICES = "no_choices"
    EMPTY = "empty"
    TRUNCATED = "truncated"
    TOO_LARGE = "too_large"
    UNDECODABLE = "undecodable"
    FAILED = "failed"


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """
    Facts read off a reply that is no answer, before anybody decides what they mean.

    `code`, `type` and `param` are the error body's own words (lower-cased strings, whatever JSON
    type they had). `status_code` is the inner code where a 200 carries an error with an HTTP-like
    code. `retry_after_s` is the server's wish from headers or body, unclamped, or None.
    """

    status_code: int
    message: str
    code: str | None = None
    type: str | None = None
    param: str | None = None
    flaw: Flaw | None = None
    is_html: bool = False
    upstream: str | None = None
    """Code and message of whoever a gateway has asked, which are not its own."""
    retry_after_s: float | None = None
    should_retry: bool | None = None
    """The server's `x-should-retry`, where it sends one."""
    usage: Usage = Usage()
    cost_nano: int | None = None
    """The reply's own statement of its cost: a failure may be paid, too."""


class Quota(msgspec.Struct, frozen=True, kw_only=True):
    """
    What a reply's headers say about the account's limits; None where nothing is said.

    `..._limit` is per minute, None where its period is another or unknown; `..._left` is what
    remained when the reply was made.
    """

    requests_limit: int | None = None
    requests_left: int | None = None
    tokens_limit: int | None = None
    tokens_left: int | None = None
    input_tokens_limit: int | None = None
    input_tokens_left: int | None = None
    output_tokens_limit: int | None = None
    output_tokens_left: int | None = None


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """What a person wants out of a stored reply; derived at export, never stored."""

    text: str | None = None
    finish_reason: str | None = None
    tool_calls: list[Any] | None = None
    embedding: Any = None
    refusal: str | None = None


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """The classified result of one attempt: data, not an exception."""

    kind: Kind
    billed: Billed = Billed.NO
    status_code: int | None = None
    message: str | None = None
    code: str | None = None
    param: str | None = None
    retry_after_s: float | None = None
    timed_out: bool = False
    """We gave up waiting for it, which hints at a server beyond its strength."""
    model_only: bool = False
    """The provider's refusal concerns this model alone (a per-day quota of one model)."""
    answer: Answer | None = None
    usage: Usage = Usage()
    cost_nano: int | None = None
    """What a reply that is no answer says it cost."""
    request_id: str | None = None
    quota: Quota | None = None
    """What the reply's headers said about limits."""
    body: bytes | None = None
    """The raw reply where it is worth keeping: an answer, or the first 64 KiB of a bad one."""


class Price(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """US dollars per million tokens; `cached_input` falls back to `input`."""

    input: float
    output: float
    cached_input: float | None = None


class LedgerRow(msgspec.Struct, frozen=True, kw_only=True):
    """What figures take from the ledger: an ended attempt, or `count` that are alike."""

    provider: str
    kind: str
    billed: str
    count: int = 1
    cost_nano: int | None = None
    unpriced: int = 0
    """Billed attempts among them whose cost is unknown."""
    bound_nano: int | None = None
    unbounded: int = 0
    """Possibly paid attempts among them of which nobody can say how much at most."""
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    truncated: int = 0
    refused: int = 0


def shown_key(key: str | bytes) -> str:
    """Return a job's id as users see it: their own, or 32 hex digits for a line without one."""
    return key if isinstance(key, str) else key.hex()
