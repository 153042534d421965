"""
Room for replies that are still arriving: how much of them one provider may fill at a time.

A small reply never waits. Of the large ones together only so much is read; what does not fit stays
in its socket, and its server waits. The one that has been large for longest is always read on, so
that there is an end to it, up to the cap of a single reply.
"""

from __future__ import annotations

import asyncio

SMALL_BYTES = 256 * 1024
"""A reply up to this size is not counted: a long chat answer is a tenth of it."""

ROOM_BYTES = 16 * 1024 * 1024


class Room:
    """What the large replies of one provider share."""

    def __init__(self, limit_bytes: int = ROOM_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._held_bytes = 0
        self._large: dict[Share, None] = {}  # in the order in which they became large
        self._freed = asyncio.Event()

    def has_room_for(self, share: Share) -> bool:
        """Whether more of this reply may be read now."""
        return (
            share not in self._large
            or self._held_bytes < self._limit_bytes
            or share is next(iter(self._large))
        )

    async def wait(self) -> None:
        """Wait until a large reply has left."""
        self._freed.clear()
        await self._freed.wait()

    def hold(self, share: Share, size: int) -> None:
        """Count more of a large reply."""
        self._large[share] = None
        self._held_bytes += size

    def free(self, share: Share) -> None:
        """Count all of a reply no longer."""
        if share in self._large:
            del self._large[share]
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

    def leave(self) -> None:
        """Give back all of it."""
        self._room.free(self)
