"""Room for the large replies of a provider: who is read on, who waits, and that all end."""

from __future__ import annotations

import asyncio

from aiq.providers.room import SMALL_BYTES, Room, Share

LARGE = SMALL_BYTES + 1


def holding(room: Room, size: int) -> Share:
    share = Share(room)
    share.take(size)
    return share


async def waits(share: Share) -> bool:
    """Whether a share's turn has not come yet."""
    turn = asyncio.create_task(share.turn())
    await asyncio.sleep(0)
    turn.cancel()
    return not turn.done()


async def test_small_replies_never_wait() -> None:
    """However many there are, and however full it is."""
    room = Room(limit_bytes=LARGE)
    holding(room, LARGE)
    holding(room, LARGE)
    assert not any([await waits(holding(room, SMALL_BYTES)) for _ in range(50)])


async def test_of_the_large_ones_the_first_is_read_on() -> None:
    room = Room(limit_bytes=2 * LARGE)
    shares = [holding(room, LARGE) for _ in range(3)]
    assert [await waits(share) for share in shares] == [False, True, True]


async def test_below_the_limit_all_are_read_on() -> None:
    room = Room(limit_bytes=2 * LARGE + 1)
    shares = [holding(room, LARGE) for _ in range(2)]
    assert [await waits(share) for share in shares] == [False, False]
    shares[0].take(1)
    assert [await waits(share) for share in shares] == [False, True]


async def test_whoever_leaves_makes_room() -> None:
    """Everybody who waits has a turn in the end, in the order in which they became large."""
    room = Room(limit_bytes=LARGE)
    shares = [holding(room, LARGE) for _ in range(3)]
    turns = [asyncio.create_task(share.turn()) for share in shares]
    await asyncio.sleep(0)
    for number, share in enumerate(shares):
        assert [turn.done() for turn in turns[: number + 1]] == [True] * (number + 1)
        assert not any(turn.done() for turn in turns[number + 1 :])
        share.leave()
        share.leave()  # to leave twice frees nothing twice
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert not await waits(holding(room, LARGE))


async def test_one_that_gave_up_waiting_is_not_waited_for() -> None:
    room = Room(limit_bytes=LARGE)
    first, second, third = (holding(room, LARGE) for _ in range(3))
    second.leave()
    first.leave()
    assert not await waits(third)
