"""Whatever an answer holds, an export is read back as it was by any program, and runs nothing."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from aiq.providers import json_text
from aiq.run.export_formats import csv_header, csv_row

FORMULA = ("=", "+", "-", "@", "\t", "\r")
TEXT = st.one_of(
    st.text(st.characters(exclude_categories=()), max_size=30),
    st.text(st.sampled_from("=+-@\t\r\n\"',; a\0\ud800\u2028"), max_size=12),
)
NAMES = ("id", "state", "text", "provider", "model", "finish_reason", "refusal")
ROWS = st.fixed_dictionaries(
    {name: st.one_of(st.none(), TEXT) for name in NAMES}
    | {
        "usage": st.just({"input_tokens": 1, "output_tokens": -2, "cached_tokens": None}),
        "error": st.one_of(
            st.none(),
            st.fixed_dictionaries({"kind": TEXT, "message": TEXT, "status_code": st.just(400)}),
        ),
        "metadata": st.one_of(st.none(), st.dictionaries(TEXT, TEXT, max_size=2)),
        "tool_calls": st.one_of(st.none(), st.lists(TEXT, max_size=2)),
    }
)


def read_back(row: dict[str, Any]) -> dict[str, str]:
    text = (csv_header() + csv_row(row)).decode()
    [found] = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    assert None not in found
    assert None not in found.values()
    return found


@given(ROWS)
@example({**dict.fromkeys(NAMES), "text": "\r=1+1", "usage": {}, "error": None})
def test_every_cell_comes_back_and_none_is_a_formula(row: dict[str, Any]) -> None:
    """Quotes, separators, line ends and NUL are content; only a formula gets a `'` before it."""
    found = read_back(row)
    given = {name: row[name] for name in NAMES}
    given |= {f"error_{name}": value for name, value in (row["error"] or {}).items()}
    for name, value in given.items():
        plain = "" if value is None else json_text.without_surrogates(str(value))
        assert found[name] == ("'" + plain if plain.startswith(FORMULA) else plain), name
    for cell in found.values():
        assert not cell.startswith(FORMULA) or cell == "-2"
    for name in ("metadata", "tool_calls"):
        value = row.get(name)
        assert (json.loads(found[name]) if found[name] else None) == _plain(value)


def _plain(value: Any) -> Any:
    """What stays of JSON in a file of UTF-8: escapes keep lone surrogates."""
    return None if value is None else json.loads(json.dumps(value))


@given(st.recursive(TEXT, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner)))
def test_a_json_line_is_one_line_and_comes_back(value: Any) -> None:
    """Lone surrogates, NUL and U+2028 survive, and any UTF-8 reader takes the bytes."""
    line = json_text.encode({"text": value})
    assert b"\n" not in line
    assert json.loads(line.decode()) == {"text": value}
