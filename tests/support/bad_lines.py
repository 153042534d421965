"""
Every kind of line that is no prompt with the reason it is listed for, and odd lines that are one.

Reasons are regular expressions. Lines are without their ending.
"""

from __future__ import annotations

import json
from typing import Any

BOM = b"\xef\xbb\xbf"


def _line(**keys: Any) -> bytes:
    return json.dumps(keys).encode()


def _body(url: str | None = None, **extra: Any) -> bytes:
    keys = {"custom_id": "c", "body": {"messages": [{"role": "user", "content": "x"}]}, **extra}
    return _line(**keys, **({} if url is None else {"url": url}))


BAD: dict[bytes, str] = {
    # bytes
    b'{"prompt": "caf\xe9"}': "invalid UTF-8 at byte offset 15",
    b'"\xed\xa0\x80"': "invalid UTF-8 at byte offset 1",
    b'"a\x00b"': "not valid JSON: .*control character",
    BOM + b'"mark in the middle"': "byte order mark inside the file",
    b'"' + b"x" * (8 * 1024 * 1024) + b'"': "longer than 8 MiB",
    # JSON
    b"not json": "not valid JSON",
    b'{"prompt": "cut': "not valid JSON",
    b'{"prompt": "x"} {"prompt": "y"}': "not valid JSON: extra data",
    b'{"prompt": "x"},': "not valid JSON: extra data",
    b'"one"\r"two"': "not valid JSON: extra data",
    b"{'prompt': 'x'}": "not valid JSON",
    b'{"prompt": "x", "temperature": NaN}': "NaN is not a JSON number",
    b'{"prompt": "x", "temperature": -Infinity}': "-Infinity is not a JSON number",
    b'{"prompt": "x", "temperature": 1e999}': "number out of range",
    b'{"prompt": "x", "seed": ' + b"9" * 5000 + b"}": "an integer of more than 4300 digits",
    b'{"prompt": "x", "a": ' + b"[" * 100 + b"]" * 100 + b"}": "nested deeper than 100",
    b"[" * 100_000: "nested deeper than 100",
    b'{"a":' * 100_000: "nested deeper than 100",
    # shape
    b"17": "must be a string or an object",
    b"null": "must be a string or an object",
    b'["x"]': "must be a string or an object",
    b"{}": "no `prompt` or `messages`",
    b'{"promt": "x"}': "is `promt` meant to be `prompt`",
    b'""': "empty prompt",
    b'" \\t "': "empty prompt",
    _line(prompt=3): "`prompt` must be a string",
    _line(prompt="x", messages=[{"role": "user", "content": "x"}]): "both `prompt` and `messages`",
    _line(messages=[]): "messages",
    _line(messages=[{"role": "user", "content": 3}]): "content",
    _line(prompt="x", body={"messages": []}): "both `prompt` and `body`",
    _line(params="x"): "`params` must be an object",
    _line(prompt="x", system=3): "`system` must be a string",
    # ids
    _line(prompt="x", id=""): "empty `id`",
    _line(prompt="x", id="i" * 1_000_000): "`id` is longer than 512 bytes",
    _line(prompt="x", id="日" * 171): "`id` is longer than 512 bytes",
    _line(prompt="x", id=True): "`id` must be a string or a number",
    _line(prompt="x", id={"a": 1}): "`id` must be a string or a number",
    _line(prompt="x", id="a", custom_id="b"): "both `id` and `custom_id`",
    _line(prompt="x", id="\ud800"): "`id` holds a lone surrogate",
    # fields that cost money, or are of the wrong type
    _line(prompt="x", n=100): "`n`",
    _line(prompt="x", stream=True): "`stream`",
    _line(prompt="x", max_tokens=-5): "`max_tokens` must be a positive integer",
    _line(prompt="x", temperature="hot"): "`temperature` must be a number",
    _line(prompt="x", priority=1.5): "`priority` must be an integer",
    _line(prompt="x", priority=2**64): "`priority` must be an integer of at most 64 bits",
    _line(prompt="x", metadata=[1]): "`metadata` must be an object",
    _line(prompt="x", model=""): "`model` must be a non-empty string",
    _line(prompt="x", extra_body={"n": 50}): "`extra_body",
    # batch lines
    _body("http://127.0.0.1:1/v1/chat/completions"): "`url` must be one of",
    _body("//elsewhere/v1/chat/completions"): "`url` must be one of",
    _body("/v1/../admin"): "`url` must be one of",
    _body("/v1/chat/completions\r\nX-Evil: 1"): "`url` must be one of",
    _body(method="DELETE"): "`method` must be POST",
    _body(prompt=None, temperature=1): "`temperature` belongs inside `body`",
    _line(
        custom_id="a", params={"messages": [{"role": "user", "content": [{"type": "x"}]}]}
    ): "no chat equivalent",
    _line(
        key="k", request={"contents": [{"role": "user", "parts": [{"fileData": {}}]}]}
    ): "no chat equivalent",
}
"""Lines that are listed, whatever stands around them."""

ODD: tuple[bytes, ...] = (
    b'"crlf"\r',
    b'  {"prompt" : "blanks around"}  ',
    b'"tab after"\t',
    '"line\u2028separator\u2029and\x85next"'.encode(),
    b'"nul \\u0000 and lone \\ud800"',
    '"日本語 💥 עברית"'.encode(),
    b'{"prompt": "the last wins", "prompt": "of two keys"}',
    b'{"id": "../../etc/passwd", "prompt": "path"}',
    b'{"id": "two\\nlines \\u001b[31m", "prompt": "control"}',
    b'{"id": -0.5, "prompt": "number"}',
    b'{"id": "' + b"i" * 512 + b'", "prompt": "long id"}',
    b'{"prompt": "deep", "a": ' + b"[" * 99 + b"]" * 99 + b"}",
    b'{"prompt": "null is left out", "temperature": null, "id": null, "n": 1}',
    b'{"prompt": "' + b"x" * 100_000 + b'"}',
)
"""Lines that look wrong and are prompts."""
