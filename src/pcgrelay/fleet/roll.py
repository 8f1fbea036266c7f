"""Nodes of one organisation replaced one by one, by whoever holds the organisation's lock.

Each node gets a signed order in the store, for the process that runs there, and replaces itself if the lock still has
the token of the order. The next one follows when the new process has been ready for a while. A node that does not come
ready stops the roll, and whoever holds it loses the lock with its lease.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

import msgspec

from pcgrelay.clock import Clock
from pcgrelay.errors import RuleProblem, RunError
from pcgrelay.fleet import values
from pcgrelay.fleet.client import Put, StoreClient
from pcgrelay.fleet.errors import StoreProblem
from pcgrelay.fleet.lease import KeptLease
from pcgrelay.fleet.lock import LOCK_TTL_S, Holder, Lock, LockHeld, lock_key, release, take
from pcgrelay.fleet.report import UPGRADE, NodeReport, Order, order_key, read_body
from pcgrelay.fleet.values import Judge, Sign, ValueRefused, node_key, open_value
from pcgrelay.model import NodeId

POLL_S = 0.5
READY_S = 150.0  # longer than a node tries to be replaced (daemon/fleet_api)
GONE_S = 20.0  # a node without a lease for so long is gone
SETTLE_S = 3.0  # it is ready for so long before the next one begins


@dataclass(frozen=True, slots=True)
class Member:
    """A node of the organisation, as it reports itself."""

    node: NodeId
    report: NodeReport


class Roll:
    """One roll over the nodes of one organisation."""

    def __init__(
        self,
        client: StoreClient,
        clock: Clock,
        own: NodeId,
        sign: Sign,
        judge: Judge,
        told: Callable[[str], None],
        settle_s: float = SETTLE_S,
    ) -> None:
        """own: the node whose key signs. told: called with each sentence about how it goes."""
        self._client = client
        self._clock = clock
        self._own = own
        self._sign = sign
        self._judge = judge
        self._told = told
        self._settle_ms = int(settle_s * 1000)

    async def members(self, role: str = "") -> list[Member]:
        """Return the nodes of the organisation, this one last. role: only those. Raises StoreProblem."""
        loaded = await self._client.load(f"{values.NODES}/{self._own.organisation}/")
        found = []
        for key, each in loaded.values.items():
            member = self._read(key, each.value, each.revision)
            if member is not None and role in ("", member.report.role):
                found.append(member)
        return sorted(found, key=lambda member: (member.node == self._own, member.report.role, member.node))

    async def run(self, holder: Holder, role: str = "") -> int:
        """Replace all nodes one by one; return how many. role: only those.

        Raises RuleProblem if nothing was done, because somebody else holds the lock or a node is not ready; RunError if
        it stopped on the way; StoreProblem.
        """
        lease = KeptLease(self._client, self._clock, LOCK_TTL_S)
        await lease.keep()
        keeping = asyncio.create_task(lease.run())
        lock: Lock | None = None
        try:
            lock = await self._taken(lease.number, holder)
            members = await self.members(role)
            _refuse_unready(members)
            for done, member in enumerate(members):
                try:
                    await self._replace(member, lock, lease)
                except RunError as error:
                    left = len(members) - done - 1
                    raise RunError(f"{str(error).rstrip('.')}. {done} were replaced, and {left} not begun.") from None
            return len(members)
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
            if lock is not None:
                with suppress(StoreProblem):
                    await release(self._client, lock)
            await lease.end()

    async def _taken(self, lease: int, holder: Holder) -> Lock:
        key = lock_key(self._own.organisation)
        try:
            return await take(self._client, key, lease, holder, self._sign, self._judge)
        except LockHeld as held:
            raise RuleProblem(held.sentences(self._own.organisation)) from None

    async def _replace(self, member: Member, lock: Lock, lease: KeptLease) -> None:
        began_ms = self._clock.monotonic_ms()
        order = Order(act=UPGRADE, process=member.report.process, token=lock.token)
        key = order_key(member.node)
        data = self._sign(key, msgspec.msgpack.encode(order), lock.token)
        self._told(f"{member.node}: is to be replaced ({member.report.version}).")
        if not await self._client.swap(created={lock.key: lock.token}, puts=[Put(key, data, lease.number)]):
            raise RunError(f"The lock was lost before {member.node} was told")
        try:
            report = await self._awaited(member, lock, lease)
        finally:
            with suppress(StoreProblem):
                await self._client.swap(created={lock.key: lock.token}, deletes=[key])
        took_s = (self._clock.monotonic_ms() - began_ms) / 1000
        self._told(f"{member.node}: is ready again after {took_s:.1f} s ({report.version}).")

    async def _awaited(self, member: Member, lock: Lock, lease: KeptLease) -> NodeReport:
        """Return the report of the process that took a node over and was ready for a while."""
        began_ms = seen_ms = self._clock.monotonic_ms()
        number = lease.number
        ready_ms: int | None = None
        while True:
            await asyncio.sleep(POLL_S)
            now_ms = self._clock.monotonic_ms()
            if now_ms - began_ms > READY_S * 1000:
                raise RunError(f"{member.node} was not ready again within {READY_S:g} s")
            if lease.number != number or not lease.is_held():
                raise RunError(f"The store was not heard of, and the lock is lost; look at {member.node}")
            try:
                found = await self._client.get(node_key(member.node))
            except StoreProblem:
                continue  # as long as the lease is held
            now = None if found is None else self._read(node_key(member.node), found.value, found.revision)
            if now is None:
                if now_ms - seen_ms > GONE_S * 1000:
                    raise RunError(f"{member.node} is gone")
                continue
            seen_ms = now_ms
            if now.report.order == lock.token:
                raise RunError(f"{member.node} was not replaced: {now.report.order_reason}")
            if now.report.process == member.report.process or not now.report.ready:
                ready_ms = None
                continue
            ready_ms = now_ms if ready_ms is None else ready_ms
            if now_ms - ready_ms >= self._settle_ms:
                return now.report

    def _read(self, key: str, data: bytes, revision: int) -> Member | None:
        try:
            value = open_value(key, data, revision, self._judge)
        except ValueRefused:
            return None
        report = read_body(value, NodeReport)
        return None if report is None else Member(value.signer, report)


def _refuse_unready(members: Iterable[Member]) -> None:
    unready = [f"{each.node} is {each.report.condition or 'not ready'}" for each in members if not each.report.ready]
    if unready:
        words = ", ".join(unready[:5]) + (f" and {len(unready) - 5} more" if len(unready) > 5 else "")
        raise RuleProblem(f"{words}: while a node does not take new work, no other is replaced. Nothing was done.")
