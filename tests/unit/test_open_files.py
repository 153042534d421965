"""The limit on open files: raised as far as needed and allowed, else the concurrency is lowered."""

from __future__ import annotations

import resource

import msgspec
import pytest

from aiq.config import RunSettings, Settings
from aiq.run.open_files import SPARE_FILES, attainable, make_room, needed

SETTINGS = Settings(
    run=RunSettings(concurrency=128),
    defaults={},
    providers=(),
    path=None,
    notes=("first",),
)


class Kernel:
    """Holds a limit; `own` is what it allows whatever the hard limit says."""

    def __init__(self, soft: int, hard: int, own: int) -> None:
        self.limits = (soft, hard)
        self._own = own

    def getrlimit(self, _: int) -> tuple[int, int]:
        return self.limits

    def setrlimit(self, _: int, limits: tuple[int, int]) -> None:
        if limits[0] > self._own:
            raise ValueError("not allowed to raise maximum limit")
        self.limits = limits


@pytest.mark.parametrize(
    ("soft", "hard", "own", "raised", "concurrency"),
    [
        (needed(128), 4096, 4096, needed(128), 128),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, 1, resource.RLIM_INFINITY, 128),
        (64, 4096, 4096, needed(128), 128),
        (64, resource.RLIM_INFINITY, 4096, needed(128), 128),
        (64, needed(128), needed(128), needed(128), 128),
        (64, needed(128) - 1, 4096, needed(128) - 1, 127),
        (64, needed(64), 4096, needed(64), 64),
        (64, resource.RLIM_INFINITY, 100, 64, 16),
        (64, 64, 64, 64, 16),
        (3, 3, 3, 3, 1),
    ],
)
def test_a_run_takes_what_it_may_have(  # noqa: PLR0917 - a table
    monkeypatch: pytest.MonkeyPatch,
    soft: int,
    hard: int,
    own: int,
    raised: int,
    concurrency: int,
) -> None:
    """Never less than asked for while the limit can be raised, never more files than allowed."""
    kernel = Kernel(soft, hard, own)
    monkeypatch.setattr(resource, "getrlimit", kernel.getrlimit)
    monkeypatch.setattr(resource, "setrlimit", kernel.setrlimit)
    settings = make_room(SETTINGS)
    assert kernel.limits == (raised, hard)
    assert settings.run.concurrency == concurrency
    lowered = f"concurrency is {concurrency} instead of 128 (`ulimit -n {128 + SPARE_FILES}`)"
    said = [f"only {raised} files may be open: {lowered}"] if concurrency < 128 else []
    assert list(settings.notes) == ["first", *said]
    assert msgspec.structs.replace(settings, run=SETTINGS.run, notes=("first",)) == SETTINGS
    assert attainable() == (None if hard == resource.RLIM_INFINITY else hard)
