"""The shapes of an export other than flat JSON lines: OpenAI Batch output, and CSV."""

from __future__ import annotations

import csv
import io
from typing import Any

import msgspec

from aiq.model import JobState, shown_key
from aiq.providers import json_text
from aiq.store.reading import FinishedJob

_COLUMNS = (
    "id",
    "state",
    "text",
    "provider",
    "model",
    "finish_reason",
    "usage_input_tokens",
    "usage_output_tokens",
    "usage_cached_tokens",
    "cost_usd",
    "latency_ms",
    "attempts",
    "error_kind",
    "error_message",
    "error_status_code",
    "metadata",
    "line",
    "tool_calls",
    "embedding",
    "refusal",
    "purged",
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def openai_line(job: FinishedJob, completion: dict[str, Any] | None = None) -> dict[str, Any]:
    """
    Return a line of an OpenAI Batch output file, or of its error file for a failed job.

    `completion` is the answer in OpenAI's shape where the stored reply has another.
    """
    line: dict[str, Any] = {
        "id": f"batch_req_{job.id}",
        "custom_id": shown_key(job.key),
        "response": None,
        "error": None,
    }
    if job.is_purged:
        line["error"] = {"code": "purged", "message": "the answer was purged"}
    elif job.state is JobState.SUCCEEDED and job.body is not None:
        line["response"] = _response(job, 200, completion or _raw(job.body))
    elif job.status_code is not None and job.status_code >= 300:
        error = {
            "message": job.error_message,
            "type": job.error_kind,
            "param": None,
            "code": job.code,
        }
        line["response"] = _response(job, job.status_code, {"error": error})
    else:
        line["error"] = {"code": job.error_kind, "message": job.error_message}
    return line


def _response(job: FinishedJob, status_code: int, body: Any) -> dict[str, Any]:
    return {
        "status_code": job.status_code or status_code,
        "request_id": job.request_id or "",
        "body": body,
    }


def _raw(body: bytes) -> Any:
    """Return the reply as it stands where it is plain JSON on one line, else read and rewritten."""
    if b"\n" in body or b"\r" in body or not body.isascii():
        return json_text.decode(body)
    return msgspec.Raw(body)


def csv_header() -> bytes:
    """Return the first line of a CSV export."""
    return _csv(list(_COLUMNS))


def csv_row(row: dict[str, Any]) -> bytes:
    """Return a flat row as CSV; nested values are JSON, and no cell can be a formula."""
    flat: dict[str, Any] = {
        **row,
        **{f"usage_{name}": value for name, value in row["usage"].items()},
        **{f"error_{name}": value for name, value in (row["error"] or {}).items()},
    }
    return _csv([_cell(flat.get(name)) for name in _COLUMNS])


def _cell(value: Any) -> Any:
    if isinstance(value, dict | list | bool):
        value = json_text.encode(value).decode()
    if isinstance(value, str):
        return json_text.without_surrogates("'" + value if value.startswith(_FORMULA) else value)
    return value


def _csv(cells: list[Any]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow(cells)
    return text.getvalue().encode()
