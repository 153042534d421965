"""What a command does not need, it does not import."""

import subprocess
import sys

import pytest

NETWORK = {"httpx", "aiohttp", "genai_prices"}
WIDGETS = {"rich.progress", "rich.live", "rich.console"}


def imported_by(code: str) -> set[str]:
    """Return the names of all modules that a fresh interpreter has imported after the code."""
    script = f"import sys\n{code}\nprint('\\n'.join(sys.modules), file=sys.stderr)"
    run = subprocess.run(  # our own interpreter and our own code
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(run.stderr.split())


def command(*words: str) -> str:
    return (
        "from aiq.cli.app import app\n"
        f"try:\n    app({list(words)!r}, prog_name='aiq')\n"
        "except SystemExit:\n    pass"
    )


@pytest.mark.parametrize("words", [("--help",), ("run", "--help"), ("--version",)])
def test_help_imports_neither_network_nor_widgets(words: tuple[str, ...]) -> None:
    assert not imported_by(command(*words)) & (NETWORK | WIDGETS | {"asyncio", "msgspec"})


def test_status_imports_nothing_of_sending(tmp_path: object) -> None:
    """It reads a file; HTTP libraries would take most of its time, and retrying its share."""
    imported = imported_by(command("status", "--db", f"{tmp_path}/none.db"))
    assert not imported & (NETWORK | {"tenacity", "aiq.run.job"})


@pytest.mark.parametrize("words", [("ctl", "pause"), ("cancel", "x")])
def test_an_operator_opens_no_network(words: tuple[str, ...], tmp_path: object) -> None:
    """A run that shall stop does not wait for libraries that only sending needs."""
    database = f"{tmp_path}/none.db"
    assert not imported_by(command(*words, "--db", database)) & NETWORK


def test_the_probe_of_this_test_can_fail() -> None:
    assert imported_by("import rich.live") >= {"rich.live"}
