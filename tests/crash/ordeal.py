"""
One batch that has to be answered in full, however often it is struck.

In a test:

    async with FaultServer() as server, Workplace(tmp_path, a=server) as place:
        ordeal = Ordeal(place, server, prompts(60))
        running = await ordeal.start()
        await server.seen(20)
        running.send(signal.SIGKILL)
        await ordeal.struck(running)
        ordeal.check(await ordeal.finish())

After each strike a copy of the database is looked at, so that the looking heals nothing. At the end
the run is repeated until it is done, and the database is held against the server's ledger.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.crash.findings import Findings
from tests.support.fault_server import FaultServer
from tests.support.invariants import check_store, prompt_of_line, rows
from tests.support.ledger import Picture, picture
from tests.support.process import Ended, Process, Workplace

TRIES = 4
"""A batch that is not done after so many undisturbed commands never will be."""

NOTHING = Picture(frozenset(), frozenset(), Counter())


class Ordeal:
    """A batch, what struck it, and what it looked like after each strike."""

    def __init__(
        self, place: Workplace, server: FaultServer, prompts: Sequence[Mapping[str, Any]]
    ) -> None:
        self.place = place
        self.server = server
        self.pictures: list[Picture] = []
        self.faults = 0
        self.at_risk = 0
        """Attempts that were leased, or given up, when something struck."""
        self.may_be_asked_again: frozenset[str] = frozenset()
        """Finished jobs whose prompts the user has changed."""
        self._keys: dict[str, str] = {}
        self.give(prompts)

    def give(self, prompts: Sequence[Mapping[str, Any]]) -> None:
        """Write the prompt file; it is what has to be answered from now on."""
        self.file = self.place.write(prompts)
        self.wanted = {one["id"]: one["prompt"] for one in prompts}
        self._keys |= {one["prompt"]: one["id"] for one in prompts}

    async def start(self, *arguments: str, **options: Any) -> Process:
        """Start a command, or else the run of the file."""
        return await self.place.start(*(arguments or ("run", self.file)), **options)

    async def struck(self, running: Process, *, given_up: int = 0) -> Ended:
        """
        Wait for the end of a process that was struck, and look at what it left.

        Args:
            given_up: attempts that it had in flight and abandoned on its own.
        """
        ended = await running.ended()
        self.faults += 1
        left = glimpse(self.place.db)
        self.pictures.append(left)
        self.at_risk += len(left.leased) + given_up
        return ended

    async def finish(self, *commands: Sequence[str]) -> Findings:
        """Repeat the commands, by default the run of the file, until all is done; then judge."""
        ended = None
        for _ in range(TRIES):
            for one in commands or [("run", self.file)]:
                ended = await self.place.run(*one, "--json")
            if self._is_done():
                break
        assert ended is not None
        assert ended.code == 0, ended.text
        return self._judged(ended.json())

    def _is_done(self) -> bool:
        left = rows(self.place.db, "SELECT count(*) FROM job WHERE state <> 'succeeded'")
        return left == [(0,)]

    def _judged(self, result: dict[str, Any]) -> Findings:
        final, answers = picture(self.place.db), self._answers()
        found = Findings(
            cases=1,
            faults=self.faults,
            jobs=len(self.wanted),
            requests=len(self.server.ledger),
            lost=sum(answers.get(key) != text for key, text in self.wanted.items()),
            asked_again=len(set(self._asked_again(final)) - self.may_be_asked_again),
            seen_twice=self._seen_twice(),
            possibly_paid=result["possibly_paid"]["requests"],
            at_risk=self.at_risk,
        )
        found.trouble += self._broken_rules(found, final)
        return found

    def _answers(self) -> dict[str, str]:
        """Return what each job's answer answers, by id."""
        found = rows(
            self.place.db,
            "SELECT key, request.line, json_extract(body, '$.choices[0].message.content') FROM job"
            " JOIN request ON request.job_id = job.id JOIN answer ON answer.job_id = job.id",
        )
        return {
            key: prompt_of_line(line)
            for key, line, said in found
            if said == f"echo: {prompt_of_line(line)}"
        }

    def _asked_again(self, final: Picture) -> Iterable[str]:
        for one in self.pictures:
            yield from (k for k in one.succeeded if final.attempts[k] != one.attempts[k])

    def _seen_twice(self) -> int:
        """Count the requests beyond the first of a prompt that got, or may have got, an answer."""
        asked = Counter(one.prompt for one in self.server.ledger if one.status in (None, 200))
        return sum(asked.values()) - len(asked)

    def _broken_rules(self, found: Findings, final: Picture) -> list[str]:
        asked = Counter(self._keys[one.prompt] for one in self.server.ledger)
        rules = {
            f"{found.lost} jobs lack their answer": not found.lost,
            f"{found.asked_again} finished jobs were asked again": not found.asked_again,
            "a request was sent that no attempt stands for": asked <= final.attempts,
            f"seen twice {found.seen_twice}, but possibly paid {found.possibly_paid}":
                found.seen_twice <= found.possibly_paid,
            f"possibly paid {found.possibly_paid}, but at risk {found.at_risk}":
                found.possibly_paid <= found.at_risk,
        }  # fmt: skip
        broken = [rule for rule, holds in rules.items() if not holds]
        try:
            check_store(self.place.db, lines=len(self.wanted), asked_anew=self.may_be_asked_again)
        except AssertionError as error:
            broken.append(f"the database is not as it must be: {error}")
        return broken


def glimpse(path: Path) -> Picture:
    """
    Look at a copy of what was left; before there are tables that is nothing.

    Raises `AssertionError` if it is damaged.
    """
    with tempfile.TemporaryDirectory() as directory:
        for one in path.parent.glob(f"{path.name}*"):
            if not one.name.endswith(("-shm", ".lock")):
                shutil.copy(one, directory)
        copy = Path(directory) / path.name
        if not copy.exists():
            return NOTHING
        with closing(sqlite3.connect(copy)) as connection:  # plays back what a journal holds
            assert list(connection.execute("PRAGMA integrity_check")) == [("ok",)]
            has_tables = list(connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'job'"))
        return picture(copy) if has_tables else NOTHING


def check(found: Findings, *, faults: int = 1) -> None:
    """A case is only a good one if something struck and no promise broke."""
    assert found.trouble == []
    assert (found.lost, found.asked_again) == (0, 0)
    assert found.faults >= faults, "nothing struck"
