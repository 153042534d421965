"""
What the findings of a probe mean: a status with its reason, and an exit status.

A probe looks deeper level by level. The deepest level with an opinion decides, because a real
answer outweighs everything before it: some servers list no models and answer, and some keys may
chat and not list. A level that could not be asked has no opinion and says why.
"""

from __future__ import annotations

import difflib
import enum
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from aiq.errors import ExitCode
from aiq.model import Kind, Outcome
from aiq.policy.standing import Status

NAMES_SHOWN = 5
"""How many of a provider's models are named where the one asked for is not among them."""

USABLE = frozenset({Status.HEALTHY, Status.DEGRADED})

_STATUS_OF_KIND = {
    Kind.OK: Status.HEALTHY,
    Kind.RATE_LIMITED: Status.DEGRADED,
    Kind.AUTH: Status.DISABLED,
    Kind.OUT_OF_CREDIT: Status.DISABLED,
    Kind.NOT_FOUND: Status.DISABLED,
    Kind.CANCELLED: Status.UNKNOWN,
}
"""Every other kind means a provider that does not work: unhealthy."""

_WORDS = {
    Kind.RATE_LIMITED: "rate limited",
    Kind.AUTH: "key refused",
    Kind.OUT_OF_CREDIT: "out of credit",
    Kind.NOT_FOUND: "not found",
    Kind.BAD_REQUEST: "a plain request is refused",
    Kind.CONTEXT_TOO_LONG: "a tiny request is refused",
    Kind.SERVER_ERROR: "server error",
}
"""What stands before the provider's own words; the other kinds come with ours."""

_FINAL_KINDS = frozenset({Kind.CONNECT, Kind.RATE_LIMITED, Kind.OUT_OF_CREDIT})
_NOT_OFFERED = frozenset({404, 405, 501})
_ALIAS = r"-\d[\d-]*|:latest"
# OpenAI's reasoning models answer so when thinking alone took all the tokens that were allowed.
_CAP_REACHED = re.compile(r"max_tokens or model output limit was reached", re.IGNORECASE)


class Level(enum.IntEnum):
    """How deep a probe looks; each level includes those before it."""

    NETWORK = 1
    API = 2
    FUNCTION = 3
    LATENCY = 4


class LevelResult(msgspec.Struct, frozen=True, kw_only=True):
    """What one level found; `ok` None: it could not be asked, and `detail` says why."""

    level: Level
    ok: bool | None
    detail: str
    latency_ms: float | None = None
    kind: Kind | None = None
    """What went wrong where it is not ok; None at the fourth level: it was slow."""
    is_final: bool = False
    """Nothing deeper is to be asked."""

    def to_json(self) -> dict[str, object]:
        """Return the level's object of the JSON contract (`design` 11)."""
        return {
            "level": int(self.level),
            "name": self.level.name.lower(),
            "ok": self.ok,
            "latency_ms": None if self.latency_ms is None else round(self.latency_ms, 1),
            "detail": self.detail,
        }


def passed(level: Level, detail: str, latency_ms: float | None = None) -> LevelResult:
    """Return the result of a level that is as it should be."""
    return LevelResult(level=level, ok=True, detail=detail, latency_ms=latency_ms)


def failed(level: Level, outcome: Outcome, detail: str, latency_ms: float | None) -> LevelResult:
    """
    Return the result of a level that met something else than it should.

    Only at the list of models may that be worth a deeper look: a 403 is what a key gets that may
    ask for answers and not for the list.
    """
    is_final = outcome.kind in _FINAL_KINDS or outcome.status_code == 401 or outcome.timed_out
    return LevelResult(
        level=level,
        ok=False,
        detail=detail,
        latency_ms=latency_ms,
        kind=outcome.kind,
        is_final=is_final or level is not Level.API,
    )


def unasked(level: Level, why: str, latency_ms: float | None = None) -> LevelResult:
    """Return the result of a level that could not be asked; the list of models can be missed."""
    return LevelResult(
        level=level, ok=None, detail=why, latency_ms=latency_ms, is_final=level is not Level.API
    )


def timed(latency_ms: float, limit_ms: float) -> LevelResult:
    """Return the result of the fourth level, which judges how long the third one took."""
    detail = f"answered in {latency_ms:,.0f} ms"
    if latency_ms > limit_ms:
        detail += f", slower than {limit_ms:,.0f} ms"
    return LevelResult(
        level=Level.LATENCY, ok=latency_ms <= limit_ms, detail=detail, latency_ms=latency_ms
    )


class Verdict(NamedTuple):
    """A provider's status after a probe, with its reason in plain words."""

    status: Status
    reason: str


def verdict(results: Sequence[LevelResult]) -> Verdict:
    """Return what a provider's results make of it."""
    answers = [result for result in results if result.ok is not None]
    if not answers:
        return Verdict(Status.UNKNOWN, "; ".join(result.detail for result in results))
    last = answers[-1]
    if not last.ok:
        return Verdict(_status(last), last.detail)
    missed = [result.detail for result in results if result.level > last.level]
    return Verdict(Status.HEALTHY, "; ".join([last.detail, *missed, *_unseen(results[-1].level)]))


def _status(result: LevelResult) -> Status:
    if result.kind is None:
        return Status.DEGRADED
    return status_of(result.kind)


def status_of(kind: Kind) -> Status:
    """Return what an outcome of this kind makes of a provider."""
    return _STATUS_OF_KIND.get(kind, Status.UNHEALTHY)


def _unseen(level: Level) -> list[str]:
    """Say what a probe that was told to stop early did not look at."""
    if level is Level.NETWORK:
        return ["key, model and answers were not checked"]
    return ["no answer was asked for"] if level is Level.API else []


def explain(outcome: Outcome) -> str:
    """Return in plain words what came instead of what was asked for."""
    said = outcome.message or "no explanation"
    words = _WORDS.get(outcome.kind)
    code = outcome.status_code
    status = f" (HTTP {code})" if code is not None and f"HTTP {code}" not in said else ""
    return f"{words}: {said}{status}" if words else f"{said}{status}"


def is_not_offered(outcome: Outcome) -> bool:
    """Whether a reply means that there is no list of models, which is no failure."""
    return outcome.status_code in _NOT_OFFERED


def is_answer(outcome: Outcome) -> bool:
    """Whether the tiny request showed that the provider works, be it by reaching its tiny cap."""
    if outcome.kind is Kind.BAD_REQUEST:
        return bool(_CAP_REACHED.search(outcome.message or ""))
    return outcome.kind is Kind.OK


def offers(names: Iterable[str], model: str) -> bool:
    """
    Whether a model is among the names of a list.

    Vendors list what an alias stands for: `name-2025-04-14` or `name:latest` for `name`; Gemini's
    lists put `models/` before every name.
    """
    alias = re.compile(f"{re.escape(model.removeprefix('models/'))}(?:{_ALIAS})?")
    return any(alias.fullmatch(name.removeprefix("models/")) for name in names)


def alternatives(names: Sequence[str], model: str) -> str:
    """Return what a provider lists instead of a model, the names nearest to it first."""
    near = difflib.get_close_matches(model, names, n=NAMES_SHOWN, cutoff=0.0)
    more = f" and {len(names) - len(near):,} more" if len(names) > len(near) else ""
    return f"it lists {', '.join(f'`{name}`' for name in near) or 'none'}{more}"


def exit_code(statuses: Iterable[Status]) -> ExitCode:
    """Return 0 if all providers are usable, 1 if some are not, 3 if none is."""
    usable = [status in USABLE for status in statuses]
    if not any(usable):
        return ExitCode.NO_PROVIDER
    return ExitCode.OK if all(usable) else ExitCode.SOME_FAILED
