"""Probing real sockets: the verdict on each kind of provider, what is sent for it, what is kept."""

from __future__ import annotations

import contextlib
import re
import sqlite3
import ssl
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aiq.clock import Clock
from aiq.config import load
from aiq.errors import ExitCode
from aiq.policy.health import Level
from aiq.policy.standing import Status
from aiq.run.probe import Probe, ProviderHealth, Round
from aiq.store.lock import RunLock
from tests.support.fault_server import FaultServer
from tests.support.replies import Reply, Seen
from tests.support.sessions import Bench, provider

KEY = "sk-test-4711-0815-abcdef"
KEYED: dict[str, Any] = {"api_key_env": "K"}
LISTED = ("alpha-1", "alpha-2", "alpha-3", "beta-1", "beta-2", "gamma-9", "m")


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    """A certificate that nobody signed."""
    path = tmp_path_factory.mktemp("tls")
    key, certificate = path / "key.pem", path / "certificate.pem"
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"]
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(
        ["openssl", "req", "-x509", *curve, *files, *subject], check=True, capture_output=True
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


def listing(*names: str) -> Reply:
    return Reply.json({"object": "list", "data": [{"id": name} for name in names]})


def split(get: Reply | None = None, post: Reply | None = None) -> Callable[[Seen], Reply | None]:
    """Answer the list of models in one way and everything else in another."""
    asked = get or listing(*LISTED)
    return lambda seen: asked if seen.method == "GET" else post


def prober(
    directory: Path,
    *,
    wanted: str | None = None,
    level: int | None = None,
    limit_s: float | None = None,
    **tables: Any,
) -> Probe:
    """Set up what the command sets up; a provider is a server or a table with its keys."""
    environ = {"K": KEY}
    specs = {
        name: provider(table) if isinstance(table, FaultServer) else provider(**table)
        for name, table in tables.items()
    }
    bench = Bench(directory, environ=environ)
    bench.configure(**specs)  # type: ignore[arg-type] # names of providers are none of its options
    return Probe(
        bench.settings(),
        database=directory / "aiq.db",
        model=wanted,
        level=level,
        clock=Clock(),
        environ=environ,
        limit_s=limit_s,
    )


async def probed(directory: Path, **given: Any) -> Round:
    return await prober(directory, **given).round()


async def one(
    directory: Path,
    server: FaultServer | str,
    *,
    wanted: str | None = None,
    level: int | None = None,
    **keys: Any,
) -> ProviderHealth:
    """Probe a single provider, described by its keys in the configuration."""
    table = {"server": server, **keys}
    found = await probed(directory, wanted=wanted, level=level, a=table)
    return found.providers[0]


async def test_nine_providers_nine_right_verdicts(tmp_path: Path, tls: ssl.SSLContext) -> None:
    """All at once, in less time than it takes to wait out the one that hangs, and a bit."""
    gone = Reply.error(404, code="model_not_found", message="The model `m-2` does not exist")
    scripts: dict[str, Any] = {
        "healthy": split(),
        "slow": split(post=Reply(delay_s=0.4)),
        "unknown_key": Reply.error(401, message=f"Incorrect API key provided: {KEY}"),
        "limited": Reply.error(429, code="rate_limit_exceeded"),
        "wrong_model": split(post=gone),
        "page": Reply.html(),
        "hanging": Reply.hang(),
    }
    async with contextlib.AsyncExitStack() as stack:
        servers = {
            name: await stack.enter_async_context(FaultServer(script))
            for name, script in scripts.items()
        }
        secure = await stack.enter_async_context(FaultServer(tls=tls))
        tables: dict[str, dict[str, Any]] = {
            name: {"server": server} | KEYED for name, server in servers.items()
        }
        tables["slow"]["probe"] = {"latency_ms": 200}
        tables["hanging"]["probe"] = {"timeout_s": 2.0}
        tables["wrong_model"]["model"] = "m-2"
        tables["refused"] = {"server": "http://127.0.0.1:1/v1"}
        tables["unsigned"] = {"server": secure}
        began = time.monotonic()
        found = await probed(tmp_path, **tables)
        elapsed_s = time.monotonic() - began
        assert {name for name, server in servers.items() if posted(server)} == {
            "healthy", "slow", "wrong_model", "page"
        }  # fmt: skip
    assert elapsed_s < 10, "the time-out that is not the hanging provider's own"
    verdicts = {one.name: (one.status, one.reason) for one in found.providers}
    statuses = {name: status.value for name, (status, _) in verdicts.items()}
    assert statuses == {
        "healthy": "healthy",
        "slow": "degraded",
        "unknown_key": "disabled",
        "limited": "degraded",
        "wrong_model": "disabled",
        "page": "unhealthy",
        "hanging": "unhealthy",
        "refused": "unhealthy",
        "unsigned": "unhealthy",
    }
    reasons = {name: reason for name, (_, reason) in verdicts.items()}
    assert "slower than 200 ms" in reasons["slow"]
    assert [one.name for one in found.providers if one.latency_ms] == ["healthy", "slow"]
    assert reasons["unknown_key"].startswith("key refused: Incorrect API key")
    assert reasons["limited"].startswith("rate limited: ")
    assert reasons["page"].startswith("HTML page instead of JSON")
    # What was left of its two seconds when it was asked; the connection took some of them.
    assert re.fullmatch(r"no reply within (2|1\.[0-9]) s", reasons["hanging"])
    assert reasons["refused"] == "no connection to 127.0.0.1:1: Connection refused"
    assert "certificate refused, self-signed certificate" in reasons["unsigned"]
    assert reasons["wrong_model"].startswith("it has no model `m-2`; it lists `")
    assert reasons["wrong_model"].count("`") == 2 + 2 * 5 + 2, "five of the seven, and the reply's"
    assert "and 2 more" in reasons["wrong_model"]
    assert KEY not in str(found.to_json())
    assert found.exit_code is ExitCode.SOME_FAILED


def posted(server: FaultServer) -> bool:
    return any(seen.method == "POST" for seen in server.ledger)


@pytest.mark.parametrize(
    ("level", "methods", "reason"),
    [
        (1, [], "key, model and answers were not checked"),
        (2, ["GET"], "it lists 7 models, `m` among them; no answer was asked for"),
        (3, ["GET", "POST"], "it answers"),
        (4, ["GET", "POST"], "answered in "),
    ],
)
async def test_a_probe_asks_no_more_than_its_level(
    tmp_path: Path, level: int, methods: list[str], reason: str
) -> None:
    """Below the third level nothing costs; a healthy verdict says how far it looked."""
    async with FaultServer(split()) as server:
        found = await one(tmp_path, server, level=level)
        assert [seen.method for seen in server.ledger] == methods
    assert found.status is Status.HEALTHY
    assert reason in found.reason
    assert [result.level for result in found.levels] == list(Level)[:level]


async def test_the_level_of_the_configuration_holds_without_an_option(tmp_path: Path) -> None:
    async with FaultServer(split()) as server:
        found = await one(tmp_path, server, probe={"level": 2})
        assert not posted(server)
        found = await one(tmp_path, server, probe={"level": 2}, level=4)
        assert posted(server)
    assert found.levels[-1].level is Level.LATENCY


async def test_the_one_paid_request_is_tiny(tmp_path: Path) -> None:
    """It has the key, the model and a cap of 16 tokens under the server's name for it."""
    async with FaultServer(split()) as server:
        await one(tmp_path, server, cap_field="max_completion_tokens", **KEYED)
    [request] = [seen for seen in server.ledger if seen.method == "POST"]
    assert request.path == "/v1/chat/completions"
    assert request.headers["authorization"] == f"Bearer {KEY}"
    body = request.json()
    assert (body["model"], body["max_completion_tokens"]) == ("m", 16)
    assert len(request.body) < 200


@pytest.mark.parametrize("endpoint", ["embeddings", "completions", "responses"])
async def test_the_endpoint_asked_is_the_configured_one(tmp_path: Path, endpoint: str) -> None:
    async with FaultServer(split()) as server:
        found = await one(tmp_path, server, probe={"endpoint": endpoint})
        assert [seen.path for seen in server.ledger] == ["/v1/models", f"/v1/{endpoint}"]
    assert found.status is Status.HEALTHY, found.reason


@pytest.mark.parametrize(
    ("listed", "answer", "status", "words"),
    [
        (Reply.error(404), None, Status.HEALTHY, "answered in"),
        (Reply.error(500), None, Status.HEALTHY, "answered in"),
        (Reply.html(), None, Status.HEALTHY, "answered in"),
        (Reply.error(403), None, Status.HEALTHY, "answered in"),
        (listing("other"), None, Status.HEALTHY, "answered in"),
        (None, Reply.error(500), Status.UNHEALTHY, "server error: scripted error (HTTP 500)"),
        (None, Reply.error(402), Status.DISABLED, "out of credit"),
        (None, Reply.error(403), Status.DISABLED, "key refused"),
        (None, Reply.json({"choices": []}), Status.UNHEALTHY, "no choices"),
        (None, Reply.error(400), Status.UNHEALTHY, "a plain request is refused"),
        (None, Reply.reset(), Status.UNHEALTHY, "the connection"),
        (None, Reply.truncated(), Status.UNHEALTHY, "broke off"),
        (Reply.error(404), Reply.error(404), Status.DISABLED, "it has no model `m`; not found"),
    ],
)
async def test_a_real_answer_outweighs_the_list(
    tmp_path: Path, listed: Reply | None, answer: Reply | None, status: Status, words: str
) -> None:
    """A server may list nothing, or less than it has, and answer; or list models and fail."""
    async with FaultServer(split(listed, answer)) as server:
        found = await one(tmp_path, server)
        assert posted(server)
    assert found.status is status, found.reason
    assert words in found.reason


@pytest.mark.parametrize(
    ("listed", "status", "words"),
    [
        (listing("other"), Status.DISABLED, "it has no model `m`; it lists `other`"),
        (listing("m-2025-04-14"), Status.HEALTHY, "`m` among them"),
        (Reply.error(404), Status.HEALTHY, "it offers no list of models; no answer was asked for"),
        (Reply.error(403), Status.DISABLED, "key refused: scripted error (HTTP 403)"),
        (Reply.error(503), Status.UNHEALTHY, "server error"),
        (Reply.json({"models": "?"}), Status.UNHEALTHY, "no list of models (HTTP 200)"),
        (Reply.truncated(), Status.UNHEALTHY, "broke off"),
    ],
)
async def test_at_level_two_the_list_is_all_there_is(
    tmp_path: Path, listed: Reply, status: Status, words: str
) -> None:
    async with FaultServer(split(listed)) as server:
        found = await one(tmp_path, server, level=2)
    assert (found.status, words in found.reason) == (status, True), found.reason


async def test_azure_s_list_has_no_deployments(tmp_path: Path) -> None:
    """It shows that the key is accepted; that a deployment is not in it says nothing."""
    async with FaultServer(split(listing("gpt-4o"))) as server:
        found = await one(tmp_path, server, level=2, base_url=server.root, api_version="2024-10-21")
        assert [seen.path for seen in server.ledger] == ["/openai/models?api-version=2024-10-21"]
    assert found.status is Status.HEALTHY
    assert found.levels[-1].ok
    assert found.reason.startswith("its list of models has no deployments")


@pytest.mark.parametrize("stall", [Reply.hang(), Reply.drip(pause_s=0.05), Reply(delay_s=30)])
@pytest.mark.parametrize("level", [Level.API, Level.FUNCTION])
async def test_one_time_out_for_all_levels(tmp_path: Path, stall: Reply, level: Level) -> None:
    """Whichever level it is that stalls, it ends there, and nothing more is asked."""
    script = split(stall) if level is Level.API else split(post=stall)
    async with FaultServer(script) as server:
        began = time.monotonic()
        found = await one(tmp_path, server, probe={"timeout_s": 0.4})
        assert time.monotonic() - began < 10, "the time-out of who sets none"
    assert found.levels[-1].level is level
    assert found.status is Status.UNHEALTHY
    assert found.reason.startswith("no reply within 0.")


@pytest.mark.parametrize(
    ("listed", "keys", "wanted", "asked"),
    [
        (listing("only"), {"model": None}, None, "only"),
        (listing("one", "two"), {"model": None}, None, None),
        (listing("only"), {}, None, "m"),
        (listing("only"), {}, "other", "other"),
        (listing("only"), {"models": {"fast": "only"}}, "fast", "only"),
        (listing("only"), {"strict_models": True}, "other", None),
    ],
)
async def test_which_model_is_asked_for(
    tmp_path: Path, listed: Reply, keys: dict[str, Any], wanted: str | None, asked: str | None
) -> None:
    """The one a prompt would get; where there is none, that is said and nothing is sent."""
    async with FaultServer(split(listed)) as server:
        found = await one(tmp_path, server, wanted=wanted, **keys)
    assert [seen.model for seen in server.ledger if seen.method == "POST"] == [asked][: bool(asked)]
    assert found.model == asked
    assert found.status is Status.HEALTHY, found.reason
    if asked is None:
        assert found.levels[-1].ok is None
        assert "no model to ask for" in found.reason or "not set up to serve" in found.reason


async def test_a_time_out_that_is_shorter_than_configured_says_so(tmp_path: Path) -> None:
    """Who would have answered in time is not to be taken for dead without a word."""
    async with FaultServer(Reply.hang()) as server:
        own = {"server": server, "probe": {"timeout_s": 0.2}}
        found = await probed(tmp_path, limit_s=0.3, a=server, b=own)
    cut, whole = found.providers
    assert cut.reason.startswith("no reply within 0.")
    assert cut.reason.endswith(" s (cut by the interval)")
    assert "cut" not in whole.reason


async def test_a_simulated_server_has_every_model(tmp_path: Path) -> None:
    """It lists none, answers for any, and there is no network to reach it by."""
    bench = Bench(tmp_path)
    (tmp_path / "aiq.toml").write_text(
        '[[providers]]\nname = "sim"\nkind = "simulated"\nmodel = "tortoise-3"\n'
        "simulated = { latency_ms = 1 }\n"
    )
    for level in Level:
        probe = Probe(
            bench.settings(),
            database=bench.database,
            model=None,
            level=level,
            clock=Clock(),
            environ={},
        )
        found = await probe.round()
        assert found.exit_code is ExitCode.OK, found.providers[0].reason


async def test_a_key_given_as_a_model_is_not_repeated(tmp_path: Path) -> None:
    """Neither shown nor stored, although it is sent to the provider whose key it is."""
    async with FaultServer(split()) as server:
        found = await one(tmp_path, server, wanted=KEY, level=2, **KEYED)
    assert found.model == "[redacted]"
    assert KEY not in str(found.to_json())
    assert KEY.encode() not in (tmp_path / "aiq.health.db").read_bytes()


async def test_nothing_goes_to_the_job_database(tmp_path: Path) -> None:
    """Not even when a run owns it, or when it is no database at all."""
    (tmp_path / "aiq.db").write_bytes(b"somebody's file")
    with RunLock(tmp_path / "aiq.db") as lock:
        assert lock.acquire(wait_s=0)
        async with FaultServer(split()) as server:
            found = await probed(tmp_path, a=server)
    assert found.unstored is None
    assert (tmp_path / "aiq.db").read_bytes() == b"somebody's file"
    rows = sqlite3.connect(tmp_path / "aiq.health.db")
    assert rows.execute("SELECT provider, status FROM probe").fetchall() == [("a", "healthy")]
    rows.close()


async def test_a_provider_without_its_key_is_disabled_and_the_others_are_asked(
    tmp_path: Path,
) -> None:
    """Nothing is sent to it, and the reason names the variable."""
    async with FaultServer(split()) as keyless, FaultServer(split()) as other:
        bench = Bench(tmp_path)
        bench.configure(a=provider(keyless, api_key_env="UNSET"), b=provider(other))
        settings = load(environ={}, working_directory=tmp_path, needs_keys=False)
        found = await Probe(
            settings,
            database=tmp_path / "aiq.db",
            model=None,
            level=None,
            clock=Clock(),
            environ={},
        ).round()
        assert keyless.ledger == []
    told = [(one.status, one.reason) for one in found.providers]
    assert told[0] == (Status.DISABLED, "UNSET is not set")
    assert told[1][0] is Status.HEALTHY


async def test_a_server_with_a_model_of_its_own_has_one_history(tmp_path: Path) -> None:
    """Also while it is down, and nobody can know which model it has."""
    async with FaultServer(split(get=listing("own"))) as server:
        watch = prober(tmp_path, a={"server": server, "model": None})
        up = (await watch.round()).providers[0]
    down = (await watch.round()).providers[0]
    assert (up.model, down.model) == ("own", None)
    assert [past.status for past in down.past] == ["healthy", "unhealthy"]
