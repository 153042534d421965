"""What to do after a run: the commands that carry on, retry, write the answers or ask why."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from aiq.cli.followup import (
    enable_command,
    export_command,
    is_read_once,
    probe_command,
    repeat_command,
    resume_command,
    retry_command,
    shown,
)
from aiq.cli.options import RetryOptions, RunOptions, WorkOptions
from aiq.cli.plain import state_line
from aiq.cli.text import visible
from aiq.config import Settings
from aiq.errors import ExitCode, StoreError, StoreMoved, Unusable
from aiq.model import NANO_PER_USD, JobState
from aiq.run.board import Snapshot
from aiq.run.result import RunResult

BATCHES_NAMED = 5
"""Of a run over several batches, how many are named in what to do next."""


class NextSteps:
    """What to do after a run with these options, under these settings."""

    def __init__(self, options: WorkOptions, settings: Settings) -> None:
        self._options = options
        self._settings = settings

    def settle(self, result: RunResult) -> None:
        """Put into the result how it is resumed, and how what failed is retried, if at all."""
        if result.exit_code is not ExitCode.OK and self._is_unfinished(result):
            result.resume = self._way_on(result)
        if len(result.batches) == 1 or not result.has_others:
            result.retry = self._retry(result, result.batches)

    def of(self, result: RunResult) -> dict[str, str]:
        """Return commands to type next, by what they are for."""
        commands = {}
        if result.count(JobState.SUCCEEDED) and self._options.output is None:
            for name in result.batches[:BATCHES_NAMED]:
                of = f" of {visible(name)}" if len(result.batches) > 1 else ""
                commands[f"answers{of}"] = export_command(self._options, name)
        if result.retry is not None:
            commands["retry"] = result.retry
        elif len(result.batches) > 1:  # that of all would take other batches too
            for name in result.batches[:BATCHES_NAMED]:
                if (retry := self._retry(result, [name])) is not None:
                    commands[f"retry of {visible(name)}"] = retry
        if result.exit_code is ExitCode.NO_PROVIDER:
            for name in result.switched_off:
                commands[f"enable {visible(name)}"] = enable_command(self._options, name)
            commands["probe"] = probe_command(self._options)
        if result.resume is not None:
            commands["resume"] = result.resume
        return commands

    def after(self, snapshot: Snapshot | None, error: Exception) -> tuple[str, ...]:
        """Return how far a run came that ends in an error, and how to resume or to repeat it."""
        options = self._options
        if isinstance(error, StoreMoved):
            options = dataclasses.replace(options, db=error.copy)
        resume = f"resume   {shown(resume_command(options))}"
        if snapshot is not None:
            return (f"so far   {state_line(snapshot)}", resume)
        if isinstance(error, StoreError):
            return (f"resume   {shown(repeat_command(options))}",)
        return (resume,) if isinstance(error, Unusable) else ()

    def _retry(self, result: RunResult, batches: Sequence[str]) -> str | None:
        if not result.count(JobState.FAILED):
            return None
        kinds = {group.kind for group in result.errors}
        return retry_command(self._affordable(result), batches, kinds)

    def _way_on(self, result: RunResult) -> str:
        if isinstance(self._options, RetryOptions) and was_reading(result):
            return repeat_command(self._options)  # nothing was put back yet
        return resume_command(self._affordable(result))

    def _is_unfinished(self, result: RunResult) -> bool:
        """Whether there is something to carry on with; a pipe cannot be read again."""
        if was_reading(result):
            files = self._options.prompts if isinstance(self._options, RunOptions) else None
            return not any(map(is_read_once, files or ()))
        return result.count(JobState.PENDING) + result.count(JobState.RUNNING) > 0

    def _affordable(self, result: RunResult) -> WorkOptions:
        """
        Return the options that carry on: where the budget was reached, with a higher one.

        What an operator has set meanwhile is carried on with.
        """
        options, limit = self._options, result.budget.limit_nano
        if result.concurrency is not None:
            options = dataclasses.replace(options, concurrency=result.concurrency)
        if result.exit_code is ExitCode.BUDGET:
            return dataclasses.replace(options, budget=result.enough_usd)
        if limit is not None and limit != self._began_with():
            return dataclasses.replace(options, budget=limit / NANO_PER_USD)
        return options

    def _began_with(self) -> int | None:
        """Return the budget of the command and the configuration, in nano-dollars."""
        usd = self._settings.run.budget_usd
        return None if usd is None else round(usd * NANO_PER_USD)


def was_reading(result: RunResult) -> bool:
    """Whether a signal came before all was read: there is nothing to resume but to begin again."""
    return result.exit_code in (ExitCode.SIGINT, ExitCode.SIGTERM) and not result.batches
