"""`aiq show`: one job with its answer and every attempt, as text or JSON."""

from __future__ import annotations

import asyncio
import sys

from rich.text import Text

from aiq.cli import figures, streams
from aiq.cli.columns import Column, table
from aiq.cli.ledger import stacked
from aiq.cli.options import ShowOptions
from aiq.cli.text import visible
from aiq.clock import rfc3339
from aiq.errors import ExitCode
from aiq.run.show import JobDetails, read_job
from aiq.store.attempts import AttemptRow

WHOLE = 200_000
"""How much of a request or an answer is shown; `aiq export` has all of it."""

_COLUMNS = (
    Column("#"),
    Column("started", rank=3, right=False),
    Column("provider", right=False, least=12),
    Column("model", rank=2, right=False, least=12),
    Column("outcome", right=False),
    Column("http", rank=4),
    Column("latency"),
    Column("tokens", rank=5),
    Column("cost", rank=1),
    Column("billed", rank=6, right=False),
)


def show_job(options: ShowOptions) -> int:
    """Do what `aiq show` promises; return the exit status."""
    job = asyncio.run(read_job(options.db, options.job, options.batch))
    if options.json:
        streams.write_json(job.to_json())
    else:
        streams.write_lines(job_lines(job, streams.console(sys.stdout).width))
    return ExitCode.OK


def job_lines(job: JobDetails, width: int) -> list[Text]:
    """Return a job's place, request, answer or error, and attempts."""
    blocks = [_place(job), _titled("request", job.line.decode(errors="backslashreplace"))]
    if job.is_purged:
        blocks.append(_titled("answer", "purged"))
    elif job.content is not None:
        blocks += _answer(job)
    elif job.error_kind is not None:
        message = f"{job.error_kind}: {job.error_message or 'no message'}"
        blocks.append(_titled("error", message, "red"))
    if job.attempts:
        blocks.append(table(_COLUMNS, [_row(one) for one in job.attempts], width))
        blocks.append(_messages(job))
    return stacked(blocks)


def _place(job: JobDetails) -> list[Text]:
    state = Text.assemble(
        "job ", (visible(job.job), "bold"), f" of {visible(job.batch)}: ", (job.state, "bold")
    )
    if job.source is None:
        return [state]
    source = "stdin" if job.source == "-" else visible(job.source)
    return [state, Text(f"{source}:{job.line_number}", "dim")]


def _answer(job: JobDetails) -> list[list[Text]]:
    content = job.content
    if content is None:
        return []
    finish = content.finish_reason
    reason = f"answer ({visible(finish)})" if finish else "answer"
    blocks = []
    if content.text is not None:
        blocks.append(_titled(reason, content.text))
    if content.refusal is not None:
        blocks.append(_titled("refusal", content.refusal))
    if content.tool_calls is not None:
        blocks.append(_titled("tool calls", str(content.tool_calls)))
    if content.embedding is not None:
        blocks.append(_titled("embedding", visible(str(content.embedding), 200)))
    return blocks or [_titled(reason, "no text")]


def _titled(title: str, text: str, style: str = "") -> list[Text]:
    lines = visible(text, WHOLE, lines=True).split("\n")
    return [Text(title, "dim"), *(Text(f"  {line}", style) for line in lines)]


def _row(one: AttemptRow) -> list[Text]:
    ms = None if one.latency_us is None else one.latency_us / 1000
    return [
        Text(str(one.number)),
        Text(rfc3339(one.started_at)),
        Text(visible(one.provider, 24)),
        Text(visible(one.served_model or one.model, 40)),
        Text(one.kind or "running", "green" if one.kind == "ok" else ""),
        Text(figures.NONE if one.status_code is None else str(one.status_code)),
        Text(figures.milliseconds(ms)),
        Text(_tokens(one)),
        Text(_cost(one)),
        Text(one.billed or figures.NONE),
    ]


def _tokens(one: AttemptRow) -> str:
    if one.input_tokens is None and one.output_tokens is None:
        return figures.NONE
    return f"{one.input_tokens or 0:,} + {one.output_tokens or 0:,}"


def _cost(one: AttemptRow) -> str:
    """Say what an attempt cost: nothing where it is not billed, at most so much where it may be."""
    if one.cost_nano is not None:
        return figures.nano(one.cost_nano)
    if one.billed == "maybe":
        return figures.UNKNOWN if one.bound_nano is None else f"≤ {figures.nano(one.bound_nano)}"
    return figures.UNKNOWN if one.billed == "yes" else figures.NONE


def _messages(job: JobDetails) -> list[Text]:
    return [Text(f"  {one.number}: {visible(one.message)}") for one in job.attempts if one.message]
