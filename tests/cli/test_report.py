"""`aiq report`: one file, written whole or not at all, that a browser shows without complaint."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Aiq
from tests.support.ledger import prompts
from tests.support.lines import lines_of
from tests.support.process import Workplace
from tests.support.process import contents as files_of

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or ""
EVIL = "<script>document.title='pwned'</script>"


def test_it_writes_one_page(aiq: Aiq, folder: Path) -> None:
    aiq("run", "prompts.jsonl", "-p", "quick")
    done = aiq("report")
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr == "report of 3 jobs written to report.html\n"
    assert "Name a river." in (folder / "report.html").read_text(encoding="utf-8")


def test_it_goes_to_stdout_too(aiq: Aiq, folder: Path) -> None:
    aiq("run", "prompts.jsonl", "-p", "quick")
    done = aiq("report", "-o", "-")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.startswith("<!doctype html>")
    assert done.stdout.endswith("</html>\n")
    assert not (folder / "-").exists()


def contents(folder: Path) -> dict[str, bytes]:
    """Return what is in every file, save what SQLite keeps beside a database that is open."""
    files = [path for path in folder.iterdir() if path.suffix not in (".db-wal", ".db-shm")]
    return {path.name: path.read_bytes() for path in files}


@pytest.mark.parametrize(
    "name", ["aiq.db", "aiq.db-wal", "aiq.health.db", "prompts.jsonl", "aiq.toml", ".env"]
)
def test_what_it_must_not_replace_it_refuses(aiq: Aiq, folder: Path, name: str) -> None:
    aiq("run", "prompts.jsonl", "-p", "quick")
    before = contents(folder)
    refused = aiq("report", "-o", name)
    assert refused.exit_code == 2, refused.stderr
    assert contents(folder) == before


def test_unknown_names_are_refused(aiq: Aiq) -> None:
    assert aiq("report").exit_code == 2
    aiq("run", "prompts.jsonl", "-p", "quick")
    refused = aiq("report", "nobody")
    assert refused.exit_code == 2
    assert "there is no batch `nobody`" in refused.stderr


def test_without_the_extra_it_says_how_to_get_it(
    aiq: Aiq, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    aiq("run", "prompts.jsonl", "-p", "quick")
    monkeypatch.setitem(sys.modules, "jinja2", None)
    refused = aiq("report")
    assert refused.exit_code == 2
    assert "`aiq report` needs the extra `report`: jinja2 is not installed" in refused.stderr
    assert "pip install 'jinja2>=3.1' 'plotly>=6'" in refused.stderr
    assert not (folder / "report.html").exists()


@pytest.mark.parametrize("command", [("report",), ("export", "-o", "report.html")])
async def test_a_page_that_does_not_fit_leaves_the_old_one(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    """A disk that takes no more is no bug of ours, and nothing is left half written."""
    simulated = {"kind": "simulated", "simulated": {"latency_ms": 0, "error_rate": 0.0}}
    async with Workplace(tmp_path, a=simulated) as place:
        await place.run("run", place.write(prompts(2_000)), "-q")
        (tmp_path / "report.html").write_text("old")
        before = set(files_of(tmp_path))
        full = await place.run(*command, shell='ulimit -f 200; exec "$@"')
        assert full.code == 2, full.text
        assert "report.html cannot be written: File too large" in full.text
        assert (tmp_path / "report.html").read_text() == "old"
        assert {name for name in files_of(tmp_path) if "aiq.db-" not in name} <= before


@pytest.mark.skipif(not BROWSER, reason="no Chromium is installed")
def test_a_browser_draws_it_and_asks_nobody(aiq: Aiq, folder: Path) -> None:
    """Six charts, no complaint in the console, no request but that for the page."""
    lines = [{"id": f"p{n}", "prompt": f"{EVIL} {n}"} for n in range(30)]
    Path("evil.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    aiq("run", "evil.jsonl", "-p", "broken", "-p", "quick", "--param", "max_tokens=9")
    aiq("report", "-o", "evil.html")
    opened, asked = browse(folder / "evil.html")
    assert [line for line in lines_of(opened.stderr) if "CONSOLE" in line] == []
    assert "<title>Report of evil</title>" in opened.stdout
    assert opened.stdout.count('class="main-svg"') >= 6
    assert asked == []


@pytest.mark.skipif(not BROWSER, reason="no Chromium is installed")
def test_the_browser_of_this_test_tells_what_a_page_asks_for(tmp_path: Path) -> None:
    page = tmp_path / "asks.html"
    page.write_text("<script>console.error('x')</script><img src='http://127.0.0.1:9/i.png'>")
    opened, asked = browse(page)
    assert "CONSOLE" in opened.stderr
    assert asked == ["http://127.0.0.1:9/i.png"]


def browse(page: Path) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Open a page; return what the browser made of it, and the addresses that the page wanted."""
    log = page.with_suffix(".log")
    done = subprocess.run(
        [
            *(BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"),
            *("--no-first-run", "--disable-background-networking", "--disable-component-update"),
            *("--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"),
            *("--enable-logging=stderr", f"--user-data-dir={page.with_suffix('.profile')}"),
            *(f"--log-net-log={log}", "--virtual-time-budget=5000", "--dump-dom", page.as_uri()),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=55,
    )
    given = [event.get("params", {}) for event in json.loads(log.read_text())["events"]]
    asked = [one for one in given if one.get("initiator", _ITSELF) != _ITSELF]
    return done, [one["url"] for one in asked if one["url"].startswith("http")]


_ITSELF = "not an origin"
"""How Chromium names the initiator of what it asks for without any page."""
