"""Where results go: a file that is refused before anything is paid, or standard output."""

from __future__ import annotations

import asyncio
import dataclasses
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from aiq.cli import figures, streams
from aiq.cli.announcements import batch_names
from aiq.cli.options import ExportOptions, Format, States, WorkOptions
from aiq.cli.text import visible
from aiq.config import Settings
from aiq.config.environment import KEYS_FILE
from aiq.config.source import DEFAULT_FILE
from aiq.errors import DamagedAnswers, ExitCode, Refused
from aiq.prompts.names import STDIN, batch_name
from aiq.run.export import Exported, export, unfinished
from aiq.run.options import RunOptions
from aiq.run.replacement import refuse_overwrite
from aiq.run.status import read_status

STDOUT = Path("-")
_KEYS = Path(KEYS_FILE)


def write_results(options: ExportOptions) -> int:
    """Do what `aiq export` promises; return the exit status."""
    output = ResultFile.asked(options)
    output.refuse_path()
    exported = asyncio.run(output.write(options.batch))
    left = asyncio.run(unfinished(options.db, options.batch))
    said = output.said(exported)
    said += [f"{figures.plural(left, 'job')} not finished"] if left else []
    if said:
        streams.say("; ".join(said))
    output.refuse_damage(exported)
    return ExitCode.OK


def configuration_files(named: Path | None) -> tuple[Path, ...]:
    """Return the files that configure aiq, which nothing that it writes may replace."""
    return (named or Path(DEFAULT_FILE), _KEYS)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResultFile:
    """One batch's way out of a database; `path` None is standard output."""

    database: Path
    path: Path | None
    format: Format
    state: States
    protect: tuple[Path, ...]
    """Files that must not be replaced."""

    @classmethod
    def asked(cls, options: ExportOptions) -> ResultFile:
        """Return what `export` is to write."""
        return cls(
            database=options.db,
            path=None if options.output in (None, STDOUT) else options.output,
            format=options.format,
            state=options.state,
            protect=configuration_files(options.config),
        )

    @classmethod
    async def of(
        cls, options: WorkOptions, asked: RunOptions, settings: Settings
    ) -> ResultFile | None:
        """
        Return what a run is to write at its end, None if nothing.

        Raises:
            Refused: the file cannot be written, or the run may be about several batches. Better
                now than after the answers are paid.
        """
        if options.output is None:
            return None
        inputs = [Path(name) for name in asked.files if name != STDIN]
        output = cls(
            database=options.db,
            path=None if options.output == STDOUT else options.output,
            format=options.format,
            state=States.ALL,
            protect=(*inputs, options.db, _KEYS, *([settings.path] if settings.path else [])),
        )
        output.refuse_path()
        await _refuse_several(asked)
        return output

    @property
    def is_stdout(self) -> bool:
        """Whether the results go to standard output."""
        return self.path is None

    def refuse_path(self) -> None:
        """Raise `Refused` if the file cannot become what is asked."""
        if self.path is None:
            return
        refuse_overwrite(self.path, self.protect)

    def said(self, exported: Exported) -> list[str]:
        """Return what is said of an export: how much was written where, and what it lacks."""
        results = figures.plural(exported.results, "result")
        said = [] if self.is_stdout else [f"{results} written to {visible(str(self.path))}"]
        return said + ([_without_text(exported)] if exported.purged else [])

    def refuse_damage(self, exported: Exported) -> None:
        """Raise `DamagedAnswers` if there were any: what was written is not all that was stored."""
        if not exported.damaged:
            return
        answers = figures.plural(exported.damaged, "stored answer")
        verb = "is" if exported.damaged == 1 else "are"
        left_out = self.state == States.SUCCEEDED
        raise DamagedAnswers(
            f"{answers} {verb} damaged, and {verb} {'left out' if left_out else 'given as failed'}",
            hint=f"`aiq doctor --verify {shlex.quote(str(self.database))}` tells which; restore a"
            f" copy{_asked_again(exported)}",
        )

    async def write(self, batch: str | None) -> Exported:
        """Write the results of a batch; return what it came to."""
        if self.path is not None:
            return await self._export(batch, sys.stdout.buffer, escape_controls=False)
        exported = Exported(0)
        with streams.data_stream() as stream:
            exported = await self._export(batch, stream, escape_controls=sys.stdout.isatty())
        return exported  # noqa: RET504 - where the reader leaves early, the block ends before

    async def _export(
        self, batch: str | None, stream: BinaryIO, *, escape_controls: bool
    ) -> Exported:
        return await export(
            self.database,
            batch=batch,
            format=self.format,
            state=self.state,
            output=self.path,
            protect=self.protect,
            stream=stream,
            escape_controls=escape_controls,
        )


def _without_text(exported: Exported) -> str:
    answers = figures.plural(exported.purged, "answer")
    return f"{answers} of them without text: `aiq purge` has removed it"


def _asked_again(exported: Exported) -> str:
    """Return what else than a copy there is for damaged answers, and for which of them not."""
    is_possible = exported.vanished < exported.damaged
    text = ", or `aiq retry-failed --kind damaged` asks (and pays) again" if is_possible else ""
    if not exported.vanished:
        return text
    lines = "its line is no longer in its file"
    if exported.vanished > 1:
        lines = "their lines are no longer in their files"
    return f"{text}; {exported.vanished:,} of them cannot be asked again, {lines}"


async def _refuse_several(asked: RunOptions) -> None:
    names = await _batches(asked)
    if len(names) > 1:
        raise Refused(
            f"`-o` writes one batch, and this run is about {len(names)}: {batch_names(names)}",
            hint="join files with `-n NAME`, or write each with `aiq export NAME -o FILE`",
        )


async def _batches(asked: RunOptions) -> Sequence[str]:
    """Return the batches a run will be about."""
    if asked.files:
        return list(dict.fromkeys(asked.name or batch_name(path) for path in asked.files))
    if asked.name is not None:
        return [asked.name]
    if asked.requeue is not None and asked.requeue.batch is not None:
        return [asked.requeue.batch]
    if not asked.database.exists():
        return []
    status = await read_status(asked.database, None, now_us=0)
    return [batch.name for batch in status.batches]
