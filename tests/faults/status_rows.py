"""Group E, what a status code means, with D4 and D6: waits by dates and by absurd numbers."""

from __future__ import annotations

from typing import Any

from aiq.errors import ExitCode
from tests.faults.row import Check, Row, Scene, all_meet, keeps_meeting, meets
from tests.support.replies import Framing, Reply
from tests.support.sessions import SPEED

LONG_S = 200.0
"""Below what a reply of these rows asks for and must not be given; real time is a twentieth."""

FAILED: dict[str, Any] = {"state": "failed", "exit_code": ExitCode.SOME_FAILED}
GONE: dict[str, Any] = {
    "state": "pending",
    "others": "pending",
    "exit_code": ExitCode.NO_PROVIDER,
    "status": "disabled",
}
LIMITED = "a rate_limited, a ok"
ELSEWHERE: dict[str, Any] = {"hit": "p0", "spare": True}
LOCATION = {"location": "http://127.0.0.1:1/v1/chat/completions"}
DATE = "Wed, 21 Oct 2015 07:28:{:02} GMT"


def waits(least_s: float) -> Check:
    """Nobody is asked before the wait is over, nor minutes after it; it counts for no job."""

    def check(scene: Scene) -> None:
        assert scene.site.server is not None
        ledger = scene.site.server.ledger
        [met] = [one for one in ledger if one.status in (429, 503, 529, 498)]
        gap_s = (ledger[met.number].at - met.at) * SPEED
        assert least_s <= gap_s < LONG_S
        [told] = scene.result.to_json()["providers"]
        assert (told["rate_limited"], told["failed"]) == (1, 0)

    return check


def limited(fault: str, name: str, headers: dict[str, str], check: Check, **fields: Any) -> Row:
    status = fields.pop("status", 429)
    return meets(fault, name, Reply.error(status, headers=headers, **fields), LIMITED, check=check)


def asked_once(scene: Scene) -> None:
    assert scene.site.server is not None
    assert len(scene.site.server.ledger) == 1


def asked(times: int) -> Check:
    def check(scene: Scene) -> None:
        assert scene.site.server is not None
        assert len(scene.site.server.ledger) == times

    return check


def gone(fault: str, name: str, reply: Reply, kind: str, **expected: Any) -> Row:
    """Describe a refusal that one request is enough to believe; nothing fails, all can resume."""
    return all_meet(fault, name, reply, f"a {kind}", **{**GONE, "check": asked_once, **expected})


def passed_on(fault: str, name: str, reply: Reply, kind: str, **expected: Any) -> Row:
    """Describe the same with somebody behind it, who does everything."""
    given = {"status": "disabled", "check": asked_once, **ELSEWHERE, **expected}
    return all_meet(fault, name, reply, f"a {kind}, b ok", **given)


def fails(fault: str, name: str, reply: Reply, kind: str = "bad_request", **expected: Any) -> Row:
    """Describe a fault of the prompt: one request, no other, and nobody else is to blame."""
    return keeps_meeting(fault, name, reply, f"a {kind}", check=asked(4), **FAILED, **expected)


def again(fault: str, name: str, reply: Reply, kind: str = "server_error", **expected: Any) -> Row:
    return meets(fault, name, reply, f"a {kind}, a ok", **expected)


def served_as(scene: Scene) -> None:
    sql = "SELECT served_model FROM attempt JOIN job ON job.id = job_id WHERE key = 'p1'"
    assert scene.one(sql) == "model"


RESETS = {
    "x-ratelimit-limit-requests": "60",
    "x-ratelimit-remaining-requests": "0",
    "x-ratelimit-reset-requests": "6m0s",
    "x-ratelimit-reset-tokens": "20ms",
    "anthropic-ratelimit-requests-reset": "2026-01-01T00:00:00Z",
}
BY_DATE = {"date": DATE.format(0), "retry-after": DATE.format(4)}
TOO_LONG = "This model's maximum context length is 4096 tokens"

RATES = [
    limited("E1", "429 with seconds", {"retry-after": "7"}, waits(7.0)),
    limited("E1", "429 with a fraction", {"retry-after": "2.5"}, waits(2.5)),
    limited("E2", "429 with a date", BY_DATE, waits(4.0)),
    limited(
        "E3", "429 with milliseconds", {"retry-after-ms": "1350", "retry-after": "300"}, waits(1.35)
    ),
    limited("E4", "429 with resets only", RESETS, waits(1.0)),
    limited("E5", "429 without a hint", {}, waits(1.0)),
    limited("E5", "429 with a hint in words", {}, waits(3.5), message="Please try again in 3.5s."),
    passed_on(
        "E7",
        "429 for an hour",
        Reply.error(429, headers={"retry-after": "3600"}),
        "rate_limited",
        status="degraded",
    ),
    gone(
        "E7",
        "429 for an hour, alone",
        Reply.error(429, headers={"retry-after": "3600"}),
        "rate_limited",
        status="degraded",
        run={"max_wait_s": 2.0},
    ),
    limited("E20", "503 with a wait", {"retry-after": "2"}, waits(2.0), status=503),
    limited("E21", "529 overloaded", {}, waits(1.0), status=529, kind="overloaded_error"),
    limited("E21", "498 flex tier full", {}, waits(1.0), status=498),
    limited("D4", "a date far from our clock", BY_DATE, waits(4.0)),
    limited("D4", "a date without the reply's own", {"retry-after": DATE.format(4)}, waits(1.0)),
    limited(
        "D6",
        "a date that is over",
        {"date": DATE.format(9), "retry-after": DATE.format(1)},
        waits(0.0),
    ),
    *(
        limited("D6", f"retry-after: {text[:9]}", {"retry-after": text}, waits(1.0))
        for text in ("nan", "-5", "1e999", "soon", "", "inf", "9" * 500)
    ),
    gone(
        "D6",
        "retry-after of 3,000 years",
        Reply.error(429, headers={"retry-after": "99999999999"}),
        "rate_limited",
        status="degraded",
        run={"max_wait_s": 2.0},
    ),
    meets(
        "D6",
        "absurd resets on an answer",
        Reply.answer(
            headers={
                f"x-ratelimit-{what}-{of}": value
                for of in ("requests", "tokens")
                for what, value in (("limit", "-1"), ("remaining", "1e999"), ("reset", "NaN"))
            }
        ),
        "a ok",
        billed="yes",
    ),
]

CREDENTIALS = [
    gone(
        "E8", "429 insufficient_quota", Reply.error(429, code="insufficient_quota"), "out_of_credit"
    ),
    passed_on(
        "E8",
        "429 insufficient_quota, with another",
        Reply.error(429, code="insufficient_quota"),
        "out_of_credit",
    ),
    gone(
        "E8",
        "429 spend limit",
        Reply.error(429, code="organization_spend_limit_exceeded"),
        "out_of_credit",
    ),
    gone("E9", "402", Reply.error(402), "out_of_credit"),
    gone(
        "E9",
        "400 credit balance",
        Reply.error(400, message="Your credit balance is too low"),
        "out_of_credit",
    ),
    gone("E10", "401", Reply.error(401), "auth"),
    passed_on("E10", "401, with another", Reply.error(401), "auth"),
    again("E10", "401 once after an answer", Reply.error(401), "auth"),
    passed_on("E11", "403", Reply.error(403), "auth"),
    passed_on("E11", "403 page of a firewall", Reply.html(403), "not_found"),
    fails("E11", "403 page after an answer", Reply.html(403)),
    passed_on("E12", "404 model", Reply.error(404, code="model_not_found"), "not_found"),
    gone("E12", "404 model, alone", Reply.error(404, code="model_not_found"), "not_found"),
    gone("E13", "404 page", Reply.html(404), "not_found"),
    gone("E13", "405", Reply.error(405), "not_found"),
    *(
        gone(
            "E23",
            f"{status} to another host",
            Reply.text(b"", status=status, headers=LOCATION),
            "not_found",
        )
        for status in (301, 302, 303, 307, 308)
    ),
    passed_on(
        "E23", "307, with another", Reply.text(b"", status=307, headers=LOCATION), "not_found"
    ),
]

REQUESTS = [
    fails("E14", "400 context length", Reply.error(400, message=TOO_LONG), "context_too_long"),
    fails("E15", "400", Reply.error(400, code="invalid_value")),
    fails("E15", "422", Reply.error(422)),
    fails("E15", "400 with another behind", Reply.error(400), spare=True),
    fails("E17", "413", Reply.error(413), "context_too_long"),
    fails(
        "E22", "500 that forbids another try", Reply.error(500, headers={"x-should-retry": "false"})
    ),
    fails(
        "E22", "400 that wants another try", Reply.error(400, headers={"x-should-retry": "true"})
    ),
    fails(
        "E25",
        "200 for a refused request",
        Reply.json({"error": {"message": "no", "type": "invalid_request_error"}}),
    ),
]

FAILURES = [
    *(again("E16", str(status), Reply.error(status)) for status in (408, 409, 425)),
    *(again("E18", str(status), Reply.error(status)) for status in (500, 501, 505, 507, 599)),
    again("E18", "500 without a body", Reply.text(b"", status=500)),
    again("E18", "500 page", Reply.html(500)),
    *(again("E19", f"quick {status}", Reply.error(status)) for status in (502, 504, 524)),
    *(
        again(
            "E19", f"late {status}", Reply.html(status, delay_s=6.0), "interrupted", billed="maybe"
        )
        for status in (502, 504, 524)
    ),
    again("E20", "503 without a wait", Reply.error(503)),
    all_meet(
        "E18",
        "500 for everybody",
        Reply.error(500),
        "a server_error, b ok",
        spare=True,
        status="unhealthy",
        jobs=8,
    ),
    again(
        "E25", "200 with a server's failure", Reply.json({"error": {"message": "x", "code": 503}})
    ),
    again(
        "E25",
        "200 with a rate",
        Reply.json({"error": {"message": "x", "code": 429}}),
        "rate_limited",
    ),
    gone(
        "E25",
        "200 without credit",
        Reply.json({"error": {"message": "x", "code": "insufficient_quota"}}),
        "out_of_credit",
    ),
    again(
        "E25",
        "200 with an unknown error",
        Reply.json({"error": {"message": "odd", "code": "odd"}}),
        "bad_response",
        billed="maybe",
    ),
    again(
        "E25",
        "200 with an error beside an empty answer",
        Reply.json({"choices": [], "error": {"message": "odd"}}),
        "bad_response",
        billed="maybe",
    ),
]

ODD = [
    meets(
        "E24",
        "interim replies first",
        Reply(
            raw=b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nlink: x\r\n\r\n"
            + Reply.chat("hi").head(Reply.chat("hi").body or b"")
            + (Reply.chat("hi").body or b"")
        ),
        "a ok",
        billed="yes",
    ),
    again(
        "E24",
        "101",
        Reply(raw=b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"),
        "bad_response",
        billed="maybe",
    ),
    again("E24", "204", Reply(status=204), "bad_response", billed="maybe"),
    meets("E24", "206 with an answer", Reply(status=206), "a ok", billed="yes"),
    meets("E24", "299 with an answer", Reply(status=299), "a ok", billed="yes"),
    meets("E24", "no reason in the status line", Reply(reason=""), "a ok", billed="yes"),
    *(
        again("E24", str(status), Reply.error(status), "bad_response", billed="maybe")
        for status in (600, 999)
    ),
    again(
        "E24",
        "HTTP/0.9",
        Reply(raw=Reply.chat("hi").body, framing=Framing.NONE),
        "interrupted",
        billed="maybe",
    ),
    meets(
        "E26",
        "deprecation and another model",
        Reply.chat(
            "hi", headers={"deprecation": "true", "sunset": "Wed, 21 Oct 2026 07:28:00 GMT"}
        ),
        "a ok",
        billed="yes",
        check=served_as,
    ),
]

ROWS = [*RATES, *CREDENTIALS, *REQUESTS, *FAILURES, *ODD]
