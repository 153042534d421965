"""What `ctl status` and `doctor` make of what they were told, in words."""

from __future__ import annotations

from pathlib import Path

from aiq.cli.ctl import report_lines
from aiq.cli.doctor import diagnosis_lines
from aiq.cli.health_options import DoctorOptions
from aiq.run.diagnosis import Diagnosis, note
from aiq.run.protocol import ProviderReport, RunReport


def test_what_is_in_flight_is_not_done() -> None:
    """A place is taken before the lease is committed, and the job counts as waiting until then."""
    one = ProviderReport(
        name="a", status="healthy", reason=None, next_try_s=None, in_flight=16, limit=16
    )
    run = RunReport(
        pid=1,
        started_at="now",
        phase="sending",
        total=220,
        pending=220,
        in_flight=16,
        concurrency=16,
        providers=(one,),
    )
    assert report_lines(run, 100)[1].plain.startswith("0/220 done, 0 failed, 220 waiting")


def test_doctor_s_commands_are_about_the_database_that_was_looked_at() -> None:
    """The one of `--verify`, or of `--db`."""
    found = Diagnosis((note("leases", "2 jobs", "`aiq run` settles them"),))
    for options, place in (
        (DoctorOptions(db=Path("night.db")), "night.db"),
        (DoctorOptions(verify=Path("old.db")), "old.db"),
    ):
        [line, *_] = diagnosis_lines(found, options)
        assert line.plain.endswith(f"2 jobs (`aiq run --db {place}` settles them)")
