"""`run` and `retry-failed`: options into a session, its result into words and an exit status."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from pathlib import Path

from rich.text import Text

from aiq.cli import streams
from aiq.cli.announcements import bad_lines
from aiq.cli.failure import Failure
from aiq.cli.followup import export_command, placed, resume_command
from aiq.cli.next_steps import NextSteps, was_reading
from aiq.cli.options import RetryOptions, RunOptions, WorkOptions
from aiq.cli.plain import LineView, NotesView, SilentView
from aiq.cli.progress import UNPAUSE, LiveView
from aiq.cli.requeue import beside_run, put_back
from aiq.cli.results import ResultFile
from aiq.cli.summary import about_budget, headline, obstacles, steps, summary
from aiq.cli.values import kinds, model_name, parameters
from aiq.clock import Clock
from aiq.config import RunOverrides, RunSettings, Settings, load
from aiq.errors import AiqError, DamagedAnswers, ExitCode, StoreError
from aiq.run import options as run_options
from aiq.run.alerts.watched import watched
from aiq.run.channel import Channel
from aiq.run.observer import Guarded, Several
from aiq.run.open_files import make_room
from aiq.run.request import Flags
from aiq.run.result import RunResult
from aiq.run.session import Session


def run_prompts(options: RunOptions, failure: Failure) -> int:
    """Do what `aiq run` promises; return the exit status."""
    options.check()
    asked = run_options.RunOptions(
        database=options.db,
        files=tuple(options.prompts or ()),
        name=options.name,
        flags=_flags(options),
        limit=options.limit,
        strict=options.strict,
        dry_run=options.dry_run,
    )
    settings = _settings(options, on_changed=options.on_changed)
    return asyncio.run(_Work(options, asked, settings, failure).carry_out())


def retry_jobs(options: RetryOptions, failure: Failure) -> int:
    """Do what `aiq retry-failed` promises; return the exit status."""
    options.check()
    requeue = run_options.Requeue(
        batch=options.batch,
        kinds=kinds("--kind", options.kind) if options.kind else None,
        except_kinds=kinds("--except", options.except_ or ()),
        jobs=tuple(options.job or ()),
        run_them=not options.no_run,
    )
    if beside_run(options, requeue):
        return ExitCode.OK
    asked = run_options.RunOptions(
        database=options.db, flags=_flags(options), limit=options.limit, requeue=requeue
    )
    settings = _NO_PROVIDERS if options.no_run else _settings(options)
    return asyncio.run(_Work(options, asked, settings, failure).carry_out())


COLLECTED_AFTER = (50_000, 20, 50)
"""
Allocations until garbage is collected, and so on by generation. Python's own 700 look through every
job in flight about once a request, which is a tenth of a run's CPU; what is collected later here
are a few megabytes.
"""

SWITCH_S = 0.001
"""
How long the thread that writes waits for the interpreter while a busy event loop has it. Python's
own 5 ms, for each statement of a commit, is time in which leased jobs wait to be sent.
"""

_NO_PROVIDERS = Settings(run=RunSettings(), defaults={}, providers=(), path=None, notes=())
"""What it takes to put jobs back without sending any."""


def _flags(options: WorkOptions) -> Flags:
    return Flags(
        system=options.system,
        params=parameters(options.param or ()),
        model=model_name(options.model),
    )


def _settings(options: WorkOptions, on_changed: str | None = None) -> Settings:
    loaded = load(
        config_path=options.config,
        providers=options.provider or (),
        overrides=RunOverrides(
            concurrency=options.concurrency,
            max_attempts=options.max_attempts,
            timeout_s=options.timeout,
            max_wait_s=options.max_wait,
            on_unknown=options.on_unknown,
            on_changed=on_changed,
            budget_usd=options.budget,
        ),
        environ=os.environ,
        working_directory=Path.cwd(),
    )
    return make_room(loaded)


class _Work:
    """One session with everything around it: view, export, summary, exit status."""

    def __init__(
        self,
        options: WorkOptions,
        asked: run_options.RunOptions,
        settings: Settings,
        failure: Failure,
    ) -> None:
        self._options = options
        self._asked = asked
        self._settings = settings
        self._failure = failure
        self._next = NextSteps(options, settings)
        failure.protect(settings.secrets)

    async def carry_out(self) -> int:
        """Run the session and report; what it raises is reported by the caller."""
        gc.freeze()  # what start-up made stays, and need not be looked through again
        gc.set_threshold(*COLLECTED_AFTER)
        sys.setswitchinterval(SWITCH_S)
        output = await ResultFile.of(self._options, self._asked, self._settings)
        result = await self._session()
        self._next.settle(result)
        streams.talk(self._last_words(result))
        if output is not None and result.batches and not self._asked.dry_run:
            result.exit_code = await self._written(output, result)
        if self._options.json:
            streams.write_json(result.to_json())
        if was_reading(result):
            # A thread may still wait for a pipe that nobody writes to, and nothing can wake it.
            os._exit(streams.finish(result.exit_code))
        return result.exit_code

    async def _session(self) -> RunResult:
        clock = Clock()
        view = _view(self._options, clock)
        observer = Guarded(view)
        for note in self._settings.notes:
            observer.note(note)
        environ = dict(os.environ)
        tell = observer.note if self._options.verbose else _keep_quiet
        try:
            async with watched(
                self._settings,
                environ=environ,
                clock=clock,
                note=observer.note,
                model=self._asked.flags.model,
            ) as watch:
                result = await Session(
                    self._asked,
                    self._settings,
                    observer=Several(observer, watch.observer) if watch.observer else observer,
                    clock=clock,
                    environ=environ,
                    watchers=watch.watchers,
                    channel=Channel(self._options.db, environ, tell=tell),
                ).run()
                watch.ended(result)
                return result
        except Exception as error:
            self._failure.footer = self._next.after(view.snapshot, error)
            raise
        finally:
            observer.close()

    def _last_words(self, result: RunResult) -> list[Text]:
        """Return what is said at the end: all of it, or with `-q` only why it is not a success."""
        if self._options.quiet:
            resume = {"resume": result.resume} if result.resume else {}
            is_success = result.exit_code is ExitCode.OK
            last = [*steps(resume), *about_budget(result)]
            return [] if is_success else [headline(result), *obstacles(result), *last]
        if self._asked.dry_run and result.message is None:
            report = result.ingest
            bad = bad_lines(report.invalid_shown, report.invalid) if report.invalid else []
            return [*bad, Text("dry run: nothing was sent")]
        requeue = self._asked.requeue if result.message is None else None
        if requeue is not None and (said := put_back(requeue, result)) is not None:
            run = {"run": resume_command(self._options)} if result.requeued else {}
            return [Text(said), *steps(run)]
        width = streams.console(sys.stderr).width
        lines = summary(result, width=width, next_steps=self._next.of(result))
        lines += about_budget(result)
        return [Text(), *lines] if result.ledger.total.requests else lines

    async def _written(self, output: ResultFile, result: RunResult) -> ExitCode:
        """
        Export the results; a failure is told, with the command that does it again.

        Its exit status is 5 or 1: what is refused here was no usage error, for all is paid.
        """
        try:
            exported = await output.write(result.batches[0])
            if not self._options.quiet and (said := output.said(exported)):
                streams.talk([Text("; ".join(said))])
            output.refuse_damage(exported)
        except AiqError as error:
            self._failure.show(error)
            if not isinstance(error, DamagedAnswers):
                command = export_command(self._options, result.batches[0])
                streams.talk(steps({"answers": command}))
            if isinstance(error, StoreError):
                return error.exit_code
            return result.exit_code or ExitCode.SOME_FAILED
        return result.exit_code


def _keep_quiet(_: str) -> None:
    pass


def _view(options: WorkOptions, clock: Clock) -> SilentView:
    if options.quiet:
        return SilentView()
    console = streams.console(sys.stderr)
    is_strict = isinstance(options, RunOptions) and options.strict
    if options.no_progress:
        return NotesView(console, is_strict=is_strict)
    if not streams.is_live_terminal():
        return LineView(console, clock, is_strict=is_strict)
    return LiveView(console, clock, is_strict=is_strict, unpause=placed(UNPAUSE, options))
