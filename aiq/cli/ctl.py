"""`aiq ctl`: words into an order to the run at work, its reply into words."""

from __future__ import annotations

import asyncio
import decimal
import os
import sys
from collections.abc import Callable

import msgspec
from rich.text import Text

from aiq.cli import figures, streams
from aiq.cli.columns import Column, table
from aiq.cli.control_options import Action, ControlOptions
from aiq.cli.text import visible
from aiq.clock import Clock
from aiq.config.toml_file import nearest, quoted
from aiq.errors import ExitCode, Refused
from aiq.model import NANO_PER_USD
from aiq.policy import control
from aiq.policy.control import Command
from aiq.run.operator import ask, switch, unreachable
from aiq.run.protocol import ProviderReport, RunReport, Status

_PLAIN: dict[Action, Callable[[], Command]] = {
    Action.PAUSE: control.Pause,
    Action.RESUME: control.Resume,
    Action.STOP: control.Stop,
}
_ABOUT_PROVIDER: dict[Action, Callable[[str], Command]] = {
    Action.DISABLE: control.Disable,
    Action.ENABLE: control.Enable,
    Action.RESET: control.Reset,
}
_COLUMNS = (
    Column("provider", right=False, least=12),
    Column("in flight", rank=1),
    Column("status, next try", right=False, least=12),
)


def control_run(options: ControlOptions) -> int:
    """Do what `aiq ctl` promises; return the exit status."""
    if options.action == Action.STATUS:
        _refuse_surplus(options)
        _show(options)
        return ExitCode.OK
    said = _told(options, _command(options))
    if options.json:
        streams.write_json({"said": said})
    else:
        streams.talk([Text(visible(said, 1000))])
    return ExitCode.OK


def _told(options: ControlOptions, command: Command) -> str:
    reply = ask(options.db, command, os.environ)
    if reply is not None:
        return reply.said
    if isinstance(command, control.Disable | control.Enable) and options.db.exists():
        said = asyncio.run(switch(options.db, command, now_us=Clock().utc_us()))
        return f"{said} (no run is at work)"
    raise unreachable(options.db)


def _command(options: ControlOptions) -> Command:
    """Return the order that the words mean; raises `Refused`."""
    if (plain := _PLAIN.get(options.action)) is not None:
        _refuse_surplus(options)
        return plain()
    what = options.what
    if (about := _ABOUT_PROVIDER.get(options.action)) is not None:
        if what is None:
            raise Refused(
                f"`aiq ctl {options.action}` needs the name of a provider",
                hint="`aiq ctl status` lists them",
            )
        return about(what)
    name, equals, value = (what or "").partition("=")
    if not equals:
        raise Refused(
            "`aiq ctl set` needs a name and a value",
            hint="write `aiq ctl set concurrency=N` or `aiq ctl set budget=USD`",
        )
    if name == "concurrency":
        return control.SetConcurrency(_number(value))
    if name == "budget":
        return control.SetBudget(None if value == "none" else _nano(value))
    raise Refused(
        f"`aiq ctl set` cannot change {quoted(name)}", hint=nearest(name, ("concurrency", "budget"))
    )


def _refuse_surplus(options: ControlOptions) -> None:
    if options.what is not None:
        raise Refused(f"`aiq ctl {options.action}` takes no {quoted(options.what)}")


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise Refused(
            f"concurrency={text}: that is no number of jobs", hint="write `concurrency=8`"
        )
    return int(text)


def _nano(text: str) -> int:
    """Return an amount in USD as nano-dollars, exactly."""
    try:
        nano = decimal.Decimal(text) * NANO_PER_USD
        exact = int(nano) if nano.is_finite() and 0 <= nano < 2**63 else -1
    except decimal.DecimalException:
        exact, nano = -1, decimal.Decimal(0)
    if exact != nano:
        raise Refused(
            f"budget={text}: that is no amount in USD",
            hint="write `budget=12.5`, with at most nine decimals, or `budget=none`",
        )
    return exact


def _show(options: ControlOptions) -> None:
    reply = ask(options.db, Status(), os.environ)
    if reply is None or reply.report is None:
        raise unreachable(options.db, hint="`aiq status` shows what is stored")
    if options.json:
        streams.write_json(msgspec.to_builtins(reply.report))
    else:
        width = streams.console(sys.stdout).width
        streams.write_lines(report_lines(reply.report, width))


def report_lines(run: RunReport, width: int) -> list[Text]:
    """Return how a run stands, for a terminal that is `width` cells wide."""
    style = "green" if run.phase == "sending" else "yellow"
    lines = [
        Text.assemble((run.phase, f"bold {style}"), f" (pid {run.pid}, since {run.started_at})")
    ]
    if not run.providers:
        return lines
    done = run.succeeded + run.failed + run.cancelled
    lines += [
        Text(
            f"{done:,}/{run.total:,} done, {run.failed:,} failed,"
            f"{f' {run.cancelled:,} cancelled,' if run.cancelled else ''} {run.pending:,} waiting,"
            f" {run.in_flight:,} of at most {run.concurrency:,} in flight,"
            f" {figures.rate(run.rate_per_s)}"
        )
    ]
    if run.budget_usd is not None:
        taken, limit = figures.usd(run.committed_usd), figures.usd(run.budget_usd)
        lines.append(Text(f"{taken} of the budget of {limit} spent or possibly paid"))
    return [*lines, Text(), *table(_COLUMNS, [_row(one) for one in run.providers], width)]


def _row(one: ProviderReport) -> list[Text]:
    words = one.status
    if one.next_try_s is not None:
        words += f", {figures.wait(one.next_try_s)}"
    if one.reason:
        words += f": {visible(one.reason)}"
    return [
        Text(visible(one.name, 24)),
        Text(f"{one.in_flight:,}/{one.limit:,}"),
        Text(words),
    ]
