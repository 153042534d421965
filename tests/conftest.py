"""A fresh world per test: no keys or proxies in the environment, no way off this machine."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from aiq.providers.presets import PRESETS
from aiq.store.db import Database
from aiq.store.opening import open_for_run
from tests.support import factories
from tests.support.fake_clock import FakeClock

# No deadline per example: other programs share the machine, and a slow example proves nothing.
settings.register_profile("dev", deadline=None, max_examples=100)
settings.register_profile("ci", deadline=None, max_examples=300)
settings.register_profile("nightly", deadline=None, max_examples=5000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))

_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
_TERMINAL = ("CI", "NO_COLOR", "FORCE_COLOR")
_KEYS = {name for preset in PRESETS.values() for name in preset.key_env}


# A shell's background job ignores them, and would hand that down to every process under test.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def _scrubbed_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the developer has in his environment changes no test."""
    for name in list(os.environ):
        is_ours = name.startswith("AIQ_") or name in _KEYS or name in _TERMINAL
        if is_ours or name.lower() in _PROXIES:
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that would reach a real server fails instead."""

    def guarded(original: Callable[..., Any]) -> Callable[..., Any]:
        def connect(self: socket.socket, address: Any) -> Any:
            if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_loopback(address[0]):
                pytest.fail(f"a test tried to connect to {address!r}")
            return original(self, address)

        return connect

    monkeypatch.setattr(socket.socket, "connect", guarded(socket.socket.connect))
    monkeypatch.setattr(socket.socket, "connect_ex", guarded(socket.socket.connect_ex))


def _is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def draw() -> Callable[[], float]:
    """A die that always shows the middle."""
    return lambda: 0.5


@pytest.fixture
def database_path(tmp_path: Path) -> Path:
    return tmp_path / "aiq.db"


@pytest.fixture
async def database(database_path: Path) -> AsyncIterator[Database]:
    """A real store with its one writing connection, a run and a candidate."""
    opened = await open_for_run(database_path)
    await factories.begin(opened)
    yield opened
    await opened.close()
