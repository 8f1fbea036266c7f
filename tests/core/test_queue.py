"""Queues of spans: order, parts, what is borrowed and copied, and what counts on which account."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.native.probe import Refusal
from tests.native.probe_store import Account, Pool, Queue

RING = 256  # bytes of the ring that a queue has for more than one span

OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["own", "borrow"]), st.binary(min_size=1, max_size=400))
    | st.tuples(st.sampled_from(["sent", "pop", "cut", "settle", "rest"]), st.integers(0, 1000)),
    max_size=80,
)


@given(operations=OPERATIONS)
def test_bytes_come_out_as_they_went_in(operations: list[tuple[str, bytes | int]]) -> None:
    pool = Pool(1 << 22)
    queue, account = Queue(pool), Account()
    spans: list[bytes] = []
    lent: list[bytearray] = []
    owned: list[bool] = []
    for what, value in operations:
        match what, value:
            case "own", bytes(data):
                queue.own(data, account)
                spans.append(data)
                owned.append(True)
            case "borrow", bytes(data):
                lent.append(bytearray(data))
                queue.borrow(lent[-1], account)
                spans.append(data)
                owned.append(False)
            case "sent", int(n):
                left = n % (sum(map(len, spans)) + 1)
                queue.sent(left)
                while left:
                    part = min(left, len(spans[0]))
                    spans[0] = spans[0][part:]
                    left -= part
                    if not spans[0]:
                        spans.pop(0)
                        owned.pop(0)
            case "pop", int() if spans:
                assert queue.pop() == spans.pop(0)
                owned.pop(0)
            case "cut", int(n):
                first = n % (len(spans) + 1)
                queue.cut(first)
                del spans[first:], owned[first:]
            case "rest", int():
                queue.rest()
            case "settle", int():
                assert queue.settle() is None
                owned = [True] * len(spans)
                # What was lent may be used for something else from here on.
                for space in lent:
                    space[:] = b"\xee" * len(space)
                lent.clear()
        assert b"".join(queue.peek()) == b"".join(spans[:64])
        assert (len(queue), queue.octets) == (len(spans), sum(map(len, spans)))
        assert queue.borrowed == owned.count(False)
        assert account.items == len(spans)
        assert queue.owned == account.queued == sum(len(span) for span, mine in zip(spans, owned, strict=True) if mine)
    queue.cut(0)
    assert (account.items, account.queued) == (0, 0)


def test_copies_share_buffers() -> None:
    pool = Pool(1 << 20)
    queue = Queue(pool)
    for _ in range(100):
        queue.borrow(bytearray(b"x" * 100))
    before = pool.used
    assert queue.settle() is None
    assert pool.used - before == 64 + 16_448
    queue.sent(9_999)
    assert pool.used - before == 64 + 16_448
    queue.sent(1)
    assert pool.used == before


def test_a_settled_queue_needs_no_more_memory() -> None:
    pool = Pool(1 << 20)
    queue = Queue(pool)
    queue.own(b"owned")
    queue.borrow(bytearray(b"lent"))
    assert queue.settle() is None
    used = pool.used
    assert queue.settle() is None
    assert pool.used == used


def test_what_is_settled_later_fills_what_was_settled_before() -> None:
    """A reader that stands still gets its bytes turn by turn; they take the room of what they are, not of each turn."""
    pool = Pool(1 << 20)
    queue = Queue(pool)
    queue.borrow(bytearray(b"x" * 5_000))
    assert queue.settle() is None
    used = pool.used + RING
    for number in range(2):
        queue.borrow(bytearray(bytes([number]) * 5_000))
        assert queue.settle() is None
    assert pool.used == used
    queue.borrow(bytearray(b"y" * 5_000))
    assert queue.settle() is None
    assert pool.used > used
    queue.sent(20_000)
    assert pool.used < used


def test_it_says_from_where_on_there_was_no_memory() -> None:
    pool = Pool(80_000, 100_000)
    queue = Queue(pool)
    queue.own(b"owned")
    for _ in range(4):
        queue.borrow(bytearray(b"y" * 60_000))
    first = queue.settle()
    assert first == 2
    assert queue.borrowed == 3
    queue.cut(first)
    assert (len(queue), queue.borrowed) == (2, 0)
    queue.borrow(bytearray(b"z" * 60_000))
    assert queue.settle() == 2
    assert queue.settle(must=True) is None


def test_a_full_budget_refuses_the_ring() -> None:
    queue = Queue(Pool(100))
    queue.borrow(bytearray(b"x"))
    with pytest.raises(Refusal, match="NO_MEMORY"):
        queue.borrow(bytearray(b"y"))
    assert queue.peek() == [b"x"]


def test_one_span_at_a_time_takes_no_memory() -> None:
    pool = Pool(1 << 20)
    queue = Queue(pool)
    for _ in range(3):
        queue.borrow(bytearray(b"request"))
        assert pool.used == 0
        queue.sent(7)
    queue.borrow(bytearray(b"one"))
    assert queue.pop() == b"one"
    assert pool.used == 0


def test_a_queue_that_rests_gives_its_ring_back() -> None:
    pool = Pool(1 << 20)
    queue = Queue(pool)
    for number in range(100):
        queue.borrow(bytearray(b"%02d" % number))
    queue.sent(198)
    used = pool.used
    queue.rest()
    assert (queue.peek(), pool.used) == ([b"99"], used)
    queue.sent(2)
    assert pool.used == used > 0
    queue.rest()
    assert pool.used == 0
    queue.borrow(bytearray(b"again"))
    queue.borrow(bytearray(b" and again"))
    assert b"".join(queue.peek()) == b"again and again"
