"""
`aiq` as its users start it: a process of its own, in a directory of its own, seen from outside.

In a test:

    async with FaultServer() as server, Workplace(tmp_path, a=server) as place:
        running = await place.start("run", place.write(prompts(20)))
        await server.seen(3)
        running.send(signal.SIGINT)
        ended = await running.ended()  # ended.code, ended.out, ended.err

The server lives in the test's own event loop, so that a test can wait for a request and act on it.
With `terminal=(columns, lines)` the process gets a pseudo-terminal as its controlling one, and all
it writes there is kept as raw bytes. Nothing that was started outlives its workplace.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import pty
import shlex
import signal
import struct
import sys
import termios
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from tests.support.fault_server import FaultServer
from tests.support.lines import lines_of

ROOT = Path(__file__).parents[2]
FULL = os.environ.get("TEST_SCALE") == "full"
"""Whether to test at the scale of a real job; the usual scale keeps the suite fast."""

WAIT_S = 240.0 if FULL else 30.0
"""A test that waits longer than this for a process has failed."""

PRICE = {"input": 1.0, "output": 2.0}
TERMINAL = (100, 30)

_ENTER_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
    " os.execv(sys.argv[1], sys.argv[1:])"
)


@dataclass(frozen=True)
class Ended:
    """What is left of a process; with a terminal, all that it wrote is `out`."""

    code: int
    out: bytes
    err: bytes

    @property
    def text(self) -> str:
        """What was said, for people."""
        return self.err.decode()

    def json(self) -> Any:
        """Return the one JSON object on stdout."""
        return msgspec.json.decode(self.out)


class Process:
    """A running `aiq`; `out` and `err` grow as it writes."""

    def __init__(self, inner: asyncio.subprocess.Process, master: int | None) -> None:
        self._inner = inner
        self._master = master
        self._changed = asyncio.Event()
        self.out, self.err = bytearray(), bytearray()
        self.pid = inner.pid
        self._readers = [
            asyncio.create_task(self._read(stream, kept))
            for stream, kept in ((inner.stdout, self.out), (inner.stderr, self.err))
            if stream is not None
        ]
        if master is not None:
            asyncio.get_running_loop().add_reader(master, self._read_terminal)

    async def _read(self, stream: asyncio.StreamReader, kept: bytearray) -> None:
        while piece := await stream.read(65536):
            kept += piece
            self._changed.set()

    def _read_terminal(self) -> None:
        try:
            piece = os.read(self._master or 0, 65536)
        except OSError:  # the process closed its side
            piece = b""
        self.out.extend(piece)
        self._changed.set()
        if not piece:
            self.hang_up()

    async def says(self, text: str | bytes, *, after: int = 0) -> None:
        """Wait until it has written this, on either stream, behind the first `after` bytes."""
        wanted = text.encode() if isinstance(text, str) else text
        await self.until(lambda: wanted in self.err[after:] or wanted in self.out[after:])

    async def writes(self) -> None:
        """Wait until it writes anything more."""
        before = len(self.out) + len(self.err)
        await self.until(lambda: len(self.out) + len(self.err) > before)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something that it wrote makes the condition true."""
        try:
            async with asyncio.timeout(WAIT_S):
                while not condition():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"it only wrote {bytes(self.out)!r} {bytes(self.err)!r}") from None

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process."""
        self._inner.send_signal(number)

    async def write(self, data: bytes, *, close: bool = False) -> None:
        """Write to its standard input."""
        assert self._inner.stdin is not None
        self._inner.stdin.write(data)
        await self._inner.stdin.drain()
        if close:
            self._inner.stdin.close()

    def press(self, keys: bytes) -> None:
        """Type on its terminal."""
        assert self._master is not None
        os.write(self._master, keys)

    def resize(self, columns: int, lines: int) -> None:
        """Change the size of its terminal; the kernel sends SIGWINCH."""
        assert self._master is not None
        _set_size(self._master, columns, lines)

    def hang_up(self) -> None:
        """Close the terminal, as when its window is closed; the kernel sends SIGHUP."""
        if self._master is not None:
            asyncio.get_running_loop().remove_reader(self._master)
            os.close(self._master)
            self._master = None

    @property
    def is_running(self) -> bool:
        return self._inner.returncode is None

    async def ended(self) -> Ended:
        """Wait for its end."""
        try:
            async with asyncio.timeout(WAIT_S):
                code = await self._inner.wait()
                await asyncio.gather(*self._readers)
                while self._master is not None:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"it does not end: {bytes(self.err)!r}") from None
        return Ended(code, bytes(self.out), bytes(self.err))

    async def kill(self) -> None:
        """End it now, however it stands."""
        with contextlib.suppress(ProcessLookupError):
            self._inner.kill()
        await self._inner.wait()
        for reader in self._readers:
            reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)
        self.hang_up()


class Workplace:
    """A fresh directory with a configuration, and the processes started in it."""

    def __init__(
        self, directory: Path, *, run: Mapping[str, Any] | None = None, **providers: Any
    ) -> None:
        self.directory = directory
        self.db = directory / "aiq.db"
        self.env = {
            "PATH": f"{Path(sys.executable).parent}:{os.defpath}",
            "HOME": str(directory),
            "LC_ALL": "C.UTF-8",
            "TERM": "xterm-256color",
            "PYTHONPATH": str(ROOT),
        }
        self._processes: list[Process] = []
        self.configure(run, **providers)

    def configure(self, run: Mapping[str, Any] | None = None, **providers: Any) -> None:
        """Write aiq.toml; a provider is a fault server, a URL or a table (None: no such key)."""
        lines = ["[run]", *_pairs({"concurrency": 16, **(run or {})})]
        for name, given in providers.items():
            url = given.url if isinstance(given, FaultServer) else given
            table = given if isinstance(given, dict) else {"base_url": url}
            keys = {"name": name, "model": "m", "price": PRICE, "max_tokens": 64, **table}
            lines += ["[[providers]]", *_pairs(keys)]
        (self.directory / "aiq.toml").write_text("\n".join(lines) + "\n")

    def write(self, lines: Iterable[Any], name: str = "p.jsonl") -> str:
        """Write a prompt file, bytes as they are and all else as JSON; return its name."""
        path = self.directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(
            b"".join(
                (line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n"
                for line in lines
            )
        )
        return name

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in self._processes:
            await process.kill()

    async def start(
        self,
        *arguments: str,
        terminal: tuple[int, int] | None = None,
        shell: str | None = None,
        stdin: bool = False,
        env: Mapping[str, str] | None = None,
    ) -> Process:
        """
        Start `aiq` with these arguments.

        Args:
            terminal: columns and lines of a pseudo-terminal for all three streams.
            shell: a line for `sh` in which `"$@"` stands for the command.
            stdin: whether `write` shall reach its standard input; otherwise that is empty.
            env: added to the environment.
        """
        command = [sys.executable, "-m", "aiq", *arguments]
        if shell is not None:
            command = ["/bin/sh", "-c", shell, "sh", *command]
        pipe, master, slave = asyncio.subprocess.PIPE, None, None
        if terminal is not None:
            command = [sys.executable, "-ISc", _ENTER_TERMINAL, *command]
            master, slave = pty.openpty()
            _set_size(master, *terminal)
        try:
            inner = await asyncio.create_subprocess_exec(
                *command,
                cwd=self.directory,
                env={**self.env, **(env or {})},
                start_new_session=True,
                stdin=slave or (pipe if stdin else asyncio.subprocess.DEVNULL),
                stdout=slave or pipe,
                stderr=slave or pipe,
            )
        finally:
            if slave is not None:
                os.close(slave)
        process = Process(inner, master)
        self._processes.append(process)
        return process

    def fifo(self, name: str) -> str:
        """Make a named pipe; return its name."""
        os.mkfifo(self.directory / name)
        return name

    async def opened(self, fifo: str) -> int:
        """Wait until a process reads the named pipe; return a descriptor to write to it."""
        async with asyncio.timeout(WAIT_S):
            while True:
                try:
                    descriptor = os.open(self.directory / fifo, os.O_WRONLY | os.O_NONBLOCK)
                except OSError:  # nobody reads it yet, and the kernel has no other way to tell
                    await asyncio.sleep(0.01)
                else:
                    os.set_blocking(descriptor, True)
                    return descriptor

    async def run(self, *arguments: str, **options: Any) -> Ended:
        """Start `aiq` and wait for its end."""
        return await (await self.start(*arguments, **options)).ended()

    async def resume(self, ended: Ended, *more: str) -> Ended:
        """Run the command that a stopped run printed for its user."""
        [command] = [
            line.split(None, 1)[1] for line in lines_of(ended.text) if line.startswith("resume ")
        ]
        name, *arguments = shlex.split(command)
        assert name == "aiq"
        return await self.run(*arguments, *more)


def _pairs(keys: Mapping[str, Any]) -> list[str]:
    return [f"{name} = {_toml(value)}" for name, value in keys.items() if value is not None]


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(k)} = {_toml(v)}" for k, v in value.items()) + " }"
    return json.dumps(value)


def _set_size(descriptor: int, columns: int, lines: int) -> None:
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))


def contents(directory: Path) -> dict[str, bytes]:
    """Read every file of a directory, by name."""
    return {one.name: one.read_bytes() for one in directory.iterdir() if one.is_file()}
