"""
The operator's side: an order to whatever run is at work on a database, and its reply.

Nothing here writes a database while a run is at work: the run is the only writer.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from aiq.errors import AiqError, ExitCode, Refused, StoreError, UnknownName
from aiq.policy.control import Disable, Enable, argument, verb
from aiq.run.meeting_place import places, refuse_shared
from aiq.run.ownership import owned_database
from aiq.run.peer import is_stranger
from aiq.run.protocol import (
    REPLY_BYTES,
    REQUEST_BYTES,
    VERSION,
    Order,
    Reply,
    Request,
    encode,
    read_reply,
)
from aiq.store import controls
from aiq.store.db import Database
from aiq.store.lock import is_held

CONNECT_S = 2.0
REPLY_S = 60.0
"""The run may be reading a file, or waiting for a slow disk; most replies take milliseconds."""


class Declined(AiqError):
    """A run did not do what it was told; the exit status is the one it named."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.said, hint=reply.hint)
        self.exit_code = ExitCode(reply.code)


def ask(database: Path, order: Order, environ: Mapping[str, str]) -> Reply | None:
    """
    Give an order to the run at work on a database; None: there is none that can be reached.

    Raises:
        Declined: the run refused it, or could not write it down.
        Refused: it gave no answer.
    """
    connection = _connected(database, environ)
    if connection is None:
        return None
    with connection:
        reply = _asked(connection, order)
    if reply.code:
        raise Declined(reply)
    return reply


def unreachable(database: Path, *, hint: str | None = None) -> AiqError:
    """Return the error that says why no run could be reached; `hint` is for where there is none."""
    if not database.exists():
        return UnknownName(f"there is no database at {database}", hint="name one with `--db`")
    if is_held(database):
        return StoreError(
            f"a run is at work on {database} and cannot be reached: it is just beginning or"
            " ending, was started in another container or by another user, or has no channel",
            hint="`aiq run -v` says so where a run has none; signals reach it in any case",
        )
    return UnknownName(f"no run is at work on {database}", hint=hint)


async def switch(database: Path, command: Disable | Enable, *, now_us: int) -> str:
    """
    Switch a provider off or on for the next run, where none is at work.

    Raises:
        UnknownName: there is no such database, or it never had such a provider.
        StoreError: it cannot be used, or a run is at work that cannot be reached.
    """
    async with owned_database(database, None, may_be_new=False, wants_files=False) as owned:
        is_off = command.provider in await controls.switched_off(owned)
        if is_off is isinstance(command, Disable):
            return f"{command.provider} is {'disabled already' if is_off else 'not disabled'}"
        await _refuse_unknown(owned, command.provider)
        await controls.record(
            owned, run_id=None, at=now_us, command=verb(command), argument=argument(command)
        )
    done = "enabled" if is_off else "disabled until you enable it"
    return f"{command.provider} is {done}"


async def _refuse_unknown(database: Database, provider: str) -> None:
    if not await controls.is_provider(database, provider):
        raise UnknownName(
            f"no run on {database.path} ever asked a provider called `{provider}`",
            hint="`aiq status` lists them",
        )


def _connected(database: Path, environ: Mapping[str, str]) -> socket.socket | None:
    """Connect to whoever listens for the database's run, if he is of our user."""
    for path in places(database, environ):
        with contextlib.suppress(OSError):
            refuse_shared(path.parent)
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                connection.settimeout(CONNECT_S)
                connection.connect(os.fspath(path))
                if not is_stranger(connection):
                    return connection
            except OSError:
                connection.close()
                raise
            connection.close()
    return None


def _asked(connection: socket.socket, order: Order) -> Reply:
    line = encode(Request(VERSION, order))
    if len(line) > REQUEST_BYTES:
        raise Refused(f"that is too much for one order ({len(line):,} bytes)")
    connection.settimeout(REPLY_S)
    try:
        connection.sendall(line)
        found = b"".join(iter(partial(connection.recv, 65536), b""))[:REPLY_BYTES]
    except TimeoutError as error:
        raise Refused(
            f"the run gave no answer within {REPLY_S:g} s",
            hint="it may still be at it; `aiq status` shows what has come of it",
        ) from error
    except OSError as error:
        raise Refused(f"the run broke off: {error.strerror or error}") from error
    return read_reply(found)
