"""
What each command is asked: one frozen object per command, made before anything happens.

A field is an option: its name is the option's long name, its type and help are the annotation's.
What is wrong with the options taken together is refused by `check`; single values that are settings
of the configuration too are judged there, by the same rules.
"""

from __future__ import annotations

import dataclasses
import enum
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from aiq.errors import Refused


class Format(enum.StrEnum):
    """How `export` writes a result."""

    FLAT = "flat"
    OPENAI = "openai"
    CSV = "csv"


class States(enum.StrEnum):
    """Which jobs `export` writes."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    ALL = "all"


class OnChanged(enum.StrEnum):
    """What happens to a finished job whose request has changed."""

    ERROR = "error"
    RERUN = "rerun"
    KEEP = "keep"


class OnUnknown(enum.StrEnum):
    """What happens to a job whose request left and whose answer never came."""

    RETRY = "retry"
    FAIL = "fail"


DATABASE_VARIABLE = "AIQ_DB"
"""The variable of the shell that names the database where no option does."""

DatabasePath: TypeAlias = Annotated[
    Path, typer.Option("--db", envvar=DATABASE_VARIABLE, metavar="PATH", help="The database.")
]
ConfigPath: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--config",
        envvar="AIQ_CONFIG",
        metavar="PATH",
        help="The configuration; aiq.toml if there is one.",
    ),
]
ProviderNames: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--provider",
        "-p",
        metavar="NAME",
        help="A configured provider or a preset; repeat it in rank order. Only these are used.",
    ),
]
ModelName: TypeAlias = Annotated[
    str | None,
    typer.Option("--model", "-m", metavar="MODEL", help="For prompts that name none."),
]
Parameters: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--param",
        metavar="KEY=JSON",
        help="A request field for every prompt, for example temperature=0.2; repeatable.",
    ),
]
BatchName: TypeAlias = Annotated[
    str | None, typer.Argument(metavar="BATCH", help="A batch; all of them if left out.")
]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Write one JSON object to stdout.")]
Output: TypeAlias = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="Write the results there; - is stdout."),
]
ResultFormat: TypeAlias = Annotated[
    Format, typer.Option("--format", help="How the results are written.")
]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class WorkOptions:
    """What `run` and `retry-failed` share."""

    db: DatabasePath = Path("aiq.db")
    config: ConfigPath = None
    provider: ProviderNames = None
    model: ModelName = None
    system: Annotated[
        str | None,
        typer.Option("--system", metavar="TEXT", help="For prompts without a system message."),
    ] = None
    param: Parameters = None
    concurrency: Annotated[
        int | None,
        typer.Option(
            "--concurrency",
            "-c",
            metavar="N",
            help="Jobs in flight over all providers. [default: 128]",
        ),
    ] = None
    max_attempts: Annotated[
        int | None,
        typer.Option(
            "--max-attempts",
            metavar="N",
            help="Counted attempts per job over all providers. [default: 5]",
        ),
    ] = None
    timeout: Annotated[
        float | None,
        typer.Option(
            "--timeout",
            metavar="SECONDS",
            help="Limit of one whole attempt. [default: 600]",
        ),
    ] = None
    budget: Annotated[
        float | None,
        typer.Option(
            "--budget",
            metavar="USD",
            help="What all attempts ever of these jobs may cost at most; stops with exit 4.",
        ),
    ] = None
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, metavar="N", help="Take at most N jobs.")
    ] = None
    on_unknown: Annotated[
        OnUnknown | None,
        typer.Option(
            "--on-unknown",
            help="A request left and its answer never came, so it may be paid. [default: retry]",
        ),
    ] = None
    max_wait: Annotated[
        float | None,
        typer.Option(
            "--max-wait",
            metavar="SECONDS",
            help="Give up after so long without a usable provider. [default: 60 until some"
            " provider has answered, then never]",
        ),
    ] = None
    output: Output = None
    format: ResultFormat = Format.FLAT
    json: Json = False
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Errors and nothing else.")] = False
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Say more; tracebacks of bugs.")
    ] = False
    no_progress: Annotated[bool, typer.Option("--no-progress", help="No progress view.")] = False

    def check(self) -> None:
        """Raise `Refused` for what makes no sense, alone or together."""
        if self.json and self.output == Path("-"):
            raise Refused(
                "`--json` and `-o -` would both write to stdout",
                hint="write the results to a file: `-o results.jsonl`",
            )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class RunOptions(WorkOptions):
    """What `run` is asked."""

    prompts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PROMPTS",
            help="Prompt files (JSONL, also .gz); - is stdin. Without any: every unfinished job, or"
            " with -n those of one batch.",
        ),
    ] = None
    name: Annotated[
        str | None,
        typer.Option(
            "--name",
            "-n",
            metavar="BATCH",
            help="One batch for all files, else each has its stem as its name. Without files: carry"
            " on with this batch alone.",
        ),
    ] = None
    on_changed: Annotated[
        OnChanged | None,
        typer.Option(
            "--on-changed",
            help="The request of a succeeded job has changed: refuse, ask again, or leave it."
            " [default: error]",
        ),
    ] = None
    strict: Annotated[bool, typer.Option("--strict", help="Refuse files with a bad line.")] = False
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Stop before the first send.")] = False

    def check(self) -> None:
        super().check()
        if self.name == "":
            raise Refused("the name of a batch cannot be empty", hint="give one, or leave `-n` out")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class RetryOptions(WorkOptions):
    """What `retry-failed` is asked."""

    batch: BatchName = None
    kind: Annotated[
        list[str] | None,
        typer.Option("--kind", metavar="KIND", help="Only jobs that failed so; repeatable."),
    ] = None
    except_: Annotated[
        list[str] | None,
        typer.Option("--except", metavar="KIND", help="Not jobs that failed so; repeatable."),
    ] = None
    job: Annotated[
        list[str] | None,
        typer.Option("--job", metavar="ID", help="Only the job of this id; repeatable."),
    ] = None
    no_run: Annotated[bool, typer.Option("--no-run", help="Only put them back.")] = False


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class StatusOptions:
    """What `status` is asked."""

    batch: BatchName = None
    db: DatabasePath = Path("aiq.db")
    json: Json = False


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ExportOptions:
    """What `export` is asked."""

    batch: Annotated[
        str | None,
        typer.Argument(metavar="BATCH", help="Needed if the database holds several."),
    ] = None
    db: DatabasePath = Path("aiq.db")
    config: ConfigPath = None
    output: Output = None
    format: ResultFormat = Format.FLAT
    state: Annotated[States, typer.Option("--state", help="Which jobs.")] = States.ALL


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ShowOptions:
    """What `show` is asked."""

    job: Annotated[str, typer.Argument(metavar="JOB", help="The id of a job.")]
    batch: Annotated[
        str | None,
        typer.Option("--batch", metavar="BATCH", help="Needed if the id is in several batches."),
    ] = None
    db: DatabasePath = Path("aiq.db")
    json: Json = False


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class CheckOptions:
    """What `check` is asked."""

    prompts: Annotated[
        list[str], typer.Argument(metavar="PROMPTS", help="Prompt files; - is stdin.")
    ]
    config: ConfigPath = None
    provider: ProviderNames = None
    model: ModelName = None
    param: Parameters = None
    json: Json = False


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class InitOptions:
    """What `init` is asked."""

    config: Annotated[
        Path,
        typer.Option("--config", envvar="AIQ_CONFIG", metavar="PATH", help="The file to write."),
    ] = Path("aiq.toml")
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False
