"""
What the end of an attempt means: the one place where outcomes are made.

An outcome is data. A reply that is no answer gets its kind from `aiq.policy.kinds`; what was never
sent, broke off, or was stopped by us is known without looking.
"""

from __future__ import annotations

from aiq.model import Answer, Billed, Flaw, Kind, Outcome, Problem
from aiq.policy.kinds import is_about_address, is_daily_quota, kind_of

KEPT_BYTES = 64 * 1024  # of a bad reply: enough to see what it was
_LONGEST_MESSAGE = 300

_FLAWS: dict[Flaw, str] = {
    Flaw.HTML: "HTML page instead of JSON",
    Flaw.NOT_JSON: "the reply is not valid JSON",
    Flaw.NO_CHOICES: "the reply has no choices",
    Flaw.EMPTY: "the reply has no content",
    Flaw.TRUNCATED: "the reply was cut short",
    Flaw.TOO_LARGE: "the reply exceeds the size limit",
    Flaw.UNDECODABLE: "the reply cannot be decoded",
    Flaw.FAILED: "the provider reported a failure",
}


COUNTED = frozenset({Kind.SERVER_ERROR, Kind.BAD_RESPONSE})
"""Kinds that use up a job's attempts; `interrupted` has a limit of its own."""


def answered(
    answer: Answer, *, status_code: int = 200, body: bytes, request_id: str | None = None
) -> Outcome:
    """Return the outcome of a usable answer; `body` is what will be stored."""
    return Outcome(
        kind=Kind.OK,
        billed=Billed.YES,
        status_code=status_code,
        answer=answer,
        usage=answer.usage,
        request_id=request_id,
        body=body,
    )


def not_sent(message: str) -> Outcome:
    """Return the outcome of a request that never left: no name, no connection, no TLS."""
    return Outcome(kind=Kind.CONNECT, message=one_line(message))


def interrupted(message: str, *, timed_out: bool = False) -> Outcome:
    """Return the outcome of a request that left and got no status line; perhaps it is paid."""
    return Outcome(
        kind=Kind.INTERRUPTED,
        billed=Billed.MAYBE,
        message=one_line(message),
        timed_out=timed_out,
    )


def cancelled(message: str, *, was_sent: bool) -> Outcome:
    """Return the outcome of an attempt that we stopped ourselves."""
    billed = Billed.MAYBE if was_sent else Billed.NO
    return Outcome(kind=Kind.CANCELLED, billed=billed, message=one_line(message))


def broken(
    status_code: int,
    flaw: Flaw,
    message: str,
    *,
    body: bytes = b"",
    elapsed_s: float = 0.0,
    answered_before: bool = True,
    request_id: str | None = None,
    retry_after_s: float | None = None,
) -> Outcome:
    """Return the outcome of a reply that broke off or cannot be read after its status line."""
    problem = Problem(
        status_code=status_code, message=message, flaw=flaw, retry_after_s=retry_after_s
    )
    return classify(
        problem,
        elapsed_s=elapsed_s,
        answered_before=answered_before,
        body=body,
        request_id=request_id,
    )


def classify(
    problem: Problem,
    *,
    elapsed_s: float,
    answered_before: bool,
    body: bytes | None = None,
    request_id: str | None = None,
) -> Outcome:
    """
    Decide what a reply means that is no answer.

    `elapsed_s` counts from the send to the end of the reply; `answered_before` says that the
    provider has given an `ok` in this run. Of the raw `body`, the first `KEPT_BYTES` are kept where
    they show what was wrong.
    """
    kind = kind_of(problem, elapsed_s=elapsed_s, answered_before=answered_before)
    kept = body[:KEPT_BYTES] if body is not None and kind is Kind.BAD_RESPONSE else None
    return Outcome(
        kind=kind,
        billed=_billed(kind, problem),
        status_code=problem.status_code,
        message=describe(problem),
        code=problem.code,
        param=problem.param,
        retry_after_s=problem.retry_after_s,
        model_only=_is_about_one_model(kind, problem),
        usage=problem.usage,
        cost_nano=problem.cost_nano,
        request_id=request_id,
        body=kept,
    )


def describe(problem: Problem) -> str:
    """Return one line for people: the provider's words, else what we saw."""
    status = f"(HTTP {problem.status_code})"
    said = problem.message.strip()
    flaw = Flaw.HTML if problem.is_html else problem.flaw
    if flaw is None or (flaw is Flaw.FAILED and said):
        is_redirect = 300 <= problem.status_code < 400
        unsaid = "redirects are not followed, check base_url" if is_redirect else "no explanation"
        return one_line(said or f"{unsaid} {status}")
    return one_line(f"{_FLAWS[flaw]} {status}: {said}" if said else f"{_FLAWS[flaw]} {status}")


def one_line(text: str) -> str:
    """Return text on one line of at most 300 characters, without what UTF-8 cannot hold."""
    line = " ".join(text[: 4 * _LONGEST_MESSAGE].split())
    if len(line) > _LONGEST_MESSAGE:
        line = line[: _LONGEST_MESSAGE - 1] + "…"
    return line if line.isascii() else line.encode(errors="replace").decode()


def _is_about_one_model(kind: Kind, problem: Problem) -> bool:
    if kind is Kind.NOT_FOUND:
        return not is_about_address(problem)
    return kind is Kind.OUT_OF_CREDIT and is_daily_quota(problem)


def _billed(kind: Kind, problem: Problem) -> Billed:
    """
    Say whether a reply that is no answer was paid.

    A flaw stands for a 2xx (or a broken reply, which reports nothing), whatever status the error in
    it names: what such a reply reports was paid. One that reports nothing may have been.
    """
    is_reported = problem.usage.is_reported or problem.cost_nano is not None
    if problem.flaw is not None and is_reported:
        return Billed.YES
    return Billed.MAYBE if kind in (Kind.BAD_RESPONSE, Kind.INTERRUPTED) else Billed.NO
