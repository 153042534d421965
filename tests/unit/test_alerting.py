"""What becomes a message, and when: rows of what is raised, and what is told of it."""

from __future__ import annotations

import math

from aiq.policy.alert import Alert
from aiq.policy.alerting import GROUP_WINDOW_S, KNOWN, LISTED, Alerting
from tests.support.alerts import CRITICAL, INFO, WARNING, alert, recovery, told


def tell(policy: Alerting, now: float, *alerts: Alert) -> list[str]:
    for one in alerts:
        policy.add(one, now)
    return told(policy.take(now))


def test_an_alert_is_told_at_once() -> None:
    policy = Alerting()
    assert math.isinf(policy.ready_at(0))
    assert policy.take(0) is None
    assert policy.add(alert(), 0)
    assert policy.ready_at(0) == 0
    assert told(policy.take(0)) == ["a:down"]
    assert policy.take(0) is None


def test_what_is_raised_together_is_told_together() -> None:
    policy = Alerting()
    assert tell(policy, 0, alert(), alert(provider="b"), alert("slow", WARNING)) == [
        "a:down",
        "b:down",
        "a:slow",
    ]


def test_equal_ones_are_told_once_in_300_seconds_and_counted() -> None:
    """Counted from when it was told, up to the last instant."""
    policy = Alerting()
    tell(policy, 0, alert())
    assert not policy.add(alert(detail="other figures"), 1)
    assert not policy.add(alert(), 299.9)
    assert policy.add(alert(), 300)
    message = policy.take(300)
    assert told(message) == ["a:down"]
    assert message is not None
    assert message.items[0].repeats == 2


def test_equal_ones_that_wait_for_their_message_are_one() -> None:
    policy = Alerting()
    policy.add(alert(), 0)
    assert not policy.add(alert(), 0)
    message = policy.take(0)
    assert told(message) == ["a:down"]
    assert message is not None
    assert message.items[0].repeats == 1


def test_another_level_provider_or_title_is_another_alert() -> None:
    policy = Alerting()
    tell(policy, 0, alert())
    others = (alert(level=WARNING), alert(provider="b"), alert("slow"))
    assert [policy.add(one, 0) for one in others] == [True] * 3


def test_below_the_least_level_nothing_is_told() -> None:
    policy = Alerting(min_level=WARNING)
    assert not policy.add(alert(level=INFO), 0)
    assert policy.add(alert(level=WARNING), 0)


def test_a_recovery_is_told_where_something_was_and_clears_the_way() -> None:
    policy = Alerting(min_level=CRITICAL)
    assert not policy.add(recovery(), 0)
    tell(policy, 0, alert())
    assert tell(policy, 1, recovery()) == ["+a:down"]
    assert not policy.add(recovery(), 2)
    assert tell(policy, 3, alert()) == ["a:down"]


def test_a_recovery_comes_however_late() -> None:
    policy = Alerting()
    tell(policy, 0, alert())
    assert tell(policy, 90_000, recovery()) == ["+a:down"]


def test_a_recovery_ends_its_own_title_at_every_level_and_nothing_else() -> None:
    """What was never told, because it is beneath notice, ends nothing that was."""
    policy = Alerting(min_level=WARNING)
    tell(policy, 0, alert(), alert("slow", WARNING), alert("slow"), alert(provider="b"))
    assert tell(policy, 0, recovery("slow")) == ["+a:slow"]
    assert policy.worst() == {"a": CRITICAL, "b": CRITICAL}
    assert not policy.add(recovery("slow"), 0)
    assert not policy.add(recovery("drift"), 0)
    assert policy.worst() == {"a": CRITICAL, "b": CRITICAL}
    assert tell(policy, 60, recovery()) == ["+a:down"]
    assert policy.worst() == {"b": CRITICAL}


def test_a_recovery_of_what_still_waits_is_told_behind_it() -> None:
    policy = Alerting()
    assert tell(policy, 0, alert(), recovery(), alert()) == ["a:down", "+a:down", "a:down"]
    assert not policy.add(alert(), 299)


def test_the_first_few_go_at_once_and_the_rest_within_the_window() -> None:
    policy = Alerting()
    for name in "abc":
        assert tell(policy, 0, alert(provider=name)) == [f"{name}:down"]
    for name in "de":
        policy.add(alert(provider=name), 0)
    assert policy.take(0) is None
    assert 0 < policy.ready_at(0) <= GROUP_WINDOW_S
    assert told(policy.take(GROUP_WINDOW_S)) == ["d:down", "e:down"]


def test_what_is_critical_waits_for_nothing_lesser() -> None:
    """However much information came first: it, and then warnings, leave room for what is graver."""
    policy = Alerting()
    now = 0.0
    for number in range(9):
        policy.add(alert(f"now {number}", INFO), now)
        now = policy.ready_at(now)
        policy.take(now)
    policy.add(alert("now here", INFO), now)
    assert policy.take(now) is None
    assert tell(policy, now, alert("slow", WARNING)) == ["a:now here", "a:slow"]
    policy.add(recovery("slow"), now)
    assert policy.take(now) is None
    assert tell(policy, now, alert()) == ["+a:slow", "a:down"]


def test_the_last_message_does_not_wait() -> None:
    policy = Alerting()
    for name in "abc":
        tell(policy, 0, alert(provider=name))
    policy.add(alert(provider="d"), 0)
    assert policy.take(0) is None
    assert told(policy.take(0, is_last=True)) == ["d:down"]
    assert policy.take(0, is_last=True) is None


def test_a_full_message_counts_what_it_does_not_list() -> None:
    policy = Alerting()
    for number in range(LISTED + 5):
        policy.add(alert(f"t{number}", WARNING), 0)
    message = policy.take(0)
    assert message is not None
    assert len(message.items) == LISTED
    assert message.omitted == {WARNING: 5}
    assert message.count == LISTED + 5
    assert message.level is WARNING
    assert not message.is_recovery


def test_what_is_graver_takes_the_place_of_what_is_not() -> None:
    """And what made room may be told again, and is over when it recovers."""
    policy = Alerting()
    for number in range(LISTED):
        policy.add(alert(f"t{number}", INFO), 0)
    policy.add(alert("grave"), 0)
    message = policy.take(0)
    assert told(message) == [f"a:t{n}" for n in range(1, LISTED)] + ["a:grave"]
    assert message is not None
    assert message.omitted == {INFO: 1}
    assert tell(policy, 0, recovery("t0"), alert("t0", INFO)) == ["+a:t0", "a:t0"]


def test_a_recovery_may_have_to_make_room() -> None:
    policy = Alerting()
    tell(policy, 0, alert("slow", WARNING))
    policy.add(recovery("slow"), 0)
    for number in range(LISTED):
        policy.add(alert(f"t{number}"), 0)
    message = policy.take(0)
    assert message is not None
    assert message.omitted == {INFO: 1}
    assert message.level is CRITICAL


def test_a_recovery_alone_is_no_reason_to_worry() -> None:
    policy = Alerting()
    tell(policy, 0, alert())
    policy.add(recovery(), 0)
    message = policy.take(0)
    assert message is not None
    assert (message.level, message.is_recovery) == (INFO, True)


def test_memory_is_bounded_and_forgets_the_oldest_that_may_be_told_again() -> None:
    """While none may, what is new is counted and not listed, so that it cannot be told twice."""
    policy = Alerting(dedup_s=50_000)
    now = 0.0
    for number in range(0, KNOWN, LISTED):
        for one in range(number, number + LISTED):
            policy.add(alert(f"t{one}"), now)
        now = policy.ready_at(now)
        policy.take(now)
    now += 60
    assert policy.add(alert("one more"), now)
    message = policy.take(now)
    assert message is not None
    assert (message.items, message.omitted) == ((), {CRITICAL: 1})
    assert tell(policy, now + 50_000, alert("one more")) == ["a:one more"]
    assert tell(policy, now + 50_000, alert("t0")) == ["a:t0"]
