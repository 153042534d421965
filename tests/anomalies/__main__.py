"""
Show what the monitor's detector finds and what it only thinks it has found: `python -m
tests.anomalies`.

Every series is played to it with the default settings. Printed are the incidents found, after how
many samples, and the false alarms per 10,000 samples: answers marked as unusual (which alerts
nobody), warnings, critical alerts.
"""

from __future__ import annotations

import sys

from aiq.policy.alert import AlertLevel
from tests.anomalies.score import Score, played
from tests.anomalies.series import SAMPLES, Series, all_series

_HEADING = (
    "| series | | found | after | unusual | warnings | critical |\n|---|---|---|---|---|---|---|\n"
)


def row(series: Series, score: Score) -> str:
    found = f"{len(score.delays)} of {score.incidents}" if score.incidents else ""
    delay = "" if score.delay is None else f"{score.delay:g}"
    false = (f"{score.per_10_000(level):.2f}" for level in AlertLevel)
    return f"| {' | '.join([series.name, series.says, found, delay, *false])} |\n"


def main(samples: int = SAMPLES) -> None:
    sys.stdout.write(_HEADING)
    for series in all_series(samples):
        sys.stdout.write(row(series, played(series)))
        sys.stdout.flush()


if __name__ == "__main__":
    main()
