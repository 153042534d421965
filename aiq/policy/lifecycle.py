"""
The life of a job as a table: which event moves which state where.

Two rules hold for this file. A move that is not in `MOVES` is a mistake of ours and raises; it
changes nothing. And the store does not trust us: each of its transitions names the state (and the
lease) it expects, and a test walks this table against it, so table and SQL change together.

    pending ──lease──▶ running ──succeed──▶ succeeded ──rerun──▶ pending
       ▲ │                │ │
       │ └──reject────┐   │ └──release──▶ pending
       │              ▼   ▼
       └──requeue── failed ◀──fail
       └──replace── pending, failed, cancelled
    pending ──cancel──▶ cancelled ──requeue──▶ pending
    pending, failed, cancelled ──restore──▶ succeeded
"""

from __future__ import annotations

import enum

from aiq.model import JobState


class Event(enum.StrEnum):
    """What happens to a job."""

    LEASE = "lease"
    """An attempt is committed together with it."""
    SUCCEED = "succeed"
    """Its answer is stored in the same transaction."""
    FAIL = "fail"
    """Its last attempt ended it: a permanent outcome, or no attempts left."""
    RELEASE = "release"
    """The attempt ended and the job goes on later."""
    REJECT = "reject"
    """No candidate can ever serve it, so it fails without a further attempt."""
    REQUEUE = "requeue"
    """The user asked for failed jobs to be tried again, or for cancelled ones after all."""
    CANCEL = "cancel"
    """The user no longer wants it."""
    REPLACE = "replace"
    """Its line in the prompt file changed before it had an answer."""
    RERUN = "rerun"
    """The user asked for a new answer: its line has changed since, or the stored one is damaged."""
    RESTORE = "restore"
    """Its line changed back before the new answer came, so the old one holds."""


MOVES = {
    (JobState.PENDING, Event.LEASE): JobState.RUNNING,
    (JobState.PENDING, Event.REJECT): JobState.FAILED,
    (JobState.PENDING, Event.REPLACE): JobState.PENDING,
    (JobState.RUNNING, Event.SUCCEED): JobState.SUCCEEDED,
    (JobState.RUNNING, Event.FAIL): JobState.FAILED,
    (JobState.RUNNING, Event.RELEASE): JobState.PENDING,
    (JobState.FAILED, Event.REQUEUE): JobState.PENDING,
    (JobState.FAILED, Event.REPLACE): JobState.PENDING,
    (JobState.PENDING, Event.CANCEL): JobState.CANCELLED,
    (JobState.CANCELLED, Event.REPLACE): JobState.PENDING,
    (JobState.CANCELLED, Event.REQUEUE): JobState.PENDING,
    (JobState.SUCCEEDED, Event.RERUN): JobState.PENDING,
    (JobState.PENDING, Event.RESTORE): JobState.SUCCEEDED,
    (JobState.FAILED, Event.RESTORE): JobState.SUCCEEDED,
    (JobState.CANCELLED, Event.RESTORE): JobState.SUCCEEDED,
}


class IllegalMove(ValueError):
    """The event cannot happen to a job in this state."""


def move(state: JobState, event: Event) -> JobState:
    """Return the state after the event; raises `IllegalMove`."""
    try:
        return MOVES[state, event]
    except KeyError:
        raise IllegalMove(f"a {state} job cannot {event}") from None
