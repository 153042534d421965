"""The detector: what it finds in one observation after the other, and what it tells."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import pytest

from aiq.model import Kind
from aiq.policy.alert import AlertLevel
from aiq.policy.anomaly import Detector, Judgement
from aiq.policy.conditions import Sign
from aiq.policy.defaults import MonitorSettings
from aiq.policy.observation import Observation, attempted
from aiq.policy.standing import Status

INFO, WARNING, CRITICAL = AlertLevel
FAIL = Observation(status=Status.UNHEALTHY, reason="HTTP 500")
REFUSED = Observation(status=Status.DISABLED, reason="key refused")
UNKNOWN = Observation(status=Status.UNKNOWN, reason="not asked")
LIMITED = Observation(status=Status.DEGRADED, reason="rate limited")


def took(*latencies_ms: float) -> list[Observation]:
    return [Observation(status=Status.HEALTHY, latency_ms=ms) for ms in latencies_ms]


class Watch:
    """A detector that is shown one observation a minute, and what it told."""

    def __init__(self, *, limit_ms: float | None = None, **settings: Any) -> None:
        self.detector = Detector(MonitorSettings(**settings), provider="p", limit_ms=limit_ms)
        self.now = 0.0

    def see(self, *seen: Observation) -> list[Judgement]:
        judged = []
        for one in seen:
            judged.append(self.detector.observe(one, now=self.now))
            self.now += 60.0
        return judged

    def told(self, *seen: Observation) -> list[tuple[str, AlertLevel, str]]:
        """Return what is told of, but changes of status: title, level, begun or over."""
        return [
            (alert.title, alert.level, "over" if alert.is_recovery else "begun")
            for judged in self.see(*seen)
            for alert in judged.alerts
            if not alert.title.startswith("now ")
        ]

    def details(self, *seen: Observation) -> list[str]:
        return [alert.detail for judged in self.see(*seen) for alert in judged.alerts]


def used_to(ms: float = 800.0, *, samples: int = 100, **given: Any) -> Watch:
    """A provider that has answered in about `ms`, within 5 %, for some time."""
    watch, dice = Watch(**given), random.Random(7)
    assert watch.told(*took(*(ms * dice.uniform(0.95, 1.05) for _ in range(samples)))) == []
    return watch


def anomaly(level: AlertLevel, what: str = "begun") -> tuple[str, AlertLevel, str]:
    return ("latency anomaly", level, what)


def test_one_unusual_answer_is_marked_and_alerts_nobody() -> None:
    watch = used_to()
    [judged] = watch.see(*took(8000))
    assert judged.alerts == ()
    assert judged.finding is not None
    assert (judged.finding.sign, judged.finding.level) == (Sign.LATENCY, INFO)
    assert judged.finding.detail.startswith("8,000 ms (z ")
    assert "usual: 7" in judged.finding.detail or "usual: 8" in judged.finding.detail


def test_a_usual_answer_is_no_finding() -> None:
    assert used_to().see(*took(810))[0].finding is None


def test_a_quick_answer_is_no_complaint() -> None:
    assert used_to().see(*took(*[20] * 60))[-1].finding is None


def test_three_in_a_row_are_a_warning_and_five_critical() -> None:
    watch = used_to()
    assert watch.told(*took(3000, 3000)) == []
    assert watch.told(*took(3000)) == [anomaly(WARNING)]
    assert watch.told(*took(3000)) == []
    assert watch.told(*took(3000)) == [anomaly(CRITICAL)]
    assert watch.detector.worst is not None


def test_the_least_of_a_row_decides_its_level() -> None:
    """1.9 times the usual is a z-score of 3.5, where the spread is taken for 20 %."""
    assert used_to().told(*took(*[1520] * 10)) == [anomaly(WARNING)]


def test_three_usual_answers_end_it_and_it_leaves_no_trace() -> None:
    """What was out of the ordinary is no part of what comes after is judged by."""
    watch = used_to()
    usual = watch.detector.usual_ms
    assert watch.told(*took(*[8000] * 20, 800, 800)) == [anomaly(WARNING), anomaly(CRITICAL)]
    assert watch.told(*took(800)) == [anomaly(CRITICAL, "over")]
    assert watch.detector.worst is None
    assert watch.detector.usual_ms == pytest.approx(usual, rel=0.01)
    assert watch.told(*took(*[800] * 20)) == []
    assert watch.told(*took(*[8000] * 3)) == [anomaly(WARNING)]


def test_a_step_that_lasts_is_usual_after_fifty_answers() -> None:
    """It is alarmed once, not for ever, and its end as an alarm says what it is."""
    watch = used_to()
    watch.see(*took(*[8000] * 51))
    [over] = watch.details(*took(8000))
    assert "50 answers have been like that, so that is usual now (usual: 8,000 ms; " in over
    assert watch.told(*took(*[8000] * 300)) == []
    assert watch.told(*took(*[80_000] * 3)) == [anomaly(WARNING)]


def test_fewer_than_ten_answers_say_nothing() -> None:
    watch = Watch()
    assert watch.told(*took(*[800] * 9, *[80_000] * 3)) == []


def test_ten_answers_do() -> None:
    watch = Watch()
    assert watch.told(*took(*[800] * 10, *[80_000] * 3)) == [anomaly(WARNING)]


def test_a_provider_without_any_variance_is_no_division_by_zero() -> None:
    """And a little more than always is nothing."""
    watch = Watch()
    assert watch.told(*took(*[800] * 100, *[900] * 50)) == []
    assert watch.told(*took(*[4000] * 5)) == [anomaly(WARNING), anomaly(CRITICAL)]


def test_a_rise_of_a_few_milliseconds_is_nothing_to_anybody() -> None:
    watch = used_to(2.0)
    assert watch.told(*took(*[90] * 300)) == []
    assert all(judged.finding is None for judged in watch.see(*took(*[95] * 30)))


def test_latency_zero_has_a_logarithm() -> None:
    assert Watch().told(*took(*[0.0] * 40)) == []


def test_a_slow_drift_is_a_warning_until_half_of_it_is_gone() -> None:
    watch, dice = used_to(), random.Random(8)
    rising = [800 * 1.004**n * dice.uniform(0.8, 1.25) for n in range(150)]
    assert watch.told(*took(*rising)) == [anomaly(WARNING)]
    assert watch.told(*took(*[800] * 15)) == [anomaly(WARNING, "over")]
    assert watch.told(*took(*[800] * 100)) == []


def test_a_drift_says_what_it_was_and_what_it_is() -> None:
    watch = used_to()
    details = watch.details(*took(*[800 * 1.004**n for n in range(150)]))
    assert details == ["the last 15 took 1,302 ms on average, before 902 ms"]


def test_a_drift_can_become_a_jump() -> None:
    watch = used_to()
    watch.see(*took(*[800 * 1.004**n for n in range(150)]))
    assert watch.told(*took(*[20_000] * 5)) == [anomaly(CRITICAL)]
    assert watch.told(*took(*[800] * 3)) == [anomaly(CRITICAL, "over")]


def test_becoming_quicker_is_usual_at_once() -> None:
    """From then on a drift back to what was usual before is one."""
    watch = used_to(2400)
    assert watch.told(*took(*[800] * 60)) == []
    assert watch.told(*took(*[800 * 1.004**n for n in range(150)])) == [anomaly(WARNING)]


def test_over_the_limit_three_times_is_slow_whatever_is_usual() -> None:
    watch = used_to(6000, limit_ms=9000)
    [judged] = watch.see(*took(9100))
    assert judged.alerts == ()
    assert judged.finding is not None
    assert (judged.finding.sign, judged.finding.detail) == (
        Sign.SLOW, "9,100 ms; the limit is 9,000 ms"
    )  # fmt: skip
    assert watch.told(*took(9100)) == []
    assert watch.told(*took(9100)) == [("slow", WARNING, "begun")]
    assert watch.told(*took(6000, 6000)) == []
    assert watch.told(*took(6000)) == [("slow", WARNING, "over")]


def test_what_is_slow_after_the_first_answers_is_slow() -> None:
    watch = Watch(limit_ms=1000)
    assert watch.told(*took(2000, 2000, 2000)) == [("slow", WARNING, "begun")]


def test_the_lesser_is_not_told_beside_the_more_severe() -> None:
    """Critically unusual answers are slow as well; that goes without saying, then and later."""
    watch = used_to(limit_ms=5000)
    told = watch.told(*took(*[8000] * 5))
    assert told == [("slow", WARNING, "begun"), anomaly(CRITICAL)]
    assert watch.told(*took(*[800] * 3)) == [
        ("slow", WARNING, "over"),
        anomaly(CRITICAL, "over"),
    ]


def test_what_outlasts_the_more_severe_is_told_then() -> None:
    watch = used_to(limit_ms=5000)
    watch.see(*took(4500, 4500, 8000, 8000))
    assert watch.told(*took(8000)) == [anomaly(CRITICAL)]
    later = watch.told(*took(*[8000] * 60))
    assert later == [anomaly(CRITICAL, "over"), ("slow", WARNING, "begun")]


def test_three_failures_in_a_row_are_down_and_three_answers_are_up() -> None:
    watch = used_to()
    assert watch.told(FAIL, FAIL) == []
    assert watch.told(FAIL) == [("down", CRITICAL, "begun")]
    assert watch.told(FAIL, FAIL, *took(800, 800)) == []
    [over] = watch.details(*took(800))
    assert over == "after 5 min: it answers again"


def test_a_failure_now_and_then_is_not_down() -> None:
    watch = Watch()
    assert watch.told(FAIL, FAIL, *took(800), FAIL, FAIL) == []
    assert watch.see(FAIL)[0].alerts[-1].title == "down"


def test_an_answer_between_failures_does_not_end_an_outage() -> None:
    watch = used_to()
    assert len(watch.told(FAIL, FAIL, FAIL)) == 1
    assert watch.told(*took(800, 800), FAIL, *took(800), FAIL, FAIL, FAIL) == []


def test_who_is_disabled_is_down_at_once() -> None:
    """Nobody gives back a key by being asked again."""
    watch = used_to()
    [judged] = watch.see(REFUSED)
    assert [(one.title, one.level, one.detail) for one in judged.alerts] == [
        ("now disabled", INFO, "key refused"),
        ("down", CRITICAL, "key refused"),
    ]
    assert judged.finding is not None
    assert judged.finding.level is CRITICAL


def test_a_limited_rate_is_no_failure() -> None:
    """It has an end, and who says so is alive."""
    assert used_to().told(*[LIMITED] * 50) == []


def test_what_is_unknown_is_neither_good_nor_bad() -> None:
    watch = used_to()
    assert watch.told(FAIL, FAIL, UNKNOWN) == []
    assert watch.told(FAIL) == [("down", CRITICAL, "begun")]


def spread_out(failures: int, of: int) -> Iterable[Observation]:
    """Failures at equal distances."""
    for n in range(of):
        is_failure = n * failures // of != (n + 1) * failures // of
        yield FAIL if is_failure else took(800)[0]


@pytest.mark.parametrize(("failures", "is_told"), [(4, False), (5, True)])
def test_five_percent_of_a_hundred_are_errors(failures: int, *, is_told: bool) -> None:
    watch = Watch()
    told = watch.told(*spread_out(failures, 100))
    assert told == ([("errors", WARNING, "begun")] if is_told else [])


def test_fewer_than_twenty_say_nothing_of_a_share() -> None:
    watch = Watch()
    assert watch.told(*spread_out(9, 19)) == []
    assert watch.told(FAIL) == [("errors", WARNING, "begun")]


def test_two_failures_are_no_share() -> None:
    assert Watch().told(*spread_out(2, 20)) == []


def test_errors_are_over_at_half_the_share() -> None:
    """Or a provider that fails 5 times in 100 would be told of again and again."""
    watch = Watch()
    watch.see(*spread_out(10, 100))
    details = watch.details(*took(*[800] * 100))
    assert "2 of the last 100 failed" in " ".join(details)


def test_an_outage_is_not_told_again_as_errors() -> None:
    """Twenty failures of a hundred are in the history, and have been told of."""
    watch = used_to()
    watch.see(*[FAIL] * 20, *took(800, 800))
    assert watch.told(*took(*[800] * 200)) == [("down", CRITICAL, "over")]


def test_errors_before_an_outage_end_with_it() -> None:
    watch = used_to()
    watch.see(*spread_out(10, 100))
    assert watch.told(FAIL, FAIL, FAIL) == [("down", CRITICAL, "begun")]
    assert watch.told(*took(800, 800, 800)) == [
        ("down", CRITICAL, "over"),
        ("errors", WARNING, "over"),
    ]


def test_the_outages_in_between_are_no_part_of_the_latencies() -> None:
    watch = used_to()
    watch.see(*[FAIL] * 300, *took(*[800] * 10))
    assert watch.told(*took(*[8000] * 3)) == [anomaly(WARNING)]


def test_slow_then_down_then_well() -> None:
    watch = used_to()
    assert watch.told(*took(*[16_000] * 6)) == [anomaly(WARNING), anomaly(CRITICAL)]
    assert watch.told(*[FAIL] * 6) == [("down", CRITICAL, "begun")]
    assert watch.told(*took(800, 800, 800)) == [
        ("down", CRITICAL, "over"),
        anomaly(CRITICAL, "over"),
    ]


def test_every_change_of_status_is_told_but_the_first_health() -> None:
    watch = Watch()
    seen = [*took(800, 800), FAIL, FAIL, LIMITED, *took(800)]
    alerts = [alert for judged in watch.see(*seen) for alert in judged.alerts]
    assert [(one.title, one.detail) for one in alerts] == [
        ("now unhealthy", "HTTP 500"),
        ("now degraded", "rate limited"),
        ("now healthy", ""),
    ]
    assert {one.level for one in alerts} == {INFO}


def test_who_is_sick_from_the_first_is_told() -> None:
    assert [one.title for one in Watch().see(FAIL)[0].alerts] == ["now unhealthy"]


def test_somebody_who_comes_later_is_told_what_is_the_matter() -> None:
    watch = used_to()
    assert watch.detector.restated(now=9.0) is None
    watch.see(FAIL, FAIL, FAIL)
    alert = watch.detector.restated(now=9.0)
    assert alert is not None
    assert (alert.title, alert.provider, alert.at) == ("down", "p", 9.0)
    assert alert.detail == "3 failures in a row, the last: HTTP 500"


@pytest.mark.parametrize("kind", list(Kind))
def test_an_attempt_says_of_its_provider_what_a_probe_would(kind: Kind) -> None:
    """But what is a prompt's or our own fault says nothing."""
    seen = attempted(kind, 812.0, "its words")
    if kind in (Kind.BAD_REQUEST, Kind.CONTEXT_TOO_LONG, Kind.CANCELLED):
        assert seen is None
        return
    assert seen is not None
    assert seen.latency_ms == (812.0 if kind is Kind.OK else None)
    assert seen.is_good is (kind in (Kind.OK, Kind.RATE_LIMITED))
    assert seen.is_final is (kind in (Kind.AUTH, Kind.OUT_OF_CREDIT, Kind.NOT_FOUND))
    assert seen.reason == "its words"


def test_an_attempt_without_words_has_its_kind() -> None:
    seen = attempted(Kind.CONNECT, 1.0)
    assert seen is not None
    assert seen.reason == "connect"
