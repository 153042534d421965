"""Of group H what a single odd server can do: H13 a key that is rotated, H16 a probe that errs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiq.clock import Clock
from aiq.errors import ExitCode
from aiq.policy.standing import Status
from aiq.run.probe import Probe
from tests.faults.row import Row, Scene, Site
from tests.support.fault_server import FaultServer
from tests.support.replies import Reply, Seen

LISTED = {"object": "list", "data": [{"id": "m"}]}
OLD, NEW = "sk-test-4711-old-key-0815", "sk-test-4711-new-key-0815"


@asynccontextmanager
async def rotated_key(site: Site) -> AsyncIterator[None]:
    """A server that no longer takes the old key after three answers."""

    def script(seen: Seen) -> Reply | None:
        is_refused = seen.number > 3 and seen.headers["authorization"] == f"Bearer {OLD}"
        site.injected += is_refused
        return site.replied(seen, Reply.error(401) if is_refused else None)

    site.environ = {"K": OLD}
    async with FaultServer(script) as site.server:
        yield


async def with_the_new_key(scene: Scene) -> None:
    """The next start takes the new key and does what is left, and nothing else."""
    assert scene.site.server is not None
    before = len(scene.site.server.ledger)
    scene.site.environ["K"] = NEW
    result = await scene.bench.run()
    assert result.exit_code is ExitCode.OK, result.message
    later = scene.site.server.ledger[before:]
    assert sorted(seen.prompt for seen in later) == [f"p{number}" for number in range(3, 8)]


@asynccontextmanager
async def looks_well(site: Site) -> AsyncIterator[None]:
    """A server that lists its models and fails whoever asks one of them."""

    def script(seen: Seen) -> Reply | None:
        is_real = seen.method == "POST"
        site.injected += is_real
        return site.replied(seen, Reply.error(500) if is_real else Reply.json(LISTED))

    async with FaultServer(script) as site.server:
        yield


async def probe_says_so(scene: Scene) -> None:
    """The probe without a paid request finds nothing, and the run did not ask it."""
    assert scene.site.server is not None
    assert all(seen.method == "POST" for seen in scene.site.server.ledger)
    probe = Probe(
        scene.bench.settings(),
        database=scene.bench.database,
        model=None,
        level=2,
        clock=Clock(),
        environ={},
    )
    found = {one.name: one.status for one in (await probe.round()).providers}
    assert found["a"] is Status.HEALTHY


ROWS = [
    Row(
        id="H13",
        name="key rotated in the middle",
        place=rotated_key,
        hit="p3",
        trail="a auth, ...",
        state="pending",
        others="pending succeeded",
        status="disabled",
        exit_code=ExitCode.NO_PROVIDER,
        jobs=8,
        keys={"api_key_env": "K"},
        then=with_the_new_key,
    ),
    Row(
        id="H16",
        name="probe says healthy, real calls fail",
        place=looks_well,
        hit="p0",
        trail="a server_error, b ok",
        status="unhealthy",
        jobs=8,
        spare=True,
        then=probe_says_so,
    ),
]
