"""What a probe's findings mean: a status, a reason, figures, an exit status."""

from __future__ import annotations

import pytest

from aiq.errors import ExitCode
from aiq.model import Kind, Outcome
from aiq.policy import health
from aiq.policy.availability import figures
from aiq.policy.health import Level, LevelResult
from aiq.policy.standing import Status

NETWORK = health.passed(Level.NETWORK, "reachable", 1.0)
API = health.passed(Level.API, "it lists 2 models", 2.0)
FUNCTION = health.passed(Level.FUNCTION, "it answers", 50.0)
NO_LIST = health.unasked(Level.API, "it offers no list of models", 2.0)
NO_MODEL = health.unasked(Level.FUNCTION, "there is no model to ask for")


def outcome(kind: Kind, status_code: int | None = None, *, timed_out: bool = False) -> Outcome:
    return Outcome(kind=kind, status_code=status_code, message="said", timed_out=timed_out)


def bad(level: Level, kind: Kind, status_code: int | None = None) -> LevelResult:
    return health.failed(level, outcome(kind, status_code), "what went wrong", 3.0)


EXPECTED = {
    Kind.CONNECT: Status.UNHEALTHY,
    Kind.INTERRUPTED: Status.UNHEALTHY,
    Kind.RATE_LIMITED: Status.DEGRADED,
    Kind.OUT_OF_CREDIT: Status.DISABLED,
    Kind.AUTH: Status.DISABLED,
    Kind.NOT_FOUND: Status.DISABLED,
    Kind.BAD_REQUEST: Status.UNHEALTHY,
    Kind.CONTEXT_TOO_LONG: Status.UNHEALTHY,
    Kind.SERVER_ERROR: Status.UNHEALTHY,
    Kind.BAD_RESPONSE: Status.UNHEALTHY,
    Kind.CANCELLED: Status.UNKNOWN,
}


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.OK])
def test_every_kind_of_outcome_has_a_status_and_its_reason(kind: Kind) -> None:
    found = health.verdict([NETWORK, API, bad(Level.FUNCTION, kind)])
    assert found == (EXPECTED[kind], "what went wrong")


@pytest.mark.parametrize(
    ("results", "status", "reason"),
    [
        ([NETWORK], Status.HEALTHY, "reachable; key, model and answers were not checked"),
        ([NETWORK, API], Status.HEALTHY, "it lists 2 models; no answer was asked for"),
        (
            [NETWORK, NO_LIST],
            Status.HEALTHY,
            "reachable; it offers no list of models; no answer was asked for",
        ),
        ([NETWORK, API, FUNCTION], Status.HEALTHY, "it answers"),
        (
            [NETWORK, API, NO_MODEL],
            Status.HEALTHY,
            "it lists 2 models; there is no model to ask for",
        ),
        (
            [NETWORK, bad(Level.API, Kind.SERVER_ERROR), FUNCTION],
            Status.HEALTHY,
            "it answers",
        ),
        (
            [NETWORK, bad(Level.API, Kind.SERVER_ERROR), NO_MODEL],
            Status.UNHEALTHY,
            "what went wrong",
        ),
        ([bad(Level.NETWORK, Kind.CONNECT)], Status.UNHEALTHY, "what went wrong"),
        ([NO_MODEL], Status.UNKNOWN, "there is no model to ask for"),
        ([], Status.UNKNOWN, ""),
    ],
)
def test_the_deepest_opinion_decides(
    results: list[LevelResult], status: Status, reason: str
) -> None:
    """A level that could not be asked adds why, and one that was not wanted is named."""
    assert health.verdict(results) == (status, reason)


@pytest.mark.parametrize(
    ("latency_ms", "status"),
    [(4_999.9, Status.HEALTHY), (5_000.0, Status.HEALTHY), (5_000.1, Status.DEGRADED)],
)
def test_slow_is_more_than_the_limit(latency_ms: float, status: Status) -> None:
    found = health.verdict([NETWORK, API, FUNCTION, health.timed(latency_ms, 5_000)])
    assert found.status is status
    assert ("slower than 5,000 ms" in found.reason) == (status is Status.DEGRADED)


@pytest.mark.parametrize(
    ("found", "is_final"),
    [
        (outcome(Kind.AUTH, 401), True),
        (outcome(Kind.AUTH, 403), False),
        (outcome(Kind.RATE_LIMITED, 429), True),
        (outcome(Kind.OUT_OF_CREDIT, 402), True),
        (outcome(Kind.CONNECT), True),
        (outcome(Kind.INTERRUPTED), False),
        (outcome(Kind.INTERRUPTED, timed_out=True), True),
        (outcome(Kind.SERVER_ERROR, 500), False),
        (outcome(Kind.BAD_RESPONSE, 200), False),
    ],
)
def test_what_makes_a_deeper_look_pointless(found: Outcome, is_final: bool) -> None:
    """At the list of models; at any other level a failure is the end."""
    assert health.failed(Level.API, found, "", 1.0).is_final is is_final
    assert health.failed(Level.FUNCTION, found, "", 1.0).is_final


@pytest.mark.parametrize("status_code", [404, 405, 501])
def test_a_list_that_is_not_offered_is_no_failure(status_code: int) -> None:
    assert health.is_not_offered(outcome(Kind.NOT_FOUND, status_code))
    assert not health.is_not_offered(outcome(Kind.SERVER_ERROR, 500))


def test_a_cap_that_was_reached_is_an_answer_of_sorts() -> None:
    """A reasoning model may think all of the 16 tokens away, and its server calls that a 400."""
    reached = Outcome(
        kind=Kind.BAD_REQUEST,
        status_code=400,
        message="Could not finish the message because max_tokens or model output limit was reached",
    )
    assert health.is_answer(reached)
    assert health.is_answer(Outcome(kind=Kind.OK))
    assert not health.is_answer(outcome(Kind.BAD_REQUEST, 400))
    assert not health.is_answer(outcome(Kind.BAD_RESPONSE, 200))


@pytest.mark.parametrize(
    ("model", "names", "is_offered"),
    [
        ("m", ["m"], True),
        ("m", ["n", "m-2025-04-14"], True),
        ("m", ["m-20250929"], True),
        ("m", ["m:latest"], True),
        ("m", ["models/m"], True),
        ("models/m", ["m"], True),
        ("m", ["m-mini"], False),
        ("m", ["m-mini-2025"], False),
        ("m", ["m:70b"], False),
        ("m", ["my"], False),
        ("m.1", ["mx1"], False),
        ("m-2025", ["m"], False),
        ("m", [], False),
    ],
)
def test_which_names_stand_for_a_model(model: str, names: list[str], is_offered: bool) -> None:
    assert health.offers(names, model) is is_offered


def test_the_nearest_of_many_names_are_shown() -> None:
    names = [*(f"other-{n}" for n in range(300)), "gpt-4.1-mini"]
    shown = health.alternatives(names, "gpt-4.1-minni")
    assert shown.startswith("it lists `gpt-4.1-mini`, ")
    assert shown.endswith(" and 296 more")
    assert health.alternatives(["a"], "b") == "it lists `a`"
    assert health.alternatives([], "b") == "it lists none"


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (outcome(Kind.AUTH, 401), "key refused: said (HTTP 401)"),
        (outcome(Kind.SERVER_ERROR, 500), "server error: said (HTTP 500)"),
        (outcome(Kind.INTERRUPTED), "said"),
        (
            Outcome(kind=Kind.BAD_RESPONSE, status_code=200, message="a page (HTTP 200)"),
            "a page (HTTP 200)",
        ),
        (Outcome(kind=Kind.RATE_LIMITED), "rate limited: no explanation"),
    ],
)
def test_reasons_are_plain_words(found: Outcome, words: str) -> None:
    """The status is named once."""
    assert health.explain(found) == words


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ([Status.HEALTHY], ExitCode.OK),
        ([Status.HEALTHY, Status.DEGRADED], ExitCode.OK),
        ([Status.DEGRADED, Status.DISABLED], ExitCode.SOME_FAILED),
        ([Status.HEALTHY, Status.UNKNOWN], ExitCode.SOME_FAILED),
        ([Status.UNHEALTHY, Status.DISABLED], ExitCode.NO_PROVIDER),
        ([Status.UNKNOWN], ExitCode.NO_PROVIDER),
    ],
)
def test_the_exit_status_says_whether_anybody_can_be_used(
    statuses: list[Status], expected: ExitCode
) -> None:
    assert health.exit_code(statuses) is expected


def test_figures_of_a_history() -> None:
    """Availability counts every probe, latencies those that have one."""
    history: list[tuple[str, float | None]] = [("healthy", float(n)) for n in range(1, 91)]
    history += [("degraded", 1000.0)] * 5 + [("unhealthy", None)] * 5
    found = figures(history)
    assert (found.probes, found.availability) == (100, 0.95)
    assert (found.p50, found.p95, found.p99) == (48.0, 1000.0, 1000.0)
    assert found.mean == round((sum(range(1, 91)) + 5000) / 95, 1)


def test_one_probe_is_its_own_percentile() -> None:
    found = figures([("healthy", 7.04)])
    assert (found.mean, found.p50, found.p95, found.p99) == (7.0, 7.0, 7.0, 7.0)


@pytest.mark.parametrize("history", [[], [("unhealthy", None)]])
def test_nothing_measured_is_none_and_not_zero(history: list[tuple[str, float | None]]) -> None:
    found = figures(history)
    assert found.mean is found.p50 is found.p99 is None
    assert found.availability == (0.0 if history else None)
    assert found.to_json()["latency_ms"] == dict.fromkeys(("mean", "p50", "p95", "p99"))


def test_a_level_as_the_contract_writes_it() -> None:
    """Milliseconds to a tenth; unknown is null."""
    assert health.passed(Level.API, "it lists 2 models", 2.345).to_json() == {
        "level": 2,
        "name": "api",
        "ok": True,
        "latency_ms": 2.3,
        "detail": "it lists 2 models",
    }
    assert NO_MODEL.to_json()["latency_ms"] is NO_MODEL.to_json()["ok"] is None
