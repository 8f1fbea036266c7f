"""Credit of one stream: what may be sent, what is granted, and when the window grows."""

import pytest

from tests.native.probe import ReceiveCredit, Refusal, SendCredit

NOW, ROUND_TRIP = 1_000_000_000, 20_000
LARGEST = 16 << 20


def test_a_sender_spends_what_it_was_given() -> None:
    credit = SendCredit(16_384)
    credit.spend(16_000)
    assert credit.left == 384
    credit.raise_to(20_000)
    assert credit.left == 4_000


@pytest.mark.parametrize(("limit", "reason"), [(16_383, "BAD_CREDIT"), ((1 << 31) + 101, "BAD_CREDIT")])
def test_an_absurd_limit_is_refused_and_changes_nothing(limit: int, reason: str) -> None:
    credit = SendCredit(16_384)
    credit.spend(100)
    with pytest.raises(Refusal, match=reason):
        credit.raise_to(limit)
    assert credit.left == 16_284


@pytest.mark.parametrize("limit", [16_384, 16_385, (1 << 31) + 100])
def test_a_limit_at_the_edge_is_taken(limit: int) -> None:
    credit = SendCredit(16_384)
    credit.spend(100)
    credit.raise_to(limit)
    assert credit.left == limit - 100


def test_the_greatest_limit_of_all_is_absurd() -> None:
    with pytest.raises(Refusal, match="BAD_CREDIT"):
        SendCredit(0).raise_to((1 << 64) - 1)


def test_a_receiver_takes_what_it_granted_and_not_a_byte_more() -> None:
    credit = ReceiveCredit()
    assert credit.grant(16_384, NOW) == 16_384
    credit.receive(16_384)
    with pytest.raises(Refusal, match="CREDIT_EXCEEDED"):
        credit.receive(1)


def test_credit_is_due_when_half_of_the_window_was_taken() -> None:
    credit = ReceiveCredit()
    credit.grant(1_000, NOW)
    credit.receive(1_000)
    credit.consume(499)
    assert not credit.is_due
    credit.consume(1)
    assert credit.is_due
    assert credit.grant(1_000, NOW) == 1_500
    assert not credit.is_due


def test_a_limit_never_falls_when_the_window_does() -> None:
    credit = ReceiveCredit()
    assert credit.grant(100_000, NOW) == 100_000
    assert credit.grant(16_384, NOW) == 100_000
    credit.receive(90_000)
    credit.consume(90_000)
    assert credit.grant(16_384, NOW) == 106_384


def test_the_window_doubles_for_a_sender_that_it_holds_back() -> None:
    credit = ReceiveCredit()
    credit.grant(65_536, NOW)
    assert credit.wish(NOW + 2 * ROUND_TRIP - 1, ROUND_TRIP) == 131_072
    assert credit.wish(NOW + 2 * ROUND_TRIP, ROUND_TRIP) == 65_536


def test_on_a_short_way_a_scheduler_is_no_slow_sender() -> None:
    credit = ReceiveCredit()
    credit.grant(65_536, NOW)
    assert credit.wish(NOW + 9_999, 10) == 131_072
    assert credit.wish(NOW + 10_000, 10) == 65_536


def test_the_window_stops_growing() -> None:
    credit = ReceiveCredit()
    credit.grant(LARGEST, NOW)
    assert credit.wish(NOW, ROUND_TRIP) == LARGEST
