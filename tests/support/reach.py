"""How many objects hang on one: what grows with what went through it shows as a number."""

from __future__ import annotations

import asyncio
import gc
import types
from collections.abc import Iterable

_SHARED = (types.ModuleType, type, types.CodeType, asyncio.AbstractEventLoop)
"""What hangs on these is the program's, not the object's."""


def reachable(root: object) -> int:
    """Count all objects that an object refers to, itself, or by way of others."""
    found = {id(root): root}
    waiting = [root]
    while waiting:
        for one in _referents(waiting.pop()):
            if id(one) not in found and not isinstance(one, _SHARED):
                found[id(one)] = one
                waiting.append(one)
    return len(found)


def _referents(one: object) -> Iterable[object]:
    """A function refers to its module's names, too; what it closes over is its own."""
    if isinstance(one, types.FunctionType):
        return one.__closure__ or ()
    return gc.get_referents(one)
