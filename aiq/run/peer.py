"""Who is at the other end of a local socket, as far as the system tells."""

from __future__ import annotations

import os
import socket
import struct

_LOCAL = 0
"""SOL_LOCAL of macOS and the BSDs."""


def is_stranger(connection: socket.socket) -> bool:
    """
    Whether the process at the other end is another user's.

    Where the system cannot say, it is not: then nothing but the directory keeps others out.
    """
    uid = _uid(connection)
    return uid is not None and uid != os.geteuid()


def _uid(connection: socket.socket) -> int | None:
    if (linux := getattr(socket, "SO_PEERCRED", None)) is not None:
        found = connection.getsockopt(socket.SOL_SOCKET, linux, struct.calcsize("3i"))
        return int(struct.unpack("3i", found)[1])
    if (others := getattr(socket, "LOCAL_PEERCRED", None)) is not None:
        # struct xucred: its version, then the user.
        return int(struct.unpack_from("2I", connection.getsockopt(_LOCAL, others, 128))[1])
    return None
