"""What a run tells of: rows of what its snapshots show, and what is raised."""

from __future__ import annotations

from typing import Any

import pytest

from aiq.config import AlertSettings
from aiq.config.alert_settings import TriageTable
from aiq.errors import ExitCode, StoreError, StoreInUse
from aiq.model import JobState
from aiq.policy.alert import Alert, AlertLevel
from aiq.policy.standing import Condition, Status
from aiq.policy.switch import Switch
from aiq.run.alerts.run_events import LEAST_REQUESTS, SPAN_S, RunEvents
from aiq.run.board import ProviderView, Snapshot
from aiq.run.observer import Plan
from aiq.run.report import Tally
from aiq.run.result import RunResult
from tests.support.fake_clock import FakeClock

SETTINGS = AlertSettings(
    urls=(),
    webhook=None,
    min_level=AlertLevel.INFO,
    dedup_s=300,
    language="English",
    error_share=0.2,
    stall_s=60,
    triage=TriageTable(),
)


class Watch:
    """A run's events, and what they raised as `level provider:title`."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.raised: list[Alert] = []
        self.events = RunEvents(self.raised.append, SETTINGS, clock)

    def tick(self, *providers: ProviderView, **figures: Any) -> None:
        self.events.tick(snapshot(*providers, **figures))

    def said(self) -> list[str]:
        """What was raised since the last time."""
        found = [
            f"{'recovery' if one.is_recovery else one.level.name.lower()}"
            f" {one.provider}:{one.title}"
            for one in self.raised
        ]
        self.raised.clear()
        return found


@pytest.fixture
def watch(clock: FakeClock) -> Watch:
    return Watch(clock)


def view(
    status: Status,
    reason: str | None = None,
    *,
    is_shut: bool = False,
    answers: int = 0,
    switch: Switch = Switch.ON,
) -> ProviderView:
    tally = Tally()
    tally.succeeded = answers
    return ProviderView(
        name="a",
        condition=Condition(status, reason),
        next_try_s=None,
        in_flight=0,
        limit=1,
        tally=tally,
        is_shut=is_shut,
        switch=switch,
    )


OFF = view(Status.DISABLED, "by you", switch=Switch.OFF)


def snapshot(*providers: ProviderView, requests: int = 0, errors: int = 0, **figures: Any) -> Any:
    tally = Tally()
    tally.requests, tally.errors = requests, errors
    given: dict[str, Any] = {
        "total": 100,
        "succeeded": 0,
        "failed": 0,
        "pending": 100,
        "running": 0,
        "in_flight": 0,
        "failovers": 0,
        "elapsed_s": 0.0,
        "rate_per_s": 0.0,
        "eta_s": None,
        "tally": tally,
        "providers": providers,
        "last_error": None,
        "is_draining": False,
    }
    return Snapshot(**given | figures)


def test_a_provider_is_down_until_its_breaker_is_closed(watch: Watch) -> None:
    """On trial it is not back; slow or rate limited with a closed breaker it is."""
    watch.tick(view(Status.HEALTHY))
    watch.tick(view(Status.DEGRADED, "rate limited"))
    assert watch.said() == []
    watch.tick(view(Status.UNHEALTHY, "open", is_shut=True))
    watch.tick(view(Status.UNHEALTHY, "open", is_shut=True))
    assert watch.said() == ["critical a:down"]
    watch.tick(view(Status.DEGRADED, "half-open", is_shut=True, answers=1))
    watch.tick(view(Status.UNHEALTHY, "open", is_shut=True, answers=1))
    assert watch.said() == []
    watch.clock.jump(7300)
    watch.tick(view(Status.DEGRADED, "slow", answers=2), pending=0)
    assert watch.raised[0].detail == "it answers again after 2 h 1 min"
    assert watch.said() == ["recovery a:down"]


def test_a_breaker_that_an_operator_closed_is_no_recovery(watch: Watch) -> None:
    """Nothing has answered since it was last seen open; an answer that came before is none."""
    watch.tick(view(Status.UNHEALTHY, "open", is_shut=True, answers=6))
    watch.tick(view(Status.UNHEALTHY, "open", is_shut=True, answers=7))
    watch.tick(view(Status.UNKNOWN, answers=7))
    watch.tick(view(Status.UNHEALTHY, "open", is_shut=True, answers=7))
    assert watch.said() == ["critical a:down"]
    watch.tick(view(Status.UNKNOWN, answers=7))
    watch.tick(view(Status.HEALTHY, answers=8))
    assert watch.said() == ["recovery a:down"]


def test_a_provider_that_is_out_is_told_once(watch: Watch) -> None:
    for _ in range(2):
        watch.tick(view(Status.DISABLED, "auth: no"))
    assert watch.raised[0].detail == "auth: no"
    assert watch.said() == ["critical a:disabled"]


def test_what_was_reset_may_be_disabled_again(watch: Watch) -> None:
    """A cooldown only hides why it is out."""
    watch.tick(view(Status.DISABLED, "auth: no"))
    watch.tick(view(Status.DEGRADED, "rate limited"))
    watch.tick(view(Status.DISABLED, "auth: no"))
    assert watch.said() == ["critical a:disabled"]
    watch.tick(view(Status.UNKNOWN))
    assert watch.raised[0].detail == "it is asked again"
    watch.tick(view(Status.DISABLED, "out_of_credit: no"))
    assert watch.said() == ["recovery a:disabled", "critical a:disabled"]


@pytest.mark.parametrize(
    ("switch", "by"),
    [
        (Switch.OFF, "by an operator"),
        (Switch.LEFT_OFF, "by an operator, in an earlier run"),
    ],
)
def test_what_an_operator_does_is_no_alarm_and_hides_none(
    watch: Watch, switch: Switch, by: str
) -> None:
    for _ in range(2):
        watch.tick(view(Status.DISABLED, "by you", switch=switch))
    assert watch.raised[0].detail == by
    assert watch.said() == ["info a:switched off"]
    watch.tick(view(Status.HEALTHY))
    assert watch.said() == ["recovery a:switched off"]
    watch.tick(view(Status.DISABLED, "auth: no"))
    assert watch.said() == ["critical a:disabled"]
    watch.tick(view(Status.DISABLED, "by you", switch=switch))
    watch.tick(view(Status.DISABLED, "auth: no"))
    assert watch.said() == ["info a:switched off", "recovery a:switched off"]


@pytest.mark.parametrize(
    ("status", "reason", "is_unwell"),
    [
        (Status.HEALTHY, None, False),
        (Status.UNKNOWN, None, False),
        (Status.HEALTHY, "at 500 requests per minute", True),
        (Status.DEGRADED, "rate limited", True),
        (Status.DISABLED, "auth: no", True),
    ],
)
def test_who_has_room_to_spare(
    watch: Watch, status: Status, reason: str | None, is_unwell: bool
) -> None:
    assert watch.events.unwell() == []
    watch.tick(view(status, reason))
    assert watch.events.unwell() == ["a"] * is_unwell


def test_the_budget_is_near_once(watch: Watch) -> None:
    watch.tick(committed_nano=10**12)
    spend(watch, 10, 7.9)
    assert watch.said() == []
    for _ in range(2):
        spend(watch, 10, 8)
    assert watch.raised[0].detail == "$8.00 of $10.00 spent, 100 jobs left"
    assert watch.said() == ["warning :budget nearly reached"]


def spend(watch: Watch, limit: float, spent: float, **figures: Any) -> None:
    amounts = {"budget_nano": round(limit * 10**9), "committed_nano": round(spent * 10**9)}
    watch.tick(**{"in_flight": 4, **amounts, **figures})


def test_another_budget_is_told_of_as_the_first_was(watch: Watch) -> None:
    spend(watch, 10, 8)
    spend(watch, 20, 8)
    assert watch.raised[1].detail == "$8.00 of $20.00 spent, 100 jobs left"
    assert watch.said() == ["warning :budget nearly reached", "recovery :budget nearly reached"]
    spend(watch, 20, 16)
    watch.tick(committed_nano=16 * 10**9)
    assert watch.raised[1].detail == "$16.00 spent, 100 jobs left"
    assert watch.said() == ["warning :budget nearly reached", "recovery :budget nearly reached"]


def test_a_worst_case_in_flight_counts_but_not_all_of_them(watch: Watch) -> None:
    spend(watch, 10, 5.9, reserved_nano=8 * 10**9)
    assert watch.said() == []
    spend(watch, 10, 6, reserved_nano=8 * 10**9)
    assert watch.raised[0].detail == (
        "$6.00 of $10.00 spent, $8.00 set aside for what is in flight, 100 jobs left"
    )
    assert watch.said() == ["warning :budget nearly reached"]


def test_a_budget_that_lets_nothing_be_sent_is_not_nearly_reached(watch: Watch) -> None:
    spend(watch, 0.15, 0.1785, in_flight=0)
    spend(watch, 0.15, 0.1785)
    spend(watch, 10, 9, in_flight=0)
    assert watch.said() == []


def test_amounts_are_as_on_the_terminal(watch: Watch) -> None:
    spend(watch, 0.0000001, 0.00000009)
    assert watch.raised[0].detail == "$0.00000009 of $0.0000001 spent, 100 jobs left"


def test_many_errors_are_told_and_that_they_are_over(watch: Watch) -> None:
    """Of enough requests, over the last minutes; half of the share ends it, not a little less."""
    watch.tick()
    watch.clock.jump(5)
    watch.tick(requests=LEAST_REQUESTS - 1, errors=40)
    assert watch.said() == []
    watch.clock.jump(1)
    watch.tick(requests=LEAST_REQUESTS, errors=40)  # too soon to look again
    assert watch.said() == []
    watch.clock.jump(5)
    watch.tick(requests=100, errors=20, last_error="a: server_error: no")
    assert watch.raised[0].detail == "20% of 100 requests in 11 s; the last: a: server_error: no"
    assert watch.said() == ["warning :many errors"]
    watch.clock.jump(5)
    watch.tick(requests=200, errors=30)
    assert watch.said() == []
    watch.clock.jump(5)
    watch.tick(requests=400, errors=36)
    assert watch.said() == ["recovery :many errors"]


def test_what_is_long_ago_counts_no_more(watch: Watch) -> None:
    requests = 0
    for _ in range(int(SPAN_S / 5) + 2):
        watch.tick(requests=requests)
        watch.clock.jump(5)
        requests += 100
    watch.tick(requests=requests + 1000, errors=1000)
    assert watch.said() == []  # 1000 of 7,100
    watch.clock.jump(5)
    watch.tick(requests=requests + 2000, errors=2000)
    assert watch.said() == ["warning :many errors"]


def test_a_run_in_which_nothing_moves_has_stalled(watch: Watch) -> None:
    watch.tick(requests=1)
    watch.clock.jump(59)
    watch.tick(requests=1)
    assert watch.said() == []
    watch.clock.jump(1)
    for _ in range(2):
        watch.tick(requests=1, last_error="a: connect: refused")
    assert watch.raised[0].detail == (
        "nothing was settled for 60 s while 100 jobs wait; the last error: a: connect: refused"
    )
    assert watch.said() == ["critical :stalled"]
    watch.clock.jump(120)
    watch.tick(requests=2)
    assert watch.raised[0].detail == "it goes on after 3 min"
    assert watch.said() == ["recovery :stalled"]


@pytest.mark.parametrize(
    "figures",
    [
        {"pending": 0},
        {"is_draining": True},
        {"is_paused": True},
        {"providers": (OFF, view(Status.DISABLED, "auth: no"))},
    ],
)
def test_a_run_that_has_nothing_left_to_do_or_is_held_up_has_not_stalled(
    watch: Watch, figures: dict[str, Any]
) -> None:
    """And the time in which it was held up counts for nothing."""
    watch.tick(**figures)
    watch.clock.jump(1000)
    watch.tick(**figures)
    watch.clock.jump(59)
    watch.tick()
    assert "critical :stalled" not in watch.said()


def test_a_stall_names_what_stands_in_the_way(watch: Watch) -> None:
    providers = (OFF, view(Status.UNHEALTHY, "open", is_shut=True))
    watch.tick(*providers)
    watch.clock.jump(60)
    watch.tick(*providers, in_flight=2, last_error="a: connect: long ago")
    assert watch.raised[-1].detail == (
        "nothing was settled for 60 s while 100 jobs wait; a: switched off by an operator; a: open;"
        " 2 in flight are not answered"
    )


def test_a_stall_is_not_over_because_somebody_pauses(watch: Watch) -> None:
    watch.tick()
    watch.clock.jump(60)
    watch.tick()
    watch.tick(is_paused=True)
    assert watch.said() == ["critical :stalled"]
    watch.tick(pending=0)
    assert watch.raised[0].detail == "no job waits any more after 60 s"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (ExitCode.OK, "info :finished"),
        (ExitCode.SOME_FAILED, "warning :finished"),
        (ExitCode.BUDGET, "critical :budget reached"),
        (ExitCode.NO_PROVIDER, "critical :stopped"),
        (ExitCode.SIGINT, "warning :stopped"),
        (ExitCode.SIGTERM, "warning :stopped"),
    ],
)
def test_how_a_run_ends(watch: Watch, code: ExitCode, said: str) -> None:
    watch.events.plan(
        Plan(batches=("x", "y"), pending=3, skipped=0, candidates=(), estimated_nano=None)
    )
    counts = {JobState.SUCCEEDED: 2, JobState.FAILED: 1, JobState.PENDING: 1000}
    result = RunResult(exit_code=code, message="because:\na: this", counts=counts)
    watch.events.ended(result)
    assert watch.said() == []  # nothing was sent
    watch.tick()
    watch.events.ended(result)
    assert watch.raised[0].detail.startswith("x, y: ")
    assert "2 succeeded, 1 failed, 1,000 left" in watch.raised[0].detail
    assert "cancelled" not in watch.raised[0].detail
    assert watch.said() == [said]


def test_the_end_counts_what_was_cancelled(watch: Watch) -> None:
    watch.tick()
    counts = {JobState.SUCCEEDED: 1481, JobState.CANCELLED: 4516}
    watch.events.ended(RunResult(exit_code=ExitCode.OK, counts=counts))
    assert watch.raised[0].detail == "1,481 succeeded, 0 failed, 0 left, 4,516 cancelled"


def test_an_error_of_ours_is_told_in_its_own_words(watch: Watch) -> None:
    watch.events.failed(StoreError("the disk is full"))
    assert watch.raised[0].detail == "the disk is full (status 5)"
    assert watch.said() == ["critical :stopped"]


def test_a_run_that_found_another_at_work_has_stopped_nothing(watch: Watch) -> None:
    watch.events.failed(StoreInUse("database x is in use by a run"))
    assert watch.said() == []
