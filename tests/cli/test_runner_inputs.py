"""Where prompts may come from: files of any name, and everything that is no prompt file."""

from __future__ import annotations

import gzip
import os
import shlex
from pathlib import Path

import pytest

from tests.cli.conftest import PROMPTS, Aiq
from tests.support.factories import dump
from tests.support.lines import lines_of

NAMES = [
    "with some spaces.jsonl",
    "日本 💥 naïve.jsonl",
    "two\nlines\tand a tab.jsonl",
    "-x.jsonl",
    "--json",
    'it\'s "quoted" $HOME `id`;.jsonl',
    "[red]100%s {0}[b]:smile:?mode=ro#x",
    "\x1b[31mred\x9b\u202e.jsonl",
    "n" * 200 + ".jsonl",
]


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_a_file_of_any_name_is_read_shown_and_found_again(aiq: Aiq, name: str) -> None:
    """Nothing in a name acts on a terminal or a shell, and the same file is the same batch."""
    Path(name).write_text('{"id": "a", "prompt": "x"}\nnot a prompt\n')
    checked = aiq("check", "--", name)
    assert (checked.exit_code, ":2  not valid JSON" in checked.stdout) == (1, True)
    ran = aiq("run", "-p", "quick", "--", name)
    assert ran.exit_code == 1, ran.stderr
    again = aiq("run", "-p", "quick", "--", name)
    assert "nothing was sent" in again.stderr
    outputs = (checked, ran, again, aiq("status"), aiq("show", "a"))
    shown = "".join(one.stdout + one.stderr for one in outputs)
    assert all(char.isprintable() or char == "\n" for char in shown)
    if name.isprintable():
        [words] = [shlex.split(line) for line in lines_of(ran.stderr) if "aiq export" in line]
        assert words[:3] == ["answers", "aiq", "export"]
        exported = aiq(*words[2:])
        assert exported.exit_code == 0, exported.stderr
        assert Path(words[words.index("-o") + 1]).read_text().startswith('{"id":"a"')


def stored(folder: Path) -> dict[str, object]:
    """Return what the database holds, besides that there was a run."""
    return {name: rows for name, rows in dump(folder / "aiq.db").items() if name != "run"}


def test_what_is_no_prompt_file_is_refused_by_name(aiq: Aiq, folder: Path) -> None:
    """The database, a device, a folder, other encodings, damage: nothing is sent or changed."""
    assert aiq("run", "prompts.jsonl", "-p", "quick").exit_code == 0
    before = stored(folder)
    (folder / "wide.jsonl").write_bytes(PROMPTS.encode("utf-16"))
    (folder / "cut.jsonl.gz").write_bytes(gzip.compress(os.urandom(9999))[:-1000])
    (folder / "plain.jsonl.gz").write_text(PROMPTS)
    refusals = {
        "aiq.db": "is a SQLite database",
        "/dev/zero": "is a device or a socket",
        ".": "is a directory",
        "wide.jsonl": "is UTF-16 text, not UTF-8",
        "cut.jsonl.gz": "is truncated gzip",
        "plain.jsonl.gz": "is damaged or not gzip",
        "nowhere.jsonl": "does not exist",
        "prompts.jsonl/x": "cannot be read: Not a directory",
    }
    for name, reason in refusals.items():
        for command in ("run", "check"):
            other = ("-n", "other") if command == "run" else ()
            refused = aiq(command, "-p", "quick", name, *other)
            assert (refused.exit_code, refused.stdout) == (2, ""), (name, refused.output)
            assert reason in refused.stderr
    assert stored(folder) == before
    refused = aiq("run", "more.jsonl", "--db", "prompts.jsonl", "-p", "quick")
    assert refused.exit_code == 5
    assert (folder / "prompts.jsonl").read_text() == PROMPTS


@pytest.mark.parametrize("content", ["", "\n \r\n\t\n", "\ufeff\n"])
def test_a_file_without_lines_is_a_batch_without_jobs(aiq: Aiq, content: str) -> None:
    """Nothing to do is not an error, and says so."""
    Path("empty.jsonl").write_text(content)
    ran = aiq("run", "empty.jsonl", "-p", "quick")
    assert (ran.exit_code, ran.stdout) == (0, "")
    assert "0 jobs" in ran.stderr
    checked = aiq("check", "empty.jsonl")
    assert checked.exit_code == 0
    assert "0 lines" in checked.stdout
