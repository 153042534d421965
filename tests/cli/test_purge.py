"""`aiq purge`: it says what will go, goes on only where that is meant, and can be killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner

from aiq.cli.app import app
from aiq.cli.values import age_us
from aiq.errors import Refused
from tests.cli.conftest import CONFIG, Aiq
from tests.support.invariants import check_store, rows
from tests.support.ledger import prompts
from tests.support.lines import lines_of
from tests.support.process import ROOT, TERMINAL, WAIT_S, Workplace, contents

JOBS = 4_000
SIMULATED = {
    "kind": "simulated",
    "simulated": {"latency_ms": 0, "error_rate": 0.0},
}


@pytest.mark.parametrize(
    ("given", "minutes"), [("30m", 30), ("12h", 720), ("7d", 10_080), ("1m", 1), ("007d", 10_080)]
)
def test_an_age_is_minutes_hours_or_days(given: str, minutes: int) -> None:
    assert age_us("--older-than", given) == minutes * 60_000_000


@pytest.mark.parametrize(
    "given", ["", "7", "d", "7 d", "-7d", "+7d", "7D", "1.5h", "7w", "7d12h", "\u0667d", "9999999d"]
)
def test_anything_else_is_refused(given: str) -> None:
    with pytest.raises(Refused, match="is no age") as refused:
        age_us("--older-than", given)
    assert "`7d`" in str(refused.value.hint)


@pytest.mark.parametrize("given", ["0m", "00h", "0d"])
def test_no_time_at_all_is_refused(given: str) -> None:
    with pytest.raises(Refused, match="is no time at all"):
        age_us("--older-than", given)


def aged(path: Path) -> None:
    """Make all that ever happened a day older."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE attempt SET started_at = started_at - 86400000000")
        connection.execute(
            "UPDATE run SET started_at = started_at - 86400000000,"
            " ended_at = ended_at - 86400000000"
        )


def worked(aiq: Aiq) -> None:
    """Answer three prompts, yesterday."""
    aiq("run", "prompts.jsonl", "-p", "quick")
    aged(Path("aiq.db"))


def test_without_a_word_nothing_is_removed(aiq: Aiq) -> None:
    """A script has to say that it is meant; everything it is told first is true."""
    worked(aiq)
    refused = aiq("purge", "--older-than", "1m")
    assert refused.exit_code == 2
    assert "this removes 3 jobs finished before " in refused.stderr
    assert "running their files again sends and pays them again" in refused.stderr
    assert "`--yes` says that this is meant" in refused.stderr
    assert json.loads(aiq("status", "--json").stdout)["totals"]["succeeded"] == 3


def test_a_dry_run_shows_it_and_removes_nothing(aiq: Aiq) -> None:
    worked(aiq)
    shown = aiq("purge", "--older-than", "1m", "--dry-run")
    assert (shown.exit_code, shown.stdout) == (0, "")
    assert shown.stderr.startswith("would remove 3 jobs finished before ")
    assert shown.stderr.endswith("nothing was removed\n")
    told = json.loads(aiq("purge", "--older-than", "1m", "--dry-run", "--json").stdout)
    assert (told["jobs"], told["attempts"], told["answers"]) == (3, 3, 3)
    assert (told["removed"], told["file_bytes"]) == (False, None)
    assert json.loads(aiq("status", "--json").stdout)["totals"]["succeeded"] == 3


def test_with_yes_it_goes_and_the_money_stays(aiq: Aiq) -> None:
    worked(aiq)
    cost = json.loads(aiq("status", "--json").stdout)["cost_usd"]
    assert cost > 0
    done = aiq("purge", "prompts", "--older-than", "1m", "--yes")
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr.startswith("removed 3 jobs of prompts finished before ")
    told = json.loads(aiq("status", "--json").stdout)
    assert (told["cost_usd"], told["totals"]["total"]) == (cost, 0)
    assert told["batches"][0]["purged"] == 3
    removed = "note: `aiq purge` has removed 3 finished jobs of prompts so far; the cost is still"
    assert removed in aiq("status").stdout
    again = aiq("purge", "--older-than", "1m", "--yes")
    assert again.exit_code == 0
    assert again.stderr.startswith("nothing to remove: no job finished before ")
    assert aiq("doctor", "--verify", "aiq.db").exit_code == 0


def test_answers_without_text_are_told_of(aiq: Aiq, folder: Path) -> None:
    """In `export`, `show` and the report; nothing of them is sent again."""
    worked(aiq)
    done = aiq("purge", "--older-than", "1m", "--answers-only", "--yes", "--json")
    told = json.loads(done.stdout)
    assert (told["jobs"], told["answers"], told["attempts"], told["removed"]) == (3, 3, 0, True)
    assert "removed the text of 3 answers of prompts so far" in aiq("status").stdout
    again = aiq("purge", "--older-than", "1m", "--answers-only", "--yes")
    assert again.stderr.startswith("nothing to remove: no text is left of answers to jobs that fin")
    exported = aiq("export")
    assert exported.exit_code == 0
    assert exported.stderr == "3 answers of them without text: `aiq purge` has removed it\n"
    assert [json.loads(line)["purged"] for line in lines_of(exported.stdout)] == [True] * 3
    assert "answer\n  purged" in aiq("show", "one").stdout
    assert json.loads(aiq("run", "prompts.jsonl", "--json").stdout)["requests"] == 0
    aiq("report")
    assert "(purged)" in (folder / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("command", "code"), [(("export",), 2), (("run", "prompts.jsonl", "-p", "quick"), 1)]
)
def test_texts_that_are_gone_replace_no_file(
    aiq: Aiq, folder: Path, command: tuple[str, ...], code: int
) -> None:
    """
    It may hold the only copy; a new file is written, and said to lack them.

    To a run it is no refusal, because its answers are paid by then.
    """
    worked(aiq)
    assert aiq("export", "-o", "answers.jsonl").exit_code == 0
    aiq("purge", "--older-than", "1m", "--answers-only", "--yes")
    before = (folder / "answers.jsonl").read_bytes()
    refused = aiq(*command, "-o", "answers.jsonl")
    assert refused.exit_code == code
    assert "answers.jsonl is left as it is: the new results have 3 answers whose" in refused.stderr
    assert "name another file with `-o`" in refused.stderr
    way = "answers  aiq export prompts -o prompts-results.jsonl" in lines_of(refused.stderr)
    assert way == (command[0] == "run")
    assert (folder / "answers.jsonl").read_bytes() == before
    done = aiq(*command, "-o", "new.jsonl")
    assert done.exit_code == 0
    said = "3 results written to new.jsonl; 3 answers of them without text: `aiq purge` has removed"
    assert said in done.stderr
    assert len(lines_of((folder / "new.jsonl").read_bytes())) == 3


def test_it_says_how_the_jobs_had_ended(aiq: Aiq) -> None:
    aiq("run", "prompts.jsonl", "-p", "broken", "--limit", "1", "--max-attempts", "1")
    aiq("cancel", "two", "three")
    aged(Path("aiq.db"))
    shown = aiq("purge", "--older-than", "1m", "--dry-run").stderr
    assert "would remove 3 jobs (1 failed, 2 cancelled) finished before" in shown
    assert "sends and pays them again, those that were cancelled too" in shown
    told = json.loads(aiq("purge", "--older-than", "1m", "--yes", "--json").stdout)
    assert (told["jobs"], told["failed"], told["cancelled"]) == (3, 1, 2)


def test_the_report_says_what_it_leaves_out(aiq: Aiq, folder: Path) -> None:
    worked(aiq)
    aiq("purge", "--older-than", "1m", "--yes")
    assert aiq("report").exit_code == 0
    assert "removed 3 finished jobs so far" in (folder / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("words", [(), ("nobody",)])
def test_unknown_names_are_refused(aiq: Aiq, words: tuple[str, ...]) -> None:
    if words:
        aiq("run", "prompts.jsonl", "-p", "quick")
    assert aiq("purge", *words, "--older-than", "7d", "--yes").exit_code == 2


async def test_a_person_is_asked(tmp_path: Path) -> None:
    async with Workplace(tmp_path, a=SIMULATED) as place:
        await place.run("run", place.write(prompts(5)))
        aged(place.db)
        for answer, code, left in ((b"y\n", 2, 5), (b"yes\n", 0, 0)):
            asking = await place.start("purge", "--older-than", "1m", terminal=TERMINAL)
            await asking.says("Type yes to go on:")
            assert rows(place.db, "SELECT count(*) FROM job") == [(5,)]
            asking.press(answer)
            assert (await asking.ended()).code == code
            assert rows(place.db, "SELECT count(*) FROM job") == [(left,)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with many finished jobs, to be copied."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "aiq.toml").write_text(CONFIG)
    file = folder / "prompts.jsonl"
    file.write_text("".join(f"{json.dumps(line)}\n" for line in prompts(JOBS)))
    database = folder / "aiq.db"
    words = ["run", str(file), "--config", str(folder / "aiq.toml"), "--db", str(database)]
    ran = CliRunner().invoke(app, [*words, "-p", "quick", "-q"], prog_name="aiq")
    assert ran.exit_code == 0, ran.stderr
    return database


@pytest.mark.parametrize(
    ("number", "how"),
    [
        (signal.SIGKILL, ()),
        (signal.SIGKILL, ("--answers-only",)),
        (signal.SIGINT, ()),
        (signal.SIGTERM, ("--answers-only",)),
    ],
)
def test_it_may_be_stopped_at_any_point(
    aiq: Aiq, folder: Path, finished: Path, number: signal.Signals, how: tuple[str, ...]
) -> None:
    """What is gone is gone whole, no total has changed, and the same command goes on."""
    command = ("purge", "--older-than", "1m", "--yes", *how)
    database = Path(shutil.copy(finished, folder / "aiq.db"))
    aged(database)
    cost = json.loads(aiq("status", "--json").stdout)["cost_usd"]
    with subprocess.Popen(
        [sys.executable, "-m", "aiq", *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.DEVNULL,
    ) as running:
        while remaining(database) == JOBS:
            assert running.poll() is None
            time.sleep(0.001)  # it is another process that changes it, and tells nobody
        running.send_signal(number)
        code = running.wait(WAIT_S)
    assert code == (130 if number == signal.SIGINT else -number)
    assert 0 < remaining(database) < JOBS, "it came too late to prove anything"
    assert aiq("doctor", "--verify", "aiq.db").exit_code == 0
    check_runless(database)
    assert json.loads(aiq("status", "--json").stdout)["cost_usd"] == cost
    assert aiq(*command).exit_code == 0
    assert remaining(database) == 0
    assert aiq("doctor", "--verify", "aiq.db").exit_code == 0
    check_store(database)
    assert json.loads(aiq("status", "--json").stdout)["cost_usd"] == cost
    assert not [name for name in contents(folder) if "rescue" in name or "copy" in name]


def remaining(path: Path) -> int:
    """Count the answers that still have a text."""
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        count: int
        [(count,)] = connection.execute("SELECT count(*) FROM answer WHERE length(body) > 0")
        return count


def check_runless(path: Path) -> None:
    """No job was left without its request, attempts or answer by what was stopped."""
    for table in ("request", "answer"):
        lone = f"SELECT count(*) FROM {table} WHERE job_id NOT IN (SELECT id FROM job)"
        assert rows(path, lone) == [(0,)], table
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]
