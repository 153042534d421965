"""
Group F as far as the status line: connections that fail, and requests of which nobody knows.

Not here: F26, because we speak HTTP/1.1 and nothing newer.
"""

from __future__ import annotations

import errno
import ssl
from typing import Any

from aiq.errors import ExitCode
from tests.faults import places
from tests.faults.certificates import certificate, outdated_context, server_context, trust
from tests.faults.row import (
    Place,
    Row,
    Scene,
    all_meet,
    keeps_meeting,
    meet_at_first,
    meets,
)
from tests.support.replies import Reply

LOST: dict[str, Any] = {"trail": "a interrupted, a ok", "billed": "maybe"}
NEVER: dict[str, Any] = {
    "trail": "a connect, b ok",
    "hit": "p0",
    "spare": True,
    "jobs": 8,
    "status": "unhealthy",
}
LIMIT: dict[str, Any] = {"timeout_s": 8.0}
ANSWER = b'{"choices": [{"message": {"content": "' + b"x" * 2000 + b'"}, "finish_reason": "stop"}]}'
HTTP = b"HTTP/1.1 200 OK\r\n"


def never_sent(fault: str, name: str, place: Place, says: str, **expected: Any) -> Row:
    """Describe a provider that is never reached: free, and the next one has it all at once."""

    def check(scene: Scene) -> None:
        assert says in scene.met("message"), scene.met("message")
        assert scene.one("SELECT count(*) FROM attempt WHERE billed <> 'no' AND kind <> 'ok'") == 0
        assert scene.result.to_json()["possibly_paid"]["requests"] == 0
        assert scene.one("SELECT count(*) FROM attempt WHERE kind = 'connect'") <= 5
        server = scene.site.server  # a proxy is asked for a way, and no more
        assert server is None or {seen.method for seen in server.ledger} <= {"CONNECT"}

    return Row(id=fault, name=name, place=place, check=check, **{**NEVER, **expected})


def _trusted(name: str = "127.0.0.1", days: int = 1) -> ssl.SSLContext:
    path = certificate(name, days=days)
    trust(path)
    return server_context(path)


def after_the_limit(scene: Scene) -> None:
    assert 8_000_000 <= scene.met("latency_us") < 200_000_000
    assert "no complete reply within 8 s" in scene.met("message")


def _no_slot_leaked(scene: Scene) -> None:
    assert scene.site.server is not None
    assert scene.site.server.in_flight_max <= 16


def _proxied(scene: Scene) -> None:
    assert scene.site.server is not None
    assert all("proxy-authorization" in seen.headers for seen in scene.site.server.ledger)
    assert all(seen.path.startswith("http://api.invalid/v1") for seen in scene.site.server.ledger)


GONE: dict[str, Any] = {"state": "pending", "others": "pending", "exit_code": ExitCode.NO_PROVIDER}

NEVER_SENT = [
    never_sent("F1", "connection refused", places.closed_port, "Connection refused"),
    never_sent(
        "F2", "connect time-out", places.full_queue, "in time", keys={"connect_timeout_s": 1.0}
    ),
    never_sent("F3", "no such name", places.no_such_name(), "Name or service not known"),
    never_sent(
        "F3",
        "no name of anybody is known",
        places.no_such_name(),
        "Name or service not known",
        trail="a connect, ...",
        spare=False,
        run={"max_wait_s": 2.0},
        **GONE,
    ),
    never_sent("F4", "slow DNS", places.slow_name, "in time", keys={"connect_timeout_s": 1.0}),
    never_sent(
        "F5", "network unreachable", places.unreachable(errno.ENETUNREACH), "Network is unreachable"
    ),
    never_sent(
        "F5", "no route to host", places.unreachable(errno.EHOSTUNREACH), "No route to host"
    ),
    never_sent(
        "F6",
        "self-signed certificate",
        places.tls(lambda: server_context(certificate("127.0.0.1", days=2))),
        "certificate refused, self-signed certificate",
    ),
    never_sent(
        "F6",
        "expired certificate",
        places.tls(lambda: _trusted(days=-1)),
        "certificate has expired",
    ),
    never_sent(
        "F6",
        "certificate of another host",
        places.tls(lambda: _trusted("other.invalid")),
        "certificate refused, IP address mismatch",
    ),
    never_sent(
        "F6",
        "TLS 1.0 only",
        places.tls(lambda: outdated_context(certificate())),
        "the server broke the connection off",
    ),
    never_sent("F6", "TLS to a plain port", places.tls(lambda: None), "TLS failed"),
    never_sent(
        "F6",
        "a port that never speaks TLS",
        places.silent_listener,
        "in time",
        keys={"connect_timeout_s": 1.0},
    ),
    never_sent(
        "F28", "proxy out of reach", places.proxy_out_of_reach, "cannot connect to the proxy"
    ),
    never_sent(
        "F28",
        "proxy refuses the tunnel",
        places.through_proxy("https://api.invalid/v1", Reply.error(407)),
        "HTTP 407",
    ),
    never_sent(
        "F28",
        "proxy shows a page instead of a tunnel",
        places.through_proxy("https://api.invalid/v1", Reply.html(502)),
        "HTTP 502",
    ),
]

UNKNOWN = [
    Row(
        id="F6",
        name="plain HTTP to a TLS port",
        hit="p0",
        spare=True,
        is_unseen=True,
        jobs=8,
        place=places.tls(lambda: server_context(certificate()), scheme="http"),
        trail="a interrupted, b ok",
        billed="maybe",
        status="unhealthy",
    ),
    Row(
        id="F7",
        name="reset on accept",
        hit="p0",
        is_unseen=True,
        place=places.reset_on_accept,
        **LOST,
    ),
    Row(
        id="F8",
        name="reset in mid-upload",
        hit="p0",
        is_unseen=True,
        prompt="up" * 2_000_000,
        place=places.relayed(places.reset_in_the_upload),
        **LOST,
    ),
    meets("F9", "reset after the request", Reply.reset(), **LOST),
    meets("F10", "close without an answer", Reply.hang_up(), hit="p0", **LOST),
    keeps_meeting(
        "F10",
        "close without an answer, always",
        Reply.hang_up(),
        billed="maybe",
        trail="a interrupted, a interrupted",
        state="failed",
        exit_code=ExitCode.SOME_FAILED,
    ),
    meets("F11", "close on a reused connection", Reply.hang_up(), **LOST),
    meets(
        "F12",
        "time-out before the headers",
        Reply.hang(),
        keys=LIMIT,
        check=after_the_limit,
        **LOST,
    ),
    all_meet(
        "F12",
        "time-out of everything, with another",
        Reply.hang(),
        "a interrupted, b ok",
        billed="maybe",
        keys={"timeout_s": 2.0},
        jobs=8,
        spare=True,
        status="unhealthy",
    ),
    meet_at_first(
        "F24",
        "time-outs of all at once",
        Reply.hang(),
        jobs=16,
        hit="p0",
        keys=LIMIT,
        run={"concurrency": 16},
        check=_no_slot_leaked,
        **LOST,
    ),
    meets(
        "F19", "status line without end", Reply(raw=b"HTTP/1.1 200 ", endless=b"r" * 4096), **LOST
    ),
    meets("F19", "garbage status line", Reply.garbage(), **LOST),
    meets("F19", "status that is no number", Reply(raw=b"HTTP/1.1 abc OK\r\n\r\n"), **LOST),
    meets("F19", "header line of 200 KB", Reply.huge_header(), **LOST),
    meets(
        "F19",
        "1,000 headers",
        Reply(headers={f"x-{number}": "v" for number in range(1000)}),
        **LOST,
    ),
    meets(
        "F19", "headers without end", Reply(raw=HTTP, endless=b"x-more: and more\r\n" * 256), **LOST
    ),
    meets(
        "F19",
        "two lengths that differ",
        Reply(raw=HTTP + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}"),
        **LOST,
    ),
    meets("F19", "negative length", Reply(raw=HTTP + b"content-length: -5\r\n\r\n{}"), **LOST),
    meets(
        "F19",
        "interim replies without end",
        Reply(raw=b"", endless=b"HTTP/1.1 100 Continue\r\n\r\n", pause_s=0.05),
        keys=LIMIT,
        check=after_the_limit,
        **LOST,
    ),
    meets("F15", "length too small", Reply.text(ANSWER, length_error=-20), **LOST),
]

OTHER = [
    Row(
        id="F25",
        name="413 before the request is complete",
        hit="p0",
        prompt="up" * 2_000_000,
        place=places.relayed(places.refuse_early),
        is_unseen=True,
        trail="a context_too_long",
        state="failed",
        exit_code=ExitCode.SOME_FAILED,
    ),
    Row(
        id="F28",
        name="a proxy of the environment",
        hit="p0",
        trail="a ok",
        billed="yes",
        place=places.through_proxy("http://api.invalid/v1"),
        check=_proxied,
    ),
]

ROWS = [*NEVER_SENT, *UNKNOWN, *OTHER]
