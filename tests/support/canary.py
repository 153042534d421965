"""Secrets that are found nowhere but in their headers: planted, echoed by servers, searched for."""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.support.process import Ended, contents
from tests.support.replies import Reply

KEY = "sk-canary/4711+0815==abcdef"
HEADER = "gate-token-canary-4711"
BOTH = f"{KEY} {HEADER}"
PLACES: dict[str, Any] = {"api_key_env": "CANARY_KEY", "headers": {"X-Gate": "${CANARY_GATE}"}}
"""The keys of a provider's table that send both."""

ENV = {"CANARY_KEY": KEY, "CANARY_GATE": HEADER}
FORMS = tuple(
    value.encode()
    for one in (KEY, HEADER)
    for value in (one, one.replace("/", "\\/"), base64.b64encode(one.encode()).decode())
)
"""Plain, as JSON may escape it, and as a program may hide it from a search."""


def leaks(directory: Path, *processes: Ended) -> list[str]:
    """Name every file of the directory and every output that holds a secret."""
    places = contents(directory)
    for number, ended in enumerate(processes):
        places |= {f"stdout {number}": ended.out, f"stderr {number}": ended.err}
    return [name for name, data in places.items() if any(form in data for form in FORMS)]


def leaking(reply: Reply) -> Reply:
    """Give both secrets back in every place that a reply has."""
    headers = reply.headers | {
        "x-request-id": KEY,
        "x-echo": f"Bearer {BOTH}",
        "www-authenticate": f'Bearer realm="{BOTH}"',
        "set-cookie": f"k={KEY}",
    }
    if "location" in headers:
        headers["location"] += f"?key={KEY}"
    raw = reply.raw
    if raw:  # behind the status line, or into what stands for one
        line, end, rest = raw.partition(b"\r\n")
        raw = line + end + f"x-echo: {BOTH}\r\n".encode() + rest if end else raw + BOTH.encode()
    return replace(reply, headers=headers, raw=raw, body=_leaking_body(reply))


def _leaking_body(reply: Reply) -> bytes:
    if reply.body is None:
        return Reply.chat(f"your key is {BOTH}").body or b""
    plain = _undone(reply)
    if plain is None:
        return _with_both(reply.body)
    return gzip.compress(_with_both(plain))


def _undone(reply: Reply) -> bytes | None:
    if reply.headers.get("content-encoding") != "gzip":
        return None
    try:
        return gzip.decompress(reply.body or b"")
    except (OSError, EOFError, zlib.error):
        return None


def _with_both(body: bytes) -> bytes:
    """Put the secrets where this body has a text, as early as possible: it may be cut."""
    try:
        document = json.loads(body)
        if "error" in document:
            document["error"]["message"] = f"{BOTH} {document['error'].get('message')}"
            document["error"]["param"] = KEY
        else:
            document = {"system_fingerprint": KEY, **document}
            message = document["choices"][0]["message"]
            message["content"] = message["content"] and f"{BOTH} {message['content']}"
            document["choices"][0]["finish_reason"] = KEY
        return json.dumps(document).encode()
    except (ValueError, TypeError, LookupError, RecursionError, AttributeError):
        return body[:1] + BOTH.encode() + body[1:]
