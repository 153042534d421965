"""The first level of a probe: name, port and certificate, over real sockets."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

import pytest

from aiq.clock import Clock
from aiq.errors import ExitCode
from aiq.policy.health import Level
from aiq.providers import network
from aiq.providers.network import Reach, reach
from aiq.run.probe import Probe, Round
from tests.support.fault_server import FaultServer
from tests.support.sessions import Bench, provider


def resolving_to(*addresses: tuple[str, int]) -> Any:
    """Return a resolver that knows one host."""

    def resolve(_host: str, _port: int, **_: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]

    return resolve


async def test_every_step_is_taken_and_timed() -> None:
    async with FaultServer() as server:
        found = await reach(server.url, limit_s=5)
        assert server.ledger == []
    assert found.failure is None
    assert [step.name for step in found.steps] == ["DNS", "TCP"]
    assert found.seconds == sum(step.seconds for step in found.steps) > 0


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://127.0.0.1:1/v1", "no connection to 127.0.0.1:1: Connection refused"),
        ("http://[::1]:1/v1", "no connection to [::1]:1: "),
        ("http://nonexistent.invalid/v1", "no address for nonexistent.invalid: "),
        (f"http://{'x' * 64}.example/v1", "not a valid name"),
    ],
)
async def test_what_is_not_there_is_said(url: str, words: str) -> None:
    found = await reach(url, limit_s=5)
    assert found.failure is not None
    assert words in found.failure


async def test_tls_to_a_plain_port_is_no_tls() -> None:
    async with FaultServer() as server:
        found = await reach(server.url.replace("http:", "https:"), limit_s=5)
    assert str(found.failure).startswith(f"no TLS with 127.0.0.1:{server.port}: ")
    assert [step.name for step in found.steps] == ["DNS", "TCP"]


async def test_a_silent_tls_server_is_given_up() -> None:
    """It accepts and never greets."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        found = await reach(f"https://{address}/v1", limit_s=0.2)
    assert found.failure == f"no TLS with {address}: nothing within 0.2 s"


async def test_a_resolver_that_hangs_holds_nobody_up() -> None:
    """The thread it hangs on is left behind; neither the caller nor the end waits for it."""
    asked, released = threading.Event(), threading.Event()

    def hang(*_: Any, **__: Any) -> list[Any]:
        asked.set()
        released.wait(30)
        return []

    try:
        found = await reach("http://api.example.com/v1", limit_s=0.1, resolver=hang)
        assert asked.is_set()
        assert found == Reach((), "no address for api.example.com: nothing within 0.1 s")
        [thread] = [one for one in threading.enumerate() if one.name == "resolver"]
        assert thread.daemon
    finally:
        released.set()
        thread.join()


async def test_a_dead_address_does_not_hide_a_living_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused address is followed by the next at once, as with `localhost` on two families."""
    monkeypatch.setattr(network, "STAGGER_S", 50.0)
    async with FaultServer() as server:
        resolver = resolving_to(("127.0.0.1", 1), ("127.0.0.1", server.port))
        found = await reach("http://model.example.com/v1", limit_s=20, resolver=resolver)
    assert found.failure is None


async def test_of_several_dead_addresses_one_is_told() -> None:
    resolver = resolving_to(("127.0.0.1", 1), ("127.0.0.1", 2))
    found = await reach("http://model.example.com/v1", limit_s=5, resolver=resolver)
    assert found.failure == "no connection to model.example.com:80: Connection refused"


async def test_a_name_without_addresses_is_a_failure() -> None:
    found = await reach("http://model.example.com/v1", limit_s=5, resolver=resolving_to())
    assert found.failure == "no connection to model.example.com:80: the name has no address"


async def test_stopping_leaves_no_connection_behind() -> None:
    """Cancelled in the middle of a handshake, as Ctrl-C does."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}/v1"
        task = asyncio.create_task(reach(url, limit_s=30))
        accepted, _ = await asyncio.get_running_loop().run_in_executor(None, silent.accept)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with accepted:
            while await asyncio.to_thread(accepted.recv, 65536):
                pass  # the rest of its greeting; then the end, because it has closed


async def probed(bench: Bench, environ: dict[str, str]) -> Round:
    probe = Probe(
        bench.settings(),
        database=bench.database,
        model=None,
        level=Level.NETWORK,
        clock=Clock(),
        environ=environ,
    )
    return await probe.round()


async def test_behind_a_proxy_the_proxy_is_what_is_reached(tmp_path: Any) -> None:
    """The provider's own name need not be known here; a password in the proxy's URL stays there."""
    bench = Bench(tmp_path, a=provider("https://api.invalid/v1"))
    async with FaultServer() as proxy:
        environ = {"HTTPS_PROXY": f"http://user:word@127.0.0.1:{proxy.port}"}
        found = await probed(bench, environ)
        assert proxy.connections == 1
    assert found.exit_code is ExitCode.OK
    assert found.providers[0].reason.startswith("reachable through the proxy 127.0.0.1 (")
    assert "word" not in str(found.to_json())


async def test_a_proxy_that_is_not_there(tmp_path: Any) -> None:
    bench = Bench(tmp_path, a=provider("https://api.invalid/v1"))
    found = await probed(bench, {"HTTPS_PROXY": "http://user:word@127.0.0.1:1"})
    assert found.exit_code is ExitCode.NO_PROVIDER
    assert found.providers[0].reason == (
        "no connection to 127.0.0.1:1: Connection refused through the proxy 127.0.0.1"
    )
