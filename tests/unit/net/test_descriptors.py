"""Who may have the last descriptors: the reserve is for fewer and fewer, towards its end."""

from __future__ import annotations

import resource

import pytest

from pcgrelay.net.descriptors import (
    KEPT_LEAST,
    KEPT_MOST,
    MOST,
    descriptor_limit,
    descriptors_of_streams,
    is_for_members,
    is_for_strangers,
)

LIMITS = [64, 256, 1_024, 4_096, 20_000, 524_288, 1 << 20]


@pytest.mark.parametrize("limit", LIMITS)
def test_some_are_kept_back_of_any_number(limit: int) -> None:
    streams = descriptors_of_streams(limit)
    assert limit // 2 <= streams < limit
    assert limit - streams <= KEPT_MOST
    assert limit < 2 * KEPT_LEAST or limit - streams >= KEPT_LEAST


@pytest.mark.parametrize("limit", LIMITS)
def test_strangers_end_before_members_and_these_before_the_last(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (limit, limit))
    strangers = sum(is_for_strangers(number) for number in range(limit))
    members = sum(is_for_members(number) for number in range(limit))
    assert descriptors_of_streams(limit) < strangers < members < limit
    # A quarter of the reserve is for the admin socket: with an ordinary limit that is twice what it has clients.
    assert limit < 512 or limit - members >= 64


def test_no_limit_is_the_most_that_a_node_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert descriptor_limit() == MOST
    assert is_for_strangers(MOST - KEPT_MOST)
    assert not is_for_members(MOST - 1)
