"""What the exit statuses of each command mean, as its `--help` says it."""

from __future__ import annotations

_DONE = "  0         everything asked for succeeded"
_SOME_FAILED = "  1         finished, but some jobs failed or some lines are invalid"
_REFUSED = "  2         refused: usage, configuration, input, unknown name; nothing was sent"
_STOPPED = """\
  3         stopped, resumable: no usable provider left
  4         stopped, resumable: budget reached"""
_STORE = "  5         the database cannot be used: locked, damaged, newer, foreign, disk full"
_BUG = "  70        a bug in aiq"
_SIGNALS = "  130, 143  stopped by SIGINT or `aiq ctl stop`, or by SIGTERM or SIGHUP; resumable"
_FULL_STDOUT = "  1         standard output cannot be written"

RUN = f"""\
{_DONE}
{_SOME_FAILED}
{_REFUSED}
{_STOPPED}
{_STORE}
{_BUG}
{_SIGNALS}"""
READ = f"""\
  0         done
{_FULL_STDOUT}
{_REFUSED}
{_STORE}
{_BUG}"""
EXPORT = READ.replace(_FULL_STDOUT, f"{_FULL_STDOUT}, or stored answers are damaged")
PURGE = f"""\
{READ}
  130       stopped by SIGINT: what is removed stays so, and the same command goes on"""
CHECK = f"""\
  0         every line is valid
  1         some lines are invalid
  2         a file cannot be read, or the configuration is refused
{_BUG}"""
CONTROL = f"""\
  0         done, or it was so already
  2         refused, or no run is at work on the database
  5         a run is at work and cannot be reached, or could not write it down
{_BUG}"""
CANCEL = f"""\
  0         done, also where nothing was left to cancel
  2         no such database, batch or job, or the run at work refuses
{_STORE}
{_BUG}"""
PROBE = f"""\
  0         every provider is healthy or degraded
  1         some are not
  2         the configuration is refused, or a provider is unknown
  3         none is healthy or degraded
{_BUG}
  130, 143  ended by SIGINT (the way to end --watch), or by SIGTERM or SIGHUP"""
MONITOR = f"""\
  0         --once: every provider is healthy or degraded
  1         --once: some are not; standard output cannot be written
  2         the configuration is refused, or a provider is unknown
  3         --once: none is healthy or degraded
{_BUG}
  130, 143  ended by SIGINT, or by SIGTERM or SIGHUP: the way to end it"""
DOCTOR = f"""\
  0         nothing to be put right
  1         a finding
{_BUG}"""
ALERTS = f"""\
  0         every channel took the test alert
  1         some did not
  2         the configuration is refused, or names no channel
{_BUG}"""
INIT = f"""\
  0         written
  2         the file exists, or cannot be written
{_BUG}"""
