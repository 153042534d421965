"""What `doctor` finds: on a real machine, in a real directory, about a real database."""

from __future__ import annotations

import json
import os
import resource
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from aiq.errors import ExitCode
from aiq.model import JobState
from aiq.run.database_checks import DISK_FULL_BYTES, DISK_LOW_BYTES, disk_check
from aiq.run.diagnosis import Check, Diagnosis, Gravity
from aiq.run.doctor import diagnose
from aiq.run.open_files import needed
from aiq.store import runs
from aiq.store.db import Database
from aiq.store.inspection import has_wal_defect
from aiq.store.lock import RunLock
from aiq.store.rescue import Header, Origin, write_rescue
from tests.support import factories
from tests.support.process import contents

KEY = "sk-test-4711-0815-abcdef"
CONFIG = """\
[run]
concurrency = 32
[[providers]]
name = "a"
base_url = "https://api.invalid/v1"
api_key_env = "GATEWAY_KEY"
"""


async def examined(directory: Path, config: Path | None = None, /, **environ: str) -> Diagnosis:
    return await diagnose(
        config_path=config,
        database=directory / "aiq.db",
        environ=environ,
        working_directory=directory,
    )


def checks(found: Diagnosis, name: str) -> list[Check]:
    return [check for check in found.checks if check.name == name]


def gravity(found: Diagnosis, name: str) -> Gravity:
    [check] = checks(found, name)
    return check.gravity


def text(found: Diagnosis, name: str) -> str:
    [check] = checks(found, name)
    return check.text


async def test_an_empty_directory_is_in_order(tmp_path: Path) -> None:
    """Nothing is there yet, nothing is wrong, and looking leaves no trace."""
    found = await examined(tmp_path)
    assert (found.findings, found.exit_code) == (0, ExitCode.OK)
    assert {"aiq", "Python", "SQLite", "httpx", "aiohttp"} <= {one.name for one in found.checks}
    assert gravity(found, "configuration") is Gravity.NOTE
    assert "none yet" in text(found, "database")
    assert text(found, "keys") == "none is set"
    assert contents(tmp_path) == {}


async def test_a_configuration_in_order(tmp_path: Path) -> None:
    """Keys appear by the names of their variables, and by where they were found."""
    (tmp_path / "aiq.toml").write_text(CONFIG)
    (tmp_path / ".env").write_text(f"GATEWAY_KEY={KEY}\n")
    (tmp_path / ".env").chmod(0o600)
    found = await examined(tmp_path, OPENAI_API_KEY=KEY)
    assert found.findings == 0
    assert text(found, "configuration") == "aiq.toml; providers by rank: a"
    assert text(found, "keys") == "set: OPENAI_API_KEY, GATEWAY_KEY (.env)"
    assert text(found, "proxy") == "a: none"
    assert KEY not in json.dumps(found.to_json())


async def test_a_key_that_is_not_set_is_a_finding_beside_those_that_are(tmp_path: Path) -> None:
    """One missing key does not keep the rest from being looked at."""
    (tmp_path / "aiq.toml").write_text(CONFIG)
    found = await examined(tmp_path)
    assert gravity(found, "configuration") is Gravity.OK
    assert [(check.gravity, check.text) for check in checks(found, "keys")] == [
        (Gravity.OK, "none is set"),
        (Gravity.FINDING, "a: GATEWAY_KEY is not set"),
    ]
    assert found.exit_code is ExitCode.SOME_FAILED


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("[run]\nconcurency = 3\n", "concurency"),
        ("[run", "line 1"),
    ],
)
async def test_a_configuration_that_is_refused_is_a_finding(
    tmp_path: Path, config: str, words: str
) -> None:
    (tmp_path / "aiq.toml").write_text(config)
    found = await examined(tmp_path)
    assert gravity(found, "configuration") is Gravity.FINDING
    assert words in text(found, "configuration")
    assert found.exit_code is ExitCode.SOME_FAILED


async def test_a_configuration_that_was_named_must_exist(tmp_path: Path) -> None:
    found = await examined(tmp_path, tmp_path / "other.toml")
    assert gravity(found, "configuration") is Gravity.FINDING


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (0o600, Gravity.OK),
        (0o640, Gravity.NOTE),
        (0o620, Gravity.NOTE),
        (0o644, Gravity.FINDING),
        (0o602, Gravity.FINDING),
    ],
)
async def test_who_can_read_or_change_the_keys(
    tmp_path: Path, mode: int, expected: Gravity
) -> None:
    (tmp_path / ".env").write_text(f"OPENAI_API_KEY={KEY}\n")
    (tmp_path / ".env").chmod(mode)
    assert gravity(await examined(tmp_path), "permissions") is expected


async def test_a_configuration_that_anybody_can_change(tmp_path: Path) -> None:
    """Whoever writes it decides where the keys are sent."""
    (tmp_path / "aiq.toml").write_text(CONFIG)
    (tmp_path / "aiq.toml").chmod(0o666)
    found = await examined(tmp_path, GATEWAY_KEY=KEY)
    assert gravity(found, "permissions") is Gravity.FINDING


async def test_what_cannot_be_read_of_dot_env_is_said(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"\xff\xfe")
    found = await examined(tmp_path)
    assert text(found, "environment") == ".env is not UTF-8 and is not used"


@pytest.mark.parametrize(
    ("environ", "expected", "words"),
    [
        ({}, Gravity.OK, "a: none"),
        (
            {"HTTPS_PROXY": "http://user:word@proxy.example.com:3128"},
            Gravity.NOTE,
            "a: through http://proxy.example.com:3128",
        ),
        ({"https_proxy": "socks5://user:word@h"}, Gravity.FINDING, "neither http nor https"),
        ({"HTTPS_PROXY": "http://h", "NO_PROXY": "api.invalid"}, Gravity.OK, "a: none"),
    ],
)
async def test_the_proxy_in_force_is_shown_without_its_password(
    tmp_path: Path, environ: dict[str, str], expected: Gravity, words: str
) -> None:
    (tmp_path / "aiq.toml").write_text(CONFIG)
    found = await examined(tmp_path, **{"GATEWAY_KEY": KEY} | environ)
    assert gravity(found, "proxy") is expected
    assert words in text(found, "proxy")
    assert "word" not in json.dumps(found.to_json())


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, []),
        (
            {"HTTPS_PROXY": "http://user:word@h:3128"},
            [(Gravity.NOTE, "any provider: through http://h:3128")],
        ),
    ],
)
async def test_a_proxy_is_shown_before_there_is_a_configuration(
    tmp_path: Path, environ: dict[str, str], expected: list[tuple[Gravity, str]]
) -> None:
    """A first `run -p` would go through it."""
    found = await examined(tmp_path, **environ)
    assert [(one.gravity, one.text) for one in checks(found, "proxy")] == expected


@pytest.mark.parametrize(
    ("limits", "of_default", "of_fewer"),
    [
        ((160, 160), Gravity.FINDING, Gravity.OK),
        ((160, needed(128) - 1), Gravity.FINDING, Gravity.OK),
        ((160, needed(128)), Gravity.OK, Gravity.OK),
        ((160, resource.RLIM_INFINITY), Gravity.OK, Gravity.OK),
        ((needed(32) - 1, needed(32) - 1), Gravity.FINDING, Gravity.FINDING),
    ],
)
async def test_too_few_open_files_for_the_concurrency(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    limits: tuple[int, int],
    of_default: Gravity,
    of_fewer: Gravity,
) -> None:
    """What counts is what a run may ask for: for the default of 128, for the 32 of a file."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    assert gravity(await examined(tmp_path), "open files") is of_default
    (tmp_path / "aiq.toml").write_text(CONFIG)
    assert gravity(await examined(tmp_path, GATEWAY_KEY=KEY), "open files") is of_fewer


@pytest.mark.parametrize(
    ("free", "expected"),
    [
        (DISK_LOW_BYTES, Gravity.OK),
        (DISK_LOW_BYTES - 1, Gravity.NOTE),
        (DISK_FULL_BYTES - 1, Gravity.FINDING),
    ],
)
def test_room_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, expected: Gravity
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=free)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    assert disk_check(tmp_path / "aiq.db").gravity is expected


async def test_what_a_run_could_not_write(
    tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It can be read, but a run would end at once: the database, and the directory around it."""
    await factories.seed(database, ["x"])
    monkeypatch.setattr(os, "access", lambda _, mode, **_how: not mode & os.W_OK)
    found = await examined(tmp_path)
    assert text(found, "disk") == f"you cannot write in {tmp_path}"
    assert "you cannot write it" in text(found, "database")
    assert found.findings == 2


async def test_whether_alerts_can_get_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Named by their variables: a URL of a chat is a secret as a whole."""
    (tmp_path / "aiq.toml").write_text('[alerts]\n[[providers]]\npreset = "simulated"\n')
    assert gravity(await examined(tmp_path), "alerts") is Gravity.FINDING
    url = f"discord://1234/{KEY}"
    found = await examined(tmp_path, AIQ_ALERT_URLS=url)
    assert text(found, "alerts") == "to AIQ_ALERT_URLS (URL 1); `aiq alerts test` tries it"
    assert KEY not in json.dumps(found.to_json())
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert "need the extra" in text(await examined(tmp_path, AIQ_ALERT_URLS=url), "alerts")


async def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    found = await examined(tmp_path / "missing")
    assert gravity(found, "disk") is Gravity.FINDING


@pytest.mark.parametrize(
    ("version", "is_defect"),
    [
        ((3, 40, 1), True),
        ((3, 44, 5), True),
        ((3, 44, 6), False),
        ((3, 45, 0), True),
        ((3, 50, 6), True),
        ((3, 50, 7), False),
        ((3, 51, 2), True),
        ((3, 51, 3), False),
        ((3, 52, 0), False),
    ],
)
def test_which_releases_of_sqlite_are_mended(
    version: tuple[int, int, int], is_defect: bool
) -> None:
    assert has_wal_defect(version) is is_defect


async def test_a_sqlite_that_is_too_old_is_a_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 37, 2))
    found = await examined(tmp_path)
    assert gravity(found, "SQLite") is Gravity.FINDING
    assert text(found, "SQLite") == "3.37.2 is too old: 3.38.0 is needed"


async def test_a_healthy_database(tmp_path: Path, database: Database) -> None:
    """Looked at from end to end, and as it was."""
    await factories.seed(database, ["x", "y"])
    await database.close()
    before = contents(tmp_path)
    found = await examined(tmp_path)
    assert found.findings == 0
    assert {name: gravity(found, name) for name in ("database", "integrity", "run", "leases")} == (
        dict.fromkeys(("database", "integrity", "run", "leases"), Gravity.OK)
    )
    assert text(found, "run") == "no run is going"
    assert contents(tmp_path)["aiq.db"] == before["aiq.db"]


async def test_a_run_that_is_going_is_named_and_not_disturbed(
    tmp_path: Path, database: Database
) -> None:
    await factories.seed(database, ["x"])
    with RunLock(tmp_path / "aiq.db") as lock:
        assert lock.acquire(wait_s=0)
        found = await examined(tmp_path)
    assert found.findings == 0
    assert text(found, "run").startswith("a run is going (pid ")
    await database.changed("UPDATE job SET priority = 1")


async def test_what_a_dead_run_left(tmp_path: Path, database: Database) -> None:
    """Leases, requests nobody knows the price of, files read in part, a log: notes, no findings."""
    await factories.seed(database, ["x", "y"])
    await database.rows(
        "INSERT INTO attempt (job_id, number, run_id, candidate_id, started_at)"
        " SELECT id, 1, 1, 1, 1 FROM job"
    )
    await database.rows(
        "UPDATE attempt SET kind = 'interrupted', billed = 'maybe' WHERE id = (SELECT max(id)"
        " FROM attempt)"
    )
    await database.rows(
        "UPDATE job SET state = 'running', attempts = 1, not_before = NULL, lease = attempt.id"
        " FROM attempt WHERE attempt.job_id = job.id AND attempt.kind IS NULL"
    )
    await database.rows("UPDATE source SET sealed_at = NULL")
    found = await examined(tmp_path)
    assert "1 job was in flight" in text(found, "leases")
    assert "without an answer: 1 of" in text(found, "unsettled")
    assert "not read to its end" in text(found, "prompts")
    assert gravity(found, "write-ahead log") is Gravity.NOTE
    assert found.findings == 0


async def test_a_ledger_that_contradicts_the_jobs(tmp_path: Path, database: Database) -> None:
    await factories.seed(database, ["x"])
    await database.rows(
        "INSERT INTO attempt (job_id, number, run_id, candidate_id, started_at)"
        " SELECT id, 1, 1, 1, 1 FROM job"
    )
    assert gravity(await examined(tmp_path), "leases") is Gravity.FINDING


async def test_a_damaged_page_is_a_finding(tmp_path: Path, database: Database) -> None:
    await factories.seed(database, [f"job-{n}" for n in range(2000)])
    await database.checkpoint()
    await database.close()
    path = tmp_path / "aiq.db"
    body = bytearray(path.read_bytes())
    body[len(body) // 2 : len(body) // 2 + 4096] = os.urandom(4096)
    path.write_bytes(body)
    found = await examined(tmp_path)
    assert found.findings == 1
    assert found.exit_code is ExitCode.SOME_FAILED


@pytest.mark.parametrize("body", [b"no database at all" * 1000, None])
async def test_what_is_no_database_is_a_finding(tmp_path: Path, body: bytes | None) -> None:
    path = tmp_path / "aiq.db"
    if body is None:
        path.mkdir()
    else:
        path.write_bytes(body)
    assert gravity(await examined(tmp_path), "database") is Gravity.FINDING


async def test_others_who_can_read_the_answers(tmp_path: Path, database: Database) -> None:
    database.path.chmod(0o644)
    found = await examined(tmp_path)
    [check] = checks(found, "database")
    assert check.gravity is Gravity.NOTE
    assert "chmod 600" in (check.hint or "")


async def test_the_object_for_scripts(tmp_path: Path) -> None:
    found = (await examined(tmp_path)).to_json()
    assert found["findings"] == 0
    first: dict[str, Any] = found["checks"][0]
    assert first == {
        "name": "aiq",
        "gravity": "ok",
        "text": first["text"],
        "hint": None,
        "count": None,
        "samples": (),
    }


async def test_a_rescue_file_that_waits_for_the_next_run(
    tmp_path: Path, database: Database
) -> None:
    """What a full disk kept out is no fault of the database, and not forgotten either."""
    (job_id,) = await factories.seed(database, ["a"])
    await factories.write(database, factories.lease(1, job_id))
    header = Header(run_id=1, run_started_at=factories.NOW_US, outcomes=1)
    kept = write_rescue(database.path, header, [factories.settle(1, job_id, JobState.SUCCEEDED)])
    await runs.recover(database, now_us=factories.NOW_US, fail_unknown=False)
    found = await examined(tmp_path)
    assert gravity(found, "rescue") is Gravity.NOTE
    assert text(found, "rescue") == f"{kept} keeps outcomes that the database could not take"


async def test_a_rescue_file_that_was_taken_in_is_not_mentioned(
    tmp_path: Path, database: Database
) -> None:
    """It may stay for a copy of the database; here nothing is missing."""
    await factories.seed(database, ["a"])
    header = Header(
        run_id=1,
        run_started_at=factories.NOW_US,
        outcomes=0,
        origin=Origin(pid=1, host="host"),
    )
    write_rescue(database.path.with_name("earlier.db"), header, [])
    assert checks(await examined(tmp_path), "rescue") == []


async def test_a_rescue_file_that_nothing_is_known_of(tmp_path: Path, database: Database) -> None:
    """Another database's, or damaged: neither is called this one's."""
    header = Header(run_id=1, run_started_at=factories.NOW_US + 1, outcomes=0)
    other = write_rescue(database.path, header, [])
    assert "of another database" in text(await examined(tmp_path), "rescue")
    other.write_bytes(b"")
    assert "cannot be taken in: it is empty" in text(await examined(tmp_path), "rescue")


@pytest.mark.parametrize(
    ("free", "shown"), [(81_327 * 2**20, "79 GiB free in "), (9_000 * 2**20, "9,000 MiB free in ")]
)
def test_much_room_is_told_in_large_units(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, shown: str
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=free)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    assert disk_check(tmp_path / "aiq.db").text.startswith(shown)
