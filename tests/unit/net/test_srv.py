"""SRV records: what is read from them, and what each failure of a name service means."""

import asyncio
from typing import Any

import dns.asyncresolver
import dns.exception
import dns.resolver
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcgrelay.config import Address
from pcgrelay.net.resolver import Outcome
from pcgrelay.net.srv import TTL_LEAST_S, TTL_MOST_S, SrvAnswer, SrvRecord, ask_srv, bounded_life_s, read_records


def test_records_are_read_and_sorted() -> None:
    answer = read_records([(20, 0, 7401, "Relay-2.Example."), (10, 5, 7400, "relay-1.example.")], 60)
    assert answer.outcome is Outcome.FOUND
    assert answer.records == (
        SrvRecord(10, 5, Address("relay-1.example", 7400)),
        SrvRecord(20, 0, Address("relay-2.example", 7401)),
    )
    assert answer.lives_s == 60


def test_a_dot_says_that_there_is_none() -> None:
    assert read_records([(0, 0, 0, ".")], 60).outcome is Outcome.ABSENT


@pytest.mark.parametrize("row", [(1, 1, 0, "relay.example."), (1, 1, 7400, "a b."), (1, 1, 7400, "x" * 300 + ".")])
def test_what_cannot_be_dialled_is_counted_and_withdraws_nothing(row: tuple[int, int, int, str]) -> None:
    alone = read_records([row], 60)
    assert (alone.outcome, alone.unusable) == (Outcome.UNKNOWN, 1)
    beside = read_records([row, (1, 1, 7400, "relay.example.")], 60)
    assert (len(beside.records), beside.unusable) == (1, 1)


@given(st.integers(min_value=0, max_value=2**31))
def test_an_answer_lives_within_bounds(ttl_s: int) -> None:
    life = bounded_life_s(ttl_s)
    assert TTL_LEAST_S <= life <= TTL_MOST_S
    assert life == ttl_s or life in (TTL_LEAST_S, TTL_MOST_S)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (dns.resolver.NXDOMAIN, Outcome.ABSENT),
        (dns.resolver.NoAnswer, Outcome.ABSENT),
        (dns.resolver.NoNameservers, Outcome.UNKNOWN),
        (dns.resolver.LifetimeTimeout, Outcome.UNKNOWN),
        (dns.resolver.NoResolverConfiguration, Outcome.UNKNOWN),
        (dns.exception.FormError, Outcome.UNKNOWN),
        (OSError, Outcome.UNKNOWN),
    ],
)
def test_each_failure_means_what_it_says(
    error: type[Exception], outcome: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def resolve(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(dns.asyncresolver.Resolver, "resolve", resolve)
    monkeypatch.setattr(dns.asyncresolver.Resolver, "__init__", lambda self: None)
    monkeypatch.setattr(dns.resolver.NoAnswer, "__init__", lambda self: None)
    assert asyncio.run(ask_srv("_pcgrelay._tcp.relays.example")) == SrvAnswer(outcome)
