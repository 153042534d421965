"""What an order means to a run as it stands: a change, nothing new, or a refusal with a reason."""

from __future__ import annotations

from typing import Any

import pytest

from aiq.policy import control
from aiq.policy.control import (
    Change,
    Command,
    Disable,
    Enable,
    Nothing,
    Pause,
    ProviderState,
    Refusal,
    Reset,
    Resume,
    SetBudget,
    SetConcurrency,
    Situation,
    Stop,
    decide,
)
from aiq.policy.switch import Switch

PAUSED = {"is_paused": True}
STOPPING = {"is_stopping": True}


def run(*providers: ProviderState, **facts: Any) -> Situation:
    given = providers or (ProviderState("a"), ProviderState("b"))
    return Situation(providers=given, **{"concurrency": 8, "most": 16, "in_flight": 3} | facts)


@pytest.mark.parametrize(
    ("command", "facts", "kind", "said"),
    [
        (Pause(), {}, Change, "paused: nothing new is sent, 3 in flight finish"),
        (Pause(), PAUSED, Nothing, "paused already"),
        (Resume(), PAUSED, Change, "resumed"),
        (Resume(), {}, Nothing, "not paused"),
        (Stop(), {}, Change, "stopping: nothing new is sent, 3 in flight finish"),
        (Stop(), PAUSED, Change, "stopping"),
        (Stop(), STOPPING, Nothing, "stopping already"),
        (Pause(), STOPPING, Refusal, "is stopping"),
        (SetBudget(5), STOPPING, Refusal, "is stopping"),
        (Disable("a"), STOPPING, Refusal, "is stopping"),
        (SetConcurrency(8), {}, Nothing, "is 8 already"),
        (SetConcurrency(16), {}, Change, "at most 16 in flight"),
        (SetConcurrency(1), {}, Change, "2 of those in flight finish first"),
        (SetConcurrency(0), {}, Refusal, "1 to 16, not 0"),
        (SetConcurrency(17), {}, Refusal, "1 to 16, not 17"),
    ],
)
def test_what_concerns_the_whole_run(
    command: Command, facts: dict[str, Any], kind: type[object], said: str
) -> None:
    decision = decide(command, run(**facts))
    assert type(decision) is kind
    assert said in decision.said


@pytest.mark.parametrize(
    ("limit", "facts", "kind", "said"),
    [
        (None, {}, Nothing, "has no budget already"),
        (7, {"budget_nano": 7}, Nothing, "a budget of 0.000000007 USD already"),
        (None, {"budget_nano": 7}, Change, "no budget from now on"),
        (10, {"committed_nano": 4, "reserved_nano": 6}, Change, "0 of it left"),
        (9, {"committed_nano": 4, "reserved_nano": 6}, Change, "it is reached"),
        (0, {}, Change, "0 of it left"),
        (1_500_000_000, {"budget_nano": 7}, Change, "1.5 USD from now on, 1.5 of it left"),
    ],
)
def test_a_budget(limit: int | None, facts: dict[str, Any], kind: type[object], said: str) -> None:
    """Spent, possibly paid and in flight are taken of it, and one that is too small is set."""
    decision = decide(SetBudget(limit), run(**facts))
    assert type(decision) is kind
    assert said in decision.said


OFF = ProviderState("a", Switch.OFF)
LEFT = ProviderState("a", Switch.LEFT_OFF)
REFUSED = ProviderState("a", refused="auth: no")
BOTH = ProviderState("a", Switch.OFF, "auth: no")
B, B_OFF, B_REFUSED = (
    ProviderState("b"),
    ProviderState("b", Switch.OFF),
    ProviderState("b", refused="x"),
)


@pytest.mark.parametrize(
    ("command", "providers", "kind", "said"),
    [
        (Disable("a"), (ProviderState("a"), B), Change, "a is disabled until you enable it"),
        (Disable("a"), (ProviderState("a"), B_OFF), Change, "so all jobs wait"),
        (Disable("a"), (ProviderState("a"), B_REFUSED), Change, "so all jobs wait"),
        (Disable("a"), (ProviderState("a"),), Change, "so all jobs wait"),
        (Disable("a"), (OFF, B), Nothing, "disabled already"),
        (Disable("a"), (LEFT, B), Nothing, "disabled already"),
        (Enable("a"), (OFF, B), Change, "a is enabled"),
        (Enable("a"), (LEFT, B), Change, "a is enabled"),
        (Enable("a"), (ProviderState("a"), B), Nothing, "not disabled by you"),
        (Enable("a"), (REFUSED, B), Refusal, "another reason: auth: no"),
        (Enable("a"), (BOTH, B), Change, "`aiq ctl reset a`"),
        (Reset("a"), (REFUSED, B), Change, "a starts over"),
        (Reset("a"), (BOTH, B), Change, "stays disabled by you"),
        (Reset("bb"), (ProviderState("a"), B), Refusal, "no provider of this run is called `bb`"),
    ],
)
def test_what_concerns_a_provider(
    command: Command, providers: tuple[ProviderState, ...], kind: type[object], said: str
) -> None:
    """A person's switch and what the provider itself did are two matters."""
    decision = decide(command, run(*providers))
    assert type(decision) is kind
    assert said in decision.said


def test_a_disabled_provider_alone_keeps_no_other_waiting() -> None:
    assert "wait" not in decide(Disable("a"), run()).said


@pytest.mark.parametrize(("name", "hint"), [("bb", "did you mean `b`? it has"), ("zzz", "it has")])
def test_an_unknown_provider_is_told_the_names(name: str, hint: str) -> None:
    refusal = decide(Enable(name), run())
    assert isinstance(refusal, Refusal)
    assert refusal.hint is not None
    assert refusal.hint.startswith(hint)
    assert refusal.hint.endswith("it has `a`, `b`")


@pytest.mark.parametrize(
    ("command", "verb", "argument"),
    [
        (Pause(), "pause", None),
        (Stop(), "stop", None),
        (SetConcurrency(5), "set concurrency", "5"),
        (SetBudget(None), "set budget", "none"),
        (SetBudget(12_500_000_001), "set budget", "12.500000001"),
        (Disable("a"), "disable", "a"),
        (Enable("a"), "enable", "a"),
        (Reset("a"), "reset", "a"),
    ],
)
def test_what_is_written_down(command: Command, verb: str, argument: str | None) -> None:
    assert (control.verb(command), control.argument(command)) == (verb, argument)
