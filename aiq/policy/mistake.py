"""
The rule that stops a run whose every request is wrong in the same way.

When the first twenty finished jobs are all `bad_request` with one status, code and parameter, the
mistake is in the command or the configuration, and going on would only fail the whole file.
"""

from __future__ import annotations

from aiq.model import Kind, Outcome

FIRST = 20


class CommonMistake:
    """Watches the first finished jobs of a run."""

    def __init__(self) -> None:
        self._seen = 0
        self._shape: tuple[int | None, str | None, str | None] | None = None
        self._over = False

    def finished(self, outcome: Outcome) -> bool:
        """Note a finished job; True when the run should stop."""
        if self._over:
            return False
        shape = (outcome.status_code, outcome.code, outcome.param)
        if outcome.kind is not Kind.BAD_REQUEST or (self._seen and shape != self._shape):
            self._over = True
            return False
        self._shape = shape
        self._seen += 1
        self._over = self._seen >= FIRST
        return self._over
