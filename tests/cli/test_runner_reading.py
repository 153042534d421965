"""The commands that read: `status`, `export`, `show`, `check`, `init`, and help."""

import json
import sqlite3
import tomllib
from contextlib import closing
from pathlib import Path

import pytest

import aiq as package
from tests.cli.conftest import Aiq
from tests.support.lines import lines_of

COMMANDS = (
    "run",
    "status",
    "retry-failed",
    "cancel",
    "export",
    "show",
    "report",
    "check",
    "ctl",
    "probe",
    "monitor",
    "doctor",
    "purge",
    "init",
    "alerts",
)


def test_status_shows_batches_providers_and_failures(aiq: Aiq) -> None:
    aiq("run", "prompts.jsonl", "-p", "quick")
    aiq("run", "prompts.jsonl", "-n", "sad", "-p", "broken", "--max-attempts", "1")
    shown = aiq("status")
    assert (shown.exit_code, shown.stderr) == (0, "")
    lines = lines_of(shown.stdout)
    assert lines[0] == "aiq.db: no run is going"
    assert lines[2].split() == [
        "batch", "jobs", "done", "succeeded", "failed", "pending", "running", "cancelled",
        "invalid", "cost",
    ]  # fmt: skip
    assert lines[3].split()[:6] == ["prompts", "3", "100", "%", "3", "0"]
    assert lines[4].split()[:6] == ["sad", "3", "100", "%", "0", "3"]
    assert any(line.split()[:3] == ["quick", "simulated", "sim-1"] for line in lines)
    assert "3 jobs failed:" in lines


def test_status_is_json_for_programs(aiq: Aiq) -> None:
    aiq("run", "prompts.jsonl", "-p", "quick")
    told = json.loads(aiq("status", "prompts", "--json").stdout)
    assert set(told) >= {
        "db", "batches", "totals", "cost_usd", "possibly_paid", "tokens", "latency_ms",
        "providers", "errors", "run", "told",
    }  # fmt: skip
    assert told["totals"]["succeeded"] == 3
    assert told["run"] is None


def test_export_writes_data_to_stdout_and_nothing_else(aiq: Aiq) -> None:
    aiq("run", "prompts.jsonl", "-p", "quick")
    exported = aiq("export")
    assert (exported.exit_code, exported.stderr) == (0, "")
    rows = [json.loads(line) for line in exported.stdout.removesuffix("\n").split("\n")]
    assert [row["id"] for row in rows] == ["one", "two", "three"]
    assert aiq("export", "--state", "failed").stdout == ""


def test_export_to_a_file_says_how_much(aiq: Aiq, folder: Path) -> None:
    aiq("run", "prompts.jsonl", "-p", "quick")
    exported = aiq("export", "prompts", "-o", "out.csv", "--format", "csv")
    assert (exported.stdout, exported.stderr) == ("", "3 results written to out.csv\n")
    assert (folder / "out.csv").read_text().startswith("id,state,text,")


def test_export_to_a_file_says_what_is_still_missing(aiq: Aiq) -> None:
    aiq("run", "prompts.jsonl", "-p", "quick", "--limit", "1")
    exported = aiq("export", "prompts", "-o", "out.jsonl")
    assert exported.stderr == "1 result written to out.jsonl; 2 jobs not finished\n"
    piped = aiq("export", "prompts")
    assert (len(lines_of(piped.stdout)), piped.stderr) == (1, "2 jobs not finished\n")


def test_an_export_with_a_damaged_answer_says_so_and_writes_the_others(
    aiq: Aiq, folder: Path
) -> None:
    """On its own and at the end of a run; the command in the hint puts it right."""
    aiq("run", "prompts.jsonl", "-p", "quick", "--db", "a.db")
    with closing(sqlite3.connect(folder / "a.db")) as connection, connection:
        connection.execute("UPDATE answer SET body = CAST('{}' AS BLOB) WHERE job_id = 2")
    exported = aiq("export", "--db", "a.db", "-o", "out.jsonl")
    assert exported.exit_code == 1
    assert exported.stderr == (
        "3 results written to out.jsonl\n"
        "error: 1 stored answer is damaged, and is given as failed\n\n"
        "hint: `aiq doctor --verify a.db` tells which; restore a copy, or"
        " `aiq retry-failed --kind damaged --db a.db` asks (and pays) again\n"
    )
    rows = [json.loads(line) for line in lines_of((folder / "out.jsonl").read_text())]
    assert [row["state"] for row in rows] == ["succeeded", "failed", "succeeded"]
    some = aiq("export", "--db", "a.db", "--state", "succeeded")
    assert (some.exit_code, len(lines_of(some.stdout))) == (1, 2)
    assert "1 stored answer is damaged, and is left out" in some.stderr
    again = aiq("run", "prompts.jsonl", "-p", "quick", "--db", "a.db", "-o", "o", "--json", "-q")
    assert (again.exit_code, json.loads(again.stdout)["exit_code"]) == (1, 1)
    assert "is damaged" in again.stderr
    assert "damaged: the stored answer" in aiq("show", "two", "--db", "a.db").stdout
    command = ["retry-failed", "--kind", "damaged", "--db", "a.db", "-p", "quick", "-q"]
    assert aiq(*command).exit_code == 0
    assert aiq("export", "--db", "a.db").exit_code == 0


def test_a_damaged_answer_that_cannot_be_asked_again_is_not_promised(
    aiq: Aiq, folder: Path
) -> None:
    """Where its line has vanished from its file, `retry-failed` would do nothing for it."""
    aiq("run", "prompts.jsonl", "-p", "quick")
    first, *_ = lines_of((folder / "prompts.jsonl").read_text())
    (folder / "prompts.jsonl").write_text(f"{first}\n")
    aiq("run", "prompts.jsonl", "-p", "quick")
    damaged = "UPDATE answer SET body = CAST('{}' AS BLOB) WHERE job_id "
    with closing(sqlite3.connect(folder / "aiq.db")) as connection, connection:
        connection.execute(f"{damaged} = 2")
    assert aiq("export").stderr.endswith(
        "restore a copy; 1 of them cannot be asked again, its line is no longer in its file\n"
    )
    with closing(sqlite3.connect(folder / "aiq.db")) as connection, connection:
        connection.execute(f"{damaged} < 4")
    assert aiq("export").stderr.endswith(
        "or `aiq retry-failed --kind damaged` asks (and pays) again;"
        " 2 of them cannot be asked again, their lines are no longer in their files\n"
    )


def test_a_hint_names_the_database_that_was_meant(aiq: Aiq) -> None:
    aiq("run", "prompts.jsonl", "-p", "quick", "--db", "two.db", "-n", "p5")
    aiq("run", "prompts.jsonl", "-p", "quick", "--db", "two.db", "-n", "p6")
    refused = aiq("export", "--db", "two.db")
    assert refused.stderr.endswith("hint: name one: `aiq export p5 --db two.db`\n")


def test_a_hint_is_a_command_whatever_the_name_holds(aiq: Aiq) -> None:
    """A quote and a line feed are part of a word, and no end of it."""
    for name in ("it's\none", "other"):
        aiq("run", "prompts.jsonl", "-p", "quick", "-n", name)
    refused = aiq("export")
    assert refused.exit_code == 2
    assert refused.stderr.endswith(r"hint: name one: `aiq export $'it\x27s\x0aone'`" + "\n")


def test_show_tells_one_job_whole(aiq: Aiq) -> None:
    aiq("run", "prompts.jsonl", "-p", "quick")
    shown = aiq("show", "two")
    assert shown.exit_code == 0
    assert shown.stdout.startswith("job two of prompts: succeeded\n")
    assert "prompts.jsonl:2\n" in shown.stdout
    assert '\nrequest\n  {"id": "two", "prompt": "Name a mountain."}\n' in shown.stdout
    assert "\nanswer (stop)\n" in shown.stdout
    assert json.loads(aiq("show", "two", "--json").stdout)["attempts"][0]["provider"] == "quick"


def test_show_lets_no_control_character_through(aiq: Aiq, folder: Path) -> None:
    """An id may hold anything JSON can say; a terminal sees an escape."""
    (folder / "evil.jsonl").write_text('{"id": "e\\u001b]0;x\\u0007", "prompt": "\\u202e[b]hi"}\n')
    aiq("run", "evil.jsonl", "-p", "quick")
    shown = aiq("show", "e\x1b]0;x\x07").stdout
    assert shown.startswith("job e\\x1b]0;x\\x07 of evil: succeeded\n")
    for screen in (shown, aiq("status").stdout, aiq("run", "evil.jsonl", "-p", "quick").stderr):
        assert not set(screen) & {"\x1b", "\x07", "\u202e"}


def test_check_lists_bad_lines_and_estimates(aiq: Aiq, folder: Path) -> None:
    (folder / "bad.jsonl").write_text('"good"\n{"prompt": ""}\n{"prompt": "x", "max_token": 3}\n')
    checked = aiq("check", "bad.jsonl")
    assert checked.exit_code == 1
    assert checked.stdout.startswith(
        f"{folder}/bad.jsonl:2  empty prompt\n"
        f"{folder}/bad.jsonl:3  note: `max_token` is no request field; did you mean `max_tokens`?\n"
        "\n"
        "3 lines: 2 valid, 1 invalid\n"
        "about "
    )
    assert " at quick (sim-1), with 256 output tokens each\n" in checked.stdout
    told = json.loads(aiq("check", "bad.jsonl", "--json").stdout)
    assert set(told) == {
        "lines", "valid", "invalid", "tokens_estimated", "cost_estimated_usd",
        "output_tokens_assumed",
    }  # fmt: skip
    assert told["invalid"][0]["line"] == 2


def test_check_prices_a_preset_once_it_has_a_model(aiq: Aiq) -> None:
    assert aiq("check", "prompts.jsonl", "-p", "openai").stdout.endswith(
        "cost unknown at openai: name a model with `-m MODEL`\n"
    )
    priced = aiq("check", "prompts.jsonl", "-p", "openai", "-m", "gpt-4.1-mini").stdout
    assert priced.endswith(" at openai (gpt-4.1-mini), with 256 output tokens each\n")
    assert aiq("check", "prompts.jsonl", "-p", "openai", "-m", "none-such").stdout.endswith(
        "cost unknown at openai (none-such): no price is known; set `price` for the provider\n"
    )


def test_check_needs_no_provider_and_leaves_nothing(aiq: Aiq, folder: Path) -> None:
    (folder / "aiq.toml").unlink()
    assert aiq("check", "prompts.jsonl").exit_code == 0
    assert {path.name for path in folder.iterdir()} == {"prompts.jsonl"}


def test_doctor_verifies_the_database_it_is_given(aiq: Aiq, folder: Path) -> None:
    """A line a rule, as for the other checks; what is wrong counts and names the jobs."""
    aiq("run", "prompts.jsonl", "-p", "quick")
    verified = aiq("doctor", "--verify", "aiq.db", "--db", "other.db")
    *lines, empty, last = lines_of(verified.stdout)
    assert (verified.exit_code, empty, last) == (0, "", "nothing to be put right")
    assert {line.split()[0] for line in lines} == {"ok"}
    assert "3 jobs, 3 attempts, 3 answers" in lines[0]
    with closing(sqlite3.connect(folder / "aiq.db")) as connection, connection:
        connection.execute("UPDATE answer SET digest = zeroblob(32) WHERE job_id < 3")
    verified = aiq("doctor", "--verify", "aiq.db", "--json")
    told = json.loads(verified.stdout)
    assert (verified.exit_code, told["findings"]) == (1, 1)
    [wrong] = [check for check in told["checks"] if check["gravity"] == "finding"]
    assert (wrong["name"], wrong["count"], wrong["samples"]) == ("digests", 2, ["one", "two"])
    assert not (folder / "other.db").exists()


def test_init_writes_what_run_can_read(aiq: Aiq, folder: Path) -> None:
    written = aiq("init", "--force")
    assert written.exit_code == 0
    assert written.stderr.startswith("aiq.toml written; ")
    assert written.stderr.endswith("next: aiq run prompts.jsonl\n")
    assert tomllib.loads((folder / "aiq.toml").read_text())["providers"]


def test_init_finds_keys_by_their_name(aiq: Aiq, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROQ_API_KEY", "gsk-canary")
    written = aiq("init", "--config", "mine.toml")
    assert "groq" in written.stderr
    assert written.stderr.endswith("next: aiq run prompts.jsonl --config mine.toml\n")
    assert "gsk-canary" not in written.stderr + Path("mine.toml").read_text()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_documents_its_exit_status(aiq: Aiq, name: str) -> None:
    helped = aiq(name, "--help")
    assert helped.exit_code == 0
    assert "\n  EXIT STATUS\n    0  " in helped.stdout
    assert "\\b" not in helped.stdout, "a mark of the layout, not for people"
    assert "    70        a bug in aiq\n" in helped.stdout


def test_the_first_help_lists_commands_and_every_exit_status(aiq: Aiq) -> None:
    helped = aiq("--help").stdout
    listed = helped.split("Commands:\n")[1].split("\n\n")[0]
    assert tuple(line.split()[0] for line in lines_of(listed)) == COMMANDS
    for code in ("0  ", "1  ", "2  ", "3  ", "4  ", "5  ", "70  ", "130, 143  "):
        assert f"\n    {code}" in helped


def test_the_version_is_the_package_s(aiq: Aiq) -> None:
    assert aiq("--version").stdout == f"aiq {package.__version__}\n"
