"""The live view's pure part: a snapshot in, lines out."""

import re
from pathlib import Path
from typing import Any

import pytest
from rich.text import Text

from aiq.cli.followup import placed
from aiq.cli.options import RunOptions
from aiq.cli.plain import condition, state_line
from aiq.cli.progress import UNPAUSE, frame
from aiq.policy.standing import Condition, Status
from aiq.run.board import ProviderView, Snapshot
from aiq.run.report import Tally


def tally(**figures: int) -> Tally:
    made = Tally()
    for name, value in figures.items():
        setattr(made, name, value)
    return made


def provider(name: str = "steady", **changes: Any) -> ProviderView:
    facts: dict[str, Any] = {
        "name": name,
        "condition": Condition(Status.HEALTHY),
        "next_try_s": None,
        "in_flight": 4,
        "limit": 8,
        "tally": tally(requests=60, succeeded=50, errors=7, rate_limited=3, cost_nano=21_000_000),
    }
    return ProviderView(**facts | changes)


COOLING = provider(
    "limited",
    condition=Condition(Status.DEGRADED, "rate limited", 100.0),
    next_try_s=11.2,
    in_flight=0,
)


def snapshot(**changes: Any) -> Snapshot:
    facts: dict[str, Any] = {
        "total": 220,
        "succeeded": 130,
        "failed": 6,
        "pending": 76,
        "running": 8,
        "in_flight": 8,
        "failovers": 14,
        "elapsed_s": 11.0,
        "rate_per_s": 12.4,
        "eta_s": 7.0,
        "tally": tally(requests=166, cost_nano=41_200_000, input_tokens=12_300, output_tokens=450),
        "providers": (provider("flaky"), COOLING),
        "last_error": "flaky: server_error: it broke",
        "is_draining": False,
    }
    return Snapshot(**facts | changes)


def shown(picture: Snapshot, width: int = 100, height: int = 30) -> list[str]:
    return [
        line.plain.rstrip() for line in frame(picture, title="prompts", width=width, height=height)
    ]


ALWAYS = {"provider", "status, next try"}
WHOLE = f"""\
aiq prompts{"running":>89}
{"━" * 52}{"─" * 33}  61 %  136/220
130 succeeded · 6 failed · 76 waiting · 8 in flight{"12.4/s · 0:11 elapsed · 0:07 left":>49}
cost $0.0412 · tokens 12.3k in, 450 out · 14 failovers

provider  status, next try                in flight  ok  errors  429s  p50  p95     cost
flaky     ● healthy                             4/8  50       7     3    -    -  $0.0210
limited   ◐ degraded, 12 s: rate limited        0/8  50       7     3    -    -  $0.0210

last error  flaky: server_error: it broke
"""


def test_everything_stands_where_it_should_at_100_columns() -> None:
    assert shown(snapshot()) == WHOLE.split("\n")


def test_a_budget_has_a_line_of_its_own_that_adds_up() -> None:
    """What is taken is not only this run's cost, so that figure and percentage stand together."""
    picture = snapshot(
        budget_nano=50_000 * 10**9, committed_nano=3_741 * 10**9, reserved_nano=1_012 * 10**9
    )
    assert shown(picture)[4:6] == [
        "budget $50,000.00 · 7 % taken ($3,741.00 spent or possibly paid, all runs)",
        "$1,012.00 reserved for what is in flight",
    ]
    assert not any("budget" in one for one in shown(snapshot()))


def test_what_is_possibly_paid_is_never_cut_off() -> None:
    """On the line of the cost where there is room, else below it."""
    paid = tally(requests=166, cost_nano=41_200_000, maybe_paid=3, maybe_nano=1_200_000)
    assert shown(snapshot(tally=paid), width=120)[3].endswith(
        "  possibly paid: 3 requests, at most $0.0012"
    )
    paid.maybe_unbounded = 3
    assert shown(snapshot(tally=paid))[4] == (
        "possibly paid: 3 requests, without an upper bound: they had no `max_tokens` or no price"
    )


NAMES = ("openai-key-1", "openai-key-2", "anthropic-eu", "openrouter-fallback")
SICK = Condition(Status.UNHEALTHY, "server_error: upstream connect error or disconnect/reset")


@pytest.mark.parametrize("width", [100, 80, 60, 50])
def test_a_reason_gives_way_before_a_name(width: int) -> None:
    """Names stay whole, and so does the beginning of why a provider is not asked."""
    views = tuple(provider(name, condition=SICK, next_try_s=12.0) for name in NAMES)
    lines = shown(snapshot(providers=views), width=width)
    for name in NAMES:
        [line] = [one for one in lines if one.startswith(name)]
        assert re.match(rf"{name} +✗ unhealthy, 12 s: ", line)


@pytest.mark.parametrize("width", [100, 80, 60, 40, 20])
@pytest.mark.parametrize("height", [30, 12, 5])
def test_nothing_is_wider_or_higher_than_the_terminal(width: int, height: int) -> None:
    many = tuple(provider(f"provider-with-a-long-name-{n}") for n in range(20))
    lines = frame(
        snapshot(providers=many, last_error="x" * 500), title="t" * 200, width=width, height=height
    )
    assert len(lines) < height
    assert max(line.cell_len for line in lines) <= width


def test_a_narrow_terminal_drops_what_matters_least() -> None:
    def columns(width: int) -> set[str]:
        heading = next(one for one in shown(snapshot(), width=width) if one.startswith("provider"))
        return set(re.split("  +", heading))

    assert columns(75) == {*ALWAYS, "in flight", "ok", "errors", "429s", "cost"}
    assert columns(60) == {*ALWAYS, "in flight", "ok", "errors"}
    assert columns(45) == {*ALWAYS, "ok"}


def test_many_providers_are_cut_to_the_screen_and_counted() -> None:
    lines = shown(snapshot(providers=tuple(provider(f"p{n}") for n in range(30))), height=20)
    assert any(line.startswith("and ") and line.endswith(" more") for line in lines)


def test_a_stopping_run_says_what_it_waits_for() -> None:
    first = shown(snapshot(is_draining=True, in_flight=5))[0]
    assert first.endswith("stopping: 5 in flight, the next Ctrl-C aborts")


def test_a_waiting_run_says_when_it_tries_again() -> None:
    """With jobs left and none in flight, one waits for the earliest next try of a provider."""
    picture = snapshot(in_flight=0, running=0, pending=84, providers=(COOLING,))
    assert shown(picture)[0].endswith("waiting, next try in 12 s")


@pytest.mark.parametrize(
    ("succeeded", "failed", "bar"),
    [(0, 0, "─" * 90), (220, 0, "━" * 90), (219, 0, "━" * 89 + "─")],
)
def test_the_bar_is_full_only_at_the_end(succeeded: int, failed: int, bar: str) -> None:
    picture = snapshot(
        succeeded=succeeded, failed=failed, running=0, pending=220 - succeeded - failed
    )
    line = shown(picture, width=90 + len(f"{100:>4} %  {succeeded}/220"))[1]
    assert line.startswith(bar)


def test_one_failure_shows_in_the_bar() -> None:
    """However large the batch, a failed job takes at least one cell of the bar."""
    bar = frame(
        snapshot(total=10_000, succeeded=5_000, failed=1, pending=4_999, running=0),
        title="",
        width=80,
        height=30,
    )[1]
    assert any(span.style == "red" and span.end - span.start == 1 for span in bar.spans)


def test_an_unknown_cost_is_a_word() -> None:
    assert shown(snapshot(tally=tally(unpriced=3)))[3].startswith("cost unknown")


def test_foreign_text_is_shown_and_does_nothing() -> None:
    evil = "\x1b]0;owned\x07[bold red]\u202e"
    views = (provider(evil, condition=Condition(Status.DISABLED, evil)),)
    lines = frame(snapshot(providers=views, last_error=evil), title="t", width=200, height=30)
    text = Text("\n").join(lines).plain
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "[bold red]" in text


def test_the_plain_line_says_the_same() -> None:
    assert state_line(snapshot()) == (
        "136/220 done (61 %), 6 failed, 76 waiting, 8 in flight, 12.4/s, 0:07 left, cost $0.0412;"
        " flaky healthy; limited degraded, next try in 12 s: rate limited"
    )


def test_cancelled_jobs_are_told_where_there_are_any() -> None:
    picture = snapshot(total=223, cancelled=3)
    assert "6 failed, 3 cancelled, 76 waiting" in state_line(picture)
    assert "6 failed · 3 cancelled · 76 waiting" in "\n".join(shown(picture))


def test_a_condition_has_status_next_try_and_reason() -> None:
    assert condition(COOLING) == "degraded, next try in 12 s: rate limited"
    assert condition(provider()) == "healthy"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"is_paused": True}, "paused by you: 8 in flight finish; `aiq ctl resume` goes on"),
        ({"is_paused": True, "in_flight": 0}, "paused by you: `aiq ctl resume` goes on"),
        ({"is_paused": True, "is_draining": True}, "stopping: 8 in flight"),
        ({"concurrency": 5}, "8 in flight of at most 5"),
        (
            {
                "in_flight": 0,
                "providers": (provider(condition=Condition(Status.DISABLED, "by you")),),
            },
            "waiting: every provider is disabled",
        ),
    ],
)
def test_what_an_operator_did_is_seen(changes: dict[str, Any], said: str) -> None:
    assert any(said in line for line in shown(snapshot(**changes)))


def test_a_pause_is_ended_by_a_command_for_this_database() -> None:
    """As it stands, it would be about another one."""
    lines = frame(
        snapshot(is_paused=True),
        title="t",
        width=100,
        height=30,
        unpause=placed(UNPAUSE, RunOptions(db=Path("my.db"))),
    )
    assert "`aiq ctl resume --db my.db` goes on" in lines[0].plain


def test_the_plain_line_says_that_the_run_is_paused() -> None:
    assert state_line(snapshot(is_paused=True)).startswith("paused by you, ")
    assert "paused" not in state_line(snapshot())
