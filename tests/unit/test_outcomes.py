"""The table of outcomes: every status and every known body has exactly one kind."""

from __future__ import annotations

from typing import Any

import pytest

from aiq.model import Answer, Billed, Flaw, Kind, Problem, Usage
from aiq.policy import outcomes
from aiq.policy.outcomes import classify


def kind(status_code: int, message: str = "", **facts: Any) -> Kind:
    elapsed_s = facts.pop("elapsed_s", 0.1)
    answered_before = facts.pop("answered_before", True)
    problem = Problem(status_code=status_code, message=message, **facts)
    return classify(problem, elapsed_s=elapsed_s, answered_before=answered_before).kind


@pytest.mark.parametrize(
    ("status_code", "expected"),
    [
        (400, Kind.BAD_REQUEST),
        (401, Kind.AUTH),
        (402, Kind.OUT_OF_CREDIT),
        (403, Kind.AUTH),
        (404, Kind.NOT_FOUND),
        (405, Kind.NOT_FOUND),
        (408, Kind.SERVER_ERROR),
        (409, Kind.SERVER_ERROR),
        (413, Kind.CONTEXT_TOO_LONG),
        (418, Kind.BAD_REQUEST),
        (422, Kind.BAD_REQUEST),
        (425, Kind.SERVER_ERROR),
        (429, Kind.RATE_LIMITED),
        (498, Kind.RATE_LIMITED),
        (500, Kind.SERVER_ERROR),
        (502, Kind.SERVER_ERROR),
        (503, Kind.SERVER_ERROR),
        (529, Kind.RATE_LIMITED),
        (599, Kind.SERVER_ERROR),
        (301, Kind.NOT_FOUND),
        (307, Kind.NOT_FOUND),
        (101, Kind.BAD_RESPONSE),
        (204, Kind.BAD_RESPONSE),
        (299, Kind.BAD_RESPONSE),
        (600, Kind.BAD_RESPONSE),
        (999, Kind.BAD_RESPONSE),
        (0, Kind.BAD_RESPONSE),
    ],
)
def test_by_status(status_code: int, expected: Kind) -> None:
    assert kind(status_code) is expected


def test_every_integer_has_a_kind() -> None:
    for status_code in range(-1000, 2000):
        assert kind(status_code) is not Kind.OK


@pytest.mark.parametrize(
    ("status_code", "code", "expected"),
    [
        (429, "rate_limit_exceeded", Kind.RATE_LIMITED),
        (429, "slow_down", Kind.RATE_LIMITED),
        (429, "ramp_limit_exceeded", Kind.RATE_LIMITED),
        (429, "insufficient_quota", Kind.OUT_OF_CREDIT),
        (429, "credit_balance_exhausted", Kind.OUT_OF_CREDIT),
        (429, "organization_spend_limit_exceeded", Kind.OUT_OF_CREDIT),
        (429, "project_spend_limit_exceeded", Kind.OUT_OF_CREDIT),
        (429, "organization_usage_limit_exceeded", Kind.OUT_OF_CREDIT),
        (429, "billing_not_active", Kind.OUT_OF_CREDIT),
        (429, "enforced_spend_limit_reached", Kind.OUT_OF_CREDIT),
        (429, "contract_spend_limit_reached", Kind.OUT_OF_CREDIT),
        (400, "context_length_exceeded", Kind.CONTEXT_TOO_LONG),
        (400, "exceed_context_size_error", Kind.CONTEXT_TOO_LONG),
        (400, "model_not_found", Kind.NOT_FOUND),
        (403, "model_not_found", Kind.NOT_FOUND),
        (400, "api_key_invalid", Kind.AUTH),
        (400, "content_filter", Kind.BAD_REQUEST),
        (403, "moderation", Kind.BAD_REQUEST),
        (404, "previous_response_not_found", Kind.BAD_REQUEST),
        (200, "model_not_found", Kind.NOT_FOUND),
        (400, "unheard_of", Kind.BAD_REQUEST),
    ],
)
def test_the_code_decides_before_the_status(status_code: int, code: str, expected: Kind) -> None:
    assert kind(status_code, code=code) is expected
    assert kind(status_code, code="1500", type=code) is expected


@pytest.mark.parametrize(
    ("status_code", "message", "expected"),
    [
        (400, "This model's maximum context length is 8192 tokens.", Kind.CONTEXT_TOO_LONG),
        (400, "prompt is too long: 250000 tokens > 200000 maximum", Kind.CONTEXT_TOO_LONG),
        (400, "current length is 9000 while limit is 8192", Kind.CONTEXT_TOO_LONG),
        (400, "the request exceeds the available context size", Kind.CONTEXT_TOO_LONG),
        (429, "Request too large for gpt-4o on tokens per min (TPM)", Kind.CONTEXT_TOO_LONG),
        (429, "Rate limit reached: Limit 30000, Used 29000, Requested 2000", Kind.RATE_LIMITED),
        (429, "* Quota exceeded for metric: x, limit: 0, model: y", Kind.OUT_OF_CREDIT),
        (429, "* Quota exceeded for metric: x, limit: 20, model: y", Kind.RATE_LIMITED),
        (429, "Rate limit exceeded: free-models-per-day", Kind.OUT_OF_CREDIT),
        (429, "on requests per day (RPD): Limit 9. Try again in 7m", Kind.RATE_LIMITED),
        (400, "Your credit balance is too low to access the API.", Kind.OUT_OF_CREDIT),
        (400, "You have reached your specified API usage limits.", Kind.OUT_OF_CREDIT),
        (400, "This would exceed your organization's spend limit", Kind.OUT_OF_CREDIT),
        (400, "API key not valid. Please pass a valid API key.", Kind.AUTH),
        (400, "The model `gpt-9` does not exist", Kind.NOT_FOUND),
        (400, "Model Not Exist", Kind.NOT_FOUND),
        (400, "foo/bar is not a valid model ID", Kind.NOT_FOUND),
        (400, "the model called a tool that was not found", Kind.BAD_REQUEST),
        (403, "Your model requires moderation and the input was flagged", Kind.BAD_REQUEST),
        (403, "Country not supported", Kind.AUTH),
        (
            403,
            "You do not have permission to access the File abc or it may not exist.",
            Kind.BAD_REQUEST,
        ),
        (403, "CachedContent not found (or permission denied)", Kind.BAD_REQUEST),
        (
            403,
            "Your API key does not have permission to use the specified model",
            Kind.NOT_FOUND,
        ),
        (403, "Project `p` does not have access to model `gpt-9`", Kind.NOT_FOUND),
        (403, "You are not allowed to sample from this model", Kind.NOT_FOUND),
        (403, "Your key has no permission to use the API", Kind.AUTH),
        (403, "Your newly created teams doesn't have any credits yet.", Kind.OUT_OF_CREDIT),
        (403, "The team does not have any credits", Kind.OUT_OF_CREDIT),
        (
            429,
            "This request would exceed the rate limit for your organization of 9 input tokens",
            Kind.RATE_LIMITED,
        ),
        (503, "Loading model", Kind.RATE_LIMITED),
        (503, "server busy: maximum pending requests exceeded", Kind.RATE_LIMITED),
        (500, "prompt is too long", Kind.SERVER_ERROR),
    ],
)
def test_the_text_decides_where_the_status_is_open(
    status_code: int, message: str, expected: Kind
) -> None:
    assert kind(status_code, message) is expected


def test_503_with_a_wait_is_a_rate_limit() -> None:
    assert kind(503, retry_after_s=0.0) is Kind.RATE_LIMITED
    assert kind(502, retry_after_s=3.0) is Kind.SERVER_ERROR


@pytest.mark.parametrize("status_code", [502, 504, 524])
def test_a_late_gateway_may_have_been_paid(status_code: int) -> None:
    """A gateway that gives up after more than 5 s cut off an answer that somebody pays."""
    assert kind(status_code, elapsed_s=5.0) is Kind.SERVER_ERROR
    problem = Problem(status_code=status_code, message="", is_html=True)
    late = classify(problem, elapsed_s=5.1, answered_before=False)
    assert (late.kind, late.billed) == (Kind.INTERRUPTED, Billed.MAYBE)


@pytest.mark.parametrize("status_code", [502, 504, 524])
def test_a_late_failure_that_a_200_tells_of_is_no_cut_answer(status_code: int) -> None:
    """OpenRouter's upstream was down: who wrote that knows how it ended."""
    problem = Problem(status_code=status_code, message="", flaw=Flaw.FAILED)
    late = classify(problem, elapsed_s=60.0, answered_before=True)
    assert (late.kind, late.billed) == (Kind.SERVER_ERROR, Billed.NO)


def test_a_late_500_or_503_is_a_server_error() -> None:
    assert kind(500, elapsed_s=60.0) is Kind.SERVER_ERROR
    assert kind(503, elapsed_s=60.0) is Kind.SERVER_ERROR


@pytest.mark.parametrize(
    ("status_code", "before", "after"),
    [
        (302, Kind.NOT_FOUND, Kind.NOT_FOUND),
        (400, Kind.NOT_FOUND, Kind.BAD_REQUEST),
        (401, Kind.NOT_FOUND, Kind.AUTH),
        (403, Kind.NOT_FOUND, Kind.BAD_REQUEST),
        (404, Kind.NOT_FOUND, Kind.NOT_FOUND),
        (413, Kind.CONTEXT_TOO_LONG, Kind.CONTEXT_TOO_LONG),
        (429, Kind.RATE_LIMITED, Kind.RATE_LIMITED),
        (500, Kind.SERVER_ERROR, Kind.SERVER_ERROR),
        (503, Kind.SERVER_ERROR, Kind.SERVER_ERROR),
        (200, Kind.BAD_RESPONSE, Kind.BAD_RESPONSE),
    ],
)
def test_a_page_before_the_first_ok_is_a_wrong_address(
    status_code: int, before: Kind, after: Kind
) -> None:
    flaw = Flaw.HTML if status_code == 200 else None
    assert kind(status_code, is_html=True, flaw=flaw, answered_before=False) is before
    assert kind(status_code, is_html=True, flaw=flaw, answered_before=True) is after


def test_the_text_of_a_page_is_no_evidence() -> None:
    assert kind(400, "prompt is too long", is_html=True) is Kind.BAD_REQUEST


def test_a_server_that_forbids_a_retry_is_obeyed() -> None:
    assert kind(500, should_retry=False) is Kind.BAD_REQUEST
    assert kind(500, should_retry=True) is Kind.SERVER_ERROR
    assert kind(429, should_retry=False) is Kind.RATE_LIMITED


@pytest.mark.parametrize("flaw", [f for f in Flaw if f is not Flaw.FAILED])
def test_a_2xx_reply_without_an_answer_is_paid_and_kept(flaw: Flaw) -> None:
    problem = Problem(status_code=200, message="", flaw=flaw, usage=Usage(input_tokens=3))
    outcome = classify(problem, elapsed_s=1, answered_before=True, body=b"x" * 100_000)
    assert (outcome.kind, outcome.billed) == (Kind.BAD_RESPONSE, Billed.YES)
    assert outcome.body == b"x" * 65_536
    assert outcome.usage.input_tokens == 3
    assert outcome.message


def test_a_2xx_reply_that_reports_no_usage_may_have_been_paid() -> None:
    problem = Problem(status_code=200, message="", flaw=Flaw.HTML, is_html=True)
    assert classify(problem, elapsed_s=1, answered_before=True).billed is Billed.MAYBE


@pytest.mark.parametrize("status_code", [200, 400, 403, 429, 500, 502, 529])
@pytest.mark.parametrize(
    ("facts", "billed"),
    [
        ({"usage": Usage(input_tokens=3)}, Billed.YES),
        ({"usage": Usage(output_tokens=0)}, Billed.YES),
        ({"cost_nano": 0}, Billed.YES),
        ({"usage": Usage(service_tier="priority")}, None),
        ({}, None),
    ],
)
def test_a_failure_under_200_that_reports_what_it_took_was_paid(
    status_code: int, facts: dict[str, Any], billed: Billed | None
) -> None:
    """Whatever status the error in it names; one that reports nothing is judged by its kind."""
    problem = Problem(status_code=status_code, message="no", flaw=Flaw.FAILED, **facts)
    found = classify(problem, elapsed_s=1, answered_before=True)
    by_kind = Billed.MAYBE if found.kind is Kind.BAD_RESPONSE else Billed.NO
    assert found.billed is (billed or by_kind)
    assert (found.usage, found.cost_nano) == (problem.usage, problem.cost_nano)


def test_the_body_of_a_clear_refusal_is_not_kept() -> None:
    problem = Problem(status_code=400, message="no", param="messages", code="x")
    outcome = classify(problem, elapsed_s=1, answered_before=True, body=b"{}", request_id="r")
    assert (outcome.body, outcome.billed, outcome.request_id) == (None, Billed.NO, "r")
    assert (outcome.message, outcome.code, outcome.param) == ("no", "x", "messages")


def test_a_daily_quota_concerns_its_model_alone() -> None:
    quota = Problem(status_code=429, message="", code="requestsperdaypermodel", retry_after_s=36.0)
    outcome = classify(quota, elapsed_s=0, answered_before=True)
    assert (outcome.kind, outcome.model_only) == (Kind.OUT_OF_CREDIT, True)
    upstream = "limited: \"* Quota exceeded for metric: 'x', limit: 0, model: y, per day\""
    assert kind(429, upstream) is Kind.RATE_LIMITED
    money = Problem(status_code=429, message="", code="insufficient_quota")
    assert not classify(money, elapsed_s=0, answered_before=True).model_only


def test_a_broken_reply_counts_as_its_status_says() -> None:
    cut = outcomes.broken(200, Flaw.TRUNCATED, "peer closed", body=b'{"id"')
    assert (cut.kind, cut.billed, cut.body) == (Kind.BAD_RESPONSE, Billed.MAYBE, b'{"id"')
    assert cut.message == "the reply was cut short (HTTP 200): peer closed"
    assert outcomes.broken(500, Flaw.TRUNCATED, "peer closed").kind is Kind.SERVER_ERROR
    assert outcomes.broken(429, Flaw.TRUNCATED, "peer closed").kind is Kind.RATE_LIMITED
    busy = outcomes.broken(503, Flaw.TRUNCATED, "peer closed", retry_after_s=2.0)
    assert (busy.kind, busy.retry_after_s) == (Kind.RATE_LIMITED, 2.0)
    late = outcomes.broken(504, Flaw.TRUNCATED, "peer closed", elapsed_s=60)
    assert late.kind is Kind.INTERRUPTED


def test_what_is_known_without_a_reply() -> None:
    assert outcomes.not_sent("refused").billed is Billed.NO
    assert outcomes.interrupted("reset").billed is Billed.MAYBE
    assert outcomes.cancelled("stopped", was_sent=True).billed is Billed.MAYBE
    assert outcomes.cancelled("stopped", was_sent=False).billed is Billed.NO


def test_an_answer_is_ok_and_paid() -> None:
    answer = Answer(usage=Usage(input_tokens=1, output_tokens=2), truncated=True)
    outcome = outcomes.answered(answer, body=b"{}", request_id="r")
    assert (outcome.kind, outcome.billed, outcome.usage) == (Kind.OK, Billed.YES, answer.usage)
    assert outcome.answer is answer
    assert outcome.body == b"{}"


@pytest.mark.parametrize(
    ("problem", "line"),
    [
        (Problem(status_code=500, message="a\n\tb"), "a b"),
        (Problem(status_code=500, message=" "), "no explanation (HTTP 500)"),
        (
            Problem(status_code=307, message=""),
            "redirects are not followed, check base_url (HTTP 307)",
        ),
        (
            Problem(status_code=200, message="", flaw=Flaw.HTML, is_html=True),
            "HTML page instead of JSON (HTTP 200)",
        ),
        (
            Problem(status_code=502, message="Bad Gateway", is_html=True),
            "HTML page instead of JSON (HTTP 502): Bad Gateway",
        ),
        (Problem(status_code=200, message="upstream", flaw=Flaw.FAILED), "upstream"),
        (Problem(status_code=500, message="\ud800"), "?"),
    ],
)
def test_messages_are_one_line(problem: Problem, line: str) -> None:
    assert outcomes.describe(problem) == line


def test_long_messages_are_cut() -> None:
    assert outcomes.one_line("x" * 300) == "x" * 300
    assert outcomes.one_line("x" * 10_000) == "x" * 299 + "…"


@pytest.mark.parametrize(
    "message",
    [
        "1 validation error: {'loc': ['body'], 'input': {'q': 'insufficient funds on my account'}}",
        'messages.0.content: invalid value "the unknown model of the year"',
        "Got `you have reached your specified usage limits` where a number was expected",
    ],
)
@pytest.mark.parametrize("status_code", [400, 422])
def test_what_an_error_quotes_of_the_prompt_is_no_word_of_the_provider(
    message: str, status_code: int
) -> None:
    """One prompt about money must not switch an account off."""
    problem = Problem(status_code=status_code, message=message)
    found = classify(problem, elapsed_s=0.1, answered_before=True)
    assert found.kind is Kind.BAD_REQUEST


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("The model `gpt-9` does not exist", Kind.NOT_FOUND),
        ("Unknown model 'gpt-9'", Kind.NOT_FOUND),
        ('model "gpt-9" not found, try pulling it first', Kind.NOT_FOUND),
        ("You've run out: insufficient credits. It's time to pay", Kind.OUT_OF_CREDIT),
        (
            "This model's maximum context length is 8 tokens, it's \"too\" much",
            Kind.CONTEXT_TOO_LONG,
        ),
    ],
)
def test_what_stands_around_a_quotation_still_counts(message: str, kind: Kind) -> None:
    problem = Problem(status_code=400, message=message)
    assert classify(problem, elapsed_s=0.1, answered_before=True).kind is kind
