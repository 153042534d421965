"""Room for the large replies of a provider: who is read on, who waits, and that all end."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from aiq.providers.room import SMALL_BYTES, Room, Share

LARGE = SMALL_BYTES + 1
LARGEST = 8 * LARGE


def room(limit_bytes: int) -> Room:
    return Room(limit_bytes=limit_bytes, largest_bytes=LARGEST)


def holding(full: Room, size: int) -> Share:
    share = Share(full)
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
    full = room(limit_bytes=LARGE)
    holding(full, LARGE)
    holding(full, LARGE)
    assert not any([await waits(holding(full, SMALL_BYTES)) for _ in range(50)])


async def test_of_the_large_ones_the_first_is_read_on() -> None:
    full = room(limit_bytes=2 * LARGE)
    shares = [holding(full, LARGE) for _ in range(3)]
    assert [await waits(share) for share in shares] == [False, True, True]


async def test_below_the_limit_all_are_read_on() -> None:
    full = room(limit_bytes=2 * LARGE + 1)
    shares = [holding(full, LARGE) for _ in range(2)]
    assert [await waits(share) for share in shares] == [False, False]
    shares[0].take(1)
    assert [await waits(share) for share in shares] == [False, True]


async def test_whoever_leaves_makes_room() -> None:
    """Everybody who waits has a turn in the end, in the order in which they became large."""
    full = room(limit_bytes=LARGE)
    shares = [holding(full, LARGE) for _ in range(3)]
    turns = [asyncio.create_task(share.turn()) for share in shares]
    await asyncio.sleep(0)
    for number, share in enumerate(shares):
        assert [turn.done() for turn in turns[: number + 1]] == [True] * (number + 1)
        assert not any(turn.done() for turn in turns[number + 1 :])
        share.leave()
        share.leave()  # to leave twice frees nothing twice
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert not await waits(holding(full, LARGE))


async def test_one_that_gave_up_waiting_is_not_waited_for() -> None:
    full = room(limit_bytes=LARGE)
    first, second, third = (holding(full, LARGE) for _ in range(3))
    second.leave()
    first.leave()
    assert not await waits(third)


async def test_one_that_stalls_lets_the_next_by() -> None:
    """It is read on when it is the first again: when those before it have left, or stall too."""
    full = room(limit_bytes=LARGE)
    first, second, third = (holding(full, LARGE) for _ in range(3))
    first.give_way()
    assert [await waits(share) for share in (first, second, third)] == [True, False, True]
    second.leave()
    third.give_way()
    assert [await waits(share) for share in (first, third)] == [False, True]


async def test_who_waits_is_woken_by_one_that_stalls() -> None:
    full = room(limit_bytes=LARGE)
    first, second = holding(full, LARGE), holding(full, LARGE)
    turn = asyncio.create_task(second.turn())
    await asyncio.sleep(0)
    first.give_way()
    await asyncio.wait_for(turn, 1)


async def test_a_small_one_gives_no_way() -> None:
    """It waits for nobody and nobody waits for it."""
    full = room(limit_bytes=LARGE)
    small, large = holding(full, 1), holding(full, LARGE)
    small.give_way()
    assert not await waits(large)


async def test_one_that_stalls_just_below_the_cap_lets_any_number_by() -> None:
    """What many have read of themselves before the room was full is no reason against it."""
    full = room(limit_bytes=LARGE)
    stalled, *others = (holding(full, LARGE) for _ in range(200))
    stalled.take(LARGEST - LARGE - 1)
    stalled.give_way()
    for other in others:
        assert not await waits(other)
        other.take(LARGEST - LARGE)
        other.leave()


async def test_the_second_that_stalls_with_as_much_lets_nobody_by() -> None:
    """Until somebody leaves; else each could be read to the cap in turn."""
    full = room(limit_bytes=LARGE)
    stalled = [holding(full, LARGE) for _ in range(2)]
    third = holding(full, LARGE)
    for one in stalled:
        one.take(LARGEST - LARGE - 1)
        one.give_way()
    assert await waits(third)
    stalled[0].leave()
    stalled[1].give_way()
    assert not await waits(third)


@given(st.lists(st.tuples(st.integers(0, 7), st.booleans()), max_size=200))
@settings(deadline=None)
def test_however_they_stall_no_more_is_held_than_the_bound(steps: list[tuple[int, bool]]) -> None:
    """Whoever may read takes a piece, or stalls; at the cap it leaves and another one comes."""
    full = room(limit_bytes=4 * LARGE)
    shares = [Share(full) for _ in range(8)]
    for number, has_more in steps:
        share = shares[number]
        if not has_more:
            share.give_way()
        elif full.has_room_for(share):
            share.take(LARGE)
            if share.size >= LARGEST:
                share.leave()
                shares[number] = Share(full)
        first_pieces = 8 * LARGE  # a small reply is never held up, so all may become large
        assert sum(one.size for one in shares) < 4 * LARGE + first_pieces + 2 * LARGEST
