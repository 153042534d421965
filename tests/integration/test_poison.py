"""Prompts that make a healthy server fail, every time: they fail alone, and a run has an end."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from aiq.errors import ExitCode
from aiq.run.aftermath import MOST_EXCUSED
from tests.support.fault_server import FaultServer
from tests.support.replies import Reply, Seen
from tests.support.sessions import Bench, hurried, prompts, provider

JOBS = 120
LARGE = "a prompt of more tokens than a minute has " * 9
SPOILING = frozenset({"p10", "p17", "p24", "p31", "p38", "p45"})

FAILURES = {
    "a reset": (Reply.reset(), "interrupted", 2),
    "half a body": (Reply.truncated(), "bad_response", 2),
    "a page": (Reply.html(), "bad_response", 2),
    "a 500": (Reply.error(500), "server_error", 5),
}


@hurried
@pytest.mark.parametrize("name", FAILURES)
async def test_prompts_that_spoil_every_reply_fail_alone(tmp_path: Path, name: str) -> None:
    """They are asked as often as a job may be, and every other job gets its answer."""
    reply, kind, allowed = FAILURES[name]

    def script(seen: Seen) -> Reply | None:
        return reply if seen.prompt in SPOILING else Reply(delay_s=0.2)

    async with FaultServer(script) as server:
        bench = Bench(tmp_path, a=provider(server), run={"concurrency": 16, "max_wait_s": 3600})
        result = await bench.run(prompts(JOBS))
        assert result.exit_code is ExitCode.SOME_FAILED
        assert bench.failures() == dict.fromkeys(SPOILING, kind)
        asked = [seen.prompt for seen in server.ledger]
    assert len(asked) - len(SPOILING) * allowed <= JOBS - len(SPOILING) + 10 * len(SPOILING)
    if kind != "server_error":
        assert all(asked.count(one) <= allowed + 1 for one in SPOILING), "each may have been paid"


@hurried
async def test_prompts_that_spoil_their_reply_do_not_block_a_second_provider(
    tmp_path: Path,
) -> None:
    """Both providers fail on them, and both are well."""

    def script(seen: Seen) -> Reply | None:
        return Reply.error(500) if seen.prompt in SPOILING else Reply(delay_s=0.2)

    async with FaultServer(script) as one, FaultServer(script) as other:
        bench = Bench(
            tmp_path,
            a=provider(one),
            b=provider(other),
            run={"concurrency": 16, "max_wait_s": 3600},
        )
        result = await bench.run(prompts(JOBS))
        assert result.exit_code is ExitCode.SOME_FAILED
        assert bench.failures() == dict.fromkeys(SPOILING, "server_error")


@hurried
async def test_where_nothing_is_ever_answered_a_run_ends_all_the_same(tmp_path: Path) -> None:
    """Nobody can tell such prompts from a provider that is down: some trials each are for free."""
    async with FaultServer(Reply.error(500)) as server:
        one = provider(server, breaker={"alone_s": 0.5})
        bench = Bench(tmp_path, a=one, run={"concurrency": 4, "max_wait_s": 3600})
        result = await bench.run(prompts(2))
        assert result.exit_code is ExitCode.SOME_FAILED
        assert bench.failures() == {"p0": "server_error", "p1": "server_error"}
        assert len(server.ledger) == 2 * (5 + MOST_EXCUSED)


@hurried
async def test_a_prompt_that_always_meets_a_limit_holds_up_nobody(tmp_path: Path) -> None:
    """Larger than a minute's tokens, it gets a 429 each time; others are sent before it again."""

    def script(seen: Seen) -> Reply | None:
        if seen.prompt == LARGE:
            return Reply.error(429, headers={"retry-after": "2"})
        return Reply(delay_s=0.1)

    async with FaultServer(script) as server:
        bench = Bench(tmp_path, a=provider(server), run={"concurrency": 8, "max_wait_s": 3600})
        lines = prompts(100)
        lines[3]["prompt"] = LARGE
        result = await bench.run(lines)
        assert result.exit_code is ExitCode.SOME_FAILED
        assert bench.failures() == {"p3": "context_too_long"}
        asked = [seen.prompt for seen in server.ledger]
    assert 20 <= asked.count(LARGE) <= 22
    assert [one for one in asked if one != LARGE] == [f"p{n}" for n in range(100) if n != 3]


@hurried
async def test_a_storm_of_429s_fails_no_job(tmp_path: Path) -> None:
    """Each is refused dozens of times while others are answered, and is no larger than they are."""
    dice = random.Random(1)

    def script(_seen: Seen) -> Reply | None:
        return Reply.error(429, headers={"retry-after-ms": "1"}) if dice.random() < 0.9 else None

    async with FaultServer(script) as server:
        one = provider(server, requests_per_minute=1_000_000)
        bench = Bench(tmp_path, a=one, run={"concurrency": 8, "max_wait_s": 3600})
        assert (await bench.run(prompts(60))).exit_code is ExitCode.OK
        assert max(bench.rows("SELECT max(attempts) FROM job")[0]) > 20


async def test_a_model_name_that_no_url_can_hold_fails_its_job(tmp_path: Path) -> None:
    """Gemini's models stand in the path; the job is to blame, and others go on."""
    async with FaultServer() as server:
        gemini = provider(server.root, kind="gemini")
        bench = Bench(tmp_path, a=gemini)
        lines = [*prompts(5), {"id": "odd", "prompt": "x", "model": "m" * 70_000}]
        result = await bench.run(lines)
        assert result.exit_code is ExitCode.SOME_FAILED
        assert bench.failures() == {"odd": "bad_request"}


@pytest.mark.parametrize(
    "extra", [{"max_tokens": 2**63 - 1}, {"extra_body": {"max_tokens": 10**30}}]
)
async def test_a_cap_beyond_all_reason_is_none(tmp_path: Path, extra: dict[str, object]) -> None:
    """Some write "no limit" so; its worst case fits no column, and nobody can say what it is."""
    async with FaultServer() as server:
        bench = Bench(tmp_path, a=provider(server, price={"input": 1000.0, "output": 1000.0}))
        result = await bench.run([*prompts(2), {"id": "x", "prompt": "x", **extra}])
        assert result.exit_code is ExitCode.OK
        assert bench.states() == {"succeeded": 3}
        [(bound,)] = bench.rows(
            "SELECT bound_nano FROM attempt JOIN job ON job.id = job_id WHERE key = 'x'"
        )
        assert bound is None
