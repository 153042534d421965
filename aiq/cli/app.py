"""
The commands of `aiq`: what each is for, and nothing of how it works.

A body hands its options to the module that does the work and returns the exit status. Those modules
are imported only when their command runs, because `aiq --help` shall not wait for them.
"""
# ruff: noqa: PLC0415 - see above

from __future__ import annotations

from typing import Annotated

import typer

import aiq
from aiq.cli.alert_options import AlertTestOptions
from aiq.cli.command import Application, as_help, command
from aiq.cli.control_options import CancelOptions, ControlOptions
from aiq.cli.failure import Failure
from aiq.cli.health_options import DoctorOptions, MonitorOptions, ProbeOptions
from aiq.cli.history_options import PurgeOptions, ReportOptions
from aiq.cli.options import (
    CheckOptions,
    ExportOptions,
    InitOptions,
    RetryOptions,
    RunOptions,
    ShowOptions,
    StatusOptions,
)
from aiq.errors import ExitCode

_DONE = "  0         everything asked for succeeded"
_SOME_FAILED = "  1         finished, but some jobs failed or some lines are invalid"
_REFUSED = "  2         refused: usage, configuration, input, unknown name; nothing was sent"
_STOPPED = """\
  3         stopped, resumable: no usable provider left
  4         stopped, resumable: budget reached"""
_STORE = "  5         the database cannot be used: locked, damaged, newer, foreign, disk full"
_BUG = "  70        a bug in aiq"
_SIGNALS = "  130, 143  stopped by SIGINT or `aiq ctl stop`, or by SIGTERM or SIGHUP; resumable"
_FULL_STDOUT = "  1         standard output cannot be written"

_RUN_STATUS = f"""\
{_DONE}
{_SOME_FAILED}
{_REFUSED}
{_STOPPED}
{_STORE}
{_BUG}
{_SIGNALS}"""
_READ_STATUS = f"""\
  0         done
{_FULL_STDOUT}
{_REFUSED}
{_STORE}
{_BUG}"""
_EXPORT_STATUS = _READ_STATUS.replace(
    _FULL_STDOUT, f"{_FULL_STDOUT}, or stored answers are damaged"
)
_PURGE_STATUS = f"""\
{_READ_STATUS}
  130       stopped by SIGINT: what is removed stays so, and the same command goes on"""
_CHECK_STATUS = f"""\
  0         every line is valid
  1         some lines are invalid
  2         a file cannot be read, or the configuration is refused
{_BUG}"""
_CONTROL_STATUS = f"""\
  0         done, or it was so already
  2         refused, or no run is at work on the database
  5         a run is at work and cannot be reached, or could not write it down
{_BUG}"""
_CANCEL_STATUS = f"""\
  0         done, also where nothing was left to cancel
  2         no such database, batch or job, or the run at work refuses
{_STORE}
{_BUG}"""
_PROBE_STATUS = f"""\
  0         every provider is healthy or degraded
  1         some are not
  2         the configuration is refused, or a provider is unknown
  3         none is healthy or degraded
{_BUG}
  130, 143  ended by SIGINT (the way to end --watch), or by SIGTERM or SIGHUP"""
_MONITOR_STATUS = f"""\
  0         --once: every provider is healthy or degraded
  1         --once: some are not; standard output cannot be written
  2         the configuration is refused, or a provider is unknown
  3         --once: none is healthy or degraded
{_BUG}
  130, 143  ended by SIGINT, or by SIGTERM or SIGHUP: the way to end it"""
_DOCTOR_STATUS = f"""\
  0         nothing to be put right
  1         a finding
{_BUG}"""
_ALERTS_STATUS = f"""\
  0         every channel took the test alert
  1         some did not
  2         the configuration is refused, or names no channel
{_BUG}"""
_INIT_STATUS = f"""\
  0         written
  2         the file exists, or cannot be written
{_BUG}"""

app = typer.Typer(
    name="aiq",
    cls=Application,
    add_completion=False,
    invoke_without_command=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["--help", "-h"], "max_content_width": 100},
    epilog=f"\b\nEXIT STATUS\n{_RUN_STATUS}",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"aiq {aiq.__version__}")
        raise typer.Exit


_DESCRIPTION = r"""
Push 10 to 10,000,000 prompts through LLM providers.

Prompts come from JSONL files, jobs and answers live in one SQLite file. A run that is stopped,
even killed, loses nothing: the same command carries on.

\b
  aiq run prompts.jsonl -p simulated         try it, without a key
  aiq run prompts.jsonl -p openai -m MODEL   the real thing
  aiq export -o answers.jsonl                the answers
"""


@app.callback(help=as_help(_DESCRIPTION))
def describe(
    context: typer.Context,
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Show the help where no command is named."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), err=True)
        raise typer.Exit(ExitCode.REFUSED)


@command(app, RunOptions, name="run", exit_status=_RUN_STATUS)
def run(options: RunOptions, failure: Failure) -> int:
    """
    Take prompt files in and work on their jobs.

    Finished jobs are not sent again, so the same command resumes. Without files it carries on with
    every unfinished job of the database, with `-n BATCH` with those of one batch. Ctrl-C stops
    sending and waits for what is in flight; pressed again it aborts.
    """
    from aiq.cli.work import run_prompts

    return run_prompts(options, failure)


@command(app, StatusOptions, name="status", exit_status=_READ_STATUS)
def status(options: StatusOptions, _failure: Failure) -> int:
    """
    Show what is done, what it cost, how the providers do.

    Works from another terminal while a run is going.
    """
    from aiq.cli.status import show_status

    return show_status(options)


@command(app, RetryOptions, name="retry-failed", exit_status=_RUN_STATUS)
def retry_failed(options: RetryOptions, failure: Failure) -> int:
    """
    Put failed jobs back to pending and run them.

    The attempts already made stay in the ledger; the jobs start with a clean count. Beside a run it
    only puts them back, and the run takes those that are its own. `--kind cancelled` puts back what
    was cancelled.
    """
    from aiq.cli.work import retry_jobs

    return retry_jobs(options, failure)


@command(app, CancelOptions, name="cancel", exit_status=_CANCEL_STATUS)
def cancel(options: CancelOptions, _failure: Failure) -> int:
    """
    Cancel pending jobs of batches, or single ones.

    They are not sent, by no later run either, unless their line in the file changes or they are put
    back: `aiq retry-failed --kind cancelled`. What is in flight finishes. Works beside a run.
    """
    from aiq.cli.cancel import cancel_jobs

    return cancel_jobs(options)


@command(app, ExportOptions, name="export", exit_status=_EXPORT_STATUS)
def export(options: ExportOptions, _failure: Failure) -> int:
    r"""
    Write the results of a batch.

    \b
      flat    one JSON object per line: id, state, text, usage, cost, error, ...
      openai  the lines of an OpenAI Batch output file
      csv     the columns of flat, for spreadsheets
    """
    from aiq.cli.results import write_results

    return write_results(options)


@command(app, ShowOptions, name="show", exit_status=_READ_STATUS)
def show(options: ShowOptions, _failure: Failure) -> int:
    """Show one job: request, answer, every attempt and its cost."""
    from aiq.cli.job import show_job

    return show_job(options)


@command(app, ReportOptions, name="report", exit_status=_READ_STATUS)
def report(options: ReportOptions, _failure: Failure) -> int:
    """
    Write one page that shows what happened, for a browser.

    Totals, rate and cost over time, latency and availability of every provider, errors, failures
    with samples, the slowest and dearest jobs. The page holds all that it needs and asks nothing of
    any network. Works while a run is going. Needs the extra `report`.
    """
    from aiq.cli.report import write_report

    return write_report(options)


@command(app, CheckOptions, name="check", exit_status=_CHECK_STATUS)
def check(options: CheckOptions, failure: Failure) -> int:
    """
    Validate prompt files, estimate tokens and cost.

    Nothing is sent and nothing is stored.
    """
    from aiq.cli.check import check_prompts

    return check_prompts(options, failure)


@command(app, ControlOptions, name="ctl", exit_status=_CONTROL_STATUS)
def ctl(options: ControlOptions, _failure: Failure) -> int:
    r"""
    Control a run from another terminal.

    What it is told is in force within a second, and is written down in its database. Without a run
    at work, disable and enable are for the next one.

    \b
      status              how it stands
      pause, resume       send nothing new for now; what is in flight finishes
      stop                as Ctrl-C in its own terminal (it ends with 130)
      set concurrency=N   jobs in flight over all providers, up to what it was started with
      set budget=USD      what all attempts ever may cost; `none` for no budget
      disable PROVIDER    ask it nothing, in later runs too, until it is enabled
      enable PROVIDER     take that back
      reset PROVIDER      let it start over: breaker, cooldown, refused key, lack of credit
    """
    from aiq.cli.ctl import control_run

    return control_run(options)


@command(app, ProbeOptions, name="probe", exit_status=_PROBE_STATUS)
def probe(options: ProbeOptions, failure: Failure) -> int:
    r"""
    Check the health of providers, all at once.

    Each within its own time-out of 10 s. What was found is kept in a database of its own beside the
    job database, never in that.

    \b
      1 network   name, port, certificate
      2 API       the list of models: key accepted, model present; free
      3 function  one tiny request, checked to be an answer; costs a few tokens
      4 latency   whether that answer was quick enough
    """
    from aiq.cli.probe import probe_providers

    return probe_providers(options, failure)


@command(app, MonitorOptions, name="monitor", exit_status=_MONITOR_STATUS)
def monitor(options: MonitorOptions, failure: Failure) -> int:
    r"""
    Watch providers, and tell when one sickens and when it is well again.

    Each is probed once in every interval, as `aiq probe` does it, and compared with its last 100
    results. On a terminal there is a live table; an event is a line, or with --json an object.

    \b
      down             3 failures in a row, or disabled    critical
      errors           5 % of the last 100 failed          warning
      latency anomaly  far above the usual, or drifting    warning; critical at 5 in a row
      slow             above probe.latency_ms, 3 in a row  warning
    """
    from aiq.cli.monitor import monitor_providers

    return monitor_providers(options, failure)


@command(app, DoctorOptions, name="doctor", exit_status=_DOCTOR_STATUS)
def doctor(options: DoctorOptions, _failure: Failure) -> int:
    """
    Check versions, limits, configuration, keys, proxies and the database.

    Nothing is sent and nothing is written. With --verify a database is read whole; a run that is at
    work on it goes on undisturbed.
    """
    from aiq.cli.doctor import show_diagnosis

    return show_diagnosis(options)


@command(app, PurgeOptions, name="purge", exit_status=_PURGE_STATUS)
def purge(options: PurgeOptions, _failure: Failure) -> int:
    """
    Remove finished jobs that are old, or only the texts of their answers.

    Unfinished jobs stay, and so do all totals: what removed attempts have cost goes on counting.
    Removed jobs are unknown afterwards: running their file again sends (and pays) them again. With
    --answers-only they stay known as finished. It asks before it removes anything.
    """
    from aiq.cli.purge import purge_jobs

    return purge_jobs(options)


@command(app, InitOptions, name="init", exit_status=_INIT_STATUS)
def init(options: InitOptions, _failure: Failure) -> int:
    """Write aiq.toml from the keys and local servers found."""
    from aiq.cli.starter import write_starter

    return write_starter(options)


alerts = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    invoke_without_command=True,
    epilog=f"\b\nEXIT STATUS\n{_ALERTS_STATUS}",
)
app.add_typer(alerts, name="alerts")


@alerts.callback()
def describe_alerts(context: typer.Context) -> None:
    """Alerts to chats, mail and webhooks."""
    describe(context)


@command(alerts, AlertTestOptions, name="test", exit_status=_ALERTS_STATUS)
def alerts_test(options: AlertTestOptions, failure: Failure) -> int:
    """
    Send one test alert through every configured channel.

    Says for each whether it was taken. Where alerts go is [alerts] in aiq.toml.
    """
    from aiq.cli.alerts import send_test_alert

    return send_test_alert(options, failure)
