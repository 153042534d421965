"""Which batch a file belongs to: its stem, or the name it is given."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from aiq.errors import InputError
from aiq.prompts.names import batch_name
from aiq.run.sources import open_sources
from aiq.store.db import Database
from tests.support.factories import NOW_US, dump, query


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("prompts.jsonl", "prompts"),
        ("/deep/er/prompts.jsonl", "prompts"),
        ("prompts.jsonl.gz", "prompts"),
        ("prompts.gz", "prompts"),
        ("prompts", "prompts"),
        ("a.b.jsonl", "a.b"),
        (".hidden", ".hidden"),
        (".gz", ".gz"),
        ("-", "stdin"),
        ("日本.jsonl", "日本"),
    ],
)
def test_a_batch_is_named_by_the_stem_of_its_file(path: str, name: str) -> None:
    assert batch_name(path) == name


async def names(database: Database, *paths: str, name: str | None = None) -> list[str]:
    sources = await open_sources(database, paths, name=name, now_us=NOW_US)
    return [source.batch.name for source in sources]


async def test_one_batch_per_file_or_one_for_all(database: Database) -> None:
    assert await names(database, "/x/one.jsonl", "/x/two.jsonl") == ["one", "two"]
    assert await names(database, "/x/one.jsonl", "/x/two.jsonl", name="all") == ["all", "all"]


async def test_paths_are_remembered_absolute(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same file named from another directory is the same source."""
    monkeypatch.chdir(tmp_path)
    await names(database, "p.jsonl")
    await names(database, str(tmp_path / "p.jsonl"))
    await names(database, "../" + tmp_path.name + "/p.jsonl")
    assert query(database.path, "SELECT path FROM source") == [(str(tmp_path / "p.jsonl"),)]


async def test_a_path_without_utf_8_can_be_told_or_is_refused(database: Database) -> None:
    """File names are bytes; whatever happens, it is no crash with a traceback."""
    path = os.fsdecode(b"/x/caf\xe9.jsonl")
    with pytest.raises(InputError, match="name"):
        await names(database, path)


async def test_another_file_of_the_same_name_is_refused_naming_both(database: Database) -> None:
    await names(database, "/monday/p.jsonl")
    before = dump(database.path)
    with pytest.raises(InputError) as raised:
        await names(database, "/tuesday/p.jsonl")
    assert "/monday/p.jsonl" in str(raised.value)
    assert "/tuesday/p.jsonl" in str(raised.value)
    assert "-n" in (raised.value.hint or "")
    assert dump(database.path) == before


@pytest.mark.parametrize("other", ["/b/p.jsonl", "/a/p.jsonl.gz", "/a/p.txt"])
async def test_two_files_of_one_name_at_once_are_refused(database: Database, other: str) -> None:
    before = dump(database.path)
    with pytest.raises(InputError, match="would both be batch `p`"):
        await names(database, "/a/p.jsonl", other)
    assert dump(database.path) == before


async def test_a_name_lets_a_batch_have_files_of_one_stem(database: Database) -> None:
    assert await names(database, "/a/p.jsonl", "/b/p.jsonl", name="both") == ["both", "both"]
    assert await names(database, "/b/p.jsonl", "/a/p.jsonl", name="both") == ["both", "both"]
    assert query(database.path, "SELECT count(*) FROM source") == [(2,)]


async def test_a_file_of_a_joined_batch_may_be_given_alone_under_its_stem(
    database: Database,
) -> None:
    """The batch of that stem remembers its paths, so it is the same batch."""
    await names(database, "/a/p.jsonl", "/b/q.jsonl", name="p")
    assert await names(database, "/b/q.jsonl", name="p") == ["p"]
    assert await names(database, "/a/p.jsonl") == ["p"]
    with pytest.raises(InputError):
        await names(database, "/c/p.jsonl")


async def test_a_new_source_is_not_sealed(database: Database) -> None:
    await names(database, "/a/p.jsonl")
    assert query(database.path, "SELECT sealed_at FROM source") == [(None,)]
