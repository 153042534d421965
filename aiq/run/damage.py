"""
Stored answers that are no longer what was stored: found by their digest, never handed out.

The file was changed by something else than aiq, a failing disk for example. Such a job has
succeeded as far as the ledger goes, and is shown as one that failed, so that nobody takes what is
left of its answer for a good one, and all others are as good as ever.
"""

from __future__ import annotations

import hashlib

import msgspec

from aiq.model import DAMAGED, JobState
from aiq.store.reading import FinishedJob

_MESSAGE = "the stored answer does not match its digest any more"


def checked(job: FinishedJob) -> FinishedJob:
    """Return a job as it is; one whose answer is damaged as failed, without it."""
    is_whole = job.body is None or hashlib.sha256(job.body).digest() == job.digest
    if job.state is not JobState.SUCCEEDED or is_whole:
        return job
    return msgspec.structs.replace(
        job,
        state=JobState.FAILED,
        body=None,
        error_kind=DAMAGED,
        error_message=_MESSAGE,
        status_code=None,
    )
