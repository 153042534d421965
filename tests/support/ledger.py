"""What a database holds at one instant, asked in plain SQL, for comparison with a later instant."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.fault_server import FaultServer
from tests.support.invariants import check_store, rows


@dataclass(frozen=True)
class Picture:
    """Jobs by state, and how often each was leased, by id."""

    succeeded: frozenset[str]
    leased: frozenset[str]
    attempts: Counter[str]


def picture(path: Path) -> Picture:
    """Take a picture, also of what a killed process left."""
    return Picture(
        succeeded=frozenset(_keys(path, "state = 'succeeded'")),
        leased=frozenset(_keys(path, "state = 'running'")),
        attempts=Counter(dict(rows(path, "SELECT key, attempts FROM job"))),
    )


def states(path: Path) -> dict[str, int]:
    """Count the jobs by state."""
    return dict(rows(path, "SELECT state, count(*) FROM job GROUP BY state"))


def outcomes(path: Path) -> dict[Any, int]:
    """Count the attempts by kind."""
    return dict(rows(path, "SELECT kind, count(*) FROM attempt GROUP BY kind"))


def check_all_answered(path: Path, count: int) -> None:
    """Every job has exactly one answer, and it is the answer to its own prompt."""
    check_store(path, lines=count)
    assert states(path) == {"succeeded": count}
    strangers = (
        "SELECT job.key FROM job JOIN answer ON answer.job_id = job.id"
        " WHERE json_extract(answer.body, '$.choices[0].message.content') <> 'echo: ' || job.key"
    )
    assert rows(path, strangers) == []


def check_requests(path: Path, server: FaultServer) -> None:
    """Each request that the server saw is an attempt that was committed before it."""
    asked = Counter(seen.prompt for seen in server.ledger if seen.method == "POST")
    assert asked <= picture(path).attempts


def prompts(count: int) -> list[dict[str, str]]:
    """Return that many prompts, each with its text as its id."""
    return [{"id": f"p{number}", "prompt": f"p{number}"} for number in range(count)]


def _keys(path: Path, where: str) -> list[str]:
    return [key for (key,) in rows(path, f"SELECT key FROM job WHERE {where}")]
