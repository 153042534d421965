"""What stands before a strike: a batch brought to a point, and the command that is struck."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from aiq.store.schema import APPLICATION_ID, MIGRATIONS
from tests.crash.ordeal import Ordeal
from tests.support.fault_server import FaultServer
from tests.support.invariants import rows
from tests.support.ledger import prompts, states
from tests.support.process import Workplace
from tests.support.replies import Reply, Seen

_CREATED = re.compile(r"CREATE (?:TABLE|INDEX|TRIGGER) (\w+)")
"""Finds what a migration brings."""

JOBS = 60
SLOW = Reply(delay_s=0.02)
"""Long enough that a kill finds requests in flight."""


def until_next_run(seen: Seen) -> Reply | None:
    """Refuse every third prompt at first, for good, and answer it the next time."""
    is_refused = seen.nth == 1 and int(seen.prompt[1:]) % 3 == 0
    return Reply.error(400, code="bad", message="not today") if is_refused else SLOW


class Scene:
    """What stands before the strike, and the commands that are struck and then repeated."""

    def __init__(self, script: object = SLOW) -> None:
        self.server = FaultServer(script)  # type: ignore[arg-type]

    async def prepare(self, place: Workplace) -> Ordeal:
        """Set the scene, undisturbed."""
        return Ordeal(place, self.server, prompts(JOBS))

    def commands(self, ordeal: Ordeal) -> list[Sequence[str]]:
        """Return the commands; the first is the one that is struck."""
        return [("run", ordeal.file)]

    def check_left(self, ordeal: Ordeal) -> None:
        """Look at what the strike left, where that is part of the promise."""


class NewBatch(Scene):
    """No database yet: it is created, filled, worked through and folded into one file."""


class OldSchema(Scene):
    """A database of the first schema, with a third of its jobs done."""

    async def prepare(self, place: Workplace) -> Ordeal:
        ordeal = await super().prepare(place)
        ended = await place.run("run", ordeal.file, "--limit", str(JOBS // 3))
        assert ended.code == 0, ended.text
        downgrade(place.db)
        return ordeal

    def check_left(self, ordeal: Ordeal) -> None:
        """The schema is fully the one or fully the next one."""
        [(version,)] = rows(ordeal.place.db, "PRAGMA user_version")
        present = rows(
            ordeal.place.db, "SELECT name FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%'"
        )
        created = "".join(MIGRATIONS[:version])
        assert {name for (name,) in present} == set(_CREATED.findall(created))


class FailedJobs(Scene):
    """A third of the jobs have failed, and are put back and sent again."""

    def __init__(self) -> None:
        super().__init__(until_next_run)

    async def prepare(self, place: Workplace) -> Ordeal:
        ordeal = await super().prepare(place)
        ended = await place.run("run", ordeal.file)
        assert states(place.db)["failed"] == JOBS // 3, ended.text
        return ordeal

    def commands(self, ordeal: Ordeal) -> list[Sequence[str]]:  # noqa: ARG002 - as in all scenes
        return [("retry-failed",), ("run",)]


class ChangedPrompts(Scene):
    """All is done; then half of the prompts change, and the user wants those asked again."""

    async def prepare(self, place: Workplace) -> Ordeal:
        ordeal = await super().prepare(place)
        ended = await place.run("run", ordeal.file)
        assert ended.code == 0, ended.text
        first = prompts(JOBS)
        changed = [{**one, "prompt": f"new {one['id']}"} for one in first[::2]]
        ordeal.give([*changed, *first[1::2]])
        ordeal.may_be_asked_again = frozenset(one["id"] for one in changed)
        return ordeal

    def commands(self, ordeal: Ordeal) -> list[Sequence[str]]:
        return [("run", ordeal.file, "--on-changed", "rerun")]


def downgrade(path: Path) -> None:
    """Turn a database into one that the first version of the schema wrote."""
    old = path.with_name("old.db")
    with closing(sqlite3.connect(old, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(MIGRATIONS[0])
        connection.execute("ATTACH ? AS new", (str(path),))
        names = "SELECT name FROM sqlite_schema WHERE type = 'table'"
        for (name,) in list(connection.execute(names)):
            columns = [row[1] for row in connection.execute(f"PRAGMA main.table_info({name})")]
            listed = ", ".join(columns)
            connection.execute(f"INSERT INTO {name} SELECT {listed} FROM new.{name}")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 1")
    old.replace(path)
