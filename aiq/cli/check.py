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
from aiq.cli.text import NAME, visible
from aiq.cli.values import model_name, parameters
from aiq.config import Settings, load
from aiq.config.source import DEFAULT_FILE
from aiq.errors import ConfigError, ExitCode
from aiq.run.check import CheckReport, Estimate, MistypedKey, check
from aiq.run.request import Flags


def check_prompts(options: CheckOptions, failure: Failure) -> int:
    """Do what `aiq check` promises; return the exit status."""
    settings = _settings(options)
    if settings is not None:
        failure.protect(secret for one in settings.providers for secret in one.secrets)
    flags = Flags(model=model_name(options.model), params=parameters(options.param or ()))
    report = asyncio.run(check(options.prompts, settings=settings, flags=flags))
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
    yield from map(_mistyped, report.mistyped_keys)
    if report.invalid or report.mistyped_keys:
        yield Text()
    invalid = f"{len(report.invalid):,} invalid"
    yield Text.assemble(
        f"{figures.plural(report.lines, 'line')}: {report.valid:,} valid, ",
        (invalid, "red" if report.invalid else ""),
    )
    yield Text(f"about {report.tokens_estimated:,} input tokens")
    yield from map(_estimated, report.estimates)


def _mistyped(found: MistypedKey) -> Text:
    place = f"{visible(found.file)}:{found.line}" if found.file is not None else ""
    said = f"`{visible(found.key, NAME)}` is no request field; did you mean `{found.meant}`?"
    return Text.assemble((place, "bold"), "  " if place else "", ("note: ", "cyan"), said)


def _estimated(one: Estimate) -> Text:
    """Say about what it costs at a provider and what that assumes, or why nobody knows."""
    model = f" ({visible(one.model, NAME)})" if one.model is not None else ""
    where = f"at {visible(one.provider, NAME)}{model}"
    if one.lacks_model:
        return Text(f"cost unknown {where}: name a model with `-m MODEL`")
    if one.usd is None:
        return Text(f"cost unknown {where}: no price is known; set `price` for the provider")
    if not one.usd:
        return Text(f"free {where}")
    each = f", with {one.output_tokens:,} output tokens each" if one.output_tokens else ""
    return Text(f"about {figures.usd(one.usd)} {where}{each}")
