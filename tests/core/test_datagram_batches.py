"""Datagrams that one worker hands to another: each comes whole, in order, and begins where its name can be read."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.native.probe_datagrams import CLIENT, LOCAL, batched

HANDINGS = st.tuples(
    st.integers(0, 2),
    st.binary(min_size=CLIENT, max_size=CLIENT),
    st.binary(min_size=LOCAL, max_size=LOCAL),
    st.binary(max_size=40),
)


@given(st.lists(HANDINGS, max_size=64))
def test_a_worker_finds_what_is_for_it(handings: list[tuple[int, bytes, bytes, bytes]]) -> None:
    for worker in range(3):
        found = batched(handings, worker)
        assert [each[:3] for each in found] == [each[1:] for each in handings if each[0] == worker]
        # The family of an address is a number, which is read from an even address.
        assert {place for *_, place in found} <= {0}


def test_the_largest_comes_whole_beside_an_empty_one() -> None:
    name, local = bytes(range(CLIENT)), bytes(range(LOCAL))
    datagrams = [b"", b"x" * 65_507, b"", b"y"]
    found = batched([(1, name, local, each) for each in datagrams], 1)
    assert [each[2] for each in found] == datagrams
