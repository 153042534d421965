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
from aiq.cli import exit_status
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

app = typer.Typer(
    name="aiq",
    cls=Application,
    add_completion=False,
    invoke_without_command=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["--help", "-h"], "max_content_width": 100},
    epilog=f"\b\nEXIT STATUS\n{exit_status.RUN}",
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


@command(app, RunOptions, name="run", exit_status=exit_status.RUN)
def run(options: RunOptions, failure: Failure) -> int:
    """
    Take prompt files in and work on their jobs.

    Finished jobs are not sent again, so the same command resumes. Without files it carries on with
    every unfinished job of the database, with `-n BATCH` with those of one batch. Ctrl-C stops
    sending and waits for what is in flight; pressed again it aborts.
    """
    from aiq.cli.work import run_prompts

    return run_prompts(options, failure)


@command(app, StatusOptions, name="status", exit_status=exit_status.READ)
def status(options: StatusOptions, _failure: Failure) -> int:
    """
    Show what is done, what it cost, how the providers do.

    Works from another terminal while a run is going.
    """
    from aiq.cli.status import show_status

    return show_status(options)


@command(app, RetryOptions, name="retry-failed", exit_status=exit_status.RUN)
def retry_failed(options: RetryOptions, failure: Failure) -> int:
    """
    Put failed jobs back to pending and run them.

    The attempts already made stay in the ledger; the jobs start with a clean count. Beside a run it
    only puts them back, and the run takes those that are its own. `--kind cancelled` puts back what
    was cancelled, with `--job` single jobs of it.
    """
    from aiq.cli.work import retry_jobs

    return retry_jobs(options, failure)


@command(app, CancelOptions, name="cancel", exit_status=exit_status.CANCEL)
def cancel(options: CancelOptions, _failure: Failure) -> int:
    """
    Cancel pending jobs of batches, or single ones.

    They are not sent, by no later run either, unless their line in the file changes or they are put
    back: `aiq retry-failed --kind cancelled`. What is in flight finishes. Works beside a run.
    """
    from aiq.cli.cancel import cancel_jobs

    return cancel_jobs(options)


@command(app, ExportOptions, name="export", exit_status=exit_status.EXPORT)
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


@command(app, ShowOptions, name="show", exit_status=exit_status.READ)
def show(options: ShowOptions, _failure: Failure) -> int:
    """Show one job: request, answer, every attempt and its cost."""
    from aiq.cli.job import show_job

    return show_job(options)


@command(app, ReportOptions, name="report", exit_status=exit_status.READ)
def report(options: ReportOptions, _failure: Failure) -> int:
    """
    Write one page that shows what happened, for a browser.

    Totals, rate and cost over time, latency and availability of every provider, errors, failures
    with samples, the slowest and dearest jobs. The page holds all that it needs and asks nothing of
    any network. Works while a run is going. Needs the extra `report`.
    """
    from aiq.cli.report import write_report

    return write_report(options)


@command(app, CheckOptions, name="check", exit_status=exit_status.CHECK)
def check(options: CheckOptions, failure: Failure) -> int:
    """
    Validate prompt files, estimate tokens and cost.

    Nothing is sent and nothing is stored.
    """
    from aiq.cli.check import check_prompts

    return check_prompts(options, failure)


@command(app, ControlOptions, name="ctl", exit_status=exit_status.CONTROL)
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


@command(app, ProbeOptions, name="probe", exit_status=exit_status.PROBE)
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


@command(app, MonitorOptions, name="monitor", exit_status=exit_status.MONITOR)
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


@command(app, DoctorOptions, name="doctor", exit_status=exit_status.DOCTOR)
def doctor(options: DoctorOptions, _failure: Failure) -> int:
    """
    Check versions, limits, configuration, keys, proxies and the database.

    Nothing is sent and nothing is written. With --verify a database is read whole; a run that is at
    work on it goes on undisturbed.
    """
    from aiq.cli.doctor import show_diagnosis

    return show_diagnosis(options)


@command(app, PurgeOptions, name="purge", exit_status=exit_status.PURGE)
def purge(options: PurgeOptions, _failure: Failure) -> int:
    """
    Remove finished jobs that are old, or only the texts of their answers.

    Unfinished jobs stay, and so do all totals: what removed attempts have cost goes on counting.
    Removed jobs, cancelled ones too, are unknown afterwards: running their file again sends (and
    pays) them again. With --answers-only they stay known as finished. It asks first.
    """
    from aiq.cli.purge import purge_jobs

    return purge_jobs(options)


@command(app, InitOptions, name="init", exit_status=exit_status.INIT)
def init(options: InitOptions, _failure: Failure) -> int:
    """Write aiq.toml from the keys and local servers found."""
    from aiq.cli.starter import write_starter

    return write_starter(options)


alerts = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    invoke_without_command=True,
    epilog=f"\b\nEXIT STATUS\n{exit_status.ALERTS}",
)
app.add_typer(alerts, name="alerts")


@alerts.callback()
def describe_alerts(context: typer.Context) -> None:
    """Alerts to chats, mail and webhooks."""
    describe(context)


@command(alerts, AlertTestOptions, name="test", exit_status=exit_status.ALERTS)
def alerts_test(options: AlertTestOptions, failure: Failure) -> int:
    """
    Send one test alert through every configured channel.

    Says for each whether it was taken. Where alerts go is [alerts] in aiq.toml.
    """
    from aiq.cli.alerts import send_test_alert

    return send_test_alert(options, failure)
