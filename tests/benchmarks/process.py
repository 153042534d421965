"""Runs a process to its end and says what it took."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


class Ended(NamedTuple):
    """What a process printed and took, from its start to its end."""

    text: str
    whole_s: float
    cpu_s: float
    peak_mb: float

    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.text)
        return found


def run(
    command: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    may_end_with: Sequence[int] = (0,),
) -> Ended:
    """Run a command to its end; raises `RuntimeError` if it ends otherwise than it may."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as talk:
        began = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=cwd, env={**os.environ, **(env or {})}, stdout=out, stderr=talk
        )
        _, status, usage = os.wait4(process.pid, 0)
        whole_s = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        talk.seek(0)
        if process.returncode not in may_end_with:
            said = talk.read()[-2000:].decode(errors="replace")
            raise RuntimeError(f"{command} ended with {process.returncode}: {said}")
        text = out.read().decode()
    return Ended(text, whole_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e6)


def aiq(directory: Path, *arguments: str, may_end_with: Sequence[int] = (0,)) -> Ended:
    """Run `aiq` as a user would, in a directory."""
    return run(
        [sys.executable, "-m", "aiq", *arguments],
        cwd=directory,
        env={"PYTHONPATH": str(ROOT)},
        may_end_with=may_end_with,
    )


@contextlib.contextmanager
def fast_server(delay_ms: float) -> Iterator[str]:
    """Start the server in its own process; give its base URL."""
    server = subprocess.Popen(
        [sys.executable, str(HERE / "fast_server.py"), "--delay-ms", str(delay_ms)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    assert server.stdin is not None
    try:
        yield f"http://127.0.0.1:{int(server.stdout.readline())}/v1"
    finally:
        server.stdin.close()
        server.wait(timeout=10)
        server.stdout.close()


def write_inputs(directory: Path, url: str, prompts: int, *, refused_every: int = 0) -> None:
    """Write a prompt file and a configuration; one prompt in `refused_every` is to be refused."""
    with (directory / "prompts.jsonl").open("w", encoding="utf-8") as stream:
        for number in range(1, prompts + 1):
            is_refused = refused_every and number % refused_every == 0
            text = f"{'REFUSE' if is_refused else 'Say'} something about {number}"
            stream.write(json.dumps({"id": f"p{number}", "prompt": text}) + "\n")
    (directory / "bench.toml").write_text(
        f'[[providers]]\nname = "bench"\nbase_url = "{url}"\nmodel = "bench"\n'
        "price = { input = 1.0, output = 2.0 }\n",
        encoding="utf-8",
    )
