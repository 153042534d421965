"""`aiq alerts test`: one test alert through every channel, and whether it arrived."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from rich.text import Text

from aiq.cli import streams
from aiq.cli.alert_options import AlertTestOptions
from aiq.cli.failure import Failure
from aiq.cli.text import visible
from aiq.clock import Clock
from aiq.config import load_alerts
from aiq.errors import ExitCode
from aiq.redaction import Redactor
from aiq.run.alerts.opening import open_channels
from aiq.run.alerts.trial import Arrival, try_channels


def send_test_alert(options: AlertTestOptions, failure: Failure) -> int:
    """Do what `aiq alerts test` promises; return the exit status."""
    alerts = load_alerts(
        config_path=options.config, environ=os.environ, working_directory=Path.cwd()
    )
    failure.protect(alerts.secrets)
    channels = open_channels(alerts, os.environ)
    arrivals = asyncio.run(try_channels(channels, clock=Clock(), redactor=Redactor(alerts.secrets)))
    if options.json:
        streams.write_json({"channels": [_to_json(one) for one in arrivals]})
    else:
        streams.write_lines([_line(one) for one in arrivals])
    is_complete = all(one.failure is None for one in arrivals)
    return ExitCode.OK if is_complete else ExitCode.SOME_FAILED


def _line(arrival: Arrival) -> Text:
    name = f"{visible(arrival.channel, 24):<12}"
    if arrival.failure is None:
        return Text.assemble(("● ", "green"), name, " taken")
    return Text.assemble(("✗ ", "red"), name, f" not delivered: {visible(arrival.failure)}")


def _to_json(arrival: Arrival) -> dict[str, object]:
    is_taken = arrival.failure is None
    return {"channel": arrival.channel, "ok": is_taken, "failure": arrival.failure}
