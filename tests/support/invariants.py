"""
What must hold after every run, whatever happened in it, read without the code under test.

The database is asked in plain SQL, the servers by their own ledgers, the result by its JSON. A
check that fails names both sides.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.support.replies import Seen
from tests.support.shapes import prompt_of

STATES = ("pending", "running", "succeeded", "failed", "cancelled")

_LAST_KIND = """
SELECT kind FROM attempt WHERE job_id = job.id AND NOT (kind = 'cancelled' AND billed = 'no')
ORDER BY number DESC LIMIT 1
"""
_BROKEN_RULES = {
    "a job is still leased": "SELECT id FROM job WHERE state = 'running'",
    "an attempt is still open": "SELECT id FROM attempt WHERE kind IS NULL",
    "attempts are not numbered 1 to n": """
        SELECT job.id FROM job LEFT JOIN attempt ON attempt.job_id = job.id GROUP BY job.id
        HAVING count(attempt.id) <> job.attempts OR coalesce(max(number), 0) <> job.attempts""",
    "a succeeded job has no answer": """
        SELECT id FROM job WHERE state = 'succeeded'
        AND id NOT IN (SELECT job_id FROM answer)""",
    "an unfinished or failed job has an answer": """
        SELECT job.id FROM answer JOIN job ON job.id = answer.job_id WHERE state <> 'succeeded'""",
    "an answer belongs to another attempt than an ok one of its job": """
        SELECT answer.job_id FROM answer JOIN attempt ON attempt.id = answer.attempt_id
        WHERE attempt.kind <> 'ok' OR attempt.job_id <> answer.job_id""",
    "a failed job has another kind than the last attempt that was sent": f"""
        SELECT id FROM job WHERE state = 'failed' AND attempts > 0
        AND error_kind <> ({_LAST_KIND})""",
    "something unpaid has a cost": "SELECT id FROM attempt WHERE billed <> 'yes' AND cost_nano > 0",
    "an answer is not billed": "SELECT id FROM attempt WHERE kind = 'ok' AND billed <> 'yes'",
    "a run did not end": "SELECT id FROM run WHERE ended_at IS NULL",
    "the kept sums are not those of the ledger": """
        SELECT batch_id, candidate_id, kind, billed, count, cost_nano, bound_nano, input_tokens,
          output_tokens, truncated FROM tally
        EXCEPT
        SELECT batch_id, candidate_id, kind, billed, sum(count), sum(cost_nano), sum(bound_nano),
          sum(input_tokens), sum(output_tokens), sum(truncated)
        FROM (
          SELECT batch_id, candidate_id, kind, billed, 1 AS count,
            coalesce(cost_nano, 0) AS cost_nano,
            coalesce(CASE billed WHEN 'maybe' THEN bound_nano END, 0) AS bound_nano,
            coalesce(input_tokens, 0) AS input_tokens, coalesce(output_tokens, 0) AS output_tokens,
            flags & 1 AS truncated
          FROM attempt JOIN job ON job.id = job_id
          UNION ALL
          SELECT batch_id, candidate_id, kind, billed, count, cost_nano, bound_nano,
            input_tokens, output_tokens, truncated FROM purged)
        GROUP BY 1, 2, 3, 4""",
    "the kept sums leave out attempts": """
        SELECT (SELECT coalesce(sum(count), 0) FROM tally) AS kept,
          (SELECT count(*) FROM attempt WHERE kind IS NOT NULL)
          + (SELECT coalesce(sum(count), 0) FROM purged) AS ended WHERE kept <> ended""",
    "the kept latencies are not those of the ledger": """
        SELECT (SELECT coalesce(sum(count), 0) FROM latency_tally) AS kept,
          (SELECT count(*) FROM attempt WHERE kind = 'ok')
          + (SELECT coalesce(sum(count), 0) FROM purged WHERE kind = 'ok') AS answered
        WHERE kept <> answered""",
}  # fmt: skip

_ANSWERED_TWICE = """
SELECT key FROM job JOIN attempt ON attempt.job_id = job.id AND attempt.kind = 'ok'
GROUP BY job.id HAVING count(*) > 1
"""


def rows(path: Path, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
    """Ask the database without any of our code."""
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        return list(connection.execute(sql, parameters))


def check_store(
    path: Path, *, lines: int | None = None, asked_anew: Collection[str] = frozenset()
) -> None:
    """
    The database is whole, nothing is left open, and jobs, attempts and answers agree.

    Args:
        lines: how many jobs there must be.
        asked_anew: ids of prompts that the user changed and wanted asked again.
    """
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]
    assert rows(path, "PRAGMA foreign_key_check") == []
    for rule, sql in _BROKEN_RULES.items():
        assert rows(path, sql) == [], rule
    twice = {key for (key,) in rows(path, _ANSWERED_TWICE)}
    assert twice <= set(asked_anew), "a job was answered twice"
    for job, digest, body in rows(path, "SELECT job_id, digest, body FROM answer"):
        assert hashlib.sha256(body).digest() == digest, f"the answer of job {job} is damaged"
    if lines is not None:
        assert rows(path, "SELECT count(*) FROM job") == [(lines,)]


def check_result(path: Path, result: Mapping[str, Any], *, after: int) -> None:
    """
    The totals of a result equal sums over the ledger.

    Requests, tokens, cost and providers are of this run, the attempts `after` the given id; what is
    possibly paid and the total cost are of all attempts ever.
    """
    states = dict(rows(path, "SELECT state, count(*) FROM job GROUP BY state"))
    assert {name: result[name] for name in STATES} == dict.fromkeys(STATES, 0) | states
    assert result["total"] == sum(states.values())
    _check_sums(path, result, "id > ?", after)
    for provider in result["providers"]:
        where = "id > ? AND candidate_id IN (SELECT id FROM candidate WHERE provider = ?)"
        _check_sums(path, provider, where, after, provider["name"])
    spent, unknown = _spent(path, "id > 0")
    assert result["cost_total_usd"] == _usd(spent, unknown)
    assert result["cost_complete"] is not bool(unknown)
    assert sum(provider["requests"] for provider in result["providers"]) == result["requests"]
    _check_possibly_paid(path, result["possibly_paid"])
    assert sum(group["count"] for group in result["errors"]) == states.get("failed", 0)


def _check_sums(path: Path, told: Mapping[str, Any], where: str, *parameters: object) -> None:
    [(requests, tokens_in, tokens_out, cached, oks, slowest)] = rows(
        path,
        "SELECT count(*), coalesce(sum(input_tokens), 0), coalesce(sum(output_tokens), 0),"
        " coalesce(sum(cached_tokens), 0), sum(kind = 'ok'),"
        " max(CASE kind WHEN 'ok' THEN latency_us END)"
        f" FROM attempt WHERE NOT (kind = 'cancelled' AND billed = 'no') AND {where}",
        *parameters,
    )
    assert told["requests"] == requests
    assert told["tokens"] == {"input": tokens_in, "output": tokens_out, "cached": cached}
    assert told["cost_usd"] == _usd(*_spent(path, where, *parameters))
    assert (told["latency_ms"]["max"] is None) == (not oks)
    if oks:
        assert told["latency_ms"]["max"] == round(slowest / 1000, 1)
    if "rate_limited" in told:
        kinds = Counter(dict(rows(
            path,
            "SELECT kind, count(*) FROM attempt"
            f" WHERE NOT (kind = 'cancelled') AND {where} GROUP BY kind",
            *parameters,
        )))  # fmt: skip
        assert told["succeeded"] == kinds.pop("ok", 0)
        assert told["rate_limited"] == kinds.pop("rate_limited", 0)
        assert told["failed"] == kinds.total()


def _spent(path: Path, where: str, *parameters: object) -> tuple[int, int]:
    sql = (
        "SELECT coalesce(sum(cost_nano), 0),"
        " coalesce(sum(billed = 'yes' AND cost_nano IS NULL), 0) FROM attempt WHERE "
    )
    [(spent, unknown)] = rows(path, sql + where, *parameters)
    return spent, unknown


def _usd(nano: int, unknown: int) -> float | None:
    return None if unknown and not nano else nano / 1_000_000_000


def _check_possibly_paid(path: Path, told: Mapping[str, Any]) -> None:
    [(requests, bound, unbounded)] = rows(
        path,
        "SELECT count(*), coalesce(sum(bound_nano), 0), coalesce(sum(bound_nano IS NULL), 0)"
        " FROM attempt WHERE billed = 'maybe'",
    )
    assert told["requests"] == requests
    assert told["max_usd"] == (None if unbounded else bound / 1_000_000_000)


def check_server(
    path: Path, providers: Sequence[str], seen: Sequence[Seen], *, after: int, exactly: bool = True
) -> None:
    """
    Every request that a server saw is an attempt at its providers, and each sent one is there once.

    `exactly` False: we gave up on some, so an attempt may never have reached its server.
    """
    asked = Counter(prompt_of(json.loads(one.body)) for one in seen if one.method == "POST")
    kept = _sent(path, providers, after)
    assert asked <= kept, f"{providers} saw requests that the ledger does not know"
    assert asked == kept or not exactly, f"{providers} did not see all that the ledger says"


def _sent(path: Path, providers: Sequence[str], after: int) -> Counter[str]:
    """Count the attempts that left the machine by prompt."""
    found = rows(
        path,
        "SELECT request.line FROM attempt JOIN candidate ON candidate.id = attempt.candidate_id"
        " JOIN request ON request.job_id = attempt.job_id"
        " WHERE attempt.id > ? AND provider IN (SELECT value FROM json_each(?))"
        " AND attempt.kind <> 'connect'"
        " AND NOT (attempt.kind = 'cancelled' AND attempt.billed = 'no')",
        after,
        json.dumps(providers),
    )
    return Counter(prompt_of_line(line) for (line,) in found)


def prompt_of_line(line: bytes) -> str:
    """Return the text by which the fault server knows a prompt."""
    given = json.loads(line)
    return given if isinstance(given, str) else prompt_of(given.get("body", given))
