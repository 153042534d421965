"""
What the fault server answers: one value that describes a whole reply and the way it leaves.

Every fault is a combination of few primitives: the raw bytes instead of a reply, how the body is
framed, how much of it leaves, at which pace, and how the connection ends. The constructors name
the combinations that tests need; each accepts any field of `Reply` besides its own arguments.
"""

from __future__ import annotations

import asyncio
import enum
import gzip
from dataclasses import dataclass, field
from typing import Any

import msgspec

from tests.support.shapes import chat_answer, chat_body, models_body


class Framing(enum.StrEnum):
    LENGTH = "length"
    CHUNKED = "chunked"
    UNENDED = "unended"  # chunked, without the last chunk
    NONE = "none"  # neither: the end of the connection ends the body


class Ending(enum.StrEnum):
    KEEP = "keep"
    CLOSE = "close"
    RESET = "reset"
    HANG = "hang"  # nothing more comes, until the client leaves or the server stops


@dataclass(slots=True, kw_only=True)
class Seen:
    """A request as the server saw it, and what became of its reply."""

    number: int  # 1-based, over all requests
    nth: int  # 1-based, among the requests with this prompt
    at: float  # monotonic seconds when the request was read completely
    connection: int  # 1-based
    method: str
    path: str
    headers: dict[str, str]  # names in lower case
    body: bytes
    prompt: str
    model: str
    in_flight: int  # requests unanswered at this instant, this one included
    status: int | None = None
    answered: bool = False  # the complete reply has left

    def json(self) -> Any:
        return msgspec.json.decode(self.body)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    status: int = 200
    reason: str = "X"
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None  # None: the right answer for the path
    raw: bytes | None = None  # sent instead of status line, headers and body
    delay_s: float = 0.0  # before the status line
    until: asyncio.Event | None = None  # the reply leaves when this is set
    framing: Framing = Framing.LENGTH
    length_error: int = 0  # added to the Content-Length
    cut: float | None = None  # share of the body that leaves before the ending
    piece_bytes: int | None = None  # the body leaves in pieces of this size
    pause_s: float = 0.0  # between pieces
    endless: bytes | None = None  # sent after all that, again and again, until the client leaves
    ending: Ending = Ending.KEEP

    @classmethod
    def answer(cls, **fields: Any) -> Reply:
        """A correct answer of the endpoint, in the requested model's name."""
        return cls(**fields)

    @classmethod
    def json(cls, value: Any, **fields: Any) -> Reply:
        return cls._with({"content-type": "application/json"}, msgspec.json.encode(value), fields)

    @classmethod
    def text(cls, body: str | bytes, **fields: Any) -> Reply:
        return cls(body=body.encode() if isinstance(body, str) else body, **fields)

    @classmethod
    def chat(
        cls, text: str, *, usage: tuple[int, int] = (3, 5), finish: str = "stop", **fields: Any
    ) -> Reply:
        return cls.json(chat_body("model", text, usage, finish), **fields)

    @classmethod
    def error(
        cls,
        status: int,
        *,
        code: str | int | None = None,
        message: str = "scripted error",
        kind: str | None = None,
        **fields: Any,
    ) -> Reply:
        error = {"message": message, "type": kind, "param": None, "code": code}
        return cls.json({"error": error}, status=status, **fields)

    @classmethod
    def html(cls, status: int = 200, **fields: Any) -> Reply:
        page = b"<!DOCTYPE html><html><body>Sign in to continue</body></html>"
        return cls._with({"content-type": "text/html"}, page, {"status": status, **fields})

    @classmethod
    def hang_up(cls, **fields: Any) -> Reply:
        """Close without a reply."""
        return cls(raw=b"", ending=Ending.CLOSE, **fields)

    @classmethod
    def reset(cls, **fields: Any) -> Reply:
        """Reset the connection after the request was read."""
        return cls(raw=b"", ending=Ending.RESET, **fields)

    @classmethod
    def hang(cls, **fields: Any) -> Reply:
        """Never answer."""
        return cls(raw=b"", ending=Ending.HANG, **fields)

    @classmethod
    def garbage(cls, **fields: Any) -> Reply:
        return cls(raw=b"this is not HTTP at all\r\n\r\n", ending=Ending.CLOSE, **fields)

    @classmethod
    def truncated(cls, **fields: Any) -> Reply:
        """Close after half of the announced body; `ending` may say reset or hang."""
        return cls(**{"cut": 0.5, "ending": Ending.CLOSE, **fields})

    @classmethod
    def unended(cls, **fields: Any) -> Reply:
        return cls(framing=Framing.UNENDED, ending=Ending.CLOSE, **fields)

    @classmethod
    def huge_header(cls, size: int = 200_000, **fields: Any) -> Reply:
        return cls._with({"x-huge": "h" * size}, None, fields)

    @classmethod
    def invalid_utf8(cls, **fields: Any) -> Reply:
        return cls.text(b'{"choices": "\xff\xfe"}', **fields)

    @classmethod
    def gzipped(cls, plain: bytes, *, corrupt: bool = False, **fields: Any) -> Reply:
        body = gzip.compress(plain)
        if corrupt:
            body = body[:12] + bytes(byte ^ 0x55 for byte in body[12:])
        return cls._with({"content-encoding": "gzip"}, body, fields)

    @classmethod
    def drip(cls, *, pause_s: float = 0.2, **fields: Any) -> Reply:
        """One byte of the body at a time."""
        return cls(piece_bytes=1, pause_s=pause_s, **fields)

    @classmethod
    def _with(cls, headers: dict[str, str], body: bytes | None, fields: dict[str, Any]) -> Reply:
        own = fields.get("headers", {})
        return cls(**{**fields, "headers": {**headers, **own}, "body": body})

    @property
    def is_complete(self) -> bool:
        """Whether a client that waits long enough gets a whole reply."""
        return (
            self.raw is None
            and self.cut is None
            and self.length_error == 0
            and self.framing is not Framing.UNENDED
            and self.ending is not Ending.RESET
            and self.endless is None
        )

    def head(self, body: bytes) -> bytes:
        lines = [f"HTTP/1.1 {self.status} {self.reason}".rstrip()]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        if self.framing is Framing.LENGTH and self.status >= 200 and self.status != 204:
            lines.append(f"content-length: {len(body) + self.length_error}")
        elif self.framing in (Framing.CHUNKED, Framing.UNENDED):
            lines.append("transfer-encoding: chunked")
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"

    def framed(self, body: bytes) -> bytes:
        """Return the body's bytes on the wire, as far as they leave."""
        if self.status == 204:
            return b""
        if self.framing in (Framing.CHUNKED, Framing.UNENDED):
            body = b"%x\r\n%b\r\n" % (len(body), body)
            if self.framing is Framing.CHUNKED:
                body += b"0\r\n\r\n"
        return body if self.cut is None else body[: int(len(body) * self.cut)]


def default_body(path: str, prompt: str, model: str, request: Any) -> bytes:
    """Return the right answer for a path; tokens are counted as text length over four."""
    text, tokens = f"echo: {prompt}", _tokens(prompt)
    usage = (tokens, _tokens(text))
    if path.partition("?")[0].endswith("/models"):
        return msgspec.json.encode(models_body(path))
    if path.endswith("/embeddings"):
        return msgspec.json.encode(_embeddings(model, request))
    if path.endswith("/responses"):
        return msgspec.json.encode(_response(model, text, usage))
    if path.endswith("/completions") and not path.endswith("/chat/completions"):
        completion = chat_body(model, text, usage, "stop") | {"object": "text_completion"}
        completion["choices"] = [{"index": 0, "text": text, "finish_reason": "stop"}]
        return msgspec.json.encode(completion)
    return msgspec.json.encode(chat_answer(path, model, text, usage))


def _embeddings(model: str, request: Any) -> dict[str, Any]:
    given = request.get("input", "") if isinstance(request, dict) else ""
    items = given if isinstance(given, list) else [given]
    tokens = sum(_tokens(str(item)) for item in items)
    return {
        "object": "list",
        "model": model,
        "data": [
            {"object": "embedding", "index": index, "embedding": [len(str(item)) / 1000, 0.5, -0.5]}
            for index, item in enumerate(items)
        ],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def _response(model: str, text: str, usage: tuple[int, int]) -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": []}
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1_700_000_000,
        "status": "completed",
        "model": model,
        "error": None,
        "output": [
            {
                "id": "msg_1",
                "type": "message",
                "role": "assistant",
                "status": "completed",
                "content": [part],
            }
        ],
        "usage": _usage("input_tokens", usage[0], "output_tokens", usage[1]),
    }


def _usage(input_name: str, input_tokens: int, output_name: str, output_tokens: int) -> Any:
    total = input_tokens + output_tokens
    return {input_name: input_tokens, output_name: output_tokens, "total_tokens": total}


def _tokens(text: str) -> int:
    return max(1, len(text) // 4)
