"""`aiq check`: what is in prompt files, as text or JSON."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

from rich.text import Text

from aiq.cli import figures, streams
from aiq.cli.failure import Failure
from aiq.cli.options import CheckOptions
from aiq.cli.text import visible
from aiq.config import Settings, load
from aiq.config.assembly import DEFAULT_FILE
from aiq.errors import ConfigError, ExitCode
from aiq.run.check import CheckReport, check


def check_prompts(options: CheckOptions, failure: Failure) -> int:
    """Do what `aiq check` promises; return the exit status."""
    settings = _settings(options)
    if settings is not None:
        failure.protect(secret for one in settings.providers for secret in one.secrets)
    report = asyncio.run(check(options.prompts, settings=settings))
    if options.json:
        streams.write_json(report.to_json())
    else:
        streams.write_lines(check_lines(report))
    return ExitCode.SOME_FAILED if report.invalid else ExitCode.OK


def _settings(options: CheckOptions) -> Settings | None:
    """Return the settings to estimate costs with; None where nobody named a provider."""
    is_asked = options.provider or options.config or Path(DEFAULT_FILE).exists()
    try:
        return load(
            config_path=options.config,
            providers=options.provider or (),
            environ=os.environ,
            working_directory=Path.cwd(),
            needs_keys=False,
        )
    except ConfigError:
        if is_asked:
            raise
        return None


def check_lines(report: CheckReport) -> Iterator[Text]:
    """Yield every bad line, the counts, and about what the good ones cost."""
    for bad in report.invalid:
        place = f"{visible(bad.file)}:{bad.line}"
        yield Text.assemble((place, "bold"), "  ", visible(bad.reason))
    for key, meant in report.mistyped_keys.items():
        yield Text(f"`{visible(key, 60)}` is no request field; did you mean `{meant}`?", "yellow")
    if report.invalid or report.mistyped_keys:
        yield Text()
    invalid = f"{len(report.invalid):,} invalid"
    yield Text.assemble(
        f"{figures.plural(report.lines, 'line')}: {report.valid:,} valid, ",
        (invalid, "red" if report.invalid else ""),
    )
    yield Text(f"about {report.tokens_estimated:,} input tokens")
    for name, amount in report.cost_estimated_usd.items():
        yield Text(f"about {_cost(amount)} at {visible(name, 60)}")


def _cost(amount: float | None) -> str:
    return "unknown cost" if amount is None else figures.usd(amount)
