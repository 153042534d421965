"""Storage that misbehaves: a small file system, system calls that fail."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


def _can_trace() -> bool:
    """Whether strace is here and may trace a child of its own."""
    if shutil.which("strace") is None:
        return False
    probe = ["strace", "-qq", "-o", "/dev/null", "true"]
    return subprocess.run(probe, check=False, capture_output=True).returncode == 0


TRACING = _can_trace()
"""Whether system calls can be made to fail."""


def failing(fault: str) -> str:
    """Return the shell line for a command in which a system call fails, as `inject=` says."""
    name = fault.partition(":")[0]
    return f'exec strace -f --seccomp-bpf -qq -o /dev/null -e trace={name} -e inject={fault} "$@"'


def fill(path: Path) -> None:
    """Write into a file until there is no space left."""
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)


@contextlib.contextmanager
def small_disk(mount_point: Path, *, size: str) -> Iterator[Path]:
    """Mount a file system of that size for the block; skips the test where that is not allowed."""
    mount_point.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(mount_point)]
    mounted = subprocess.run(command, check=False, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield mount_point
    finally:
        subprocess.run(["umount", "-l", str(mount_point)], check=True, capture_output=True)
