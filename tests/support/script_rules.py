"""
A script as JSON, for a fault server in a process of its own.

    {"rules": [{"path": "/chat", "contains": "p7", "nth": 1, "numbers": [1, 20], "every": 3,
                "model": "m", "reply": {"kind": "error", "status": 429, "delay_s": 0.1}}],
     "reset_on_accept": [1, 2]}

The first rule that matches answers; every condition given must hold, and a rule without any
matches all. `kind` is the name of a constructor of `Reply`, the rest its arguments. Where no rule
matches, the server answers correctly.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import msgspec

from tests.support.replies import Ending, Framing, Reply, Seen

Script = Callable[[Seen], Reply | None]

_KINDS = frozenset(
    {"answer", "json", "text", "chat", "error", "html", "hang_up", "reset", "hang", "garbage"}
    | {"truncated", "unended", "huge_header", "invalid_utf8", "gzipped", "drip"}
)


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    reply: dict[str, Any]
    path: str | None = None  # a part of the path
    contains: str | None = None  # a part of the body
    model: str | None = None
    nth: int | None = None  # the n-th request with this prompt
    numbers: tuple[int, int] | None = None  # first and last number over all requests
    every: int | None = None  # each request whose number is a multiple

    def matches(self, seen: Seen) -> bool:
        return (
            (self.path is None or self.path in seen.path)
            and (self.contains is None or self.contains.encode() in seen.body)
            and (self.model is None or self.model == seen.model)
            and (self.nth is None or self.nth == seen.nth)
            and (self.numbers is None or self.numbers[0] <= seen.number <= self.numbers[1])
            and (self.every is None or seen.number % self.every == 0)
        )


class ScriptFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    rules: list[Rule] = []
    reset_on_accept: Collection[int] = ()  # numbers of the connections to reset unread

    def script(self) -> Script:
        replies = [(rule, _reply(rule.reply)) for rule in self.rules]
        return lambda seen: next((reply for rule, reply in replies if rule.matches(seen)), None)


def _reply(spec: dict[str, Any]) -> Reply:
    arguments = dict(spec)
    kind = arguments.pop("kind", "answer")
    if kind not in _KINDS:
        raise ValueError(f"no reply of kind {kind!r}")
    for name, convert in (("framing", Framing), ("ending", Ending), ("plain", str.encode)):
        if name in arguments:
            arguments[name] = convert(arguments[name])
    reply: Reply = getattr(Reply, kind)(**arguments)
    return reply
