"""SRV records (RFC 2782): where the machines are that offer a service, by the name of the service.

DNS proves nothing. It can withhold a machine, or lead to another one, which then has to prove who it is. The records
are asked for with dnspython, which knows the name servers of /etc/resolv.conf and the rules of the wire. It is imported
by the first look-up, on a thread, because that takes a third of a second.

Two failures are distinguished: that the name has no records, which is an answer, and that no service could tell, which
is none (RFC 2308, 7).
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Iterable
from dataclasses import dataclass

from pcgrelay.config import Address
from pcgrelay.net.resolver import Outcome

DEADLINE_S = 5.0
RECORDS_MOST = 64
# A shorter life would have every node ask all the time, a longer one would hide a change for days.
TTL_LEAST_S = 30
TTL_MOST_S = 3_600


@dataclass(frozen=True, slots=True, order=True)
class SrvRecord:
    """One record. priority: lower ones first; weight: the share of new links among those of one priority."""

    priority: int
    weight: int
    address: Address


@dataclass(frozen=True, slots=True)
class SrvAnswer:
    """The answer to a look-up. lives_s: after which it is asked for again, within the bounds above."""

    outcome: Outcome
    records: tuple[SrvRecord, ...] = ()
    lives_s: int = TTL_LEAST_S
    unusable: int = 0  # records whose host or port is none


def bounded_life_s(ttl_s: int) -> int:
    """Return how long an answer is used."""
    return min(max(ttl_s, TTL_LEAST_S), TTL_MOST_S)


def read_records(rows: Iterable[tuple[int, int, int, str]], ttl_s: int) -> SrvAnswer:
    """Return the answer that records give. Each row: priority, weight, port, host.

    A host of "." says that the service is decidedly not offered there (RFC 2782), which is as if the record were not.
    """
    found: set[SrvRecord] = set()
    unusable = 0
    for priority, weight, port, host in rows:
        if host in (".", ""):
            continue
        try:
            found.add(SrvRecord(priority, weight, Address.parse(f"{host.rstrip('.')}:{port}")))
        except ValueError:
            unusable += 1
    if not found:
        return SrvAnswer(Outcome.UNKNOWN if unusable else Outcome.ABSENT, unusable=unusable)
    return SrvAnswer(Outcome.FOUND, tuple(sorted(found)), bounded_life_s(ttl_s), unusable)


async def ask_srv(name: str) -> SrvAnswer:
    """Look the SRV records of a name up. name: without a last dot. It takes DEADLINE_S at most."""
    await asyncio.to_thread(importlib.import_module, "dns.asyncresolver")
    # From here on these imports are look-ups in a dictionary.
    from dns.asyncresolver import Resolver  # noqa: PLC0415
    from dns.exception import DNSException  # noqa: PLC0415
    from dns.resolver import NXDOMAIN, NoAnswer  # noqa: PLC0415

    try:
        async with asyncio.timeout(DEADLINE_S):
            # /etc/resolv.conf may have changed: it is read each time.
            resolver = await asyncio.to_thread(Resolver)
            answer = await resolver.resolve(f"{name}.", "SRV", lifetime=DEADLINE_S, search=False)
            rows = [(each.priority, each.weight, each.port, str(each.target)) for each in answer]
            return read_records(rows, answer.chaining_result.minimum_ttl)
    except (NXDOMAIN, NoAnswer):
        return SrvAnswer(Outcome.ABSENT)
    except (DNSException, OSError, TimeoutError, ValueError):
        return SrvAnswer(Outcome.UNKNOWN)
