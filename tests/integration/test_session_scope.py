"""Which jobs a run is about: resuming, added and changed lines, several files, failed jobs."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from aiq.errors import ExitCode, InputError, Refused, UnknownName
from aiq.run.options import Requeue, RunOptions
from aiq.run.request import Flags
from aiq.run.verification import verify
from aiq.store.opening import open_for_run
from tests.support.fault_server import FaultServer
from tests.support.replies import Reply, Seen
from tests.support.sessions import Bench, hurried, prompts, provider

ONE = {"concurrency": 1}
AS_A_KILL_LEAVES_IT = """
INSERT INTO attempt (id, job_id, number, run_id, candidate_id, started_at)
SELECT 99, id, 2, 1, 1, 1700000000000000 FROM job WHERE key = 'p1';
UPDATE job SET state = 'running', error_kind = NULL, error_message = NULL, lease = 99, attempts = 2
WHERE key = 'p1';
"""


def asked(server: FaultServer) -> list[str]:
    """Return the prompts that the server saw since the last call, in order."""
    found = [seen.prompt for seen in server.ledger]
    server.load(None)
    return found


async def test_the_second_run_sends_nothing(tmp_path: Path) -> None:
    async with FaultServer() as server:
        bench = Bench(tmp_path, a=provider(server))
        await bench.run(prompts(5))
        assert len(asked(server)) == 5
        again = await bench.run(prompts(5))
        assert asked(server) == []
    told = again.to_json()
    assert (told["exit_code"], told["skipped"], told["succeeded"]) == (0, 5, 5)
    assert (told["requests"], told["cost_usd"]) == (0, 0)
    assert told["cost_total_usd"] > 0
    assert len(bench.recorder.plans) == 1, "nothing to plan the second time"


@pytest.mark.parametrize("is_retry", [False, True])
async def test_what_was_asked_with_other_defaults_is_seen_when_the_file_comes_again(
    tmp_path: Path, *, is_retry: bool
) -> None:
    """Though the file is what it was: the rest of it was asked by a run that did not read it."""
    async with FaultServer() as server:
        bench = Bench(tmp_path, a=provider(server), run=ONE)
        if is_retry:
            refused = Reply.error(400)
            server.load(lambda seen: refused if seen.prompt == "p1" else Reply.answer())
        await bench.run(prompts(2), limit=None if is_retry else 1)
        server.load(None)
        bench.configure(a=provider(server), run=ONE, defaults={"temperature": 1.0})
        await bench.run(requeue=Requeue() if is_retry else None, partial=True)
        bench.configure(a=provider(server), run=ONE)
        with pytest.raises(
            InputError, match=r"the request of 1 finished job\(s\) has changed: `p1`"
        ):
            await bench.run(prompts(2))


async def test_only_added_lines_are_sent(tmp_path: Path) -> None:
    """Also when the file is in another order now, and without ids as well."""
    lines = ["one", "two", "two", {"prompt": "three"}]
    async with FaultServer() as server:
        bench = Bench(tmp_path, a=provider(server), run=ONE)
        await bench.run(lines)
        assert asked(server) == ["one", "two", "two", "three"]
        await bench.run(["new", *reversed(lines), "two"])
        assert sorted(asked(server)) == ["new", "two"]


async def test_a_vanished_line_is_named_and_not_sent(tmp_path: Path) -> None:
    async with FaultServer() as server:
        bench = Bench(tmp_path, a=provider(server), run=ONE)
        await bench.run(prompts(4), limit=2)
        assert asked(server) == ["p0", "p1"]
        result = await bench.run([*prompts(1), *prompts(4)[3:]], partial=True)
        assert asked(server) == ["p3"]
        assert bench.recorder.reports[-1].vanished_shown == ["p2"]
        assert (await bench.run(partial=True)).exit_code is ExitCode.OK
        assert asked(server) == []
    assert result.to_json()["total"] == 2
    assert bench.states() == {"succeeded": 3, "pending": 1}


async def test_a_file_is_worked_on_alone_and_no_file_means_all(tmp_path: Path) -> None:
    async with FaultServer() as server:
        bench = Bench(tmp_path, a=provider(server), run=ONE)
        first, second = (bench.write(prompts(3, prefix=name), f"{name}.jsonl") for name in "xy")
        await bench.run(files=[first], limit=1)
        assert asked(server) == ["x0"]
        result = await bench.run(files=[second], partial=True)
        assert asked(server) == ["y0", "y1", "y2"]
        assert (result.to_json()["batch"], result.to_json()["total"]) == ("y", 3)
        result = await bench.run()
        assert asked(server) == ["x1", "x2"]
    told = result.to_json()
    assert (told["batch"], told["batches"], told["total"], told["skipped"]) == (
        None, ["x", "y"], 6, 4
    )  # fmt: skip


async def test_a_namesake_from_elsewhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    async with FaultServer() as server:
        bench = Bench(tmp_path, a=provider(server))
        ours = bench.write(prompts(2))
        await bench.run(files=[ours])
        theirs = bench.write(prompts(2, prefix="q"), "other/prompts.jsonl")
        with pytest.raises(InputError) as refused:
            await bench.run(files=[theirs])
        assert str(ours) in str(refused.value)
        assert str(theirs) in str(refused.value)
        assert len(asked(server)) == 2
        await bench.run(files=[theirs], name="prompts", partial=True)
        assert sorted(asked(server)) == ["q0", "q1"]
    assert bench.rows("SELECT name FROM batch") == [("prompts",)]


CHANGED = [{"id": "p0", "prompt": "changed"}, *prompts(3)[1:]]


async def test_a_changed_prompt_under_a_finished_id(tmp_path: Path) -> None:
    """`error` sends nothing at all, `keep` leaves it, `rerun` asks just that one again."""
    async with FaultServer() as server:
        bench = Bench(tmp_path, a=provider(server), run=ONE)
        await bench.run(prompts(3), limit=2)
        asked(server)
        with pytest.raises(InputError, match=r"1 finished job.s. has changed: `p0`"):
            await bench.run(CHANGED)
        assert asked(server) == []
        await bench.run(CHANGED, overrides={"on_changed": "keep"})
        assert asked(server) == ["p2"]
        assert (await bench.exported())["p0"]["text"] == "echo: p0"


async def test_rerun_keeps_the_old_answer_until_the_new_one_is_there(tmp_path: Path) -> None:
    async with FaultServer() as server:
        bench = Bench(tmp_path, a=provider(server), run=ONE)
        await bench.run(prompts(3))
        asked(server)
        options = RunOptions(database=bench.database, files=(bench.write(CHANGED),), dry_run=True)
        await bench.new_session(options, on_changed="rerun").run()
        assert bench.states() == {"pending": 1, "succeeded": 2}
        assert bench.rows("SELECT count(*) FROM answer") == [(3,)]

        server.load(Reply.chat("new"))
        again = bench.new_session(RunOptions(database=bench.database))
        assert (await again.run()).exit_code is ExitCode.OK
    flat = await bench.exported()
    assert (flat["p0"]["text"], flat["p1"]["text"]) == ("new", "echo: p1")
    assert flat["p0"]["attempts"] == 2


async def test_changed_flags_change_the_question(tmp_path: Path) -> None:
    """A finished job is protected from another system prompt; an unfinished one takes it."""
    async with FaultServer() as server:
        bench = Bench(tmp_path, a=provider(server), run=ONE)
        await bench.run(prompts(2), limit=1)
        with pytest.raises(InputError, match="has changed"):
            await bench.run(prompts(2), flags=Flags(system="Other."))
        assert asked(server) == ["p0"]
        await bench.run(prompts(2), overrides={"on_changed": "keep"}, flags=Flags(system="Other."))
        (seen,) = server.ledger
    assert seen.json()["messages"][0] == {"role": "system", "content": "Other."}


async def test_bad_lines_are_counted_and_the_good_ones_done(tmp_path: Path) -> None:
    async with FaultServer() as server:
        bench = Bench(tmp_path, a=provider(server))
        lines = [*prompts(3), {"id": "x"}, {"id": "p0", "prompt": "twice"}, 7]
        result = await bench.run(lines)
        assert (result.exit_code, result.to_json()["invalid"]) == (ExitCode.SOME_FAILED, 3)
        assert len(asked(server)) == 3
        (report,) = bench.recorder.reports
        assert [bad.line for bad in report.invalid_shown] == [4, 5, 6]

        result = await bench.run([*prompts(3), {"id": "x", "prompt": "x"}])
        assert asked(server) == ["x"]
    assert (result.exit_code, result.to_json()["invalid"]) == (ExitCode.OK, 0)


async def test_strict_takes_no_bad_line(tmp_path: Path) -> None:
    async with FaultServer() as server:
        bench = Bench(tmp_path, a=provider(server))
        with pytest.raises(InputError, match=r"1 line.s. are not valid"):
            await bench.run([*prompts(3), {"id": "x"}], strict=True)
        assert asked(server) == []
    assert bench.states() == {}


REFUSALS = {
    "p0": Reply.error(400, code="a"),
    "p1": Reply.html(),
    "p2": Reply.error(400, message="prompt is too long"),
}


def refuse_some(seen: Seen) -> Reply | None:
    return REFUSALS.get(seen.prompt)


@hurried
@pytest.mark.parametrize(
    ("requeue", "sent"),
    [
        (Requeue(), ["p0", "p1", "p2"]),
        (Requeue(batch="prompts", kinds=("bad_response",)), ["p1"]),
        (Requeue(kinds=("bad_response", "bad_request")), ["p0", "p1"]),
        (Requeue(except_kinds=("bad_request",)), ["p1", "p2"]),
        (Requeue(kinds=("auth",)), []),
        (Requeue(run_them=False), []),
    ],
    ids=["all", "one kind", "two kinds", "except", "no such", "no run"],
)
async def test_retry_failed_sends_just_those(
    tmp_path: Path, requeue: Requeue, sent: list[str]
) -> None:
    """Jobs that are merely pending are none of its business."""
    async with FaultServer(refuse_some) as server:
        bench = Bench(tmp_path, a=provider(server), run=ONE)
        await bench.run(prompts(8), limit=5)
        assert bench.states() == {"failed": 3, "succeeded": 2, "pending": 3}
        asked(server)
        result = await bench.run(requeue=requeue, partial=True)
        assert asked(server) == sent
    told = result.to_json()
    assert told["succeeded"] == len(sent)
    assert told["exit_code"] == 0
    pending = 3 if requeue.run_them else 6
    assert bench.states().get("pending") == pending
    assert result.requeued == (len(sent) if requeue.run_them else 3)


@hurried
async def test_requeueing_clears_the_counts_and_never_the_ledger(tmp_path: Path) -> None:
    """A job that has used up its attempts has all of them again; numbers go on."""
    async with FaultServer(Reply.html()) as server:
        bench = Bench(tmp_path, a=provider(server), run=ONE)
        await bench.run(prompts(1))
        await bench.run(requeue=Requeue())
        assert len(asked(server)) == 4
        await bench.run(requeue=Requeue())
    assert [kind for _, kind in bench.attempts("p0")] == ["bad_response"] * 4 + ["ok"]
    assert (await bench.exported())["p0"]["attempts"] == 5


@hurried
async def test_counts_survive_a_stop(tmp_path: Path) -> None:
    """What a job has met before a restart still counts: two bad replies in all, not per run."""
    async with FaultServer(Reply.html(delay_s=2.0)) as server:
        bench = Bench(tmp_path, a=provider(server), run=ONE)
        await bench.run(prompts(1), overrides={"max_attempts": 2, "max_wait_s": 0.001})
        first = len(server.ledger)
        assert first == 1
        assert bench.states() == {"pending": 1}
        await bench.run(prompts(1))
        assert len(server.ledger) == 2
    assert bench.failures() == {"p0": "bad_response"}


async def test_what_cannot_be_found_is_refused(tmp_path: Path) -> None:
    async with FaultServer() as server:
        bench = Bench(tmp_path, a=provider(server))
        with pytest.raises(UnknownName, match="there is no database"):
            await bench.run(requeue=Requeue())
        assert not bench.database.exists()
        with pytest.raises(UnknownName, match="there is no database"):
            await bench.run()
        assert not bench.database.exists()
        await (await open_for_run(bench.database)).close()
        with pytest.raises(UnknownName, match="holds no batch yet"):
            await bench.run()
        await bench.run(prompts(1))
        with pytest.raises(UnknownName, match="there is no batch `nightly`"):
            await bench.run(requeue=Requeue(batch="nightly"))


async def test_flags_given_without_files_are_kept_as_well(tmp_path: Path) -> None:
    """Else the next run of the file would take its own answers for answers to something else."""
    async with FaultServer() as server:
        bench = Bench(tmp_path, a=provider(server), run=ONE)
        await bench.run(prompts(3), flags=Flags(model="one"), limit=1)
        await bench.run(flags=Flags(model="two"), limit=1)
        assert [
            model for (model,) in bench.rows("SELECT json_extract(flags, '$.model') FROM batch")
        ] == ["two"]


async def test_what_only_puts_back_leaves_what_was_in_flight_to_the_rules_of_a_run(
    tmp_path: Path,
) -> None:
    """`on_unknown = "fail"` of the next run holds: nothing that may be paid is asked again."""
    async with FaultServer(Reply.error(400)) as server:
        bench = Bench(tmp_path, a=provider(server))
        await bench.run(prompts(2))
        with closing(sqlite3.connect(bench.database)) as connection, connection:
            connection.executescript(AS_A_KILL_LEAVES_IT)
        options = RunOptions(database=bench.database, requeue=Requeue(run_them=False))
        await bench.new_session(options).run()
        assert bench.states() == {"pending": 1, "running": 1}
        assert (await verify(bench.database)).findings == 0
        server.load(None)
        result = await bench.run(prompts(2), overrides={"on_unknown": "fail"})
        assert result.exit_code is ExitCode.SOME_FAILED
        assert bench.failures() == {"p1": "interrupted"}
        assert [seen.prompt for seen in server.ledger] == ["p0"]


async def test_a_refusal_after_jobs_were_put_back_says_how_they_go_on(tmp_path: Path) -> None:
    """The command that was typed would find no failed job any more."""
    async with FaultServer(Reply.error(400)) as server:
        bench = Bench(tmp_path, a=provider(server, price=None))
        await bench.run(prompts(2))
        with pytest.raises(Refused) as refused:
            await bench.run(requeue=Requeue(), overrides={"budget_usd": 1.0})
        assert bench.states() == {"pending": 2}
        put_back = "the jobs are put back by now: `aiq run -n prompts` sends them"
        assert put_back in (refused.value.hint or "")
