"""The end of a run, for people: what was done, what it cost, what failed, what to do next."""

from __future__ import annotations

from collections.abc import Mapping

from rich.text import Text

from aiq.cli import figures
from aiq.cli.announcements import bad_lines, batch_names
from aiq.cli.followup import shown
from aiq.cli.ledger import failures, figures_table, latency_table, stacked
from aiq.cli.text import visible
from aiq.errors import ExitCode
from aiq.model import JobState
from aiq.run.result import RunResult


def summary(result: RunResult, *, width: int, next_steps: Mapping[str, str]) -> list[Text]:
    """
    Return the summary of a run.

    Args:
        width: of the terminal, in cells.
        next_steps: commands to type next, by what they are for.
    """
    blocks = [[headline(result), *obstacles(result)]]
    if result.ledger.total.requests:
        blocks += [figures_table(result.ledger, width), latency_table(result.ledger, width)]
        blocks.append(_remarks(result))
    if result.errors:
        blocks.append(failures(result.errors, result.count(JobState.FAILED)))
    if result.ingest.invalid:
        blocks.append(bad_lines(result.ingest.invalid_shown, result.ingest.invalid))
    blocks.append(steps(next_steps))
    return stacked(blocks)


def steps(commands: Mapping[str, str]) -> list[Text]:
    """Return commands to type next, whole."""
    width = max([len("answers "), *map(len, commands)])
    return [
        Text.assemble((f"{what:<{width}} ", "dim"), (shown(how), "cyan"))
        for what, how in commands.items()
    ]


def about_budget(result: RunResult) -> list[Text]:
    """Say what the higher budget is that the command to resume names."""
    if result.resume is None or result.exit_code is not ExitCode.BUDGET:
        return []
    return [Text("(its --budget is about what the rest needs, with all that was spent)", "dim")]


def headline(result: RunResult) -> Text:
    """Return the end state in one sentence, with the reason where the run was stopped."""
    name = batch_names(result.batches)
    unfinished = result.count(JobState.PENDING) + result.count(JobState.RUNNING)
    if result.message is not None:
        why = result.message.split("\n")[0].removesuffix(":")
        why = why if why.startswith("stopped") else f"stopped: {why}"
        text = Text.assemble((visible(why), "yellow"), "; ")
    elif result.ledger.total.requests or unfinished:
        text = Text.assemble((name, "bold"), ": ")
    elif not result.count(JobState.FAILED):
        jobs = figures.plural(result.count(JobState.SUCCEEDED), "job")
        verb = "is" if result.count(JobState.SUCCEEDED) == 1 else "are"
        return Text.assemble((name, "bold"), f": {jobs} {verb} already done, nothing was sent")
    else:
        text = Text.assemble((name, "bold"), ": nothing left to send; ")
    text.append_text(counts(result))
    if result.finished:
        text.append(f" in {figures.elapsed(result.elapsed_s)} ({figures.rate(result.rate_per_s)})")
    return text


def obstacles(result: RunResult) -> list[Text]:
    """Return why each provider is out, where that is why the run was stopped."""
    lines = (result.message or "").split("\n")[1:]
    return [Text(f"  {visible(line, 1000)}", "red") for line in lines]


def counts(result: RunResult) -> Text:
    """Return the end state of the jobs in scope."""
    failed = result.count(JobState.FAILED)
    before = f" ({result.skipped:,} of them before)" if result.skipped else ""
    text = Text.assemble(
        (f"{result.count(JobState.SUCCEEDED):,} succeeded", "green"),
        before,
        ", ",
        (f"{failed:,} failed", "red" if failed else ""),
    )
    for state in (JobState.PENDING, JobState.RUNNING, JobState.CANCELLED):
        if count := result.count(state):
            text.append(f", {count:,} {state.value}")
    if result.ingest.invalid:
        text.append(f", {figures.plural(result.ingest.invalid, 'line')} invalid", "yellow")
    return text


def _remarks(result: RunResult) -> list[Text]:
    remarks = []
    if result.budget.limit_nano is not None:
        taken, limit = figures.nano(result.budget.committed_nano), result.budget.limit_nano
        remarks.append(f"{taken} of the budget of {figures.nano(limit)} spent or possibly paid")
    if result.failovers:
        remarks.append(f"{figures.plural(result.failovers, 'failover')} to another provider")
    if result.ledger.total.unpriced:
        unpriced = figures.plural(result.ledger.total.unpriced, "request")
        remarks.append(f"the price of {unpriced} is unknown: set `price` for the provider")
    if paid := figures.possibly_paid(result.ever):
        is_more = result.ever.maybe_paid > result.ledger.total.maybe_paid
        runs = " over all runs" if is_more else ""
        remarks.append(f"possibly paid without an answer{runs}: {paid}")
    if result.ever.requests > result.ledger.total.requests and figures.is_known(result.ever):
        remarks.append(f"cost of these jobs over all runs: {figures.cost(result.ever)}")
    return [Text(remark) for remark in remarks]
