"""
A message in words and as JSON, as every channel gets it.

Titles and details quote providers, and an explanation is a model's own words: all of it is
redacted, made visible, cut to size, and can neither mention anybody nor hide a link behind words.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from aiq.clock import rfc3339
from aiq.model import JsonObject
from aiq.policy.alert import Alert, AlertLevel
from aiq.policy.alerting import Item, Message
from aiq.redaction import Redactor
from aiq.untrusted import NAME, visible

DETAIL = 500
"""Characters of an alert's detail where it is told alone..."""

SHORT_DETAIL = 120
"""...and where it is one of several, so that all of them fit into 2,000 (Discord's limit)."""

EXPLANATION = 900

_DEFUSED = str.maketrans({"@": "\uff20", "<": "\u2039", ">": "\u203a"})
"""`@everyone`, `<!channel>` and `<@U1>` mention nobody any more, and read the same."""


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """What a model thinks of an alert."""

    provider: str
    text: str


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """What is delivered."""

    level: AlertLevel
    is_recovery: bool
    title: str
    """One line."""
    text: str
    body: JsonObject
    """The object of the JSON webhook."""


def compose(
    message: Message, *, redactor: Redactor, sent_at_us: int, explanation: Explanation | None = None
) -> Notice:
    """Put a message into words."""
    writer = _Writer(redactor)
    title = f"aiq {writer.title(message)}"
    explained = None if explanation is None else writer.explained(explanation)
    text = "\n".join(writer.lines(message, explained))
    body = {
        "source": "aiq",
        "version": 1,
        "sent_at": rfc3339(sent_at_us),
        "level": message.level.name.lower(),
        "is_recovery": message.is_recovery,
        "title": title,
        "text": text,
        "alerts": [writer.to_json(item) for item in message.items],
        "omitted": {level.name.lower(): count for level, count in message.omitted.items()},
        "explanation": explained and {"provider": explained.provider, "text": explained.text},
    }
    return Notice(
        level=message.level, is_recovery=message.is_recovery, title=title, text=text, body=body
    )


def harmless(text: str, limit: int, *, lines: bool = False) -> str:
    """Return untrusted text as a chat may show it: visible, mentioning nobody, links in sight."""
    return visible(text, limit, lines=lines).translate(_DEFUSED).replace("](", "] (")


class _Writer:
    """Writes harmless words; nothing reaches a notice but through `_said`."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor

    def title(self, message: Message) -> str:
        if message.count == 1 and message.items:
            return self._heading(message.items[0].alert)
        tag = "RECOVERED" if message.is_recovery else message.level.name
        critical = sum(
            one.alert.level is AlertLevel.CRITICAL and not one.alert.is_recovery
            for one in message.items
        ) + message.omitted.get(AlertLevel.CRITICAL, 0)
        recovered = sum(one.alert.is_recovery for one in message.items)
        grave = f", {critical} critical" if critical else ""
        over = f", {recovered} recovered" if recovered and not message.is_recovery else ""
        return f"[{tag}] {message.count} alerts{grave}{over}"

    def lines(self, message: Message, explained: Explanation | None) -> Iterator[str]:
        """Yield the text: one alert in full, of several a line each, and the explanation."""
        is_single = message.count == 1
        for item in message.items:
            detail = self._said(item.alert.detail, DETAIL if is_single else SHORT_DETAIL)
            head = "" if is_single else f"{self._heading(item.alert)}: "
            yield f"{head}{detail or _word(item.alert)}{_repeats(item)}"
        for level, count in sorted(message.omitted.items(), reverse=True):
            yield f"and {count:,} more of level {level.name.lower()}"
        if explained is not None:
            yield ""
            yield f"What {explained.provider} makes of it (a guess, unverified):"
            yield explained.text

    def explained(self, explanation: Explanation) -> Explanation:
        return Explanation(
            provider=self._said(explanation.provider, NAME),
            text=harmless(self._redactor.text(explanation.text), EXPLANATION, lines=True),
        )

    def to_json(self, item: Item) -> JsonObject:
        alert = item.alert
        return {
            "at": rfc3339(round(alert.at * 1e6)),
            "level": alert.level.name.lower(),
            "provider": self._said(alert.provider, NAME) or None,
            "title": self._said(alert.title, NAME),
            "detail": self._said(alert.detail, DETAIL),
            "is_recovery": alert.is_recovery,
            "repeats": item.repeats,
        }

    def _heading(self, alert: Alert) -> str:
        tag = "RECOVERED" if alert.is_recovery else alert.level.name
        whom = f"{self._said(alert.provider, NAME)}: " if alert.provider else ""
        return f"[{tag}] {whom}{self._said(alert.title, NAME)}"

    def _said(self, text: str, limit: int) -> str:
        return harmless(self._redactor.text(text), limit)


def _repeats(item: Item) -> str:
    return f" ({item.repeats:,} more like it meanwhile)" if item.repeats else ""


def _word(alert: Alert) -> str:
    """Return what is said where there is no detail; some channels take no empty message."""
    return "over" if alert.is_recovery else alert.level.name.lower()
