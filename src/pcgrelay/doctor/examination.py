"""The whole examination of a node."""

from __future__ import annotations

import asyncio

from OpenSSL import SSL

from pcgrelay.check import check
from pcgrelay.clock import SYSTEM_CLOCK, Clock
from pcgrelay.config import Config
from pcgrelay.doctor.machine import examine_machine
from pcgrelay.doctor.neighbours import examine_links
from pcgrelay.doctor.store import examine_store
from pcgrelay.doctor.targets import examine_targets
from pcgrelay.errors import PcgrelayError
from pcgrelay.finding import Finding
from pcgrelay.identity.local import LocalIdentity

DEADLINE_S = 20.0


def examine(config: Config, deadline_s: float = DEADLINE_S, clock: Clock = SYSTEM_CLOCK) -> list[Finding]:
    """Return all findings: of `check`, of this machine, of each neighbour, each target and each member
    of the store, in this order.

    deadline_s: for the network; neighbours and targets are examined at the same time.
    """
    found = [*check(config, clock), *examine_machine(config)]
    return [*found, *asyncio.run(_network(config, deadline_s, clock))]


async def _network(config: Config, deadline_s: float, clock: Clock) -> list[Finding]:
    own = _own(config, clock)
    links, targets, store = await asyncio.gather(
        examine_links(config.links, own, clock, deadline_s),
        examine_targets(config, deadline_s),
        examine_store(own, clock),
    )
    return [*links, *targets, *store]


def _own(config: Config, clock: Clock) -> LocalIdentity | None:
    """Return what the node makes links with; None if its files cannot be used, which `check` explains."""
    try:
        return LocalIdentity(config, clock=clock)
    except (PcgrelayError, ValueError, SSL.Error):
        return None
