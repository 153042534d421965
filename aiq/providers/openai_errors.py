"""
What went wrong, read from the many error bodies of OpenAI-compatible servers.

Every shape is first turned into one error object with `message`, `code`, `type` and `param`:
a list (its first item), an `error` object, an `error` string, a flat `message` (Mistral), FastAPI's
`detail`, and at last the raw text. Facts only: what they mean is decided in `aiq.policy.outcomes`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from aiq.model import Flaw, JsonObject, Problem, Usage
from aiq.providers import json_text
from aiq.providers.durations import retry_after_s

_LONGEST_MESSAGE = 2_000
_LONGEST_WORD = 200

# A failure reported under HTTP 200 that names itself by a word instead of a number.
_STATUS_OF_WORD = {
    "rate_limit_exceeded": 429,
    "rate_limit_error": 429,
    "overloaded_error": 529,
    "insufficient_quota": 429,
    "server_error": 500,
    "invalid_prompt": 400,
    "invalid_request_error": 400,
}
_NO_ANSWER_YET = ("failed", "cancelled", "queued", "in_progress")  # states of a `response`
_TITLE = re.compile(rb"<title[^>]*>([^<]{1,200})", re.IGNORECASE)
_MARKUP = re.compile(rb"(?:\xef\xbb\xbf)?\s*<")


def read_problem(status_code: int, headers: Mapping[str, str], body: bytes) -> Problem:
    """Read a complete reply with a status other than 2xx."""
    try:
        error = _find(json_text.decode(body))
    except ValueError:
        return unreadable(status_code, headers, body)
    return from_error(error or {"message": _cut(body)}, status_code, headers)


def unreadable(status_code: int, headers: Mapping[str, str], body: bytes) -> Problem:
    """Describe a reply that is not JSON: an HTML page by its title, other text by itself."""
    is_html = "text/html" in headers.get("content-type", "").lower() or bool(_MARKUP.match(body))
    is_success = 200 <= status_code < 300
    if is_html:
        title = _TITLE.search(body, 0, 4096)
        message = _cut(title[1]) if title else ""
    else:  # the start of a broken answer explains nothing; a sentence from a gateway does
        message = "" if is_success and body.lstrip()[:1] in (b"{", b"[") else _cut(body)
    flaw = (Flaw.HTML if is_html else Flaw.NOT_JSON) if is_success else None
    return _problem({"message": message}, status_code, headers, flaw=flaw, is_html=is_html)


def declared(document: Any, *, has_answer: bool) -> JsonObject | None:
    """
    Return the error that a document with HTTP 200 declares, if it does.

    Beside an answer only an explicit error counts; without one, any known shape of an error does.
    """
    if not isinstance(document, dict):
        return _find(document)
    choices = document.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    if isinstance(first, dict) and (first.get("error") or first.get("finish_reason") == "error"):
        return _find({"error": first.get("error")}) or {"message": "no reason was given"}
    if document.get("error") or document.get("object") == "error":
        return _find(document)
    return None if has_answer or choices is not None else _find(document)


def failed_response(document: JsonObject) -> JsonObject | None:
    """Return why a `response` object carries no answer, or None if its state says that it does."""
    status = document.get("status")
    if status not in _NO_ANSWER_YET:
        return None
    return _find(document) or {"message": f"the response is {status}", "code": status}


def from_error(
    error: JsonObject,
    status_code: int,
    headers: Mapping[str, str],
    usage: Usage | None = None,
    cost_nano: int | None = None,
) -> Problem:
    """
    Turn an error object into facts; under a 2xx status its own code is the status.

    `usage` and `cost_nano` are what such a reply says of itself beside the error.
    """
    if not 200 <= status_code < 300:
        return _problem(error, status_code, headers)
    found = _problem(error, _inner_status(error, status_code), headers, Flaw.FAILED)
    return msgspec.structs.replace(found, usage=usage or Usage(), cost_nano=cost_nano)


def _problem(
    error: JsonObject,
    status_code: int,
    headers: Mapping[str, str],
    flaw: Flaw | None = None,
    *,
    is_html: bool = False,
) -> Problem:
    upstream = _upstream(error)
    message = _message(error, upstream)
    return Problem(
        status_code=status_code,
        message=message,
        code=_detail_code(error) or _word(error.get("code")),
        upstream=_words(upstream),
        type=_type(error),
        param=_word(error.get("param")),
        flaw=flaw,
        is_html=is_html,
        retry_after_s=retry_after_s(headers, message=message, error=error),
        should_retry={"true": True, "false": False}.get(headers.get("x-should-retry", "").lower()),
    )


def _find(document: Any) -> JsonObject | None:
    """Return the error object of a document, whatever shape the server gave it."""
    if isinstance(document, list) and document:
        document = document[0]
    if isinstance(document, str):
        return {"message": document}
    if not isinstance(document, dict):
        return None
    error = document.get("error")
    if isinstance(error, dict) and error:
        return error
    message = document.get("message")
    if isinstance(message, str):
        return document
    if isinstance(error, str) and error:
        return {**document, "message": error}
    return _from_detail(document.get("detail"))


def _from_detail(detail: Any) -> JsonObject | None:
    """Read FastAPI's `detail`: a sentence, an object, or a list with one entry per wrong field."""
    if isinstance(detail, str):
        return {"message": detail}
    if isinstance(detail, dict):
        return {"message": _as_text(detail), **detail}
    if not isinstance(detail, list):
        return None
    wrong = [entry for entry in detail if isinstance(entry, dict)]
    if not wrong:
        return None
    lines = [f"{_location(entry)}: {_as_text(entry.get('msg'))}" for entry in wrong[:5]]
    return {
        "message": "; ".join(lines),
        "type": wrong[0].get("type"),
        "param": _location(wrong[0]),
    }


def _location(entry: JsonObject) -> str:
    where = entry.get("loc")
    steps = where if isinstance(where, list) else ()
    return ".".join(str(step) for step in steps if isinstance(step, str | int)) or "request"


def _message(error: JsonObject, upstream: JsonObject) -> str:
    """Return the provider's words, and in quotes those of whoever it has asked."""
    message = _as_text(error.get("message"))
    if said := _as_text(upstream.get("message")).replace('"', "'"):
        message = f'{message}: "{said}"' if message else said
    return json_text.without_surrogates(message[:_LONGEST_MESSAGE])


def _words(upstream: JsonObject) -> str | None:
    """Return code and message of whoever a gateway has asked; None: it says nothing of anybody."""
    words = [_word(upstream.get("code")) or "", _as_text(upstream.get("message"))]
    return json_text.without_surrogates(" ".join(words)[:_LONGEST_MESSAGE]).strip() or None


def _upstream(error: JsonObject) -> JsonObject:
    """Return the error of whoever a gateway has asked, which OpenRouter keeps as text (`raw`)."""
    metadata = error.get("metadata")
    raw = metadata.get("raw") if isinstance(metadata, dict) else None
    if not isinstance(raw, str):
        return {}
    try:
        return _find(json_text.decode(raw.encode())) or {"message": raw}
    except ValueError:
        return {"message": raw}


def _type(error: JsonObject) -> str | None:
    """Return the error's type; Google calls it `status`, OpenRouter marks moderation by data."""
    metadata = error.get("metadata")
    if isinstance(metadata, dict) and ("flagged_input" in metadata or "reasons" in metadata):
        return "moderation"
    return _word(error.get("type")) or _word(error.get("status"))


def _detail_code(error: JsonObject) -> str | None:
    """
    Return what says more than the code.

    That is Anthropic's error code, or the id of a per-day quota of Google's, else its reason.
    """
    details = error.get("details")
    if isinstance(details, dict):
        return _word(details.get("error_code"))
    listed = details if isinstance(details, list) else []
    entries = [entry for entry in listed if isinstance(entry, dict)]
    for entry in entries:
        violations = entry.get("violations")
        for violation in violations if isinstance(violations, list) else ():
            quota = _word(violation.get("quotaId")) if isinstance(violation, dict) else None
            if quota and "perday" in quota:
                return quota
    reasons = (_word(entry.get("reason")) for entry in entries)
    return next((reason for reason in reasons if reason), None)


def _inner_status(error: JsonObject, status_code: int) -> int:
    code = _word(error.get("code")) or ""
    if re.fullmatch("[45][0-9][0-9]", code):
        return int(code)
    return _STATUS_OF_WORD.get(code) or _STATUS_OF_WORD.get(_type(error) or "") or status_code


def _word(value: object) -> str | None:
    """Return a code-like value as a lower-cased word; servers send strings, numbers and null."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    if not isinstance(value, str):
        value = str(int(value)) if abs(value) < 1e9 else ""
    return json_text.without_surrogates(value[:_LONGEST_WORD].strip().lower()) or None


def _as_text(value: object) -> str:
    """Return a string as it is and any other JSON value written out; null is empty."""
    if value is None or isinstance(value, str):
        return value or ""
    try:
        return json_text.encode(value).decode()
    except (ValueError, RecursionError):  # infinity beside a lone surrogate, or absurd depth
        return ""


def _cut(body: bytes) -> str:
    return body[:_LONGEST_MESSAGE].decode(errors="replace").strip()
