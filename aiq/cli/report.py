"""`aiq report`: one page that shows what happened, for a browser."""

from __future__ import annotations

import asyncio

from aiq.cli import figures, streams
from aiq.cli.history_options import ReportOptions
from aiq.cli.page.render import page, refuse_without_libraries
from aiq.cli.results import STDOUT, configuration_files
from aiq.cli.text import visible
from aiq.clock import Clock
from aiq.errors import ExitCode
from aiq.run.export import files_of
from aiq.run.history import read_history
from aiq.run.replacement import refuse_overwrite, replaced


def write_report(options: ReportOptions) -> int:
    """Do what `aiq report` promises; return the exit status."""
    refuse_without_libraries()
    is_stdout = options.output == STDOUT
    if not is_stdout:
        own = asyncio.run(files_of(options.db))
        refuse_overwrite(options.output, [*configuration_files(options.config), *own])
    now_us = Clock().utc_us()
    history = asyncio.run(read_history(options.db, options.batch, now_us=now_us))
    content = page(history, now_us=now_us)
    with streams.data_stream() if is_stdout else replaced(options.output) as stream:
        stream.write(content)
    if is_stdout:
        return ExitCode.OK
    jobs = figures.plural(sum(one.total for one in history.status.batches), "job")
    streams.say(f"report of {jobs} written to {visible(str(options.output))}")
    return ExitCode.OK
