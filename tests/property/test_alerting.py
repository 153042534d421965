"""
Whatever is raised, and whenever: nothing twice, nothing critical lost or held up by what is less,
never many messages.
"""

from __future__ import annotations

from collections import Counter

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from aiq.policy.alert import Alert, AlertLevel
from aiq.policy.alerting import GROUP_WINDOW_S, LISTED, PER_MINUTE, Alerting, Message
from tests.support.alerts import CRITICAL, INFO, WARNING, alert

DEDUP_S = 300.0

alerts = st.builds(
    alert,
    st.sampled_from(["down", "slow", "errors"]),
    st.sampled_from(list(AlertLevel)),
    provider=st.sampled_from(["", "a", "b"]),
    is_recovery=st.booleans(),
)
many = st.builds(
    alert,
    st.integers(0, 60).map("t{}".format),
    st.sampled_from(list(AlertLevel)),
    provider=st.sampled_from("ab"),
    is_recovery=st.sampled_from([False] * 5 + [True]),
)
gaps = st.sampled_from([0.0, 0.0, 0.1, 3.0, 25.0, 299.0, 301.0])
histories = st.lists(st.tuples(gaps, alerts | many), max_size=120)
lesser = st.lists(
    st.tuples(gaps, many.filter(lambda one: one.is_recovery or one.level < CRITICAL)), max_size=120
)
WINDOWS = {CRITICAL: 1, WARNING: 2, INFO: 3}
"""What an alert waits for its message at most, in `GROUP_WINDOW_S`."""


def play(
    policy: Alerting, history: list[tuple[float, Alert]]
) -> tuple[list[tuple[float, Message]], list[tuple[float, Alert]]]:
    """Raise a history, taking each message when it is due; return messages and what was taken."""
    now, messages, accepted = 1000.0, [], []
    for gap, one in history:
        end = now + gap
        while (due := policy.ready_at(now)) <= end:
            now = max(now, due)
            message = policy.take(now)
            assert message is not None
            messages.append((now, message))
        now = end
        if policy.add(one, now):
            accepted.append((now, one))
    while (due := policy.ready_at(now)) < float("inf"):
        now = max(now, due)
        message = policy.take(now)
        assert message is not None
        messages.append((now, message))
    return messages, accepted


@given(histories)
def test_nothing_is_told_twice_unless_it_was_over(history: list[tuple[float, Alert]]) -> None:
    messages, _ = play(Alerting(dedup_s=DEDUP_S), history)
    last: dict[tuple[str, AlertLevel, str], float] = {}
    for now, message in messages:
        for item in message.items:
            one = item.alert
            key = (one.provider, one.level, one.title)
            if one.is_recovery:
                for k in [k for k in last if (k[0], k[2]) == (one.provider, one.title)]:
                    del last[k]
                continue
            assert key not in last or now - last[key] >= DEDUP_S - 1e-6
            last[key] = now


@given(histories)
def test_all_that_was_taken_is_in_a_message_within_its_window(
    history: list[tuple[float, Alert]],
) -> None:
    """Listed or counted; what is graver waits no longer than it takes to refill one message."""
    messages, accepted = play(Alerting(dedup_s=DEDUP_S), history)
    assert sum(message.count for _, message in messages) == len(accepted)
    listed = [item.alert for _, message in messages for item in message.items]
    omitted = Counter[AlertLevel]()
    for _, message in messages:
        omitted.update(message.omitted)
    grave = sum(one.level is CRITICAL for _, one in accepted)
    assert sum(one.level is CRITICAL for one in listed) + omitted[CRITICAL] == grave
    for at, one in accepted:
        window = GROUP_WINDOW_S * WINDOWS[WARNING if one.is_recovery else one.level]
        assert any(at <= now <= at + window + 1e-6 for now, _ in messages), one


@given(lesser)
def test_a_critical_alert_waits_for_nothing_lesser(history: list[tuple[float, Alert]]) -> None:
    policy = Alerting(dedup_s=DEDUP_S)
    now = 1000.0
    for gap, one in history:
        now += gap
        policy.add(one, now)
        policy.take(now)
    assert policy.add(alert("grave"), now)
    assert policy.ready_at(now) == now


@given(histories)
def test_messages_are_few_and_small(history: list[tuple[float, Alert]]) -> None:
    messages, _ = play(Alerting(dedup_s=DEDUP_S), history)
    instants = [now for now, _ in messages]
    for start in instants:
        assert sum(start <= now < start + 60 for now in instants) <= PER_MINUTE
    assert all(len(message.items) <= LISTED for _, message in messages)


@given(st.lists(many, min_size=1, max_size=30), st.integers(1, 1000))
def test_a_storm_of_a_thousand_is_a_handful_of_messages(kinds: list[Alert], distinct: int) -> None:
    storm = [
        msgspec.structs.replace(kinds[n % len(kinds)], title=f"t{n % distinct}")
        for n in range(1000)
    ]
    messages, _ = play(Alerting(dedup_s=DEDUP_S), [(0.001, one) for one in storm])
    assert len(messages) <= 5
