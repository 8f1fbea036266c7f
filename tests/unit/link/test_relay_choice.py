"""Which relays are chosen: by priority, by probes, and in an order of each node's own."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from pcgrelay.config import Address
from pcgrelay.link.relay_choice import choose_relays, own_order
from pcgrelay.net.srv import SrvRecord

NODES = [f"spiffe://realm.example/org.example/edge-{number}" for number in range(2_000)]


def record(name: str, priority: int = 10, weight: int = 1) -> SrvRecord:
    return SrvRecord(priority, weight, Address(name, 7400))


RECORDS = st.lists(
    st.builds(
        lambda number, priority, weight: record(f"relay-{number}", priority, weight),
        st.integers(0, 40), st.integers(0, 3), st.integers(0, 100),
    ),
    unique_by=lambda each: each.address, max_size=40,
)  # fmt: skip


def test_nodes_spread_by_weight() -> None:
    records = [record("a", weight=60), record("b", weight=30), record("c", weight=10), record("d", weight=0)]
    first = Counter(own_order(records, node)[0].address.host for node in NODES)
    assert 1_100 < first["a"] < 1_300
    assert 500 < first["b"] < 700
    assert 130 < first["c"] < 270
    assert first["d"] < 10


def test_a_relay_that_goes_moves_its_own_nodes_alone() -> None:
    records = [record(name) for name in "abcde"]
    for node in NODES[:200]:
        order = own_order(records, node)
        left = own_order([each for each in records if each != order[0]], node)
        assert left == order[1:]


@given(RECORDS, st.sampled_from(NODES))
def test_an_order_is_by_priority_and_always_the_same(records: list[SrvRecord], node: str) -> None:
    order = own_order(records, node)
    assert sorted(order) == sorted(records)
    assert [each.priority for each in order] == sorted(each.priority for each in records)
    assert own_order(reversed(records), node) == order


def test_who_answers_and_is_near_goes_first() -> None:
    records = [record("far"), record("silent"), record("near"), record("nearest"), record("back-up", priority=20)]
    times = {record(name).address: ms for name, ms in (("far", 80.0), ("near", 24.0), ("nearest", 5.0))}
    times[record("back-up").address] = 0.1
    chosen = choose_relays(records, times, 4)
    # Among those of one priority a few milliseconds decide nothing, and what is nearest of all comes after them.
    assert [each.host for each in chosen] == ["near", "nearest", "far", "back-up"]
    assert choose_relays(records, times, 1) == chosen[:1]


@given(RECORDS, st.data())
def test_no_more_than_wanted_and_none_that_is_silent(records: list[SrvRecord], data: st.DataObject) -> None:
    able = data.draw(st.lists(st.sampled_from(records), unique=True)) if records else []
    times = {each.address: data.draw(st.floats(0, 2_000)) for each in able}
    number = data.draw(st.integers(0, 3))
    chosen = choose_relays(records, times, number)
    assert len(chosen) == len(set(chosen)) == min(number, len(able))
    assert set(chosen) <= set(times)
