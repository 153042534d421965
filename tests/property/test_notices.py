"""Whatever strangers write: a notice mentions nobody, paints nothing, hides no link, is small."""

from __future__ import annotations

import json
from unicodedata import category

from hypothesis import given
from hypothesis import strategies as st

from aiq.policy.alert import Alert, AlertLevel
from aiq.policy.alerting import LISTED, Item, Message
from aiq.providers.json_text import encode
from aiq.redaction import REDACTED, Redactor, Secret
from aiq.run.alerts.notice import DETAIL, EXPLANATION, Explanation, Notice, compose

KEY = "sk-test-4711-0815-abcdef"

HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}

nasty = st.sampled_from(
    ["@everyone", "<!channel>", "[a](http://x)", "\x1b[2J", "\u202e", "\n", KEY]
)
short = st.lists(st.text(max_size=20) | nasty, max_size=6).map("".join)
long = st.lists(nasty, min_size=4, max_size=6).map(lambda pieces: 25 * "".join(pieces))
texts = short | long
alerts = st.builds(
    Alert,
    at=st.floats(0, 4e9),
    level=st.sampled_from(list(AlertLevel)),
    provider=texts,
    title=texts,
    detail=texts,
    is_recovery=st.booleans(),
)
items = st.builds(Item, alert=alerts, repeats=st.integers(0, 10**6))
messages = st.builds(
    Message,
    items=st.lists(items, min_size=1, max_size=LISTED).map(tuple),
    omitted=st.dictionaries(st.sampled_from(list(AlertLevel)), st.integers(1, 10**6)),
)
explanations = st.none() | st.builds(Explanation, provider=texts, text=texts)


@given(messages, explanations)
def test_a_notice_is_harmless(message: Message, explanation: Explanation | None) -> None:
    notice = composed(message, explanation)
    assert not {category(char) for char in notice.title} & HIDDEN
    assert not {category(char) for char in notice.text if char not in "\n\t"} & HIDDEN
    shown = notice.title + notice.text + encode(notice.body).decode()
    assert not set("@<>") & set(shown)
    assert "](" not in shown
    assert KEY not in shown
    assert len(notice.text) < LISTED * (DETAIL + 200) + EXPLANATION + 200
    assert json.loads(encode(notice.body)) == notice.body


@given(messages)
def test_every_alert_is_listed_or_counted(message: Message) -> None:
    body = composed(message, None).body
    assert len(body["alerts"]) + sum(body["omitted"].values()) == message.count
    assert [one["repeats"] for one in body["alerts"]] == [one.repeats for one in message.items]


def composed(message: Message, explanation: Explanation | None) -> Notice:
    redactor = Redactor([Secret("K", KEY)])
    return compose(message, redactor=redactor, sent_at_us=0, explanation=explanation)


def test_the_key_of_these_tests_would_be_seen() -> None:
    alert = Alert(at=0, level=AlertLevel.INFO, provider="", title=KEY, detail=KEY)
    notice = composed(Message(items=(Item(alert=alert),), omitted={}), None)
    assert notice.text == REDACTED


def test_a_message_of_several_says_how_much_of_it_is_over() -> None:
    down = Alert(at=0, level=AlertLevel.CRITICAL, provider="a", title="down", detail="")
    over = Alert(
        at=0, level=AlertLevel.INFO, provider="a", title="down", detail="", is_recovery=True
    )
    both = Message(items=(Item(alert=down), Item(alert=over)), omitted={})
    assert composed(both, None).title == "aiq [CRITICAL] 2 alerts, 1 critical, 1 recovered"
    alone = Message(items=(Item(alert=over), Item(alert=over)), omitted={})
    assert composed(alone, None).title == "aiq [RECOVERED] 2 alerts"
