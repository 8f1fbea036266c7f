"""Edges of one organisation that move one service together, with the fake core and a store in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import msgspec

from pcgrelay.cutover.phases import Phase
from pcgrelay.cutover.shared import SharedState
from pcgrelay.fleet.client import StoreAccess, StoreClient
from pcgrelay.fleet.follower import Changed, Follower
from pcgrelay.fleet.values import Value, root_of, sign_value
from pcgrelay.gateway.node import Node
from pcgrelay.identity.tls import leaf_der
from tests.support.cut_over import CUSTODY, PLAN, CutRunning, cut_running
from tests.support.fake_etcd import FakeEtcd, Member
from tests.support.nodes_in_process import MET, Nodes
from tests.support.waiting import until_async as until

ROOT = root_of("hub.example")
STATE = f"cutover/{MET}/{CUSTODY}/state"
SEAT = f"cutover/{MET}/{CUSTODY}/seat"


class NodeStore:
    """The store as one node has it, through a member of its own."""

    def __init__(self, node: Node, member: Member) -> None:
        self.client = StoreClient(StoreAccess((member.endpoint,), ROOT), node.clock)
        self.is_wanted = True
        self.member = member
        self._node = node
        self._followers: list[Follower] = []
        self._tasks: list[asyncio.Task[None]] = []

    def follow(self, prefix: str, changed: Changed) -> Follower:
        follower = Follower(self.client, prefix, self._node.local, self._node.clock, changed)
        self._followers.append(follower)
        return follower

    def begin(self) -> None:
        self._tasks = [asyncio.create_task(follower.run()) for follower in self._followers]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.client.close()

    def cut(self) -> None:
        """The node does not reach the store any more."""
        self.member.mute = self.member.silent_watches = True

    def mend(self) -> None:
        self.member.mute = self.member.silent_watches = False

    def sign(self, key: str, body: bytes, epoch: int) -> bytes:
        credentials = self._node.local.credentials
        chain = tuple(leaf_der(each) for each in credentials.chain)
        return sign_value(key, body, epoch, credentials.key, chain)


@dataclass
class SharedEdges:
    """The edges, and what the store has."""

    etcd: FakeEtcd
    nodes: Nodes
    edges: list[CutRunning] = field(default_factory=list)
    stores: list[NodeStore] = field(default_factory=list)

    async def add(self, name: str) -> CutRunning:
        edge = await cut_running(self.nodes, name=name)
        store = NodeStore(edge.node, await self.etcd.add_member())
        if (own := edge.edge.cutovers.shared) is not None:
            # The store that its configuration does not name.
            await own.stop()
        edge.edge.cutovers.share(store)
        edge.edge.cutovers.apply()
        store.begin()
        self.edges.append(edge)
        self.stores.append(store)
        await until(lambda: store.client.state.live, 5)
        return edge

    def store_of(self, edge: CutRunning) -> NodeStore:
        return self.stores[self.edges.index(edge)]

    async def start(self, plan: str = PLAN) -> None:
        for edge in self.edges:
            await edge.start_plan(plan)

    def good(self) -> None:
        for edge in self.edges:
            edge.good()

    @property
    def record(self) -> SharedState | None:
        """What the store has."""
        kept = self.etcd.content.get((ROOT + STATE).encode())
        return None if kept is None else opened(kept.value)

    @property
    def decider(self) -> CutRunning | None:
        """Who has the seat."""
        seats = [edge for edge in self.edges if (held := edge.cutover.sharing) is not None and held.seat]
        assert len(seats) <= 1
        return seats[0] if seats else None

    @property
    def has_seat(self) -> bool:
        """Whether the seat is anybody's, as the store has it."""
        return (ROOT + SEAT).encode() in self.etcd.content

    @property
    def followers(self) -> list[CutRunning]:
        return [edge for edge in self.edges if edge is not self.decider]

    @property
    def shares(self) -> set[float]:
        return {edge.share for edge in self.edges}

    async def all_at(self, phase: Phase, share: float, seconds: float = 10) -> None:
        await until(lambda: {(edge.phase, edge.share) for edge in self.edges} == {(phase, share)}, seconds)

    def expire_seat(self) -> None:
        """The lease of whoever decides ends, as when its machine is gone."""
        kept = self.etcd.content.get((ROOT + SEAT).encode())
        if kept is not None:
            self.etcd.expire(kept.lease)

    async def close(self) -> None:
        for store in self.stores:
            # Who gives a lease back waits for the answer.
            store.mend()
        await asyncio.gather(*(edge.node.stop() for edge in self.edges))
        for edge in self.edges:
            if edge.node.state is not None:
                edge.node.state.close()
        await asyncio.gather(*(store.close() for store in self.stores))


def opened(value: bytes) -> SharedState:
    body = msgspec.msgpack.decode(value, type=Value).body
    return msgspec.msgpack.decode(body, type=SharedState)


@asynccontextmanager
async def shared_edges(nodes: Nodes, *names: str) -> AsyncIterator[SharedEdges]:
    """Such edges, none of which has started yet."""
    etcd = FakeEtcd()
    found = SharedEdges(etcd, nodes)
    try:
        for name in names:
            await found.add(name)
        yield found
    finally:
        await found.close()
        await etcd.close()
