"""A picture at the foot of a terminal, drawn again and again under what is said meanwhile."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text


class Picture:
    """Lines that replace one another; `take_away` leaves nothing behind."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._width = console.width
        self._live = self._new_live()

    def show(self, lines: Sequence[Text]) -> None:
        """Draw these lines where those before them were."""
        if self._console.width < self._width:
            # The terminal has folded the old picture, so nobody knows how many rows it takes.
            self.take_away()
            self._console.clear()
        self._width = self._console.width
        if not self._live.is_started:
            self._live.start()
        self._live.update(Group(*lines), refresh=True)

    def take_away(self) -> None:
        """Take the picture away; the cursor is visible again."""
        # A Live that starts again would overwrite what was printed since it stopped.
        self._live.stop()
        self._live = self._new_live()

    def _new_live(self) -> Live:
        # The streams stay untouched: stdout is data, and nobody else writes to stderr.
        return Live(
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
