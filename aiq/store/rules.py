"""
What holds between the rows of a job database at every instant, as SQL that finds breaches.

Each statement is true of the database alone, whether a run is at work or not, so one read
transaction a rule is enough. It returns a row a breach: the job, NULL where none is to blame, and
what else is to be said. No rule reads more than it must twice or sorts by anything but an index,
save `LINES`, whose sorting spills to disk: a million jobs take seconds and no memory.
"""

from __future__ import annotations

import enum
from typing import LiteralString

from aiq.model import JobState, Kind


class Rule(enum.Enum):
    """A rule; its value is the SQL that finds where it is broken."""

    REFERENCES = """
    SELECT NULL, "table" || ' row ' || coalesce(rowid, '?') || ' names a missing ' || parent
    FROM pragma_foreign_key_check
    """
    LINES = """
    SELECT min(id), 'line ' || line FROM (
      SELECT source_id, line, id FROM job WHERE source_id IS NOT NULL
      UNION ALL SELECT source_id, line, NULL FROM invalid_line)
    GROUP BY source_id, line HAVING count(*) > 1
    """
    PROMPTS = """
    SELECT job.id, '' FROM job LEFT JOIN request ON request.job_id = job.id
      LEFT JOIN source ON source.id = job.source_id
    WHERE request.job_id IS NULL OR (job.source_id IS NOT NULL AND source.batch_id <> job.batch_id)
    """
    STATES = f"""
    SELECT id, state FROM job
    WHERE state NOT IN ({", ".join(f"'{state}'" for state in JobState)})
      OR (state = 'running') <> (lease IS NOT NULL)
      OR (state = 'failed') <> (error_kind IS NOT NULL)
      OR (not_before IS NOT NULL AND state <> 'pending')
      OR attempts < 0 OR fresh_from < 0 OR fresh_from > attempts
    """
    NUMBERS = """
    SELECT job.id, job.attempts || ' counted, ' || count(attempt.id) || ' in the ledger'
    FROM job LEFT JOIN attempt ON attempt.job_id = job.id GROUP BY job.id
    HAVING count(attempt.id) <> job.attempts OR coalesce(max(number), 0) <> job.attempts
      OR min(number) < 1
    """
    LEASES = """
    SELECT job.id, '' FROM job LEFT JOIN attempt ON attempt.id = job.lease
    WHERE job.state = 'running'
      AND (attempt.id IS NULL OR attempt.job_id <> job.id OR attempt.kind IS NOT NULL
           OR attempt.number <> job.attempts)
    UNION ALL
    SELECT attempt.job_id, 'attempt ' || number
    FROM attempt LEFT JOIN job ON job.id = attempt.job_id
    WHERE attempt.kind IS NULL AND job.lease IS NOT attempt.id
    """
    ANSWERED = """
    SELECT job.id, '' FROM job LEFT JOIN answer ON answer.job_id = job.id
    WHERE job.state = 'succeeded' AND answer.job_id IS NULL
    """
    UNANSWERED = """
    SELECT job.id, state FROM job JOIN answer ON answer.job_id = job.id
      JOIN attempt ON attempt.id = answer.attempt_id
    WHERE job.state <> 'succeeded' AND attempt.number > job.fresh_from
    """
    KEPT = """
    SELECT attempt.job_id, 'attempt ' || number
    FROM attempt LEFT JOIN answer ON answer.job_id = attempt.job_id
    WHERE attempt.kind = 'ok' AND answer.job_id IS NULL
    """
    OWNERS = """
    SELECT answer.job_id, '' FROM answer LEFT JOIN attempt ON attempt.id = answer.attempt_id
    WHERE attempt.id IS NULL OR attempt.job_id <> answer.job_id OR attempt.kind IS NOT 'ok'
      OR EXISTS (SELECT 1 FROM attempt AS newer WHERE newer.job_id = answer.job_id
                 AND newer.number > attempt.number AND newer.kind = 'ok')
    """
    ONCE = """
    SELECT job.id, count(*) || ' answers' FROM job JOIN attempt ON attempt.job_id = job.id
    WHERE attempt.number > job.fresh_from AND attempt.kind = 'ok'
    GROUP BY job.id HAVING count(*) > 1
    """
    DIGESTS = "SELECT job_id, '' FROM answer WHERE sha256(body) IS NOT digest"
    # A job that nobody would take fails without an attempt of its own, for one of three reasons.
    FAILURES = f"""
    SELECT id, error_kind FROM job
    WHERE state = 'failed'
      AND error_kind NOT IN
        ('{Kind.NOT_FOUND}', '{Kind.BAD_REQUEST}', '{Kind.CONTEXT_TOO_LONG}')
      AND error_kind IS NOT (
        SELECT kind FROM attempt
        WHERE job_id = job.id AND NOT (kind = 'cancelled' AND billed = 'no')
        ORDER BY number DESC LIMIT 1)
    """
    OUTCOMES = """
    SELECT job_id, 'attempt ' || number FROM attempt
    WHERE (kind IS NULL) <> (billed IS NULL)
      OR CASE
        WHEN kind IS NULL THEN cause IS NOT NULL OR flags <> 0
        WHEN kind = 'ok' THEN billed <> 'yes'
        WHEN kind = 'interrupted' THEN billed <> 'maybe'
        WHEN kind = 'bad_response' THEN billed = 'no'
        WHEN kind = 'cancelled' THEN billed = 'yes'
        WHEN kind IN ('connect', 'rate_limited', 'out_of_credit', 'auth', 'not_found',
                      'bad_request', 'context_too_long', 'server_error') THEN billed <> 'no'
        ELSE true END
      OR (cause IS NOT NULL AND kind NOT IN ('interrupted', 'cancelled'))
      OR flags NOT IN (0, 1, 2, 3, 4) OR (flags BETWEEN 1 AND 3) > (kind IS 'ok')
      OR (flags = 4 AND kind IS 'ok')
    """
    COSTS = """
    SELECT job_id, 'attempt ' || number FROM attempt
    WHERE cost_nano < 0 OR bound_nano < 0 OR (cost_nano > 0 AND billed = 'no')
      OR (cost_nano IS NOT NULL AND (billed IS NULL OR billed = 'maybe'))
      OR input_tokens < 0 OR output_tokens < 0 OR cached_tokens < 0 OR latency_us < 0
    """
    BOUNDS = """
    SELECT job_id, 'attempt ' || number FROM attempt WHERE cost_nano > bound_nano
    """
    BAD_REPLIES = """
    SELECT attempt.job_id, 'attempt ' || number
    FROM bad_reply LEFT JOIN attempt ON attempt.id = bad_reply.attempt_id
    WHERE attempt.kind IS NOT 'bad_response' OR length(body) > 65536
    """
    RUNS = """
    SELECT NULL, 'run ' || id FROM run
    WHERE ended_at IS NULL AND id < (SELECT max(id) FROM run)
    UNION ALL
    SELECT job_id, 'attempt ' || number FROM attempt
    WHERE kind IS NULL AND run_id < (SELECT max(id) FROM run)
    """
    # Before 2020 there was no aiq, and no clock of ours is a day ahead of the one that looks now.
    TIMES = """
    SELECT job_id, 'attempt ' || number FROM attempt
    WHERE started_at NOT BETWEEN 1577836800000000 AND (unixepoch() + 86400) * 1000000
    UNION ALL
    SELECT id, 'waits' FROM job WHERE not_before > (unixepoch() + 86400) * 1000000
    UNION ALL
    SELECT NULL, 'run ' || id FROM run
    WHERE started_at NOT BETWEEN 1577836800000000 AND (unixepoch() + 86400) * 1000000
      OR ended_at < started_at
    """

    @property
    def sql(self) -> LiteralString:
        """Return the statement."""
        statement: LiteralString = self.value
        return statement
