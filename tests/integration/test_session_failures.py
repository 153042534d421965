"""Each row of the table of outcomes from the wire to the database, and a job's limits."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from aiq.errors import ExitCode
from aiq.run.deadlines import Deadlines
from aiq.run.worst_case import MESSAGE_TOKENS, TEMPLATE_TOKENS
from tests.support.fault_server import FaultServer
from tests.support.replies import Ending, Framing, Reply, Seen
from tests.support.sessions import Bench, LoopClock, hurried, prompts, provider

ONE = {"concurrency": 1, "max_wait_s": 1000.0}
KEPT = 64 * 1024
LONG = b'{"choices": [{"message": {"content": "' + b"x" * 200_000
HUGE = b" " * (16 * 1024 * 1024 + 1)
NULL = Reply.json(
    {"choices": [{"index": 0, "message": {"content": None}, "finish_reason": "stop"}]}
)
UNKNOWN_ERROR = Reply.json({"error": {"message": "something odd", "code": "odd"}})

BAD = {
    "html": Reply.html(),
    "error body": UNKNOWN_ERROR,
    "not json": Reply.text("all is well"),
    "cut json": Reply.text(b'{"choices": [{"message": {"con'),
    "bad utf-8": Reply.invalid_utf8(),
    "no choices": Reply.json({"id": "x", "choices": []}),
    "null content": NULL,
    "empty": Reply.text(b""),
    "truncated": Reply.truncated(body=LONG),
    "reset in the body": Reply.truncated(body=LONG, ending=Ending.RESET),
    "no last chunk": Reply.unended(body=b'{"choices": ['),
    "over the cap": Reply.text(HUGE),
    "corrupt gzip": Reply.gzipped(b'{"choices": []}' * 100, corrupt=True),
}


@hurried
@pytest.mark.parametrize("name", BAD)
async def test_an_unusable_reply_is_asked_for_once_more(tmp_path: Path, name: str) -> None:
    """Alone with such a provider a job fails after two requests, and what came is kept."""
    async with FaultServer(lambda s: BAD[name] if s.prompt == "p0" else None) as server:
        bench = Bench(tmp_path, a=provider(server), run=ONE)
        result = await bench.run(prompts(2))
        assert result.exit_code is ExitCode.SOME_FAILED
        assert bench.failures() == {"p0": "bad_response"}
        assert bench.attempts("p0") == [("a", "bad_response")] * 2
        assert len(server.ledger) == 3
    body = BAD[name].body or b""
    kept = bench.rows(
        "SELECT status_code, billed, message, body FROM attempt"
        " LEFT JOIN bad_reply ON attempt_id = id WHERE kind = 'bad_response'"
    )
    for status, billed, message, reply in kept:
        assert (status, billed) == (200, "maybe")
        assert message
        assert len(reply or b"") <= KEPT
        assert body.startswith(reply or b"") or name == "corrupt gzip"
        assert (reply is None) == (not body)
    (group,) = result.to_json()["errors"]
    assert (group["kind"], group["provider"], group["count"], group["job"]) == (
        "bad_response", "a", 1, "p0"
    )  # fmt: skip


@hurried
async def test_two_providers_are_asked_twice_each(tmp_path: Path) -> None:
    """Bad replies from both alternate, two a provider, before the job fails."""
    async with FaultServer(Reply.html()) as a, FaultServer(Reply.html()) as b:
        bench = Bench(tmp_path, a=provider(a), b=provider(b), run=ONE)
        await bench.run(prompts(1))
        assert (len(a.ledger), len(b.ledger)) == (2, 2)
    assert [name for name, _ in bench.attempts("p0")] == ["a", "b", "a", "b"]


@hurried
@pytest.mark.parametrize("reply", [Reply.hang_up(), Reply.reset(), Reply.garbage()])
@pytest.mark.parametrize(("on_unknown", "requests"), [("retry", 2), ("fail", 1)])
async def test_an_unknown_outcome_has_its_own_limit(
    tmp_path: Path, reply: Reply, on_unknown: str, requests: int
) -> None:
    """A request that left and got no status line may be paid: one more try, or none at all."""
    async with FaultServer(lambda s: reply if s.prompt == "p0" else None) as server:
        bench = Bench(tmp_path, a=provider(server, max_tokens=10), run=ONE)
        result = await bench.run(prompts(2), overrides={"on_unknown": on_unknown})
        assert result.exit_code is ExitCode.SOME_FAILED
        assert bench.attempts("p0") == [("a", "interrupted")] * requests
        assert len(server.ledger) == requests + 1
    possibly = result.to_json()["possibly_paid"]
    bound = 10 * 2.0 + (len("p0") + MESSAGE_TOKENS + TEMPLATE_TOKENS) * 1.0
    assert possibly == {"requests": requests, "max_usd": pytest.approx(requests * bound / 1e6)}
    assert result.to_json()["cost_usd"] == pytest.approx((1 * 1.0 + 2 * 2.0) / 1e6)


@hurried
@pytest.mark.parametrize(
    ("reply", "kind", "kept"),
    [
        (Reply.hang(), "interrupted", None),
        (Reply.truncated(body=b"0123456789", ending=Ending.HANG), "bad_response", b"01234"),
        (
            Reply(framing=Framing.CHUNKED, body=b"slowly", piece_bytes=4, pause_s=99),
            "bad_response",
            b"s",
        ),
        (Reply.error(504, delay_s=6.0), "interrupted", None),
        (Reply.error(502, delay_s=6.0), "interrupted", None),
    ],
    ids=["no status line", "half a body", "dripping", "late 504", "late 502"],
)
async def test_time_outs(tmp_path: Path, reply: Reply, kind: str, kept: bytes | None) -> None:
    """Before the status line the outcome is unknown; after it the reply is broken."""
    async with FaultServer([reply]) as server:
        bench = Bench(tmp_path, a=provider(server, timeout_s=8.0), run=ONE)
        result = await bench.run(prompts(1))
        assert result.exit_code is ExitCode.OK
    assert bench.attempts("p0") == [("a", kind), ("a", "ok")]
    [(latency_us, billed)] = bench.rows("SELECT latency_us, billed FROM attempt WHERE number = 1")
    assert latency_us >= 6_000_000
    assert billed == "maybe"
    found = bench.rows("SELECT body FROM bad_reply")
    assert found == ([(kept,)] if kept else [])


@hurried
async def test_the_deadline_s_heart_goes_on_beating() -> None:
    """An attempt that takes its time to unwind does not stop the time-outs of the others."""
    deadlines = Deadlines(LoopClock())
    heart = asyncio.create_task(deadlines.beat())

    async def attempt(leaving_s: float) -> None:
        with deadlines.limit(0.1):
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(leaving_s)

    for leaving_s in (2.0, 0.0):
        with pytest.raises(TimeoutError):
            await attempt(leaving_s)
    assert not heart.done()
    heart.cancel()


@hurried
async def test_five_counted_attempts(tmp_path: Path) -> None:
    """A server that always fails is asked five times for a job, `--max-attempts` at most."""
    async with FaultServer(Reply.error(500)) as server:
        for limit, attempts in ((5, 5), (1, 1)):
            directory = tmp_path / f"{limit}"
            directory.mkdir()
            bench = Bench(directory, a=provider(server), run=ONE)
            result = await bench.run(prompts(1), overrides={"max_attempts": limit})
            assert result.exit_code is ExitCode.SOME_FAILED
            assert bench.attempts("p0") == [("a", "server_error")] * attempts
            assert bench.failures() == {"p0": "server_error"}


@hurried
async def test_three_on_one_provider_while_another_exists(tmp_path: Path) -> None:
    """With B limited for an hour a job meets A three times, then it waits for B."""
    patient = ONE | {"max_wait_s": 30.0}
    limit = Reply.error(429, headers={"retry-after": "3600"})
    async with FaultServer(Reply.error(500)) as a, FaultServer(limit) as b:
        bench = Bench(tmp_path, a=provider(a), b=provider(b), run=patient)
        result = await bench.run(prompts(1))
        assert result.exit_code is ExitCode.NO_PROVIDER
        assert len(a.ledger) == 3
        assert bench.states() == {"pending": 1}


@hurried
async def test_two_failing_providers_share_the_five(tmp_path: Path) -> None:
    async with FaultServer(Reply.error(500)) as a, FaultServer(Reply.error(500)) as b:
        bench = Bench(tmp_path, a=provider(a), b=provider(b), run=ONE)
        await bench.run(prompts(1))
        assert len(a.ledger) + len(b.ledger) == 5
        assert max(len(a.ledger), len(b.ledger)) == 3
    assert [name for name, _ in bench.attempts("p0")][:2] == ["a", "b"]


@pytest.mark.parametrize(
    "reply",
    [
        Reply.error(400, code="invalid_value"),
        Reply.error(422),
        Reply.error(400, code="content_policy_violation"),
        Reply.error(403, kind="moderation"),
        Reply.error(500, headers={"x-should-retry": "false"}),
        Reply.json({"error": {"message": "no", "type": "invalid_request_error"}}),
    ],
)
async def test_a_bad_request_fails_at_once(tmp_path: Path, reply: Reply) -> None:
    """One request, and no other provider asked."""
    async with FaultServer(lambda s: reply if s.prompt == "p1" else None) as a, FaultServer() as b:
        bench = Bench(tmp_path, a=provider(a), b=provider(b), run=ONE)
        result = await bench.run(prompts(5))
        assert result.exit_code is ExitCode.SOME_FAILED
        assert bench.failures() == {"p1": "bad_request"}
        assert (len(a.ledger), len(b.ledger)) == (5, 0)
    assert result.to_json()["providers"][0]["status"] == "healthy"


def too_long(window: int) -> Any:
    text = f"This model's maximum context length is {window} tokens"
    return lambda seen: Reply.error(400, message=text) if seen.prompt == "p0" else None


@pytest.mark.parametrize(
    ("windows", "asked", "state"),
    [
        ((1000, 8000), ["a", "b"], "succeeded"),
        ((1000, None), ["a"], "failed"),
        ((8000, 1000), ["a"], "failed"),
        ((None, 8000), ["a"], "failed"),
    ],
    ids=["larger", "unknown", "smaller", "of an unknown"],
)
async def test_too_long_goes_to_a_larger_window_only(
    tmp_path: Path, windows: tuple[int | None, int | None], asked: list[str], state: str
) -> None:
    async with FaultServer(too_long(1000)) as a, FaultServer() as b:
        bench = Bench(
            tmp_path,
            a=provider(a, context_window=windows[0]),
            b=provider(b, context_window=windows[1]),
            run=ONE,
        )
        await bench.run(prompts(3))
    assert [name for name, _ in bench.attempts("p0")] == asked
    assert bench.rows("SELECT state FROM job WHERE key = 'p0'") == [(state,)]
    assert bench.failures() in ({}, {"p0": "context_too_long"})


WRONG = Reply.error(400, code="unsupported_parameter")


@pytest.mark.parametrize("concurrency", [1, 8])
async def test_the_same_mistake_twenty_times_stops_the_run(
    tmp_path: Path, concurrency: int
) -> None:
    """Those twenty stay failed, the rest stays pending, and the message says what was wrong."""
    async with FaultServer(WRONG) as server:
        bench = Bench(tmp_path, a=provider(server), run={"concurrency": concurrency})
        result = await bench.run(prompts(60))
        assert result.exit_code is ExitCode.NO_PROVIDER
        assert "scripted error" in (result.message or "")
        assert 20 <= len(server.ledger) < 20 + concurrency
    failed = len(server.ledger)
    assert bench.states() == {"failed": failed, "pending": 60 - failed}


@pytest.mark.parametrize(
    "script",
    [
        lambda seen: None if seen.number == 1 else WRONG,
        lambda seen: None if seen.number == 20 else WRONG,
        lambda seen: Reply.error(400, code=f"code_{seen.number % 2}"),
        lambda seen: Reply.error(400 if seen.number == 7 else 422),
    ],
    ids=["first is fine", "twentieth is fine", "two codes", "two statuses"],
)
async def test_other_mistakes_do_not_stop_it(tmp_path: Path, script: Any) -> None:
    async with FaultServer(script) as server:
        bench = Bench(tmp_path, a=provider(server), run=ONE)
        result = await bench.run(prompts(30))
        assert result.exit_code is ExitCode.SOME_FAILED
        assert len(server.ledger) == 30
    assert bench.states().get("pending", 0) == 0


@hurried
async def test_a_finished_run_is_not_one_that_waited_in_vain(tmp_path: Path) -> None:
    """When the last job has failed, nothing is left to wait for, however long the trouble was."""

    def script(_: Seen) -> Reply:
        return Reply.html(delay_s=4.0)

    async with FaultServer(script) as server:
        bench = Bench(tmp_path, a=provider(server), run={"concurrency": 1, "max_attempts": 1})
        result = await bench.run(prompts(2), overrides={"max_wait_s": 2.0})
    assert bench.states() == {"failed": 2}
    assert result.exit_code is ExitCode.SOME_FAILED
