"""What a run says before it sends: what was read, and what is about to happen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.text import Text

from aiq.cli import figures
from aiq.cli.text import NAME, visible
from aiq.run.ingest import BadLineReport, IngestReport
from aiq.run.observer import Plan


def plan_line(plan: Plan) -> Text:
    """Return the line before the first send: jobs, candidates and models, cost, budget."""
    done = f" ({plan.skipped:,} already done)" if plan.skipped else ""
    cost = "cost unknown" if plan.estimated_nano is None else _about(plan.estimated_nano)
    parts = [
        f"{figures.plural(plan.pending, 'job')} to send{done}",
        _candidates(plan),
        cost,
        _budget(plan),
    ]
    return Text.assemble((batch_names(plan.batches), "bold"), ": ", " · ".join(parts))


def _budget(plan: Plan) -> str:
    if plan.budget_nano is None:
        return "no budget"
    taken = f", {figures.nano(plan.committed_nano)} of it taken" if plan.committed_nano else ""
    return f"budget {figures.nano(plan.budget_nano)}{taken}"


def _about(nano: int) -> str:
    return f"about {figures.nano(nano)}" if nano else "free"


def _candidates(plan: Plan) -> str:
    """Return who is asked, in order where it is one of ranks, else by which strategy."""
    shown = [
        _candidate(name, model) + (" disabled by you" if name in plan.disabled else "")
        for name, model in plan.candidates
    ]
    if plan.strategy == "rank":
        return " → ".join(shown)
    return f"strategy {plan.strategy}: {', '.join(shown)}"


def _candidate(name: str, model: str | None) -> str:
    return visible(name, NAME) + (f" ({visible(model, NAME)})" if model else "")


def batch_names(names: Sequence[str]) -> str:
    """Name one batch or a few; of many, the first two and how many more."""
    shown = [visible(name, NAME) for name in names]
    if len(shown) > 3:
        shown[2:] = [f"{len(shown) - 2} more"]
    return ", ".join(shown)


def ingest_lines(report: IngestReport) -> list[Text]:
    """Return what the user should know about files that were read."""
    lines = []
    if report.vanished:
        shown = _listed(report.vanished_shown, report.vanished)
        lines.append(
            f"{figures.plural(report.vanished, 'unfinished job')} no longer in the files,"
            f" not sent: {shown}"
        )
    for key, meant in report.mistyped_keys.items():
        lines.append(
            f"`{visible(key, NAME)}` is no request field and is kept as metadata;"
            f" did you mean `{meant}`?"
        )
    return [note(line) for line in lines]


def note(sentence: str) -> Text:
    """Return a sentence the user should know."""
    return Text.assemble(("note: ", "cyan"), visible(sentence, 1000))


def bad_lines(shown: Iterable[BadLineReport], count: int) -> list[Text]:
    """Return bad lines as a list, each with its place and the reason."""
    listed = [
        Text.assemble("  ", (f"{visible(bad.file)}:{bad.line}", "bold"), "  ", visible(bad.reason))
        for bad in shown
    ]
    if count > len(listed):
        listed.append(Text(f"  and {count - len(listed):,} more: `aiq check FILE` lists all"))
    heading = Text(f"{figures.plural(count, 'invalid line')}:", "yellow")
    return [heading, *listed]


def _listed(names: Sequence[str], count: int) -> str:
    shown = ", ".join(f"`{visible(name, NAME)}`" for name in names[:5])
    return f"{shown}, …" if count > 5 else shown
