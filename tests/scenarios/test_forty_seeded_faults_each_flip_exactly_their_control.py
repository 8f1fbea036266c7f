"""Faults of a gateway are seeded one at a time, and exactly the control that is about each fails."""

from __future__ import annotations

import pytest

from pcgrelay.assure.catalogue import ASKED, load_controls, load_profile
from pcgrelay.assure.facts import Facts
from pcgrelay.assure.judgement import PASSED
from pcgrelay.assure.tests import TESTS, LiveTest
from tests.support.good_facts import GOOD
from tests.support.seeded_faults import FAULTS, Fault

pytestmark = pytest.mark.tier_test

PROFILE = load_profile("ncsc-official", load_controls(TESTS))
LIVE = {each.id: TESTS[each.test] for each in PROFILE.controls if each.test != ASKED}
SEEDED = tuple(each for each in FAULTS if each.control in LIVE)


def reader_of(test: LiveTest) -> str:
    return f"{test.read.__module__.rpartition('.')[2]}.{test.read.__name__}"


def failing(found: dict[str, Facts]) -> list[str]:
    return [id for id, test in LIVE.items() if test.judge(found[reader_of(test)], PROFILE.parameters).outcome != PASSED]


def test_there_are_forty_of_them_and_each_automatic_control_has_one() -> None:
    assert len(SEEDED) >= 40
    assert len({each.name for each in FAULTS}) == len(FAULTS)
    # S5 is about the same date as S4, and its own fault is S4's too.
    assert {each.control for each in SEEDED} >= LIVE.keys() - {"S5"}


def test_a_good_node_passes_all() -> None:
    assert failing(GOOD) == []


@pytest.mark.parametrize("fault", SEEDED, ids=lambda fault: fault.name)
def test_a_fault_flips_exactly_its_control(fault: Fault) -> None:
    assert failing({**GOOD, fault.reader: fault.change(GOOD[fault.reader])}) == [fault.control]
