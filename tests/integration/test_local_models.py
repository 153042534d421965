"""Prompts that name no model: a local server's only one is taken, anything else is refused."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from aiq.errors import ExitCode, Refused, Unusable
from aiq.run.request import Flags
from tests.support.fault_server import FaultServer
from tests.support.replies import Reply, Seen
from tests.support.sessions import KEY, Bench, hurried, prompts, provider


def having(*names: str) -> Any:
    """Return the script of a server that offers these models."""
    listed = Reply.json({"object": "list", "data": [{"id": name} for name in names]})
    return lambda seen: listed if seen.path.endswith("/models") else None


async def test_the_only_model_is_taken(tmp_path: Path) -> None:
    """It is asked for once, with the key, and used for every prompt without a model."""
    async with FaultServer(having("llama-3")) as server:
        bench = Bench(tmp_path, a=provider(server, model=None, api_key_env="K"), environ={"K": KEY})
        result = await bench.run([*prompts(3), {"id": "own", "prompt": "own", "model": "other"}])
    asked, *posts = server.ledger
    assert (asked.method, asked.path) == ("GET", "/v1/models")
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert {seen.prompt: seen.model for seen in posts} == {
        "p0": "llama-3", "p1": "llama-3", "p2": "llama-3", "own": "other"
    }  # fmt: skip
    assert result.to_json()["providers"][0]["model"] == "llama-3"


@pytest.mark.parametrize("names", [(), ("one", "two")])
async def test_none_or_several_are_refused_and_listed(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    async with FaultServer(having(*names)) as server:
        bench = Bench(tmp_path, a=provider(server, model=None))
        with pytest.raises(Refused) as refused:
            await bench.run(prompts(2))
        assert [seen.method for seen in server.ledger] == ["GET"]
    assert refused.value.exit_code is ExitCode.REFUSED
    assert f"has {len(names)} models" in str(refused.value)
    assert all(f"`{name}`" in str(refused.value) for name in names)
    assert "-m" in (refused.value.hint or "")
    assert bench.states() == {"pending": 2}


@pytest.mark.parametrize("lines", [{"model": "named"}, {}])
async def test_nobody_is_asked_where_a_model_is_named(
    tmp_path: Path, lines: dict[str, str]
) -> None:
    """On every line, or by `-m`."""
    async with FaultServer(having()) as server:
        bench = Bench(tmp_path, a=provider(server, model=None))
        flags = Flags() if lines else Flags(model="named")
        result = await bench.run([one | lines for one in prompts(2)], flags=flags)
        assert result.exit_code is ExitCode.OK
        assert {(seen.method, seen.model) for seen in server.ledger} == {("POST", "named")}


async def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    bench = Bench(tmp_path, a=provider("http://127.0.0.1:1/v1", model=None))
    with pytest.raises(Unusable, match="Connection refused") as unusable:
        await bench.run(prompts(2))
    assert unusable.value.exit_code is ExitCode.NO_PROVIDER
    assert bench.states() == {"pending": 2}


@hurried
@pytest.mark.parametrize(
    "reply",
    [Reply.hang(), Reply.html(), Reply.hang_up(), Reply.error(401, message=f"bad key {KEY}")],
    ids=["hangs", "page", "hangs up", "refuses the key"],
)
async def test_a_server_that_does_not_say(tmp_path: Path, reply: Reply) -> None:
    """Whatever it does instead, the run ends soon, with the server's name and without the key."""

    def script(seen: Seen) -> Reply | None:
        return reply if seen.method == "GET" else None

    async with FaultServer(script) as server:
        local = provider(server, model=None, api_key_env="K", connect_timeout_s=10)
        bench = Bench(tmp_path, a=local, environ={"K": KEY})
        with pytest.raises(Unusable, match=r"`a` at .* does not say which models") as unusable:
            async with asyncio.timeout(30):
                await bench.run(prompts(2))
        assert [seen.method for seen in server.ledger] == ["GET"]
    assert KEY not in str(unusable.value)
    assert not str(unusable.value).endswith(": ")


async def test_a_remote_provider_without_a_model_is_refused(tmp_path: Path) -> None:
    """Nobody guesses a vendor's model, and nothing is sent to find out."""
    bench = Bench(tmp_path, a=provider("https://api.invalid/v1", model=None))
    with pytest.raises(Refused, match="name no model, and neither does `a`") as refused:
        await bench.run(prompts(1))
    assert "-m" in (refused.value.hint or "")


async def test_others_with_a_model_do_it(tmp_path: Path) -> None:
    """A provider that has no model for such prompts is passed over."""
    async with FaultServer() as server:
        bench = Bench(
            tmp_path, a=provider("https://api.invalid/v1", model=None), b=provider(server)
        )
        assert (await bench.run(prompts(3))).exit_code is ExitCode.OK
        assert len(server.ledger) == 3
