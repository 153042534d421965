"""
Room for replies that are still arriving: how much of them one provider may fill at a time.

A small reply never waits. Of the large ones together only so much is read; what does not fit stays
in its socket, and its server waits. The first of them is always read on, so that there is an end to
it, up to the cap of a single reply. That is the one that has been large for longest; but one whose
server sends nothing goes to the end of the row, or all would wait for it.

One that goes to the end keeps what was read of it. So nobody goes any more once a whole reply's
worth has been read beyond the room: then the first stays the first until somebody leaves. It adds
at most its own size, so that less than two replies are ever held beyond the room, however many
stall; beside them the piece of each that made it large, or was awaited when the room became full.
"""

from __future__ import annotations

import asyncio

SMALL_BYTES = 256 * 1024
"""A reply up to this size is not counted: a long chat answer is a tenth of it."""

ROOM_BYTES = 8 * 1024 * 1024


class Room:
    """What the large replies of one provider share; none is larger than `largest_bytes`."""

    def __init__(self, *, largest_bytes: int, limit_bytes: int = ROOM_BYTES) -> None:
        self._largest_bytes = largest_bytes
        self._limit_bytes = limit_bytes
        self._held_bytes = 0
        self._large: dict[Share, int] = {}  # bytes of each read beyond the room; the first is next
        self._beyond_bytes = 0
        self._freed = asyncio.Event()

    def has_room_for(self, share: Share) -> bool:
        """Whether more of this reply may be read now."""
        return (
            share not in self._large
            or self._held_bytes < self._limit_bytes
            or self._is_first(share)
        )

    def _is_first(self, share: Share) -> bool:
        return share is next(iter(self._large))

    async def wait(self) -> None:
        """Wait until a large reply has left, or has given way."""
        self._freed.clear()
        await self._freed.wait()

    def hold(self, share: Share, size: int) -> None:
        """Count more of a large reply."""
        beyond = self._large.setdefault(share, 0)
        if self._held_bytes >= self._limit_bytes and self._is_first(share):
            self._large[share] = beyond + size
            self._beyond_bytes += size
        self._held_bytes += size

    def put_last(self, share: Share) -> None:
        """Let the other large replies go first."""
        if share in self._large and self._beyond_bytes < self._largest_bytes:
            self._large[share] = self._large.pop(share)
            self._freed.set()

    def free(self, share: Share) -> None:
        """Count all of a reply no longer."""
        if share in self._large:
            self._beyond_bytes -= self._large.pop(share)
            self._held_bytes -= share.size
            self._freed.set()


class Share:
    """What one reply takes of the room, from its first byte until it is left."""

    __slots__ = ("_room", "size")

    def __init__(self, room: Room) -> None:
        self._room = room
        self.size = 0

    async def turn(self) -> None:
        """Wait, if there is need to, until more may be read."""
        while self.size > SMALL_BYTES and not self._room.has_room_for(self):
            await self._room.wait()

    def take(self, size: int) -> None:
        """Note that so many bytes more have been read."""
        was_small = self.size <= SMALL_BYTES
        self.size += size
        if self.size > SMALL_BYTES:
            self._room.hold(self, self.size if was_small else size)

    def give_way(self) -> None:
        """Nothing more of it comes for now: whoever has more is to be read first."""
        self._room.put_last(self)

    def leave(self) -> None:
        """Give back all of it."""
        self._room.free(self)
