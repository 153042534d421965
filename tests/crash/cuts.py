"""
Cutting a process at its k-th system call of a kind, with `strace`.

The call at which it is cut is not carried out. Calls are counted per thread; SQLite has its own.
Where the system forbids tracing, `CAN_CUT` is False.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

# Detached, so that the process started is aiq itself, and signals go to it.
_STRACE = "exec strace -D -f -qq"


Cut = tuple[str, int]
"""A system call and which of them, from 1."""


def _can_cut() -> bool:
    if shutil.which("strace") is None:
        return False
    probe = ["strace", "-f", "-qq", "-e", "inject=close:signal=SIGKILL:when=1", "true"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == -9


CAN_CUT = _can_cut()


def killed_at(call: str, number: int) -> str:
    """Return a line for `sh` that runs "$@" and kills it at this call."""
    return _injecting(call, f"signal=SIGKILL:when={number}")


def slowed(call: str, seconds: float) -> str:
    """Return a line for `sh` that runs "$@", whose calls of this kind return late."""
    return _injecting(call, f"delay_exit={round(seconds * 1_000_000)}")


def _injecting(call: str, what: str) -> str:
    return f'{_STRACE} -o /dev/null -e trace={call} -e inject={call}:{what} "$@"'


def counting(calls: str, file: str) -> str:
    """Return a line for `sh` that runs "$@" and writes these calls to a file."""
    return f'exec strace -f -qq -o {file} -e trace={calls} "$@"'


def listed(file: Path) -> list[Cut]:
    """Return the calls in such a file in their order, of each kind those of its busiest thread."""
    calls = re.findall(r"^(\d+) +(\w+)\(", file.read_text(), re.MULTILINE)
    busiest = {call: thread for (thread, call), _ in reversed(Counter(calls).most_common())}
    number: Counter[str] = Counter()
    cuts = []
    for thread, call in calls:
        if thread == busiest[call]:
            number[call] += 1
            cuts.append((call, number[call]))
    return cuts
