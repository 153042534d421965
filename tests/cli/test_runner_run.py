"""`run` and `retry-failed` from their options to their last line."""

import json
from pathlib import Path
from typing import Any

import pytest

from aiq.store.lock import RunLock
from tests.cli.conftest import Aiq
from tests.support.lines import lines_of

QUICK = ("-p", "quick")
BROKEN = ("-p", "broken", "--max-attempts", "1")

RUN_KEYS = {
    "batch", "total", "succeeded", "failed", "pending", "running", "cancelled", "invalid",
    "skipped", "truncated", "refused", "requests", "elapsed_s", "rate_per_s", "cost_usd",
    "cost_total_usd", "cost_complete", "possibly_paid", "tokens", "latency_ms", "providers",
    "errors", "exit_code", "resume", "retry",
}  # fmt: skip
PROVIDER_KEYS = {
    "name", "kind", "model", "status", "reason", "requests", "succeeded", "failed",
    "rate_limited", "in_flight", "latency_ms", "tokens", "cost_usd",
}  # fmt: skip


def only_json(text: str) -> dict[str, Any]:
    """Return the one object that stdout holds, and nothing beside it."""
    assert text.count("\n") == 1
    parsed: dict[str, Any] = json.loads(text)
    return parsed


def test_a_run_says_what_it_will_do_and_what_it_did(aiq: Aiq) -> None:
    ran = aiq("run", "prompts.jsonl", *QUICK)
    assert ran.exit_code == 0
    assert ran.stdout == ""
    plan, *rest = lines_of(ran.stderr)
    assert plan.startswith("prompts: 3 jobs to send · quick (sim-1) · about $0.0")
    assert plan.endswith(" · no budget")
    text = "\n".join(rest)
    assert "prompts: 3 succeeded, 0 failed in 0." in text
    assert "requests  ok  errors  429s" in text
    assert "mean" in text
    assert "p99" in text
    assert "answers  aiq export prompts -o prompts-results.jsonl" in text
    assert "resume" not in text
    assert "\x1b" not in ran.stderr


def test_a_finished_run_repeated_is_one_sentence(aiq: Aiq) -> None:
    aiq("run", "prompts.jsonl", *QUICK)
    again = aiq("run", "prompts.jsonl", *QUICK)
    assert again.exit_code == 0
    assert again.stderr == (
        "prompts: 3 jobs are already done, nothing was sent\n"
        "\n"
        "answers  aiq export prompts -o prompts-results.jsonl\n"
    )


def test_json_is_the_contract_and_the_only_thing_on_stdout(aiq: Aiq) -> None:
    told = only_json(aiq("run", "prompts.jsonl", *QUICK, "--json").stdout)
    assert set(told) >= RUN_KEYS
    assert set(told["providers"][0]) >= PROVIDER_KEYS
    assert (told["batch"], told["total"], told["succeeded"], told["requests"]) == (
        "prompts",
        3,
        3,
        3,
    )
    assert (told["exit_code"], told["resume"]) == (0, None)
    assert told["cost_usd"] == pytest.approx(told["providers"][0]["cost_usd"])


def test_quiet_means_nothing_but_errors(aiq: Aiq) -> None:
    ran = aiq("run", "prompts.jsonl", *QUICK, "-q")
    assert (ran.exit_code, ran.stdout, ran.stderr) == (0, "", "")


def test_a_quiet_failure_still_says_its_counts(aiq: Aiq) -> None:
    ran = aiq("run", "prompts.jsonl", *BROKEN, "-q")
    assert ran.exit_code == 1
    assert ran.stderr.startswith("prompts: 0 succeeded, 3 failed in 0.")


def test_a_dry_run_stops_at_the_plan(aiq: Aiq) -> None:
    ran = aiq("run", "prompts.jsonl", *QUICK, "--dry-run")
    assert ran.exit_code == 0
    plan, end = lines_of(ran.stderr)
    assert plan.startswith("prompts: 3 jobs to send")
    assert end == "dry run: nothing was sent"
    assert only_json(aiq("status", "--json").stdout)["totals"]["pending"] == 3


def test_a_dry_run_writes_no_results(aiq: Aiq, folder: Path) -> None:
    """What the file holds may be all there is of answers that were paid."""
    (folder / "out.jsonl").write_text("paid\n")
    ran = aiq("run", "prompts.jsonl", *QUICK, "--dry-run", "-o", "out.jsonl")
    assert ran.exit_code == 0
    assert ran.stderr.endswith("dry run: nothing was sent\n")
    assert (folder / "out.jsonl").read_text() == "paid\n"


def test_a_batch_has_a_name(aiq: Aiq) -> None:
    """An empty variable in a script would join files that have nothing to do with each other."""
    ran = aiq("run", "prompts.jsonl", *QUICK, "-n", "")
    assert ran.exit_code == 2
    assert "the name of a batch cannot be empty" in ran.stderr


def test_a_dry_run_lists_bad_lines(aiq: Aiq, folder: Path) -> None:
    """They are why it does not end with 0."""
    (folder / "bad.jsonl").write_text('"good"\n{"promt": "x"}\n')
    ran = aiq("run", "bad.jsonl", *QUICK, "--dry-run")
    assert ran.exit_code == 1
    _, heading, bad, end = lines_of(ran.stderr)
    assert heading == "1 invalid line:"
    assert "bad.jsonl:2  no `prompt` or `messages`" in bad
    assert end == "dry run: nothing was sent"


def test_results_go_to_a_file_at_the_end(aiq: Aiq, folder: Path) -> None:
    ran = aiq("run", "prompts.jsonl", *QUICK, "-o", "out.jsonl")
    assert ran.stderr.endswith("3 results written to out.jsonl\n")
    assert "aiq export" not in ran.stderr
    lines = lines_of((folder / "out.jsonl").read_text())
    assert [json.loads(line)["id"] for line in lines] == ["one", "two", "three"]


def test_results_go_to_stdout_and_talk_does_not(aiq: Aiq) -> None:
    ran = aiq("run", "prompts.jsonl", *QUICK, "-o", "-", "--format", "csv")
    assert ran.stdout.startswith("id,state,text,")
    assert len(lines_of(ran.stdout)) == 4


def test_standard_input_is_a_batch(aiq: Aiq) -> None:
    ran = aiq("run", "-", *QUICK, "--json", stdin='"hello"\n')
    assert only_json(ran.stdout)["batch"] == "stdin"


def test_failures_are_grouped_with_a_job_and_a_way_on(aiq: Aiq) -> None:
    ran = aiq("run", "prompts.jsonl", *BROKEN)
    assert ran.exit_code == 1
    assert "3 jobs failed:\n" in ran.stderr
    assert " at broken: " in ran.stderr
    assert "(job " in ran.stderr
    assert "retry    aiq retry-failed prompts --provider broken --max-attempts 1\n" in ran.stderr


def test_bad_lines_are_listed_and_the_rest_is_done(aiq: Aiq, folder: Path) -> None:
    (folder / "bad.jsonl").write_text('"good"\nnot json\n{"prompt": ""}\n')
    ran = aiq("run", "bad.jsonl", *QUICK)
    assert ran.exit_code == 1
    assert "1 succeeded, 0 failed, 2 lines invalid" in ran.stderr
    assert f"  {folder}/bad.jsonl:3  empty prompt\n" in ran.stderr


def test_strict_lists_bad_lines_and_sends_nothing(aiq: Aiq, folder: Path) -> None:
    (folder / "bad.jsonl").write_text('"good"\n{"prompt": ""}\n')
    ran = aiq("run", "bad.jsonl", *QUICK, "--strict", "--json")
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert f"  {folder}/bad.jsonl:2  empty prompt\n" in ran.stderr
    assert "error: " in ran.stderr


def test_many_bad_lines_are_counted_after_the_twentieth(aiq: Aiq, folder: Path) -> None:
    (folder / "bad.jsonl").write_text('"good"\n' + "no\n" * 25)
    shown = aiq("run", "bad.jsonl", *QUICK).stderr
    assert shown.count("bad.jsonl:") == 20
    assert "  and 5 more: `aiq check FILE` lists all\n" in shown


def test_failed_jobs_get_another_chance(aiq: Aiq) -> None:
    aiq("run", "prompts.jsonl", *BROKEN)
    told = only_json(aiq("retry-failed", *QUICK, "--json").stdout)
    assert (told["succeeded"], told["requests"], told["exit_code"]) == (3, 3, 0)


def test_failed_jobs_can_be_put_back_without_sending(aiq: Aiq, folder: Path) -> None:
    """Nothing is sent, so no provider is needed."""
    aiq("run", "prompts.jsonl", *BROKEN)
    (folder / "aiq.toml").unlink()
    put = aiq("retry-failed", "--no-run")
    assert put.exit_code == 0
    assert put.stderr == "3 failed jobs put back\nrun      aiq run\n"
    assert only_json(aiq("status", "--json").stdout)["totals"]["pending"] == 3


def test_what_was_cancelled_is_undone_by_the_command_that_is_printed(aiq: Aiq) -> None:
    """It puts back just that, and sends nothing."""
    aiq("run", "prompts.jsonl", *QUICK, "--limit", "1")
    first = aiq("cancel", "two").stderr
    second = aiq("cancel", "three").stderr
    undo = "undo     aiq retry-failed --kind cancelled --job three --no-run"
    assert second == f"1 job cancelled\n{undo}\n"
    assert "--job two " in first
    assert aiq(*undo.split()[2:]).stderr == "1 cancelled job put back\nrun      aiq run\n"
    totals = only_json(aiq("status", "--json").stdout)["totals"]
    assert (totals["succeeded"], totals["pending"], totals["cancelled"]) == (1, 1, 1)
    third = aiq("cancel", "prompts").stderr
    assert third.startswith("1 job cancelled, 1 had ended already, 1 was cancelled before\n")
    assert "puts back all that was ever cancelled" in third
    assert "undo" not in third


def test_who_is_switched_off_between_runs_is_shown_so(aiq: Aiq) -> None:
    """Also who was seen well by the last run, and until it is taken back."""
    aiq("run", "prompts.jsonl", *QUICK)
    for word, seen in (("disable", ("disabled", "by you")), ("enable", ("healthy", None))):
        aiq("ctl", word, "quick")
        [one] = only_json(aiq("status", "--json").stdout)["providers"]
        assert (one["status"], one["reason"]) == seen


def test_ctl_alone_lists_what_there_is(aiq: Aiq) -> None:
    assert aiq("ctl").stderr == (
        "error: Missing argument 'ACTION'. Choose from: status, pause, resume, stop, set, disable,"
        " enable, reset\n\nhint: `aiq ctl --help` lists what there is\n"
    )


def test_one_batch_of_several_is_carried_on_with(aiq: Aiq) -> None:
    """Without files, `-n` names it; what else is unfinished stays so."""
    aiq("run", "prompts.jsonl", *QUICK, "-n", "one", "--limit", "1")
    aiq("run", "prompts.jsonl", *QUICK, "-n", "two", "--limit", "1")
    told = only_json(aiq("run", "-n", "two", *QUICK, "--json", "-o", "two.jsonl").stdout)
    assert (told["batch"], told["succeeded"], told["requests"]) == ("two", 3, 2)
    batches = only_json(aiq("status", "--json").stdout)["batches"]
    assert [(one["name"], one["pending"]) for one in batches] == [("one", 2), ("two", 0)]
    unknown = aiq("run", "-n", "three", *QUICK)
    assert (unknown.exit_code, unknown.stderr) == (
        2,
        "error: there is no batch `three`\n\nhint: the batches are: `one`, `two`\n",
    )


def test_a_stopped_retry_is_resumed_within_its_batch(aiq: Aiq) -> None:
    aiq("run", "prompts.jsonl", *BROKEN)
    aiq("run", "prompts.jsonl", *QUICK, "-n", "other", "--limit", "1")
    told = only_json(aiq("retry-failed", "prompts", *BROKEN, "--limit", "2", "--json").stdout)
    options = "--provider broken --max-attempts 1 --limit 2 --json"
    assert told["resume"] == f"aiq run --name prompts {options}"
    assert told["retry"] == f"aiq retry-failed prompts {options}"


def test_a_retry_that_finds_the_database_held_is_repeated(aiq: Aiq, folder: Path) -> None:
    aiq("run", "prompts.jsonl", *BROKEN)
    lock = RunLock(folder / "aiq.db")
    assert lock.acquire()
    with lock:
        refused = aiq("retry-failed", "prompts", "--kind", "server_error", *QUICK)
    assert refused.exit_code == 5
    assert refused.stderr.endswith(
        "\nresume   aiq retry-failed prompts --provider quick --kind server_error\n"
    )


def test_nothing_to_retry_is_a_sentence(aiq: Aiq) -> None:
    aiq("run", "prompts.jsonl", *QUICK)
    assert aiq("retry-failed", *QUICK).stderr == "no failed job is left to put back\n"
    aiq("run", "prompts.jsonl", "-n", "other", *BROKEN)
    none = aiq("retry-failed", "other", "--kind", "auth", *QUICK)
    assert none.stderr == "no failed job of those asked for is left to put back\n"


def test_a_retry_that_was_stopped_goes_on_when_it_is_given_again(aiq: Aiq, folder: Path) -> None:
    """What it had put back is pending by then, and no success as long as it is."""
    config = (folder / "aiq.toml").read_text()
    down = '[[providers]]\nname = "down"\nbase_url = "http://127.0.0.1:9/v1"\nmodel = "m"\n'
    (folder / "aiq.toml").write_text(f"{config}\n{down}")
    aiq("run", "prompts.jsonl", *BROKEN)
    for kind in ((), ("--kind", "server_error"), ("--except", "auth"), ("--job", "one")):
        stopped = aiq("retry-failed", *kind, "-p", "down", "--max-wait", "0.1", "--json")
        assert stopped.exit_code == 3
        assert only_json(stopped.stdout)["pending"] == (1 if "--job" in kind else 3)
    for other in (("--kind", "auth"), ("--except", "server_error"), ("--no-run",)):
        none = aiq("retry-failed", *other, *QUICK)
        assert none.stderr.endswith(" is left to put back\n")
    assert aiq("retry-failed", "--kind", "server_error", *QUICK, "--limit", "1").exit_code == 0
    told = only_json(aiq("retry-failed", *QUICK, "--json").stdout)
    assert (told["exit_code"], told["succeeded"], told["pending"]) == (0, 2, 0)


def test_a_retry_of_two_files_leaves_the_batches_beside_them_alone(aiq: Aiq) -> None:
    both = ("run", "prompts.jsonl", "again.jsonl", *BROKEN)
    Path("again.jsonl").write_text('{"prompt": "Name a sea."}\n')
    assert only_json(aiq(*both, "--json").stdout)["retry"].startswith("aiq retry-failed --provider")
    aiq("run", "prompts.jsonl", *BROKEN, "-n", "beside")
    assert only_json(aiq(*both, "--json").stdout)["retry"] is None
    said = aiq(*both).stderr
    assert "retry of prompts aiq retry-failed prompts --provider broken" in said
    assert "retry of again   aiq retry-failed again --provider broken" in said


def test_no_provider_ends_resumable(aiq: Aiq, folder: Path) -> None:
    """Nobody listens on the port: exit 3, the jobs stay pending, and the command is repeated."""
    (folder / "aiq.toml").write_text(
        '[[providers]]\nname = "down"\nbase_url = "http://127.0.0.1:9/v1"\nmodel = "m"\n'
    )
    ran = aiq("run", "prompts.jsonl", "--max-wait", "0.1", "--json")
    assert ran.exit_code == 3
    told = only_json(ran.stdout)
    assert (told["pending"], told["failed"], told["exit_code"]) == (3, 0, 3)
    assert told["resume"] == "aiq run prompts.jsonl --max-wait 0.1 --json"
    assert "0 succeeded, 0 failed, 3 pending" in ran.stderr
    assert f"resume   {told['resume']}\n" in ran.stderr
