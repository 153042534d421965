"""
Group G: replies that arrive whole and are no answer, or an odd one.

G3 (an error under status 200) is E25. Not here: G16, because the batch interfaces of vendors, in
which an answer names its request, are not used: an answer belongs to the connection it came on.
"""

from __future__ import annotations

import json
from typing import Any

from aiq.errors import ExitCode
from tests.faults.row import Check, Row, Scene, all_meet, keeps_meeting, meets
from tests.support.replies import Reply

BAD: dict[str, Any] = {"trail": "a bad_response, a ok", "billed": "maybe"}
PAID: dict[str, Any] = {"trail": "a bad_response, a ok", "billed": "yes"}
GOOD: dict[str, Any] = {"trail": "a ok", "billed": "yes"}
USAGE = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}


def chat(content: Any, finish: str = "stop", **more: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": content} | more.pop("message", {})
    return {
        "model": "m",
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": USAGE,
    } | more


def raw_chat(text: bytes) -> bytes:
    """Return an answer whose text is these bytes, as they are."""
    return b'{"choices": [{"message": {"content": "%s"}, "finish_reason": "stop"}]}' % text


def stored(body: bytes) -> Check:
    def check(scene: Scene) -> None:
        assert scene.answer() == body

    return check


def whole(name: str, body: bytes, fault: str, **fields: Any) -> Row:
    """Describe an answer that has to be stored byte for byte."""
    return meets(fault, name, Reply.text(body, **fields), check=stored(body), **GOOD)


def told(**figures: int) -> Check:
    def check(scene: Scene) -> None:
        found = scene.result.to_json()
        assert {name: found[name] for name in figures} == figures

    return check


def unknown_cost(scene: Scene) -> None:
    """Tokens that make no sense are unknown, and so is the cost; nothing is made up."""
    found = scene.result.to_json()
    [(tokens_in, tokens_out, cost)] = scene.bench.rows(
        "SELECT input_tokens, output_tokens, cost_nano FROM attempt JOIN job ON job.id = job_id"
        " WHERE key = 'p1'"
    )
    assert cost is None
    assert None in (tokens_in, tokens_out)
    assert not found["cost_complete"]
    assert 0 < found["cost_usd"] < 1e-3
    assert 0 <= found["tokens"]["input"] < 1000


def served_model(scene: Scene) -> None:
    sql = "SELECT served_model FROM attempt JOIN job ON job.id = job_id WHERE key = 'p1'"
    assert scene.one(sql) == "m-2026-01-01"


def opens(scene: Scene) -> None:
    """Pages in a row are no weather: soon nobody is asked here any more."""
    assert scene.site.server is not None
    assert scene.site.spare is not None
    assert len(scene.site.server.ledger) <= 5


ODD_USAGE: dict[str, Any] = {
    "no usage": None,
    "usage in strings": {"prompt_tokens": "3", "completion_tokens": "many"},
    "negative usage": {"prompt_tokens": -3, "completion_tokens": -5},
    "usage of 1e308": {"prompt_tokens": 1e308, "completion_tokens": 1e308},
    "usage in fractions": {"prompt_tokens": 1.5, "completion_tokens": 0.5},
    "usage beyond 64 bits": {"prompt_tokens": 10**30, "completion_tokens": 10**30},
    "usage as a list": [1, 2],
    "usage of true": {"prompt_tokens": True, "completion_tokens": True},
}
DEEP = b'{"choices": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
DIGITS = b'{"seed": ' + b"7" * 5000 + b", " + raw_chat(b"x")[1:]
DUPLICATE = b'{"choices": [], ' + raw_chat(b"second")[1:]
ESCAPES = "\x1b]52;c;aGk=\x07\x1b]8;;http://x\x1b\\\x9b31m\u202e\r[/b][link=x]"

ROWS = [
    meets("G1", "text instead of JSON", Reply.text("all is well"), **BAD),
    meets("G1", "nothing", Reply.text(b""), **BAD),
    meets("G1", "cut JSON", Reply.text(b'{"choices": [{"message": {"con'), **BAD),
    meets("G1", "JSON that is no object", Reply.json([1, 2]), **BAD),
    meets("G1", "null", Reply.json(None), **BAD),
    keeps_meeting(
        "G1",
        "text instead of JSON, always",
        Reply.text("all is well"),
        "a bad_response, a bad_response",
        billed="maybe",
        state="failed",
        exit_code=ExitCode.SOME_FAILED,
    ),
    meets("G2", "HTML page with 200", Reply.html(), **BAD),
    all_meet(
        "G2",
        "HTML pages for everybody",
        Reply.html(),
        "a bad_response, b ok",
        billed="maybe",
        spare=True,
        status="unhealthy",
        check=opens,
        jobs=8,
    ),
    meets("G4", "no choices", Reply.json({"id": "x", "choices": []}), **BAD),
    meets("G4", "no choices, but paid", Reply.json({"choices": [], "usage": USAGE}), **PAID),
    keeps_meeting(
        "G4",
        "no choices, always",
        Reply.json({"choices": [], "usage": USAGE}),
        "a bad_response, a bad_response",
        billed="yes",
        state="failed",
        exit_code=ExitCode.SOME_FAILED,
    ),
    meets("G5", "null for a text", Reply.json(chat(None)), **PAID),
    meets(
        "G5",
        "refusal",
        Reply.json(chat(None, message={"refusal": "I can not"})),
        check=told(refused=1),
        **GOOD,
    ),
    meets(
        "G6",
        "tool calls",
        Reply.json(
            chat(
                None,
                "tool_calls",
                message={
                    "tool_calls": [
                        {
                            "id": "c",
                            "type": "function",
                            "function": {"name": "f", "arguments": "{}"},
                        }
                    ]
                },
            )
        ),
        **GOOD,
    ),
    meets(
        "G7",
        "length",
        Reply.json(chat("half a", "length")),
        check=told(truncated=1, requests=4),
        **GOOD,
    ),
    meets(
        "G8",
        "content filter",
        Reply.json(chat("", "content_filter")),
        check=told(refused=1, requests=4),
        **GOOD,
    ),
    *(
        meets(
            "G9",
            name,
            Reply.json(chat("x", usage=usage))
            if name != "usage beyond 64 bits"
            else Reply.text(json.dumps(chat("x", usage=usage))),
            check=unknown_cost,
            **GOOD,
        )
        for name, usage in ODD_USAGE.items()
    ),
    meets(
        "G10",
        "another model",
        Reply.json(chat("x", model="m-2026-01-01")),
        check=served_model,
        **GOOD,
    ),
    meets("G11", "duplicate keys", Reply.text(DUPLICATE), check=stored(DUPLICATE), **GOOD),
    meets("G11", "depth of 100,000", Reply.text(DEEP), **BAD),
    whole("integer of 5,000 digits", DIGITS, "G11"),
    meets("G11", "NaN", Reply.text(b'{"x": NaN, ' + raw_chat(b"x")[1:]), **BAD),
    whole("1e999", b'{"x": 1e999, ' + raw_chat(b"x")[1:], "G11"),
    whole("lone surrogate", raw_chat(b"\\ud800 and on"), "G12"),
    whole("NUL", raw_chat(b"before \\u0000 after"), "G13"),
    meets("G13", "raw NUL", Reply.text(raw_chat(b"before \0 after")), **BAD),
    whole("BOM", b"\xef\xbb\xbf" + raw_chat(b"x"), "G14"),
    meets("G14", "UTF-16", Reply.text(raw_chat(b"x").decode().encode("utf-16")), **BAD),
    whole(
        "wrong charset in the header",
        raw_chat("é".encode()),
        "G14",
        headers={"content-type": "application/json; charset=latin-1"},
    ),
    meets("G14", "invalid UTF-8", Reply.text(raw_chat(b"\xff\xfe")), **BAD),
    meets("G14", "surrogate in UTF-8", Reply.text(raw_chat(b"\xed\xa0\x80")), **BAD),
    meets("G15", "two documents", Reply.text(raw_chat(b"x") * 2), **BAD),
    meets("G15", "trailing garbage", Reply.text(raw_chat(b"x") + b"</html>"), **BAD),
    whole("blank lines around", b"\n\n \n" + raw_chat(b"x") + b"\n\n", "G15"),
    whole("control sequences", json.dumps(chat(ESCAPES)).encode(), "G17"),
    whole("raw C1 and bidi characters", raw_chat("\x9b31m\u202e[/b]".encode()), "G17"),
]
