"""
Changing a real process from outside: a `sitecustomize` that Python imports before `aiq`.

So no hook for a test is in the product. A process is started with `env=shim(place, CODE)`.
"""

from __future__ import annotations

from tests.support.process import Workplace

SHIFTED_CLOCK = """
import pathlib, time
shift = pathlib.Path("clock-shift")  # seconds, in the working directory
moment, moment_ns = time.time, time.time_ns
def shift_s():
    return float(shift.read_text() or 0) if shift.exists() else 0.0
time.time = lambda: moment() + shift_s()
time.time_ns = lambda: moment_ns() + round(shift_s() * 1e9)
"""
"""The wall clock is off by what `shift_clock` says, also while the process runs."""


def shim(place: Workplace, code: str) -> dict[str, str]:
    """Return the environment in which this code runs first."""
    directory = place.directory / "shim"
    directory.mkdir(exist_ok=True)
    (directory / "sitecustomize.py").write_text(code)
    return {"PYTHONPATH": f"{directory}:{place.env['PYTHONPATH']}"}


def shift_clock(place: Workplace, seconds: float) -> None:
    """Set the wall clock that `SHIFTED_CLOCK` shows."""
    (place.directory / "clock-shift").write_text(str(seconds))
