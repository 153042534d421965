"""What is said before the first send."""

import pytest

from aiq.cli.announcements import plan_line
from aiq.cli.summary import steps
from aiq.run.observer import Plan


@pytest.mark.parametrize(
    ("strategy", "shown"),
    [("rank", "a (m) → b"), ("cost", "strategy cost: a (m), b")],
)
def test_the_plan_says_who_is_asked_and_in_which_order(strategy: str, shown: str) -> None:
    plan = Plan(
        batches=("prompts",),
        pending=3,
        skipped=0,
        candidates=(("a", "m"), ("b", None)),
        estimated_nano=None,
        strategy=strategy,
    )
    assert plan_line(plan).plain == (
        f"prompts: 3 jobs to send · {shown} · cost unknown · no budget"
    )


def test_the_next_steps_stand_in_one_column() -> None:
    lines = [line.plain for line in steps({"answers of prompts": "one", "retry": "two"})]
    assert lines == ["answers of prompts one", "retry              two"]
    assert [line.plain for line in steps({"retry": "two"})] == ["retry    two"]
