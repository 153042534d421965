"""
The rest of group F: replies that break after their status line, or lead elsewhere.

Not here: the part of F27 about streams we asked for, because we ask for none; a server that streams
nevertheless is a row.
"""

from __future__ import annotations

import gzip
import zlib
from typing import Any

from tests.faults.connection_rows import ANSWER, GONE, HTTP, LIMIT, after_the_limit
from tests.faults.row import Check, Row, Scene, all_meet, meets
from tests.support.replies import Ending, Framing, Reply

BAD: dict[str, Any] = {"trail": "a bad_response, a ok", "billed": "maybe"}
STREAM = b'data: {"choices": [{"delta": {"content": "hi"}}]}\n\ndata: [DONE]\n\n'
EVENTS = {"content-type": "text/event-stream"}


def _kept(part: bytes) -> Check:
    def check(scene: Scene) -> None:
        assert scene.met("body") == part

    return check


def _after_the_limit_and_kept(part: bytes) -> Check:
    def check(scene: Scene) -> None:
        after_the_limit(scene)
        assert scene.met("body").startswith(part)

    return check


def _too_large(scene: Scene) -> None:
    assert "larger than 16777216 bytes" in scene.met("message")
    assert len(scene.met("body")) <= 65_536


def _not_followed(scene: Scene) -> None:
    assert scene.site.server is not None
    assert len(scene.site.server.ledger) == 1
    assert "redirects are not followed" in (scene.result.message or "")


ROWS: list[Row] = [
    meets(
        "F13",
        "stall in the body",
        Reply.truncated(body=ANSWER, ending=Ending.HANG),
        keys=LIMIT,
        check=_after_the_limit_and_kept(ANSWER[: len(ANSWER) // 2]),
        **BAD,
    ),
    meets(
        "F14",
        "half a body",
        Reply.truncated(body=ANSWER),
        check=_kept(ANSWER[: len(ANSWER) // 2]),
        **BAD,
    ),
    meets("F14", "reset in the body", Reply.truncated(body=ANSWER, ending=Ending.RESET), **BAD),
    meets(
        "F15",
        "length too small, and closed",
        Reply.text(ANSWER[:-20]),
        check=_kept(ANSWER[:-20]),
        **BAD,
    ),
    meets(
        "F16",
        "no length and closed early",
        Reply.truncated(body=ANSWER, framing=Framing.NONE),
        **BAD,
    ),
    meets("F17", "last chunk missing", Reply.unended(body=ANSWER), check=_kept(ANSWER), **BAD),
    meets(
        "F17",
        "nonsense for a chunk",
        Reply(raw=HTTP + b"transfer-encoding: chunked\r\n\r\nzz\r\n"),
        **(BAD | {"trail": "a interrupted, a ok"}),
    ),
    meets(
        "F18",
        "one byte at a time without end",
        Reply(framing=Framing.CHUNKED, cut=0.0, body=b"x", endless=b"1\r\n \r\n", pause_s=0.2),
        keys=LIMIT,
        check=_after_the_limit_and_kept(b"   "),
        **BAD,
    ),
    meets(
        "F18",
        "chunk extension without end",
        Reply(
            raw=HTTP + b"transfer-encoding: chunked\r\n\r\n5;", endless=b"e=x;" * 1024, pause_s=0.05
        ),
        keys=LIMIT,
        **BAD,
    ),
    meets(
        "F18",
        "trailers without end",
        Reply(
            raw=HTTP + b"transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n",
            endless=b"x: y\r\n" * 1024,
        ),
        keys=LIMIT,
        **(BAD | {"trail": "a interrupted, a ok"}),
    ),
    meets(
        "F20", "gzip that is none", Reply.text(ANSWER, headers={"content-encoding": "gzip"}), **BAD
    ),
    meets("F20", "corrupt gzip", Reply.gzipped(ANSWER * 9, corrupt=True), **BAD),
    meets(
        "F20",
        "gzip cut short",
        Reply.text(gzip.compress(ANSWER)[:-9], headers={"content-encoding": "gzip"}),
        **BAD,
    ),
    *(
        meets("F20", encoding, Reply.text(ANSWER, headers={"content-encoding": encoding}), **BAD)
        for encoding in ("br", "zstd", "gzip, gzip", "compress", "\xe9")
    ),
    meets("F20", "gzip that is right", Reply.gzipped(ANSWER), "a ok", billed="yes"),
    meets(
        "F20",
        "deflate that is right",
        Reply.text(zlib.compress(ANSWER), headers={"content-encoding": "deflate"}),
        "a ok",
        billed="yes",
    ),
    meets("F21", "gzip bomb", Reply.gzipped(bytes(64 * 1024 * 1024)), check=_too_large, **BAD),
    meets(
        "F22",
        "body over the cap",
        Reply.text(b"[" + b" " * 17_000_000 + b"]"),
        check=_too_large,
        **BAD,
    ),
    meets(
        "F22",
        "body without end",
        Reply(raw=HTTP + b"\r\n", endless=b"[" * 65536),
        check=_too_large,
        **BAD,
    ),
    meets("F27", "a stream nobody asked for", Reply.text(STREAM, headers=EVENTS), **BAD),
    meets(
        "F27",
        "a stream of keep-alive comments",
        Reply(
            raw=HTTP + b"content-type: text/event-stream\r\n\r\n",
            endless=b": keep-alive\n\n",
            pause_s=0.5,
        ),
        keys=LIMIT,
        check=_after_the_limit_and_kept(b": keep-alive"),
        **BAD,
    ),
    all_meet(
        "F23",
        "redirect to itself",
        Reply.text(b"", status=302, headers={"location": "/v1/chat/completions"}),
        "a not_found",
        status="disabled",
        check=_not_followed,
        **GONE,
    ),
]
