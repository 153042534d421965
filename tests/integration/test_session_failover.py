"""Which provider is asked when another one fails: failover, and providers that are switched off."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from aiq.cli.summary import headline, obstacles
from aiq.errors import ExitCode
from aiq.run.request import Flags
from tests.support.fault_server import FaultServer
from tests.support.lines import lines_of
from tests.support.replies import Reply, Seen
from tests.support.sessions import KEY, Bench, hurried, prompts, provider

ONE = {"concurrency": 1}
NO_MODEL = Reply.error(404, code="model_not_found", message="The model `typo` does not exist")


def first_try_fails(seen: Seen) -> Reply | None:
    return Reply.error(500) if seen.nth == 1 else None


@hurried
async def test_each_first_try_fails(tmp_path: Path) -> None:
    """A answers 500 for each first try, B is healthy: all succeed, and failovers are counted."""
    async with FaultServer(first_try_fails) as bad, FaultServer() as good:
        bench = Bench(tmp_path, a=provider(bad), b=provider(good), run={"concurrency": 8})
        result = await bench.run(prompts(40))
        assert result.exit_code is ExitCode.OK
        failed_over = {seen.prompt for seen in bad.ledger if seen.nth == 1}
        assert failed_over
        assert result.failovers == len(failed_over)
        assert bench.attempts(bad.ledger[0].prompt) == [("a", "server_error"), ("b", "ok")]
        assert max(Counter(seen.prompt for seen in good.ledger).values()) == 1


async def test_a_dead_provider_costs_little(tmp_path: Path) -> None:
    """Nothing listens at A: its jobs go to B at once, uncounted, and A is left to rest."""
    async with FaultServer() as good:
        bench = Bench(tmp_path, a=provider(closed_url()), b=provider(good))
        result = await bench.run(prompts(100))
    assert result.exit_code is ExitCode.OK
    [(asked,)] = bench.rows("SELECT count(*) FROM attempt WHERE kind = 'connect'")
    assert 1 <= asked <= 12, "four at once, resting for 1 s and then for 2 s"
    assert bench.rows("SELECT count(*) FROM attempt WHERE billed <> 'no' AND kind <> 'ok'") == [
        (0,)
    ]


def closed_url() -> str:
    """Return the URL of a port on which nothing listens."""
    return "http://127.0.0.1:1/v1"


@hurried
@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("concurrency", [1, 6])
async def test_a_refused_key_switches_off_at_once(
    tmp_path: Path, status: int, concurrency: int
) -> None:
    """No request to A starts after the first refusal has arrived; everything is done by B."""
    async with FaultServer(Reply.error(status)) as bad, FaultServer() as good:
        bench = Bench(tmp_path, a=provider(bad), b=provider(good), run={"concurrency": concurrency})
        result = await bench.run(prompts(30))
        assert result.exit_code is ExitCode.OK
        assert len(bad.ledger) <= concurrency
        assert len(good.ledger) == 30
    views = {one["name"]: one for one in result.to_json()["providers"]}
    assert views["a"]["status"] == "disabled"
    assert views["a"]["reason"].startswith("auth")
    assert views["b"]["status"] == "healthy"


@hurried
@pytest.mark.parametrize("reply", [Reply.error(401), Reply.error(404), Reply.error(403)])
async def test_after_an_answer_it_takes_three_in_a_row(tmp_path: Path, reply: Reply) -> None:
    """One odd refusal does not switch a provider off that has answered; three jobs in a row do."""

    def script(seen: Seen) -> Reply | None:
        return reply if seen.number in (2, 4, 5) or seen.number >= 7 else None

    async with FaultServer(script) as odd, FaultServer() as good:
        bench = Bench(tmp_path, a=provider(odd), b=provider(good), run=ONE)
        result = await bench.run(prompts(15))
        assert result.exit_code is ExitCode.OK
        assert [seen.status for seen in odd.ledger] == [
            200, reply.status, 200, reply.status, reply.status, 200, *[reply.status] * 3
        ]  # fmt: skip
        assert len({seen.prompt for seen in odd.ledger[6:]}) == 3, "from different jobs"


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Reply.html(404), "not_found"),
        (Reply.html(403), "not_found"),
        (Reply.error(404), "not_found"),
        (Reply.text(b"", status=302, headers={"location": "http://127.0.0.1:1/"}), "not_found"),
        (Reply.error(405), "not_found"),
        (Reply.error(400, code="invalid_api_key"), "auth"),
        (Reply.error(429, code="insufficient_quota"), "out_of_credit"),
        (Reply.error(402), "out_of_credit"),
        (Reply.error(400, message="Your credit balance is too low"), "out_of_credit"),
        (Reply.error(429, message="quota: GenerateRequestsPerDayPerModel"), "out_of_credit"),
    ],
    ids=[
        "404 page",
        "403 page",
        "404",
        "302",
        "405",
        "key by code",
        "quota",
        "402",
        "credit",
        "day",
    ],
)
async def test_nobody_left_is_resumable(tmp_path: Path, reply: Reply, kind: str) -> None:
    """One request tells; the run ends with advice, every job pending; a later run does them all."""
    async with FaultServer(reply) as server:
        bench = Bench(tmp_path, a=provider(server), run=ONE)
        result = await bench.run(prompts(12))
        assert len(server.ledger) == 1
        assert result.exit_code is ExitCode.NO_PROVIDER
        assert kind in (result.message or "")
        assert bench.states() == {"pending": 12}
        assert bench.attempts("p0") == [("a", kind)]

        server.load(None)
        again = await bench.run(prompts(12))
    assert again.exit_code is ExitCode.OK, again.message
    assert len(server.ledger) == 12


async def test_every_provider_that_is_out_is_named_with_what_to_check(tmp_path: Path) -> None:
    """The variable of a refused key, the address of a page, the model that is not there."""
    replies = [Reply.error(401, message="bad key"), Reply.html(404), Reply.error(404, code="x")]
    async with contextlib.AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(FaultServer(reply)) for reply in replies]
        bench = Bench(
            tmp_path,
            run=ONE,
            environ={"GATE_KEY": KEY},
            a=provider(servers[0], api_key_env="GATE_KEY"),
            b=provider(servers[1]),
            c=provider(servers[2]),
            d=provider(servers[0], account="another"),
        )
        result = await bench.run(prompts(5))
    assert result.exit_code is ExitCode.NO_PROVIDER
    why, *out = lines_of(result.message or "")
    assert why == "no usable provider is left:"
    assert [line.partition(":")[0] for line in out] == ["a", "b", "c", "d"]
    assert out[0] == "a: auth: bad key (key: GATE_KEY)"
    assert out[1].startswith("b: not_found: HTML page instead of JSON (HTTP 404)")
    assert out[1].endswith(f" (check base_url: {servers[1].url})")
    assert out[2].startswith("c: m: not_found: ")
    assert out[3] == "d: auth: bad key (no key is set)"
    assert [line.plain for line in obstacles(result)] == [f"  {line}" for line in out]
    assert headline(result).plain.startswith("stopped: no usable provider is left; 0 succeeded")


@hurried
async def test_when_nobody_came_back_each_provider_has_its_reason(tmp_path: Path) -> None:
    """The run gave up waiting for two: one that is broken, one that nobody can connect to."""
    async with FaultServer(Reply.error(500, message="broken")) as server:
        bench = Bench(
            tmp_path,
            a=provider(server),
            b=provider("http://127.0.0.1:9/v1"),
            run={"max_wait_s": 2.0, "concurrency": 8},
        )
        result = await bench.run(prompts(20))
    assert result.exit_code is ExitCode.NO_PROVIDER
    why, *reasons = lines_of(result.message or "")
    assert why == "no provider has been usable for as long as `--max-wait` allows:"
    assert [line.partition(":")[0] for line in reasons] == ["a", "b"]
    assert "broken" in reasons[0]
    assert "Connection refused" in reasons[1]


@hurried
@pytest.mark.parametrize(
    ("spoilt", "kind", "most"),
    [(Reply.error(500), "server_error", 5), (Reply.json({"choices": []}), "bad_response", 3)],
)
async def test_a_spare_that_is_dead_keeps_no_run_from_its_end(
    tmp_path: Path, spoilt: Reply, kind: str, most: int
) -> None:
    """One prompt spoils every reply of the provider that is well, and waits for nobody else."""

    def reply(seen: Seen) -> Reply:
        return spoilt if seen.prompt == "p3" else Reply()

    async with FaultServer(reply) as server:
        bench = Bench(
            tmp_path,
            a=provider(server),
            b=provider("http://127.0.0.1:9/v1"),
            run={"max_wait_s": 600.0},
        )
        result = await bench.run(prompts(20))
        asked = sum(seen.prompt == "p3" for seen in server.ledger)
    assert result.exit_code is ExitCode.SOME_FAILED
    assert bench.failures() == {"p3": kind}
    assert 2 <= asked <= most


async def test_out_of_credit_is_done_by_others(tmp_path: Path) -> None:
    """The account is out, and so is every other provider that pays with it."""
    broke = Reply.error(429, code="insufficient_quota", message="You exceeded your current quota")
    async with FaultServer(broke) as a, FaultServer() as same, FaultServer() as other:
        bench = Bench(
            tmp_path,
            a=provider(a, account="team"),
            b=provider(same, account="team"),
            c=provider(other),
            run=ONE,
        )
        result = await bench.run(prompts(10))
        assert result.exit_code is ExitCode.OK
        assert (len(a.ledger), len(same.ledger), len(other.ledger)) == (1, 0, 10)


async def test_a_refused_key_is_shared_by_name(tmp_path: Path) -> None:
    """Two providers with one key share the state of the credential; a third has its own."""
    async with FaultServer(Reply.error(401)) as a, FaultServer() as b, FaultServer() as c:
        bench = Bench(
            tmp_path,
            a=provider(a, api_key_env="K1"),
            b=provider(b, api_key_env="K1"),
            c=provider(c, api_key_env="K2"),
            environ={"K1": KEY, "K2": KEY + "-2"},
            run=ONE,
        )
        await bench.run(prompts(5))
        assert (len(a.ledger), len(b.ledger), len(c.ledger)) == (1, 0, 5)
    assert {seen.headers["authorization"] for seen in c.ledger} == {f"Bearer {KEY}-2"}


def unknown_typo(seen: Seen) -> Reply | None:
    return NO_MODEL if seen.model == "typo" else None


@pytest.mark.parametrize("place", [0, 5])
@pytest.mark.parametrize("concurrency", [1, 8])
async def test_a_prompt_s_typo_fails_that_job_only(
    tmp_path: Path, place: int, concurrency: int
) -> None:
    """Also when it is the very first request of the run, before any answer."""
    lines: list[dict[str, Any]] = prompts(10)
    lines[place]["model"] = "typo"
    async with FaultServer(unknown_typo) as a, FaultServer(unknown_typo) as b:
        bench = Bench(tmp_path, a=provider(a), b=provider(b), run={"concurrency": concurrency})
        result = await bench.run(lines)
        assert result.exit_code is ExitCode.SOME_FAILED, result.message
        assert bench.failures() == {f"p{place}": "not_found"}
        assert bench.attempts(f"p{place}") == [("a", "not_found"), ("b", "not_found")]
        assert len(a.ledger) == 10


@hurried
async def test_many_typos_cost_few_requests(tmp_path: Path) -> None:
    """Once a model is known to be refused, prompts that name it fail without being sent."""
    lines = [{"id": f"t{n}", "prompt": f"t{n}", "model": "typo"} for n in range(20)]
    async with FaultServer(unknown_typo) as server:
        bench = Bench(tmp_path, a=provider(server), run=ONE)
        result = await bench.run(lines)
        assert result.exit_code is ExitCode.SOME_FAILED
        assert bench.states() == {"failed": 20}
        assert len(server.ledger) <= 3
    assert sum(group.count for group in result.errors) == 20


@pytest.mark.parametrize("concurrency", [1, 4])
async def test_a_typo_of_the_command_fails_nothing(tmp_path: Path, concurrency: int) -> None:
    """With `-m typo` the run ends resumable, and the right name does all of it."""
    async with FaultServer(unknown_typo) as server:
        bench = Bench(tmp_path, a=provider(server), run={"concurrency": concurrency})
        result = await bench.run(prompts(12), flags=Flags(model="typo"))
        assert result.exit_code is ExitCode.NO_PROVIDER
        assert "typo" in (result.message or "")
        assert bench.states() == {"pending": 12}
        assert len(server.ledger) <= concurrency

        again = await bench.run(prompts(12), flags=Flags(model="right"))
    assert again.exit_code is ExitCode.OK, again.message


@hurried
async def test_all_down_gives_up_after_max_wait(tmp_path: Path) -> None:
    """Nothing failed, everything is pending, and the message says what stood in the way."""
    bench = Bench(
        tmp_path,
        a=provider(closed_url()),
        b=provider("http://127.0.0.1:2/v1"),
        run={"max_wait_s": 3.0, "concurrency": 8},
    )
    began = asyncio.get_running_loop().time()
    result = await bench.run(prompts(20))
    waited = asyncio.get_running_loop().time() - began
    assert result.exit_code is ExitCode.NO_PROVIDER
    assert "Connection refused" in (result.message or "")
    assert bench.states() == {"pending": 20}
    assert 3.0 <= waited < 60.0, "the time it would try without --max-wait"
    assert result.to_json()["cost_usd"] == 0


@hurried
async def test_a_server_that_comes_up_later(tmp_path: Path) -> None:
    """Down at first and up within the wait: everything succeeds, and nobody is asked in vain."""
    async with FaultServer() as reserved:
        port = reserved.port
    bench = Bench(tmp_path, a=provider(f"http://127.0.0.1:{port}/v1"), run={"max_wait_s": 60.0})
    running = asyncio.create_task(bench.run(prompts(20)))
    await asyncio.sleep(4.0)
    async with FaultServer(port=port) as server:
        result = await running
        assert result.exit_code is ExitCode.OK
        assert len(server.ledger) == 20
    [(tries,)] = bench.rows("SELECT count(*) FROM attempt WHERE kind = 'connect'")
    assert tries <= 5 * 4, "it rests for 1 s, doubling"


async def test_a_single_refusal_leaves_its_job_pending(tmp_path: Path) -> None:
    """The provider goes on, the one job nobody else could take stays, and the message says why."""
    odd = Reply.error(404, message="odd thing")
    async with FaultServer(lambda s: odd if s.prompt == "p1" else None) as server:
        bench = Bench(tmp_path, a=provider(server), run=ONE)
        result = await bench.run(prompts(4))
    assert result.exit_code is ExitCode.NO_PROVIDER
    assert bench.states() == {"succeeded": 3, "pending": 1}
    assert "odd thing" in (result.message or "")


@hurried
async def test_a_job_that_waits_for_a_full_provider_blocks_nobody(tmp_path: Path) -> None:
    """A job that failed over to a full B waits for B; fresh jobs still go to A meanwhile."""
    held = asyncio.Event()

    def script(seen: Seen) -> Reply | None:
        bad = seen.prompt in ("p0", "p1") and seen.nth == 1
        return Reply.html() if bad else Reply(delay_s=0.2)  # longer in all than any back-off

    async with FaultServer(script) as a, FaultServer(Reply(until=held)) as b:
        bench = Bench(
            tmp_path, a=provider(a), b=provider(b, max_in_flight=1), run={"concurrency": 2}
        )
        running = asyncio.create_task(bench.run(prompts(20)))
        await b.seen(1)
        await a.seen(20)
        held.set()
        assert (await running).exit_code is ExitCode.OK
        assert len(b.ledger) == 2
