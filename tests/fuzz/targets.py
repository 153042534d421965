"""
What is fuzzed: functions of bytes that raise when a promise about untrusted input is broken.

A target takes any bytes. Whatever the code under test may refuse is swallowed here; everything
else that comes out of it is a finding. `SEEDS` are inputs from which a fuzzer can start.
"""

from __future__ import annotations

import gzip
import io
import json
import math
import struct
import tempfile
import unicodedata
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx

from aiq.config import load
from aiq.errors import ConfigError, InputError
from aiq.model import Answer, Content, Endpoint, Kind, Problem, Prompt, Usage
from aiq.policy.outcomes import classify
from aiq.prompts.lines import read_lines
from aiq.prompts.shapes import BadLine, parse
from aiq.providers.anthropic import AnthropicDialect
from aiq.providers.azure import AzureDialect
from aiq.providers.decoding import DecodeError, decoded
from aiq.providers.dialect import Dialect, Inexpressible
from aiq.providers.durations import parse_duration, retry_after_s
from aiq.providers.gemini import GeminiDialect
from aiq.providers.openai import OpenAIDialect
from aiq.providers.reply_headers import read_headers
from aiq.run.request import Flags, Overlay, fingerprint
from aiq.untrusted import visible
from tests.fuzz.growing import grown, settings, spelled

DIALECTS: tuple[Dialect, ...] = (
    OpenAIDialect(),
    AnthropicDialect(),
    GeminiDialect(),
    AzureDialect("2024-10-21"),
)
ENDPOINTS = tuple(Endpoint)
STATUSES = (200, 200, 200, 201, 204, 302, 400, 401, 402, 403, 404, 413, 429, 500, 503, 529, 600, -1)
HEADERS = ("retry-after", "retry-after-ms", "date", "content-type", "x-should-retry")
QUOTAS = ("x-ratelimit-limit-requests", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens")
MOST_TOKENS = 30_000_000  # three counts of ten million each make Anthropic's input
MOST_NANO = 10**16


def lines(data: bytes) -> None:
    """A prompt file is numbered lines that are prompts or have a reason, or is refused whole."""
    found = []
    with suppress(InputError):
        for number, line in read_lines(None, stdin=io.BytesIO(data)):
            assert line is not None
            found.append((number, line))
            _parsed(line)
        if not data.startswith(b"\x1f\x8b"):
            assert found == list(_expected(data))


def _expected(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Say the same in the plainest way: what stands between line feeds and is not blank."""
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if line.strip():
            yield number, line.removesuffix(b"\r")


def _parsed(line: bytes) -> Prompt | None:
    try:
        return parse(line, {})
    except BadLine as bad:
        reason = str(bad)
    assert 0 < len(reason.encode()) <= 2000
    return None


def prompt(data: bytes) -> None:
    """Any JSON is a prompt or has a reason; a prompt can be sent by every dialect or is refused."""
    _sent(json.dumps(grown(data)).encode())


def prompt_text(data: bytes) -> None:
    """The same of any bytes."""
    if data.strip():
        _sent(data)


def _sent(line: bytes) -> None:
    found = _parsed(line)
    if found is None:
        return
    assert (found.id or "x").encode()
    request = Overlay({"temperature": 0.5, "system": "s"}, Flags()).request(found)
    assert len(fingerprint(request)) >= 16
    for dialect in DIALECTS:
        with suppress(Inexpressible):
            wire = dialect.encode(
                found.endpoint, request.body, model="m", cap=9, cap_field="max_tokens"
            )
            assert isinstance(json.loads(wire, parse_constant=_refuse), dict)


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} was sent")


def reply(data: bytes) -> None:
    """Any JSON as the body of a reply is an answer or a problem with sane figures."""
    _read(data[:3], json.dumps(grown(data[3:])).encode())


def reply_text(data: bytes) -> None:
    """The same of any bytes."""
    _read(data[:3], data[3:])


def _read(choice: bytes, body: bytes) -> None:
    first, second, third = choice.ljust(3, b"\0")
    dialect = DIALECTS[first % len(DIALECTS)]
    endpoint = ENDPOINTS[second % len(ENDPOINTS)]
    status = STATUSES[third % len(STATUSES)]
    if isinstance(dialect, AnthropicDialect | GeminiDialect):
        endpoint = Endpoint.CHAT
    found = dialect.read(endpoint, status, {"retry-after": "7"}, body)
    content = dialect.content(endpoint, body)
    completion = dialect.completion(endpoint, body)
    dialect.model_names(body)
    _check_content(content)
    if completion is not None:
        json.dumps(completion, allow_nan=False)
    if isinstance(found, Problem):
        _check_problem(found, body)
    else:
        _check_answer(found, content, status)


def _check_content(content: Content) -> None:
    for text in (content.text, content.finish_reason, content.refusal):
        assert text is None or isinstance(text, str)
    assert content.tool_calls is None or isinstance(content.tool_calls, list)
    json.dumps([content.text, content.tool_calls, content.embedding], allow_nan=False)


def _check_problem(found: Problem, body: bytes) -> None:
    for answered_before in (True, False):
        outcome = classify(found, elapsed_s=1.0, answered_before=answered_before, body=body)
        assert outcome.kind not in (Kind.OK, Kind.CONNECT, Kind.CANCELLED)
        assert outcome.message
        assert len(outcome.message) <= 300
        for text in (outcome.message, outcome.code, outcome.param):
            (text or "").encode()
    _check_wait(found.retry_after_s)
    _check_usage(found.usage)


def _check_answer(found: Answer, content: Content, status: int) -> None:
    assert 200 <= status < 300
    for text in (found.finish_reason, found.served_model, found.usage.service_tier):
        (text or "").encode()
    _check_usage(found.usage)
    assert found.cost_nano is None or 0 <= found.cost_nano <= MOST_NANO
    says = (content.text, content.tool_calls, content.refusal, content.embedding)
    assert any(part is not None for part in says) or found.truncated or found.refused


def _check_usage(usage: Usage) -> None:
    counts = (
        *(usage.input_tokens, usage.output_tokens, usage.cached_tokens),
        *(usage.cache_write_tokens, usage.cache_write_1h_tokens),
    )
    for count in counts:
        assert count is None or (type(count) is int and 0 <= count <= MOST_TOKENS)
    for part in counts[2:4]:
        assert part is None or (usage.input_tokens is not None and part <= usage.input_tokens)


def waits(data: bytes) -> None:
    """Headers and messages ask for a finite wait or for none, and quotas are whole numbers."""
    texts = [piece.decode("latin-1") for piece in data.split(b"\n")]
    texts += [""] * (len(HEADERS) + len(QUOTAS))
    headers = dict(zip(HEADERS, texts, strict=False))
    for text in texts:
        _check_wait(parse_duration(text))
    error = {"details": [{"retryDelay": texts[1]}]}
    _check_wait(retry_after_s(headers, message=texts[0], error=error, utc_s=1e9))
    wire = [
        (name.encode(), text.encode("latin-1")) for name, text in zip(QUOTAS, texts, strict=False)
    ]
    quota = read_headers(httpx.Headers(wire)).quota
    for count in (quota.requests_limit, quota.tokens_left) if quota else ():
        assert count is None or 0 <= count < 10**15


def _check_wait(wait: float | None) -> None:
    assert wait is None or (math.isfinite(wait) and wait >= 0)


def encoded(data: bytes) -> None:
    """A compressed body is undone within its cap or refused."""
    names = ("gzip", "deflate", "identity", "br", "gzip, gzip", "x-gzip")
    with suppress(DecodeError):
        assert len(decoded(data[1:], names[len(data) % len(names)], cap_bytes=4096)) <= max(
            4096, len(data)
        )


def config(data: bytes) -> None:
    """Any tables are settings or one printable refusal that repeats no secret."""
    tables = settings(data)
    providers = tables.pop("providers")
    text = [f"[{name}]\n{_toml_lines(table)}" for name, table in tables.items()]
    text += [f"[[providers]]\n{_toml_lines(table)}" for table in providers]
    _loaded("".join(text).encode())


def _toml_lines(table: dict[str, Any]) -> str:
    return "".join(f"{name} = {_toml(value)}\n" for name, value in table.items())


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        pairs = (f"{json.dumps(name)} = {_toml(inner)}" for name, inner in value.items())
        return f"{{{', '.join(pairs)}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return "1979-05-27" if value is None else json.dumps(value)


def config_text(data: bytes) -> None:
    """The same of any bytes."""
    _loaded(data)


def _loaded(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "aiq.toml").write_bytes(data)
        environ = {"OPENAI_API_KEY": "hunter2hunter2", "A": "hunter2hunter2"}
        try:
            found = load(environ=environ, working_directory=Path(folder), providers=())
        except ConfigError as error:
            shown = f"{error} {error.hint}"
            assert shown.isprintable(), shown
            assert "hunter2" not in shown
            return
        assert "hunter2" not in repr(found)
        assert found.providers


def screen(data: bytes) -> None:
    """Whatever is shown is printable, short enough, and fits any encoding after escapes."""
    text = data.decode("utf-8", "surrogateescape")
    for limit in (1, 10, 300):
        shown = visible(text, limit)
        assert len(shown) <= limit
        hidden = {"Cc", "Cf", "Cs", "Zl", "Zp"}
        assert not any(unicodedata.category(char) in hidden for char in shown), shown
        assert not set(shown) & set("\u2065\u3164\ufff0")


TARGETS: dict[str, Callable[[bytes], None]] = {
    one.__name__: one
    for one in (
        *(lines, prompt, prompt_text, reply, reply_text),
        *(waits, encoded, config, config_text, screen),
    )
}

_CHAT = {
    "id": "c", "model": "m", "choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 5, "cost": 0.1},
}  # fmt: skip
_CLAUDE = {
    "content": [{"type": "text", "text": "hi"}], "stop_reason": "end_turn", "model": "m",
    "usage": {"input_tokens": 3, "output_tokens": 5, "cache_read_input_tokens": 1},
}  # fmt: skip
_GEMINI = {
    "candidates": [{"content": {"parts": [{"text": "hi"}]}, "finishReason": "STOP"}],
    "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 5}, "modelVersion": "m",
}  # fmt: skip
_ERROR = {"error": {"message": "no", "type": "t", "code": 429, "details": [{"retryDelay": "3s"}]}}
_LINES: list[Any] = [
    "plain",
    {"prompt": "x", "id": 1, "temperature": 0.5, "metadata": {"a": [1]}, "max_token": 3},
    {"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}], "stop": ["a"]},
    {"custom_id": "a", "method": "POST", "url": "/v1/embeddings", "body": {"input": ["x"]}},
    {"custom_id": "a", "params": {"max_tokens": 3, "messages": [{"role": "user", "content": "x"}]}},
    {"key": "a", "request": {"contents": [{"role": "user", "parts": [{"text": "x"}]}]}},
]
_CONFIG = b"""\
[run]
concurrency = 3
[defaults]
temperature = 0.5
[[providers]]
name = "a"
base_url = "http://localhost:1/v1"
models = { "*" = "m" }
headers = { "X-A" = "${A}" }
price = { input = 1, output = 2.5 }
[providers.breaker]
bad_share = 0.5
"""

SEEDS: dict[str, list[bytes]] = {
    "lines": [
        b"\n".join(json.dumps(line).encode() for line in _LINES),
        b'\xef\xbb\xbf"a"\r\n\n"\\ud800"\r\r\n\xff',
        gzip.compress(b'"a"\n"b"'),
    ],
    "prompt": [spelled(line) for line in _LINES],
    "prompt_text": [json.dumps(line).encode() for line in _LINES],
    "reply": [
        bytes((dialect, endpoint, 0)) + spelled(body)
        for dialect, body in enumerate((_CHAT, _CLAUDE, _GEMINI))
        for endpoint in range(4)
    ],
    "reply_text": [
        bytes((dialect, endpoint, status)) + json.dumps(body).encode()
        for dialect, body in enumerate((_CHAT, _CLAUDE, _GEMINI, _ERROR))
        for endpoint in range(4)
        for status in (0, 12)
    ],
    "waits": [b"7", b"6m0s\n350\nFri, 31 Dec 1999 23:59:59 GMT", b"try again in 20ms", b"1e999"],
    "encoded": [b"x" + gzip.compress(b"hello"), zlib.compress(b"hello"), struct.pack("6x")],
    "config": [b"\2" + bytes(range(90)), b"\1" + b"\5\x11\0" * 20],
    "config_text": [_CONFIG, b'[[providers]]\npreset = "simulated"\n'],
    "screen": ["A\x1b]52;c;Zg==\x07B\u202eC\u0301".encode(), b"\xff\xed\xa0\x80"],
}
