"""A roll over the nodes of an organisation: one at a time, and it stops where one does not come ready."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field

import msgspec
import pytest
import pytest_asyncio

from pcgrelay.clock import SYSTEM_CLOCK
from pcgrelay.errors import RuleProblem, RunError
from pcgrelay.fleet import roll as module
from pcgrelay.fleet.client import StoreClient
from pcgrelay.fleet.lock import Holder, lock_key
from pcgrelay.fleet.report import NodeReport, Order, order_key, read_body
from pcgrelay.fleet.roll import Roll
from pcgrelay.fleet.values import node_key, open_value, signing_as
from pcgrelay.identity.local import LocalIdentity
from tests.support.fake_etcd import FakeEtcd
from tests.support.fleet_nodes import KENT, MET, ROOT, Fleet
from tests.support.waiting import until_async as until

HOLDER = Holder(node=f"kent-1.{KENT}", act="upgrade", by="jo", nonce="1")


@dataclass
class Played:
    """A node that obeys orders as this test wants."""

    local: LocalIdentity
    store: FakeEtcd
    role: str = "edge"
    process: int = 1
    ready: bool = True
    refuses: str = ""
    does_nothing: bool = False
    epoch: int = 0
    order: int = 0
    obeyed: list[int] = field(default_factory=list)

    @property
    def key(self) -> str:
        return node_key(self.local.config.node.id)

    def write(self) -> None:
        self.epoch += 1
        report = NodeReport(
            process=f"{self.process}", role=self.role, version="1", at_s=0.0, ready=self.ready,
            condition="ready" if self.ready else "failing", order=self.order, order_reason=self.refuses,
        )  # fmt: skip
        body = msgspec.msgpack.encode(report)
        self.store.put(ROOT + self.key, signing_as(self.local)(self.key, body, self.epoch))

    def look(self) -> None:
        key = order_key(self.local.config.node.id)
        kept = self.store.content.get((ROOT + key).encode())
        order = None if kept is None else read_body(open_value(key, kept.value, 0, self.local), Order)
        if order is None or order.process != f"{self.process}" or order.token == self.order or self.does_nothing:
            return
        if self.refuses:
            self.order = order.token
        else:
            self.obeyed.append(order.token)
            self.process += 1
        self.write()


@dataclass
class Nodes:
    """Three nodes of Kent and one of the Met, and a roll by the first."""

    played: list[Played]
    roll: Roll
    store: FakeEtcd
    told: list[str]

    async def run(self, role: str = "") -> int:
        return await self.roll.run(HOLDER, role)

    @property
    def processes(self) -> list[int]:
        return [each.process for each in self.played]


@pytest_asyncio.fixture
async def nodes(
    store: FakeEtcd, client: StoreClient, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Nodes]:
    monkeypatch.setattr(module, "POLL_S", 0.01)
    monkeypatch.setattr(module, "READY_S", 20.0)
    monkeypatch.setattr(module, "GONE_S", 20.0)
    names = [(KENT, "kent-1"), (KENT, "kent-2"), (KENT, "kent-3"), (MET, "met-1")]
    played = [Played(fleet.node(organisation, name), store) for organisation, name in names]
    played[2].role = "relay"
    for each in played:
        each.write()
    told: list[str] = []
    local = played[0].local
    roll = Roll(client, SYSTEM_CLOCK, local.config.node.id, signing_as(local), local, told.append, settle_s=0.05)

    async def play() -> None:
        while True:
            for each in played:
                each.look()
            await asyncio.sleep(0.005)

    task = asyncio.create_task(play())
    yield Nodes(played, roll, store, told)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    return Fleet(tmp_path_factory.mktemp("realm"))


@pytest.fixture(autouse=True)
def _same_names(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Identities are issued once for all tests of this file."""
    known: dict[tuple[str, str], LocalIdentity] = fleet.__dict__.setdefault("known", {})
    issue = Fleet.node

    def node(self: Fleet, organisation: str, name: str, **wrong: bool) -> LocalIdentity:
        if (organisation, name) not in known:
            known[organisation, name] = issue(self, organisation, name, **wrong)
        return known[organisation, name]

    monkeypatch.setattr(Fleet, "node", node)


def is_free(nodes: Nodes) -> bool:
    """Whether neither lock nor order is left."""
    return not any(b"/locks/" in key or b"/orders/" in key for key in nodes.store.content)


async def begun(nodes: Nodes) -> asyncio.Task[int]:
    """A roll that has told the first node to be replaced, and waits for it."""
    running = asyncio.create_task(nodes.run())
    await until(lambda: running.done() or any(b"/orders/" in key for key in nodes.store.content))
    assert not running.done()
    return running


async def test_all_nodes_of_the_organisation_are_replaced_in_turn_and_ones_own_last(nodes: Nodes) -> None:
    assert await nodes.run() == 3
    assert nodes.processes == [2, 2, 2, 1]
    assert [line.split(":")[0] for line in nodes.told[::2]] == [f"kent-{n}.{KENT}" for n in (2, 3, 1)]
    assert len({each.obeyed[0] for each in nodes.played[:3]}) == 1
    assert is_free(nodes)


async def test_relays_alone(nodes: Nodes) -> None:
    assert await nodes.run("relay") == 1
    assert nodes.processes == [1, 1, 2, 1]


async def test_a_node_that_is_not_ready_keeps_all_from_being_replaced(nodes: Nodes) -> None:
    nodes.played[1].ready = False
    nodes.played[1].write()
    with pytest.raises(RuleProblem, match=f"kent-2.{KENT} is failing: while a node"):
        await nodes.run()
    assert nodes.processes == [1, 1, 1, 1]
    assert is_free(nodes)


async def test_a_node_that_refuses_stops_it(nodes: Nodes) -> None:
    nodes.played[2].refuses = "no room"
    with pytest.raises(RunError, match=r"kent-3.* was not replaced: no room. 1 were replaced, and 1 not begun."):
        await nodes.run()
    assert nodes.processes == [1, 2, 1, 1]
    assert is_free(nodes)


async def test_a_node_that_does_nothing_or_is_gone_stops_it(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes.played[1].does_nothing = True
    with monkeypatch.context() as patched:
        patched.setattr(module, "READY_S", 1.0)
        with pytest.raises(RunError, match="was not ready again within 1 s"):
            await nodes.run()
    nodes.store.delete(ROOT + nodes.played[1].key)
    nodes.played[1].write()
    monkeypatch.setattr(module, "GONE_S", 0.3)
    running = await begun(nodes)
    nodes.store.delete(ROOT + nodes.played[1].key)
    with pytest.raises(RunError, match=r"kent-2.* is gone"):
        await running
    assert nodes.processes == [1, 1, 1, 1]


async def test_a_second_roll_is_refused_with_the_name_of_the_first(nodes: Nodes) -> None:
    nodes.played[1].does_nothing = True
    running = await begun(nodes)
    other = Holder(node=f"kent-1.{KENT}", act="upgrade", nonce="2")
    with pytest.raises(RuleProblem, match=rf"being changed by kent-1.{KENT} \(upgrade, by jo\)"):
        await nodes.roll.run(other)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_whoever_loses_the_lock_stops(nodes: Nodes) -> None:
    nodes.played[1].does_nothing = True
    running = await begun(nodes)
    (lease,) = nodes.store.leases
    nodes.store.expire(lease)
    nodes.played[1].does_nothing = False
    # The order has gone with the lease. The next node is told only under the lock.
    with pytest.raises(RunError):
        await running
    assert nodes.processes == [1, 1, 1, 1]
    assert (ROOT + lock_key(KENT)).encode() not in nodes.store.content
