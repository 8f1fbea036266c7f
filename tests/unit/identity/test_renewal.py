"""When a renewal is due, what its failure means, and how much of something a neighbour may have."""

from __future__ import annotations

import pytest

from pcgrelay.identity.certificates import Refusal
from pcgrelay.identity.renewal import RETRY_CAP_MS, RETRY_FIRST_MS, SPREAD, Renewal, Schedule, is_verdict
from pcgrelay.identity.tls import HandshakeRefused
from pcgrelay.model import NodeId, Suite
from pcgrelay.net.ratelimit import TokenBucket

HOUR_MS = 3_600_000


def test_it_is_due_at_its_interval_or_a_little_before() -> None:
    found = set()
    for _ in range(200):
        schedule = Schedule(1_000)
        assert not schedule.is_due(1_000 + round(HOUR_MS * (1 - SPREAD)) - 1, 3_600)
        assert schedule.is_due(1_000 + HOUR_MS, 3_600)
        found.add(schedule.is_due(1_000 + round(HOUR_MS * (1 - SPREAD / 2)), 3_600))
    assert found == {True, False}


def test_a_failure_is_tried_again_after_a_while_and_for_ever() -> None:
    schedule = Schedule(0)
    now = HOUR_MS
    for attempt in range(1, 40):
        schedule.failed(now)
        assert schedule.attempts == attempt
        assert not schedule.is_due(now + RETRY_FIRST_MS // 2 - 1, 3_600)
        now += RETRY_CAP_MS
        assert schedule.is_due(now, 3_600)
    assert schedule.age_ms(now) == now
    schedule.renewed(now)
    assert (schedule.attempts, schedule.age_ms(now)) == (0, 0)
    assert not schedule.is_due(now + RETRY_CAP_MS, 3_600)


def test_no_two_attempts_have_one_generation() -> None:
    schedule = Schedule(0)
    peer = NodeId.from_uri("spiffe://realm.example/org/kent.example/node/kent-1")

    def begun(generation: int) -> int:
        return schedule.begun(Renewal(peer, Suite.AES_256_GCM, generation, bytes(16))).generation

    assert [begun(1), begun(1), begun(1), begun(3), begun(9), begun(2)] == [1, 2, 3, 4, 9, 10]


def test_its_hard_age() -> None:
    schedule = Schedule(5_000)
    assert not schedule.is_overdue(5_000 + 59_999, 60)
    assert schedule.is_overdue(5_000 + 60_000, 60)
    schedule.failed(60_000)
    assert schedule.is_overdue(65_000, 60)


# This node's own list is wanting, which says nothing of the peer.
OF_THE_LIST = (Refusal.NO_CRL, Refusal.CRL_NOT_CURRENT, Refusal.BAD_CRL)


@pytest.mark.parametrize(
    ("reason", "ends"),
    [(str(reason), reason not in (*OF_THE_LIST, Refusal.OTHER)) for reason in Refusal]
    + [("unexpected_identity", True), ("not_a_member", True), ("group", True), ("suite", True)]
    + [(reason, False) for reason in ("unreachable", "closed", "deadline", "peer_refused", "hello", "tls_error")],
)
def test_what_a_failure_says_of_the_peer(reason: str, ends: bool) -> None:
    assert is_verdict(HandshakeRefused(reason, "")) is ends


def test_who_is_told_to_stay_out_is_out() -> None:
    refused = HandshakeRefused("peer_refused", "")
    refused.shuts_out = True
    assert is_verdict(refused)


def test_an_allowance_is_used_up_and_fills_by_itself() -> None:
    bucket = TokenBucket(10, 5, 1_000)
    assert [bucket.spend(1_000) for _ in range(12)] == [True] * 10 + [False] * 2
    assert not bucket.spend(1_199)
    assert bucket.spend(1_200)
    assert not bucket.spend(1_200)
    # It never holds more than at the beginning.
    assert [bucket.spend(10**9) for _ in range(11)] == [True] * 10 + [False]
