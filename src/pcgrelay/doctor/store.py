"""Whether each member of the fleet's store answers for the majority of them."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from pcgrelay.clock import Clock
from pcgrelay.doctor.findings import doubtful, good
from pcgrelay.errors import PcgrelayError
from pcgrelay.finding import Finding
from pcgrelay.fleet.access import store_access
from pcgrelay.fleet.client import StoreAccess, StoreClient
from pcgrelay.fleet.errors import StoreProblem
from pcgrelay.fleet.values import node_key
from pcgrelay.identity.local import LocalIdentity


async def examine_store(own: LocalIdentity | None, clock: Clock) -> list[Finding]:
    """Ask each member; a node works without its store, so none of this is an error. own: None: its files are wrong."""
    try:
        access = None if own is None else store_access(own)
    except PcgrelayError:
        return []  # `check` explains it
    if own is None or access is None:
        return []
    key = node_key(own.config.node.id)
    members = [replace(access, endpoints=(endpoint,)) for endpoint in access.endpoints]
    asked = (_examined(f"fleet.endpoints[{n}]", member, key, clock) for n, member in enumerate(members, 1))
    return list(await asyncio.gather(*asked))


async def _examined(where: str, access: StoreAccess, key: str, clock: Clock) -> Finding:
    client = StoreClient(access, clock)
    try:
        await client.get(key)
    except StoreProblem as problem:
        sentence = f"{access.endpoints[0]}: this member of the store does not serve the node: {problem.words}."
        return doubtful(where, sentence, "Look at that member, and at docs/fleet.md; the node works without it.")
    finally:
        await client.close()
    return good(where, f"{access.endpoints[0]}: this member of the store answers.")
