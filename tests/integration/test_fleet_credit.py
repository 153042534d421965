"""Accounts without money: nothing is sent after the first refusal, and no job is lost."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from aiq.errors import ExitCode
from tests.support.replies import Reply
from tests.support.scripted_fleet import always, scripted_fleet, steady
from tests.support.sessions import hurried, prompts

FORMS = {
    "quota code": Reply.error(429, code="insufficient_quota"),
    "limit code": Reply.error(429, code="billing_hard_limit_reached"),
    "402": Reply.error(402),
    "400 text": Reply.error(400, message="Your credit balance is too low to access the API"),
    "per day": Reply.error(429, message="quota metric GenerateRequestsPerDayPerModel exceeded"),
}


@hurried
@pytest.mark.parametrize("others", [True, False], ids=["others", "nobody"])
@pytest.mark.parametrize("form", FORMS)
async def test_only_what_was_in_flight_reaches_it(tmp_path: Path, form: str, others: bool) -> None:
    """Others do the jobs; with nobody left all are pending, and the run says why and resumes."""
    tempers = {"a": always(dataclasses.replace(FORMS[form], delay_s=0.5))}
    if others:
        tempers["b"] = steady(0.05)
    async with scripted_fleet(tmp_path, tempers, run={"concurrency": 8}) as fleet:
        result = await fleet.bench.run(prompts(60))
        assert len(fleet["a"].calls) <= 8
        if others:
            assert result.exit_code is ExitCode.OK
            return
        assert result.exit_code is ExitCode.NO_PROVIDER
        assert "out_of_credit" in (result.message or "")
        assert fleet.bench.states() == {"pending": 60}

        fleet.servers["a"].load(None)
        assert (await fleet.bench.run()).exit_code is ExitCode.OK


@hurried
async def test_it_may_run_out_in_the_middle(tmp_path: Path) -> None:
    """Answers do not protect an account: the first refusal counts."""
    broke = FORMS["quota code"]
    tempers = {
        "a": lambda _at, seen: broke if seen.number > 20 else Reply(delay_s=0.1),
        "b": steady(0.1),
    }
    async with scripted_fleet(tmp_path, tempers, run={"concurrency": 8}) as fleet:
        assert (await fleet.bench.run(prompts(80))).exit_code is ExitCode.OK
        assert fleet["a"].good() == 20
        assert fleet["a"].bad() <= 8
