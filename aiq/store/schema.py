"""
The tables, as numbered migrations. A migration and the record that it ran share one transaction.

Rows that every run touches (`job`, `attempt`) are kept free of bodies, so that counting a million
of them never reads a prompt or an answer. The CHECKs say again what `policy.lifecycle` says. Times
are microseconds since the epoch in UTC, money is integer nano-dollars, NULL is "not known".
"""

from aiq.store.tallies import PURGED, PURGED_TEXT, TALLIES

APPLICATION_ID = 0x61697131
"""`aiq1`: tells our databases from anybody else's."""

_FIRST = """
CREATE TABLE batch (
  id         INTEGER PRIMARY KEY,
  name       TEXT    NOT NULL UNIQUE,
  created_at INTEGER NOT NULL,
  flags      BLOB    NOT NULL             -- JSON of --system, --param and -m, reused by later runs
) STRICT;

CREATE TABLE source (                     -- a prompt file that a batch came from
  id        INTEGER PRIMARY KEY,
  batch_id  INTEGER NOT NULL REFERENCES batch,
  path      TEXT    NOT NULL,             -- absolute; '-' is standard input
  sealed_at INTEGER,                      -- NULL: never read to its end
  opened_at INTEGER,                      -- an ingest of it has begun and not ended
  UNIQUE (batch_id, path)
) STRICT;

CREATE TABLE invalid_line (
  source_id INTEGER NOT NULL REFERENCES source,
  line      INTEGER NOT NULL,
  reason    TEXT    NOT NULL,
  PRIMARY KEY (source_id, line)
) STRICT, WITHOUT ROWID;

CREATE TABLE job (
  id            INTEGER PRIMARY KEY,      -- order of first ingest
  batch_id      INTEGER NOT NULL REFERENCES batch,
  key           ANY     NOT NULL CHECK (typeof(key) IN ('text', 'blob')),
                                          -- the prompt's id, or a 16-byte digest of an id-less line
  source_id     INTEGER REFERENCES source,-- NULL: its line is in none of the files any more
  line          INTEGER NOT NULL,
  priority      INTEGER NOT NULL,
  endpoint      TEXT,                     -- what the line asks for; NULL: a chat
  model         TEXT,                     -- the model that the line itself names
  state         TEXT    NOT NULL
                CHECK (state IN ('pending', 'running', 'succeeded', 'failed', 'cancelled')),
  not_before    INTEGER,                  -- a pending job is not sent before this instant
  attempts      INTEGER NOT NULL DEFAULT 0 CHECK (attempts >= 0),
  fresh_from    INTEGER NOT NULL DEFAULT 0 CHECK (fresh_from BETWEEN 0 AND attempts),
                                          -- attempts up to this number no longer count against it
  lease         INTEGER,                  -- the attempt that holds it
  error_kind    TEXT,
  error_message TEXT,
  UNIQUE (batch_id, key),
  CHECK ((state = 'running') = (lease IS NOT NULL)),
  CHECK ((state = 'failed') = (error_kind IS NOT NULL)),
  CHECK (not_before IS NULL OR state = 'pending')
) STRICT;

CREATE INDEX job_by_state ON job (batch_id, state, priority DESC);
                                          -- counts by state, and pending jobs in order

CREATE TABLE request (
  job_id INTEGER PRIMARY KEY REFERENCES job,
  line   BLOB NOT NULL                    -- the prompt line, byte for byte
) STRICT;

CREATE TABLE candidate (                  -- a provider and a model that was asked for
  id       INTEGER PRIMARY KEY,
  provider TEXT NOT NULL,
  kind     TEXT NOT NULL,
  model    TEXT NOT NULL,
  UNIQUE (provider, kind, model)
) STRICT;

CREATE TABLE run (
  id         INTEGER PRIMARY KEY,
  pid        INTEGER NOT NULL,
  host       TEXT    NOT NULL,
  started_at INTEGER NOT NULL,
  ended_at   INTEGER
) STRICT;

CREATE TABLE attempt (                    -- the ledger: one row per request that may have left
  id            INTEGER PRIMARY KEY,
  job_id        INTEGER NOT NULL REFERENCES job,
  number        INTEGER NOT NULL CHECK (number >= 1),
  run_id        INTEGER NOT NULL REFERENCES run,
  candidate_id  INTEGER NOT NULL REFERENCES candidate,
  started_at    INTEGER NOT NULL,
  bound_nano    INTEGER,                  -- the most it can cost
  kind          TEXT,                     -- NULL: open
  cause         TEXT CHECK (cause IN ('crash', 'abort')),
                                          -- we ended it, not the provider
  latency_us    INTEGER CHECK (latency_us >= 0),
  status_code   INTEGER,
  code          TEXT,
  message       TEXT,
  request_id    TEXT,
  served_model  TEXT,
  input_tokens  INTEGER,
  output_tokens INTEGER,
  cached_tokens INTEGER,
  billed        TEXT CHECK (billed IN ('yes', 'no', 'maybe')),
  cost_nano     INTEGER CHECK (cost_nano >= 0),
  price_source  TEXT,
  flags         INTEGER NOT NULL DEFAULT 0, -- 1 truncated, 2 refused, 4 a bad trial
  UNIQUE (job_id, number),
  CHECK ((kind IS NULL) = (billed IS NULL))
) STRICT;

CREATE TABLE answer (                     -- at most one per job; the newest
  job_id      INTEGER PRIMARY KEY REFERENCES job,
  attempt_id  INTEGER NOT NULL REFERENCES attempt,
  fingerprint BLOB    NOT NULL CHECK (length(fingerprint) = 16),
  digest      BLOB    NOT NULL CHECK (length(digest) = 32),
  body        BLOB    NOT NULL            -- the raw reply
) STRICT;

CREATE TABLE bad_reply (                  -- what an unusable reply said, at most 64 KiB
  attempt_id INTEGER PRIMARY KEY REFERENCES attempt,
  body       BLOB NOT NULL
) STRICT;
"""

_SECOND = """
CREATE TABLE provider_state (             -- how a run saw a provider last
  provider   TEXT    PRIMARY KEY,
  status     TEXT    NOT NULL
             CHECK (status IN ('healthy', 'degraded', 'unhealthy', 'unknown', 'disabled')),
  reason     TEXT,
  until      INTEGER,                     -- the instant of the next try
  updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE breaker (                    -- what a circuit breaker remembers across runs
  base_url TEXT    NOT NULL,
  model    TEXT    NOT NULL,
  openings INTEGER NOT NULL CHECK (openings >= 0),  -- in a row, without a recovery that lasted
  PRIMARY KEY (base_url, model)
) STRICT, WITHOUT ROWID;
"""

_FOURTH = """
CREATE TABLE cooldown (                   -- until when an account is left alone after a 429
  account  TEXT    PRIMARY KEY,           -- with a mark of its key, where it has one
  until    INTEGER NOT NULL,
  noted_at INTEGER NOT NULL,              -- by the same clock, which may have been set since
  CHECK (until >= noted_at)
) STRICT, WITHOUT ROWID;
"""

_FIFTH = """
CREATE TABLE reading (                    -- what the files of a batch held when last taken in
  batch_id INTEGER PRIMARY KEY REFERENCES batch,
  overlay  BLOB    NOT NULL CHECK (length(overlay) = 16),  -- of defaults and flags
  contents BLOB    NOT NULL CHECK (length(contents) = 16)  -- of the files, in order
) STRICT;

CREATE TRIGGER job_deleted AFTER DELETE ON job
BEGIN
  DELETE FROM reading WHERE batch_id = old.batch_id;
END;
"""

_SIXTH = """
CREATE TABLE control (                    -- what an operator told a run, or the database itself
  id       INTEGER PRIMARY KEY,
  run_id   INTEGER REFERENCES run,        -- NULL: no run was going
  at       INTEGER NOT NULL,
  command  TEXT    NOT NULL,
  argument TEXT                           -- a provider, a number, or what jobs it was about
) STRICT;
"""

_NINTH = """
CREATE TABLE withdrawn (                  -- cancelled while in flight: asked no second time, also
  job_id INTEGER PRIMARY KEY              -- when that run dies; empty once one has ended well
) STRICT;
"""

MIGRATIONS = (_FIRST, _SECOND, TALLIES, _FOURTH, _FIFTH, _SIXTH, PURGED, PURGED_TEXT, _NINTH)
SCHEMA_VERSION = len(MIGRATIONS)

TABLES = (
    "answer",
    "attempt",
    "bad_reply",
    "batch",
    "breaker",
    "candidate",
    "control",
    "cooldown",
    "invalid_line",
    "job",
    "latency_tally",
    "provider_state",
    "purged",
    "purged_job",
    "purged_text",
    "reading",
    "request",
    "run",
    "source",
    "tally",
    "withdrawn",
)
