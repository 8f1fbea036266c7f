"""A state that was read belongs to its plan, or nobody goes on with it."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec import structs

from pcgrelay.cutover.fitting import fits
from pcgrelay.cutover.phases import Phase, Progress
from pcgrelay.cutover.plan import parse_plan
from pcgrelay.cutover.samples import Outlet, Samples
from pcgrelay.cutover.state import DECISIONS_MOST, POINTS_MOST, CutoverState, KeptDecision, Point, digest_of

TEXT = """
[cutover]
service = "custody@kent.police.example"
from = "cjx"
back = ["cjx"]
steps = [1, 100]
deadline = 2150-01-01
"""
PLAN, _ = parse_plan(TEXT, Path("plan"))
STATE = CutoverState(service=PLAN.service, plan_text=TEXT, plan_sha256=digest_of(TEXT))


def test_what_was_written_fits() -> None:
    assert fits(PLAN, structs.replace(STATE, progress=Progress(Phase.SOAKING, 1), sums={"cjx": Outlet("cjx")}))


@pytest.mark.parametrize(
    "changes",
    [
        {"service": "other@kent.police.example"},
        {"progress": Progress(Phase.SOAKING, 2)},
        {"progress": Progress(Phase.SOAKING, -1)},
        {"progress": Progress(Phase.BACK, 0, back_on="elsewhere")},
        {"sums": {"cjx": Outlet("gateway")}},
    ],
)
def test_what_does_not_belong_to_its_plan_is_refused(changes: dict[str, object]) -> None:
    assert not fits(PLAN, structs.replace(STATE, **changes))


def test_decisions_and_points_are_bounded_and_the_latest_stay() -> None:
    state = STATE
    for number in range(DECISIONS_MOST + POINTS_MOST):
        decision = KeptDecision(at="", what="held", sentence=str(number), phase=Phase.SOAKING, step=0, shares={})
        state = state.with_decision(decision).with_point(Point(at=str(number), shares={}))
    last = str(DECISIONS_MOST + POINTS_MOST - 1)
    assert (len(state.decisions), state.decisions[-1].sentence) == (DECISIONS_MOST, last)
    assert (len(state.points), state.points[-1].at) == (POINTS_MOST, last)


def test_what_failed_on_both_outlets_says_nothing_of_either() -> None:
    figures = {
        "gateway": Outlet("gateway", real=Samples(tried=130, failed=100), shadow=Samples(10, 5)),
        "cjx": Outlet("cjx", real=Samples(tried=190, failed=101)),
    }
    state = structs.replace(STATE, sums=figures, common=100)
    assert (state.compared("gateway").real.tried, state.compared("gateway").real.failed) == (30, 0)
    assert (state.compared("cjx").real.tried, state.compared("cjx").real.failed) == (90, 1)
    assert state.compared("gateway").shadow == Samples(10, 5)
    assert state.compared("psnp") == Outlet("psnp")
