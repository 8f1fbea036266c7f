"""What an edge takes from the store, by the record that it has; the random orders are in test_shared_stateful."""

from __future__ import annotations

import msgspec
import pytest
from msgspec import structs

from pcgrelay.cutover import shared
from pcgrelay.cutover.phases import Phase
from pcgrelay.cutover.samples import Outlet, Samples
from pcgrelay.cutover.shared import Joining, Known, Mine, Refusal, SharedState
from pcgrelay.cutover.shared_figures import EDGES_MOST, EdgeFigures, OthersFigures

SERVICE = "custody@kent.police.example"
FIRST = SharedState(
    service=SERVICE, plan_sha256="ab" * 32, run=2, epoch=7, phase=Phase.SOAKING, step=1, node="met-1", at="",
    what="stepped", sentence="50 % take gateway.",
)  # fmt: skip
KNOWN = Known(FIRST, 30, 7)


def changed(**values: object) -> SharedState:
    return structs.replace(FIRST, **values)


@pytest.mark.parametrize(
    ("record", "why"),
    [
        (changed(epoch=6), Refusal.OLDER),
        (changed(step=2), Refusal.DIFFERS),
        (changed(plan_sha256="cd" * 32), Refusal.DIFFERS),
        (changed(epoch=8, plan_sha256="cd" * 32), Refusal.DIFFERS),
        (changed(epoch=8, run=1), Refusal.DIFFERS),
        (changed(epoch=8, phase=Phase.RETIRED), Refusal.NOT_SHARED),
        (changed(epoch=8, service="other@kent.police.example"), Refusal.NOT_SHARED),
    ],
)
def test_what_is_not_newer_is_not_taken(record: SharedState, why: Refusal) -> None:
    known, said = shared.take(KNOWN, SERVICE, record, 31, 5.0)
    assert (known.record, said) == (FIRST, why)


def test_a_run_that_went_back_does_not_go_on() -> None:
    back = Known(changed(epoch=8, phase=Phase.BACK), 31, 8)
    known, said = shared.take(back, SERVICE, changed(epoch=9), 32, 5.0)
    assert (known.record, said) == (back.record, Refusal.AFTER_BACK)
    # Who took it is led back by an epoch after both.
    write = shared.to_tell(Mine(2), known, "met-2")
    assert write is not None
    assert (write.record.epoch, write.record.phase, write.revision) == (10, Phase.BACK, 32)
    known, said = shared.take(back, SERVICE, changed(epoch=9, run=3), 32, 5.0)
    assert (known.epoch, said) == (9, None)


def test_what_the_store_lost_is_told_to_it_and_no_step_follows_for_a_while() -> None:
    known, said = shared.take(KNOWN, SERVICE, None, 0, 5.0)
    assert said is None
    write = shared.to_tell(Mine(2), known, "met-2")
    assert write is not None
    assert (write.record.epoch, write.record.essence, write.revision, write.seat) == (7, FIRST.essence, 0, 0)
    known, _ = shared.take(known, SERVICE, write.record, 3, 5.5)
    assert shared.to_tell(Mine(2), known, "met-2") is None
    assert shared.why_no_step(Mine(2), known, 9, 6.0)
    assert not shared.why_no_step(Mine(2), known, 9, 5.0 + shared.RESTORE_S)


def test_two_decisions_of_one_epoch_become_the_one_that_moves_less() -> None:
    known, _ = shared.take(KNOWN, SERVICE, changed(step=0), 31, 5.0)
    write = shared.to_tell(Mine(2), known, "met-2")
    assert write is not None
    assert (write.record.epoch, write.record.step) == (8, 0)


def test_a_start_begins_a_run_or_joins_it() -> None:
    assert shared.joining(Known(), 0, FIRST.plan_sha256) is Joining.NEW_RUN
    assert shared.joining(KNOWN, 0, FIRST.plan_sha256) is Joining.JOIN
    assert shared.joining(KNOWN, 2, FIRST.plan_sha256) is Joining.RUNS
    assert shared.joining(KNOWN, 0, "cd" * 32) is Joining.OTHER_PLAN
    assert shared.joining(Known(changed(phase=Phase.BACK)), 2, FIRST.plan_sha256) is Joining.NEW_RUN


def test_nothing_but_a_step_back_is_made_by_itself() -> None:
    with pytest.raises(ValueError, match="soaking is no step back"):
        shared.narrow(Mine(2), KNOWN, FIRST)


@pytest.mark.parametrize("change", [{"epoch": 0}, {"run": 1 << 50}, {"plan_sha256": "no"}, {"sentence": "x" * 5_000}])
def test_a_record_beyond_its_bounds_is_none(change: dict[str, object]) -> None:
    values = {**msgspec.to_builtins(FIRST), **change}
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(msgspec.msgpack.encode(values), type=SharedState)


def figures(tried: int, *, held: bool = False, new: str = "gateway") -> EdgeFigures:
    outlet = Outlet(new, Samples(tried, 1))
    return EdgeFigures(service=SERVICE, plan_sha256="ab" * 32, run=2, held=held, new=outlet, old=Outlet("cjx"))


def test_what_came_since_an_edge_was_first_seen_is_added() -> None:
    others = OthersFigures(Outlet("gateway"), Outlet("cjx"))
    others.see("met-1", figures(100))
    assert others.new.tried == 0
    others.see("met-1", figures(130))
    others.lose("met-1")
    assert others.edges() == []
    others.see("met-1", figures(150, held=True))
    assert (others.new.tried, others.held()) == (50, ["met-1"])
    # It counts anew, for its state was lost.
    others.see("met-1", figures(5))
    assert others.new.tried == 55
    others.see("met-1", figures(900, new="other"))
    assert others.new.tried == 55


def test_more_edges_than_the_bound_are_not_looked_at() -> None:
    others = OthersFigures(Outlet("gateway"), Outlet("cjx"))
    for number in range(EDGES_MOST + 5):
        others.see(f"met-{number}", figures(1))
    assert len(others.edges()) == EDGES_MOST
