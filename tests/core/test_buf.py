"""Buffers and the budget: nothing is taken beyond it, and all that is given back is there again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.native.probe_store import Pool

HEAD = 64
SIZES = [256, 1024, 4096, 16_448, 32_832, 65_600]
LARGEST = 65_584


@pytest.mark.parametrize(
    ("wanted", "capacity"),
    [(0, 256), (256, 256), (257, 1024), (4097, 16_448), (16_440, 16_448), (16_449, 32_832), (LARGEST, 65_600)],
)
def test_a_buffer_has_the_least_size_that_fits(wanted: int, capacity: int) -> None:
    pool = Pool(1 << 20)
    buffer = pool.take(wanted)
    assert buffer is not None
    assert pool.capacity(buffer) == capacity
    assert pool.used == HEAD + capacity


def test_no_buffer_is_larger_than_a_frame() -> None:
    assert Pool(1 << 20).take(LARGEST + 1) is None


def test_the_budget_holds_and_only_those_who_must_take_the_reserve() -> None:
    pool = Pool(1000, 400)
    assert [pool.take(100) is None for _ in range(4)] == [False, False, False, True]
    assert pool.alloc(100) is None
    assert pool.take(100, must=True) is not None
    assert pool.take(100, must=True) is None
    assert pool.used == pool.high_water == 4 * (HEAD + 256)


def test_the_last_reference_gives_a_buffer_back() -> None:
    pool = Pool(1 << 20)
    buffer = pool.take(100)
    assert buffer is not None
    pool.hold(buffer)
    pool.drop(buffer)
    assert pool.used == HEAD + 256
    pool.drop(buffer)
    assert (pool.used, pool.cached) == (0, HEAD + 256)
    assert pool.take(100) is not None
    assert pool.cached == 0


def test_what_is_cached_makes_way() -> None:
    pool = Pool(200_000)
    small = [pool.take(256) for _ in range(100)]
    for buffer in small:
        assert buffer is not None
        pool.drop(buffer)
    assert 0 < pool.cached <= 50_000
    assert [pool.take(LARGEST) is None for _ in range(4)] == [False, False, False, True]
    assert pool.used + pool.cached <= 200_000


OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["take", "must", "alloc"]), st.sampled_from([1, 300, 5000, LARGEST]))
    | st.tuples(st.sampled_from(["drop", "hold", "free"]), st.integers(0, 1000)),
    max_size=120,
)


@given(operations=OPERATIONS)
def test_used_is_what_is_in_hands_and_never_beyond_the_budget(operations: list[tuple[str, int]]) -> None:
    limit, reserve = 300_000, 70_000
    pool = Pool(limit, reserve)
    buffers: dict[int, int] = {}
    blocks: list[tuple[int, int]] = []
    for what, value in operations:
        if what in ("take", "must"):
            buffer = pool.take(value, must=what == "must")
            if buffer is not None:
                assert buffer not in buffers
                buffers[buffer] = 1
        elif what == "alloc":
            block = pool.alloc(value)
            if block is not None:
                blocks.append((block, value))
        elif what == "free" and blocks:
            pool.free(*blocks.pop(value % len(blocks)))
        elif buffers:
            buffer = list(buffers)[value % len(buffers)]
            if what == "hold":
                pool.hold(buffer)
                buffers[buffer] += 1
            else:
                pool.drop(buffer)
                buffers[buffer] -= 1
                if not buffers[buffer]:
                    del buffers[buffer]
        in_hands = sum(HEAD + pool.capacity(buffer) for buffer in buffers) + sum(size for _, size in blocks)
        assert pool.used == in_hands <= limit + reserve
        assert pool.used + pool.cached <= limit + reserve
        assert pool.high_water >= pool.used
        assert pool.cached * 4 <= limit
    for block, size in blocks:
        pool.free(block, size)
