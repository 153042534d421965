"""
What an operator may tell a run that is at work, and what that changes.

A command is a value; `decide` says what it means as things stand: a change, nothing new, or a
refusal with its reason. Who carries a change out is somebody else. Amounts are nano-dollars.
"""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Sequence
from typing import TypeAlias

import msgspec

from aiq.model import NANO_PER_USD
from aiq.policy.switch import Switch


class Pause(msgspec.Struct, frozen=True, tag="pause"):
    """Send nothing new; what is in flight finishes."""


class Resume(msgspec.Struct, frozen=True, tag="resume"):
    """Send again."""


class Stop(msgspec.Struct, frozen=True, tag="stop"):
    """End as after the first SIGINT."""


class SetConcurrency(msgspec.Struct, frozen=True, tag="set concurrency"):
    """Keep at most so many jobs in flight."""

    jobs: int


class SetBudget(msgspec.Struct, frozen=True, tag="set budget"):
    """Spend at most so much, over all attempts ever; None: without a bound."""

    limit_nano: int | None


class Disable(msgspec.Struct, frozen=True, tag="disable"):
    """Ask a provider nothing until it is enabled."""

    provider: str


class Enable(msgspec.Struct, frozen=True, tag="enable"):
    """Take a `disable` back."""

    provider: str


class Reset(msgspec.Struct, frozen=True, tag="reset"):
    """Let a provider start over: breaker, cooldown, credential, credit and models."""

    provider: str


Command: TypeAlias = Pause | Resume | Stop | SetConcurrency | SetBudget | Disable | Enable | Reset
"""What changes a run as a whole or one of its providers."""


class ProviderState(msgspec.Struct, frozen=True):
    """One provider as a command finds it; `refused` is why it is out by its own doing."""

    name: str
    switch: Switch = Switch.ON
    refused: str | None = None


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    """A run as a command finds it."""

    providers: tuple[ProviderState, ...]
    concurrency: int
    most: int
    """What the run was started with, for which everything was laid out."""
    in_flight: int = 0
    is_paused: bool = False
    is_stopping: bool = False
    budget_nano: int | None = None
    committed_nano: int = 0
    reserved_nano: int = 0


class Change(msgspec.Struct, frozen=True):
    """The command is to be carried out; `said` tells people what that means."""

    said: str


class Nothing(msgspec.Struct, frozen=True):
    """It is so already."""

    said: str


class Refusal(msgspec.Struct, frozen=True):
    """It cannot be done, and why; `hint` says what can."""

    said: str
    hint: str | None = None


Decision: TypeAlias = Change | Nothing | Refusal


def argument(command: Command) -> str | None:
    """Return what a command is about, as people write it; None: the run as a whole."""
    match command:
        case SetConcurrency(jobs):
            return str(jobs)
        case SetBudget(limit_nano):
            return "none" if limit_nano is None else usd(limit_nano)
        case Disable(provider) | Enable(provider) | Reset(provider):
            return provider
    return None


def verb(command: Command) -> str:
    """Return the command's name, as people write it."""
    return str(command.__struct_config__.tag)


def usd(nano: int) -> str:
    """Write an amount exactly, without zeros that say nothing."""
    whole, rest = divmod(nano, NANO_PER_USD)
    return f"{whole}.{rest:09d}".rstrip("0").rstrip(".")


def decide(command: Command, run: Situation) -> Decision:
    """Say what a command means to a run as it stands."""
    if isinstance(command, Stop):
        return _stop(run)
    if run.is_stopping:
        return Refusal("the run is stopping, and takes no commands any more")
    match command:
        case Pause() | Resume():
            return _pause(command, run)
        case SetConcurrency(jobs):
            return _set_concurrency(jobs, run)
        case SetBudget(limit_nano):
            return _set_budget(limit_nano, run)
    return _provider(command, run)


def _stop(run: Situation) -> Decision:
    if run.is_stopping:
        return Nothing("the run is stopping already")
    return Change(f"stopping: {_finishing(run)}")


def _pause(command: Pause | Resume, run: Situation) -> Decision:
    if isinstance(command, Resume):
        return Change("resumed") if run.is_paused else Nothing("the run is not paused")
    if run.is_paused:
        return Nothing("the run is paused already")
    return Change(f"paused: {_finishing(run)}")


def _finishing(run: Situation) -> str:
    return f"nothing new is sent, {run.in_flight:,} in flight finish"


def _set_concurrency(jobs: int, run: Situation) -> Decision:
    if not 1 <= jobs <= run.most:
        return Refusal(
            f"the concurrency of this run can be 1 to {run.most:,}, not {jobs:,}",
            hint="a higher one takes a new run: stop this one, and carry on with `--concurrency`",
        )
    if jobs == run.concurrency:
        return Nothing(f"the concurrency is {jobs:,} already")
    leaving = run.in_flight - jobs
    more = f", {leaving:,} of those in flight finish first" if leaving > 0 else ""
    return Change(f"at most {jobs:,} in flight from now on{more}")


def _set_budget(limit_nano: int | None, run: Situation) -> Decision:
    if limit_nano == run.budget_nano:
        held = "no budget" if limit_nano is None else f"a budget of {usd(limit_nano)} USD"
        return Nothing(f"the run has {held} already")
    if limit_nano is None:
        return Change("no budget from now on")
    taken = run.committed_nano + run.reserved_nano
    if taken > limit_nano:
        return Change(
            f"a budget of {usd(limit_nano)} USD from now on: it is reached, {usd(taken)} USD are"
            " spent, possibly paid or in flight"
        )
    left = usd(limit_nano - taken)
    return Change(f"a budget of {usd(limit_nano)} USD from now on, {left} of it left")


def _provider(command: Disable | Enable | Reset, run: Situation) -> Decision:
    found = [one for one in run.providers if one.name == command.provider]
    if not found:
        return _unknown(command.provider, [one.name for one in run.providers])
    [provider] = found
    is_off = provider.switch is not Switch.ON
    if isinstance(command, Disable):
        if is_off:
            return Nothing(f"{provider.name} is disabled already")
        left = _left(provider.name, run)
        return Change(f"{provider.name} is disabled until you enable it{left}")
    if isinstance(command, Enable):
        return _enable(provider, is_off=is_off)
    still = ", and stays disabled by you" if is_off else ""
    return Change(f"{provider.name} starts over{still}")


def _enable(provider: ProviderState, *, is_off: bool) -> Decision:
    name = provider.name
    if provider.refused is None:
        return Change(f"{name} is enabled") if is_off else Nothing(f"{name} is not disabled by you")
    still = f"{name} stays out for another reason: {provider.refused}"
    hint = f"`aiq ctl reset {shlex.quote(name)}` lets it start over"
    return Change(f"{still}; {hint}") if is_off else Refusal(still, hint=hint)


def _left(name: str, run: Situation) -> str:
    """Say so where nobody else is left."""
    left = any(
        one.name != name and one.switch is Switch.ON and one.refused is None
        for one in run.providers
    )
    return "" if left else "; no other provider is left, so all jobs wait"


def _unknown(name: str, names: Sequence[str]) -> Refusal:
    near = difflib.get_close_matches(name, names, 1)
    meant = f"did you mean `{near[0]}`? " if near else ""
    return Refusal(
        f"no provider of this run is called `{name}`",
        hint=f"{meant}it has {', '.join(f'`{one}`' for one in names)}",
    )
