"""
Sums over the ledger that are kept, because over a million attempts they take seconds to count.

The database keeps them itself, by a trigger on the end of an attempt, so that no way of ending one
can forget to. What is kept can be counted again (`COUNTED`), which is how an older database gets
its tallies, and how one is read that has none yet.
"""

from __future__ import annotations

from typing import LiteralString

_SUMMED = """
  coalesce({row}.cost_nano, 0) AS cost_nano,
  ({row}.billed = 'yes' AND {row}.cost_nano IS NULL) AS unpriced,
  iif({row}.billed = 'maybe', coalesce({row}.bound_nano, 0), 0) AS bound_nano,
  ({row}.billed = 'maybe' AND {row}.bound_nano IS NULL) AS unbounded,
  coalesce({row}.input_tokens, 0) AS input_tokens,
  coalesce({row}.output_tokens, 0) AS output_tokens,
  coalesce({row}.cached_tokens, 0) AS cached_tokens,
  {row}.flags & 1 AS truncated, ({row}.flags & 2) / 2 AS refused
"""
_LATENCY = "CAST(CAST(printf('%.2e', {row}.latency_us) AS REAL) AS INTEGER) AS latency_us"


def _of(row: LiteralString, columns: LiteralString) -> LiteralString:
    return columns.replace("{row}", row)


COUNTED: LiteralString = f"""
SELECT job.batch_id, one.candidate_id, one.kind, one.billed, 1 AS count, {_of("one", _SUMMED)}
FROM attempt AS one JOIN job ON job.id = one.job_id WHERE one.kind IS NOT NULL
"""
"""What `tally` adds up: one row an ended attempt."""

COUNTED_LATENCIES: LiteralString = f"""
SELECT job.batch_id, one.candidate_id, {_of("one", _LATENCY)}, 1 AS count
FROM attempt AS one JOIN job ON job.id = one.job_id WHERE one.kind = 'ok'
"""
"""What `latency_tally` adds up: one row an answered attempt."""

NEWEST: LiteralString = """
(SELECT max(id) FROM attempt
 WHERE candidate_id = candidate.id AND kind <> 'cancelled' AND cause IS NULL)
"""
"""The newest attempt of a candidate that it ended itself, and not we."""

COUNTED_FIELDS: LiteralString = """
batch_id, candidate_id, kind, billed, count, cost_nano, unpriced, bound_nano, unbounded,
input_tokens, output_tokens, cached_tokens, truncated, refused
"""
"""The columns of `COUNTED`, in its order."""

ADD_UP: LiteralString = """
  ON CONFLICT DO UPDATE SET count = count + excluded.count,
    cost_nano = cost_nano + excluded.cost_nano, unpriced = unpriced + excluded.unpriced,
    bound_nano = bound_nano + excluded.bound_nano, unbounded = unbounded + excluded.unbounded,
    input_tokens = input_tokens + excluded.input_tokens,
    output_tokens = output_tokens + excluded.output_tokens,
    cached_tokens = cached_tokens + excluded.cached_tokens,
    truncated = truncated + excluded.truncated, refused = refused + excluded.refused
"""
"""Ends an INSERT of `COUNTED` into a table that has one row for what is alike."""

_COUNT_UP = "ON CONFLICT DO UPDATE SET count = count + excluded.count"

TALLIES: LiteralString = f"""
CREATE TABLE tally (                      -- ended attempts of a batch, summed
  batch_id      INTEGER NOT NULL,
  candidate_id  INTEGER NOT NULL,
  kind          TEXT    NOT NULL,
  billed        TEXT    NOT NULL,
  count         INTEGER NOT NULL,
  cost_nano     INTEGER NOT NULL,
  unpriced      INTEGER NOT NULL,         -- billed, and nobody knows what they cost
  bound_nano    INTEGER NOT NULL,         -- the most that those possibly paid can cost
  unbounded     INTEGER NOT NULL,         -- possibly paid, and nobody knows how much at most
  input_tokens  INTEGER NOT NULL,
  output_tokens INTEGER NOT NULL,
  cached_tokens INTEGER NOT NULL,
  truncated     INTEGER NOT NULL,
  refused       INTEGER NOT NULL,
  PRIMARY KEY (batch_id, candidate_id, kind, billed)
) STRICT, WITHOUT ROWID;

CREATE TABLE latency_tally (              -- answered attempts of a batch by latency
  batch_id     INTEGER NOT NULL,
  candidate_id INTEGER NOT NULL,
  latency_us   INTEGER NOT NULL,          -- to three digits, so that there are few of them
  count        INTEGER NOT NULL,
  PRIMARY KEY (batch_id, candidate_id, latency_us)
) STRICT, WITHOUT ROWID;

ALTER TABLE candidate ADD COLUMN newest INTEGER;
                                          -- the newest attempt that it ended itself

INSERT INTO tally {COUNTED} {ADD_UP};
INSERT INTO latency_tally {COUNTED_LATENCIES} {_COUNT_UP};
UPDATE candidate SET newest = {NEWEST};

CREATE TRIGGER attempt_ended AFTER UPDATE OF kind ON attempt
WHEN old.kind IS NULL AND new.kind IS NOT NULL
BEGIN
  INSERT INTO tally
  SELECT batch_id, new.candidate_id, new.kind, new.billed, 1, {_of("new", _SUMMED)}
  FROM job WHERE id = new.job_id {ADD_UP};
  INSERT INTO latency_tally
  SELECT batch_id, new.candidate_id, {_of("new", _LATENCY)}, 1
  FROM job WHERE id = new.job_id AND new.kind = 'ok' {_COUNT_UP};
  UPDATE candidate SET newest = new.id
  WHERE id = new.candidate_id AND new.kind <> 'cancelled' AND new.cause IS NULL;
END;
"""

PURGED: LiteralString = """
CREATE TABLE purged (                     -- attempts that are no longer in the ledger, summed;
                                          -- `tally` holds them too
  batch_id       INTEGER NOT NULL,
  candidate_id   INTEGER NOT NULL,
  kind           TEXT    NOT NULL,
  billed         TEXT    NOT NULL,
  count          INTEGER NOT NULL,
  cost_nano      INTEGER NOT NULL,
  unpriced       INTEGER NOT NULL,
  bound_nano     INTEGER NOT NULL,
  unbounded      INTEGER NOT NULL,
  input_tokens   INTEGER NOT NULL,
  output_tokens  INTEGER NOT NULL,
  cached_tokens  INTEGER NOT NULL,
  truncated      INTEGER NOT NULL,
  refused        INTEGER NOT NULL,
  committed_nano INTEGER NOT NULL,        -- what they take of a budget
  uncommitted    INTEGER NOT NULL,        -- and how many of them nobody can say it of
  PRIMARY KEY (batch_id, candidate_id, kind, billed)
) STRICT, WITHOUT ROWID;

CREATE TABLE purged_job (                 -- jobs that were removed, by how they had ended
  batch_id INTEGER NOT NULL,
  state    TEXT    NOT NULL CHECK (state IN ('succeeded', 'failed', 'cancelled')),
  count    INTEGER NOT NULL,
  PRIMARY KEY (batch_id, state)
) STRICT, WITHOUT ROWID;
"""

PURGED_TEXT: LiteralString = """
CREATE TABLE purged_text (                -- answers whose text was removed; their jobs stayed
  batch_id INTEGER PRIMARY KEY,
  count    INTEGER NOT NULL
) STRICT;
"""

COMMITTED: LiteralString = """
SELECT sum(nano), sum(unknown) FROM (
  SELECT CASE billed WHEN 'yes' THEN coalesce(cost_nano, bound_nano) ELSE bound_nano END AS nano,
    coalesce(CASE billed WHEN 'yes' THEN cost_nano END, bound_nano) IS NULL AS unknown
  FROM attempt WHERE attempt.billed IN ('yes', 'maybe')
    AND coalesce(attempt.run_id < :before_run, 1) AND attempt.job_id IN (
      SELECT id FROM job WHERE batch_id IN (SELECT value FROM json_each(:batches)))
  UNION ALL
  SELECT committed_nano, uncommitted FROM purged
  WHERE batch_id IN (SELECT value FROM json_each(:batches)))
"""
"""
What a budget counts: each attempt's cost, else the most it can have cost.

With `before_run`, of earlier runs alone; what was purged is of earlier runs.
"""
