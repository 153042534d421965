"""The channel: only its user gets through, and no client, however odd, disturbs who listens."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest

from aiq.errors import ExitCode, Refused, StoreError, UnknownName
from aiq.policy.control import Disable, Pause, SetBudget
from aiq.run import channel, operator, peer
from aiq.run.channel import Channel
from aiq.run.meeting_place import PATH_BYTES, make_private, places
from aiq.run.operator import Declined, ask, unreachable
from aiq.run.protocol import (
    REQUEST_BYTES,
    VERSION,
    Order,
    Reply,
    Request,
    Status,
    encode,
    read_reply,
)

NOBODY = 65534


class Desk:
    """Keeps the orders it gets."""

    def __init__(self) -> None:
        self.orders: list[Order] = []
        self.error: Exception | None = None

    async def obey(self, order: Order) -> Reply:
        self.orders.append(order)
        if self.error is not None:
            raise self.error
        return Reply(said="done")


@pytest.fixture
def environ() -> Iterator[dict[str, str]]:
    """A place of the test's own, short enough for a socket in it."""
    with tempfile.TemporaryDirectory(prefix="aiq-", dir="/tmp") as directory:
        yield {"XDG_RUNTIME_DIR": directory}


@pytest.fixture
async def desk(tmp_path: Path, environ: dict[str, str]) -> AsyncIterator[Desk]:
    """Somebody who listens for a database."""
    one = Desk()
    async with Channel(tmp_path / "aiq.db", environ, tell=pytest.fail).open(one.obey):
        yield one
    assert not place(tmp_path, environ).exists()


def place(tmp_path: Path, environ: dict[str, str]) -> Path:
    return next(places(tmp_path / "aiq.db", environ))


async def asked(tmp_path: Path, environ: dict[str, str], order: Order) -> Reply | None:
    return await asyncio.to_thread(ask, tmp_path / "aiq.db", order, environ)


async def raw(path: Path, data: bytes) -> bytes:
    """Send bytes and return all that comes back."""
    reader, writer = await asyncio.open_unix_connection(path, limit=2**23)
    writer.write(data)
    try:
        await writer.drain()
        return await reader.read()
    except (ConnectionResetError, BrokenPipeError):
        return b""
    finally:
        writer.close()


async def test_an_order_arrives_as_it_was_given(
    desk: Desk, tmp_path: Path, environ: dict[str, str]
) -> None:
    orders: list[Order] = [
        Pause(),
        Disable("a \u2028 \x1b[2J b"),
        SetBudget(12_500_000_001),
        Status(),
    ]
    for order in orders:
        assert await asked(tmp_path, environ, order) == Reply(said="done")
    assert desk.orders == orders


async def test_a_refusal_comes_back_in_words_and_with_its_exit_status(
    desk: Desk, tmp_path: Path, environ: dict[str, str]
) -> None:
    for error, code in (
        (Refused("no", hint="yes"), ExitCode.REFUSED),
        (StoreError("full", hint="yes"), ExitCode.STORE),
    ):
        desk.error = error
        with pytest.raises(Declined, match=str(error)) as declined:
            await asked(tmp_path, environ, Pause())
        assert (declined.value.exit_code, declined.value.hint) == (code, "yes")


async def test_a_mistake_of_ours_is_confessed_and_ends_nothing(
    desk: Desk, tmp_path: Path, environ: dict[str, str]
) -> None:
    desk.error = KeyError("sk-a-secret")
    with pytest.raises(Declined, match="bug in aiq: KeyError; the run goes on") as declined:
        await asked(tmp_path, environ, Pause())
    assert declined.value.exit_code == ExitCode.BUG
    desk.error = None
    assert await asked(tmp_path, environ, Pause()) == Reply(said="done")


async def test_the_socket_and_its_directory_are_private(
    desk: Desk, tmp_path: Path, environ: dict[str, str]
) -> None:
    path = place(tmp_path, environ)
    assert stat.S_IMODE(path.lstat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.lstat().st_mode) == 0o700
    assert desk.orders == []


NONSENSE = [
    b"\n",
    b"pause\n",
    b"{}\n",
    b"[1, 2]\n",
    b'{"version": 1}\n',
    b'{"version": "1", "order": {"type": "pause"}}\n',
    b'{"version": 1, "order": {"type": "explode"}}\n',
    b'{"version": 1, "order": {"type": "set concurrency", "jobs": "many"}}\n',
    b'{"version": 1, "order": ' + b"[" * 20_000 + b"\n",
    b"\xff\xfe\x00\n",
    b'{"version": 1, "order": {"type": "disable", "provider": "\xed\xa0\x80"}}\n',
]


@pytest.mark.parametrize("line", NONSENSE, ids=lambda line: repr(line[:40]))
async def test_what_is_no_order_is_told_so(
    desk: Desk, tmp_path: Path, environ: dict[str, str], line: bytes
) -> None:
    """And whoever listens never hears of it."""
    reply = read_reply(await raw(place(tmp_path, environ), line))
    assert reply.code == ExitCode.REFUSED
    assert "no order" in reply.said
    assert desk.orders == []


async def test_another_version_is_told_which_one_is_spoken_here(
    desk: Desk, tmp_path: Path, environ: dict[str, str]
) -> None:
    reply = read_reply(await raw(place(tmp_path, environ), encode(Request(VERSION + 1, Pause()))))
    assert f"understands version {VERSION}" in reply.said
    assert desk.orders == []
    newer = encode(Reply(version=VERSION + 1))
    with pytest.raises(Refused, match="answers in version"):
        read_reply(newer)


async def test_an_endless_line_is_refused(
    desk: Desk, tmp_path: Path, environ: dict[str, str]
) -> None:
    """At most what it takes to see that it is too long is ever read."""
    answer = await raw(place(tmp_path, environ), b"x" * 2**20 + b"\n")
    assert not answer or f"at most {REQUEST_BYTES:,} bytes" in read_reply(answer).said
    assert desk.orders == []
    assert await asked(tmp_path, environ, Pause()) == Reply(said="done")


async def test_who_connects_and_says_nothing_keeps_nobody_out_for_long(
    desk: Desk, tmp_path: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Places are few, and given back when the time is over."""
    monkeypatch.setattr(channel, "REQUEST_S", 0.2)
    path = place(tmp_path, environ)
    silent = [await asyncio.open_unix_connection(path) for _ in range(3 * channel.CLIENTS)]
    for reader, _ in silent:
        assert await reader.read() == b""
    assert desk.orders == []
    assert await asked(tmp_path, environ, Pause()) == Reply(said="done")
    for _, writer in silent:
        writer.close()


async def test_who_leaves_before_the_answer_disturbs_nobody(
    desk: Desk, tmp_path: Path, environ: dict[str, str]
) -> None:
    path = place(tmp_path, environ)
    for _ in range(20):
        _, writer = await asyncio.open_unix_connection(path)
        writer.write(encode(Request(VERSION, Pause())))
        writer.transport.abort()
    while not (await asked(tmp_path, environ, Status())):
        pass
    assert desk.orders[-1] == Status()


async def test_the_end_does_not_wait_for_who_says_nothing(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    opened = Channel(tmp_path / "aiq.db", environ, tell=pytest.fail)
    async with opened.open(Desk().obey):
        reader, writer = await asyncio.open_unix_connection(place(tmp_path, environ))
        while not opened._clients:  # noqa: ASYNC110 - nobody is told when the loop takes it in
            await asyncio.sleep(0)
    assert await reader.read() == b""
    writer.close()


async def test_a_socket_that_a_dead_run_left_is_replaced(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    """Whoever holds the lock knows that it is dead; an operator is told that nobody is there."""
    path = place(tmp_path, environ)
    make_private(path.parent)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert await asked(tmp_path, environ, Pause()) is None
    async with Channel(tmp_path / "aiq.db", environ, tell=pytest.fail).open(Desk().obey):
        assert await asked(tmp_path, environ, Pause()) == Reply(said="done")
    assert not path.exists()


async def test_a_long_path_of_the_database_is_no_obstacle(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    deep = tmp_path.joinpath(*["a-directory-with-a-long-name"] * 8)
    deep.mkdir(parents=True)
    link = tmp_path / "short.db"
    link.symlink_to(deep / "aiq.db")
    async with Channel(deep / "aiq.db", environ, tell=pytest.fail).open(Desk().obey):
        assert await asyncio.to_thread(ask, link, Pause(), environ) == Reply(said="done")


def test_places_are_short_enough_and_of_one_database_each(tmp_path: Path) -> None:
    """A runtime directory whose name is too long, or no absolute path, is passed over."""
    usual = list(places(tmp_path / "aiq.db", {}))
    assert list(places(tmp_path / "aiq.db", {"XDG_RUNTIME_DIR": "/" + "x" * PATH_BYTES})) == usual
    assert list(places(tmp_path / "aiq.db", {"XDG_RUNTIME_DIR": "here"})) == usual
    assert list(places(tmp_path / "other.db", {})) != usual
    assert usual[-1].parent == Path(f"/tmp/aiq-{os.geteuid()}")


async def test_a_run_without_a_place_goes_on_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory of another user's, one that others may enter, a link: none is private."""
    shared = tmp_path / "shared"
    shared.mkdir()
    (tmp_path / "link").symlink_to(shared)
    (tmp_path / "file").write_text("")
    said: list[str] = []
    for name, reason in (
        ("shared", "entered by others"),
        ("link", "not a directory"),
        ("file", "not a directory"),
        ("missing/one", "No such file"),
    ):
        monkeypatch.setattr(channel, "places", lambda *_, at=name: iter([tmp_path / at / "s"]))
        if name == "shared":
            shared.chmod(0o755)
        async with Channel(tmp_path / "aiq.db", {}, tell=said.append).open(Desk().obey):
            assert reason in said[-1]
    monkeypatch.setattr(channel, "places", lambda *_: iter([]))
    async with Channel(tmp_path / "aiq.db", {}, tell=said.append).open(Desk().obey):
        assert "too long" in said[-1]


async def test_a_system_without_such_sockets_has_no_channel(
    tmp_path: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(socket, "AF_UNIX")
    said: list[str] = []
    async with Channel(tmp_path / "aiq.db", environ, tell=said.append).open(Desk().obey):
        assert "AF_UNIX" in said[0]


CONNECT = """
import os, socket, sys
os.setgroups([])
os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[2]))
with socket.socket(socket.AF_UNIX) as one:
    one.settimeout(10)
    try:
        one.connect(sys.argv[1])
        one.sendall(sys.argv[3].encode() + b"\\n")
        print(one.recv(1000).decode() or "sent away")
    except PermissionError:
        print("kept out")
    except OSError:
        print("sent away")
"""


async def as_nobody(path: Path) -> str:
    order = encode(Request(VERSION, Pause())).decode().strip()
    done = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-c", CONNECT, str(path), str(NOBODY), order,
        cwd="/", stdout=subprocess.PIPE,
    )  # fmt: skip
    said, _ = await done.communicate()
    return said.decode().strip()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
async def test_another_user_is_kept_out_and_sent_away(
    desk: Desk, tmp_path: Path, environ: dict[str, str]
) -> None:
    """By the directory; by the socket's mode; and, should both be open, by who he is."""
    path = place(tmp_path, environ)
    assert await as_nobody(path) == "kept out"
    path.parent.chmod(0o755)
    path.parent.parent.chmod(0o755)
    assert await as_nobody(path) == "kept out"
    path.chmod(0o666)
    assert await as_nobody(path) == "sent away"
    assert desk.orders == []
    path.parent.chmod(0o700)
    assert await asked(tmp_path, environ, Pause()) == Reply(said="done")


async def test_an_order_goes_to_no_stranger(
    desk: Desk, tmp_path: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who listens in our place under another user is not told anything."""
    monkeypatch.setattr(operator, "is_stranger", lambda _: True)
    assert await asked(tmp_path, environ, Pause()) is None
    assert desk.orders == []


def test_who_is_at_the_other_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Linux tells it, as macOS does, and where a system does not say."""
    here, there = socket.socketpair()
    with here, there:
        assert not peer.is_stranger(here)
        monkeypatch.setattr(os, "geteuid", lambda: 4711)
        assert peer.is_stranger(here)
        monkeypatch.delattr(socket, "SO_PEERCRED", raising=False)
        assert not peer.is_stranger(here)

        class Mac:
            def getsockopt(self, *_: int) -> bytes:
                return (0).to_bytes(4, sys.byteorder) + (501).to_bytes(4, sys.byteorder) + bytes(68)

        monkeypatch.setattr(socket, "LOCAL_PEERCRED", 1, raising=False)
        assert peer.is_stranger(Mac())  # type: ignore[arg-type] # as much of one as is asked
        monkeypatch.setattr(os, "geteuid", lambda: 501)
        assert not peer.is_stranger(Mac())  # type: ignore[arg-type]


def test_why_no_run_was_reached(tmp_path: Path) -> None:
    """There is no database; no run is at work; one is, and has no channel for us."""
    path = tmp_path / "aiq.db"
    assert isinstance(unreachable(path), UnknownName)
    path.write_bytes(b"")
    assert "no run is at work" in str(unreachable(path))
    code = "import sys, pathlib\nfrom aiq.store.lock import RunLock\n"
    code += "lock = RunLock(pathlib.Path(sys.argv[1])); lock.acquire(); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        assert isinstance(unreachable(path), StoreError)
        holder.communicate(b"\n")
    assert "no run is at work" in str(unreachable(path))


def test_a_reply_that_is_none() -> None:
    for line in (b"", b"hello\n", b'{"version": 1, "code": "x"}\n', msgspec.json.encode([])):
        with pytest.raises(Refused, match="no answer that can be read"):
            read_reply(line)
