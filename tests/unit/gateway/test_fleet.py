"""The store of a fleet as one node uses it: its report, and orders to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import msgspec
import pytest
import pytest_asyncio

from pcgrelay.clock import SYSTEM_CLOCK
from pcgrelay.errors import RunError
from pcgrelay.fleet.client import StoreAccess, StoreClient
from pcgrelay.fleet.lock import Holder, lock_key, take
from pcgrelay.fleet.report import NodeReport, Order, order_key, read_body
from pcgrelay.fleet.values import node_key, open_value, signing_as
from pcgrelay.gateway import fleet as module
from pcgrelay.gateway.fleet import Facts, NodeFleet
from pcgrelay.identity.local import LocalIdentity
from pcgrelay.log.events import Record
from tests.support.fake_etcd import FakeEtcd
from tests.support.fleet_fixtures import client, fleet, store
from tests.support.fleet_nodes import KENT, ROOT, TABLE, Fleet, identity
from tests.support.waiting import until_async

__all__ = ["client", "fleet", "store"]


@dataclass
class Running:
    """A node's part in the fleet, and what it said."""

    fleet: NodeFleet
    local: LocalIdentity
    other: LocalIdentity
    store: FakeEtcd
    client: StoreClient
    said: list[Record] = field(default_factory=list)
    facts: Facts = field(default_factory=lambda: Facts("ready", True, 7))
    upgrades: int = 0

    @property
    def events(self) -> list[str]:
        return [each.EVENT for each in self.said]

    @property
    def key(self) -> str:
        return node_key(self.local.config.node.id)

    def report(self) -> NodeReport | None:
        kept = self.store.content.get((ROOT + self.key).encode())
        return None if kept is None else read_body(open_value(self.key, kept.value, 0, self.other), NodeReport)

    async def upgrade(self) -> str:
        self.upgrades += 1
        return "it was not done, on purpose"

    async def order(self, token: int, process: str | None = None, act: str = "upgrade") -> None:
        key = order_key(self.local.config.node.id)
        body = Order(act=act, process=process or self.fleet.process, token=token)
        await self.client.put(key, signing_as(self.other)(key, msgspec.msgpack.encode(body), token))

    async def lock(self) -> int:
        holder = Holder(node=self.other.config.node.id.dotted, act="upgrade")
        lease = await self.client.grant(5)
        lock = await take(self.client, lock_key(KENT), lease, holder, signing_as(self.other), self.other)
        return lock.token


@pytest_asyncio.fixture
async def running(
    store: FakeEtcd, client: StoreClient, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Running]:
    for name in ("LOOK_S", "FIGURES_S"):
        monkeypatch.setattr(module, name, getattr(module, name) / 20)

    def access(self: NodeFleet, *_: object) -> StoreAccess:
        return StoreAccess(endpoints=store.endpoints, root=ROOT)

    monkeypatch.setattr(NodeFleet, "_access", access)
    local, other = identity(fleet, "kent-1", fleet=TABLE), identity(fleet, "kent-2")
    made = Running(None, local, other, store, client)  # type: ignore[arg-type]
    made.fleet = NodeFleet(local, made.said.append, SYSTEM_CLOCK)
    made.fleet.facts = lambda: made.facts
    made.fleet.upgrade = made.upgrade
    made.fleet.start()
    yield made
    await made.fleet.stop()


async def test_a_node_reports_itself_under_a_lease_and_takes_that_back_when_it_stops(running: Running) -> None:
    await until_async(running.report)
    report = running.report()
    assert report is not None
    assert (report.role, report.condition, report.ready, report.streams) == ("edge", "ready", True, 7)
    assert report.certificate_end_s == int(running.local.credentials.leaf.not_valid_after_utc.timestamp())
    assert running.store.content[(ROOT + running.key).encode()].lease in running.store.leases
    assert running.events == ["fleet.store_live"]
    running.facts = Facts("degraded", True, 7)
    await until_async(lambda: running.report().condition == "degraded")  # type: ignore[union-attr]
    await running.fleet.stop()
    assert running.report() is None
    assert running.fleet.state is None


async def test_a_lease_that_was_lost_is_had_again_with_the_report(running: Running) -> None:
    await until_async(running.report)
    (lease,) = running.store.leases
    running.store.expire(lease)
    assert running.report() is None
    await until_async(running.report)


async def test_a_clock_that_was_set_back_makes_no_report_older(running: Running) -> None:
    await until_async(running.report)
    await running.fleet.stop()
    ahead = 1 << 60
    body = msgspec.msgpack.encode(running.fleet._made())
    running.store.put(ROOT + running.key, signing_as(running.local)(running.key, body, ahead))
    again = NodeFleet(running.local, running.said.append, SYSTEM_CLOCK)
    again.start()

    def epoch() -> int:
        kept = running.store.content[(ROOT + running.key).encode()]
        return open_value(running.key, kept.value, 0, running.other).epoch

    await until_async(lambda: epoch() > ahead)
    await again.stop()


async def test_an_order_of_the_holder_of_the_lock_is_carried_out_and_told(running: Running) -> None:
    await until_async(running.report)
    token = await running.lock()
    await running.order(token)
    await until_async(lambda: running.upgrades == 1)
    await until_async(lambda: running.report().order == token)  # type: ignore[union-attr]
    assert running.report().order_reason == "it was not done, on purpose"  # type: ignore[union-attr]
    assert running.events[-2:] == ["fleet.order", "fleet.order_refused"]
    # Seen again it is not carried out again.
    await running.order(token)
    await asyncio.sleep(0.2)
    assert running.upgrades == 1


async def test_an_order_of_a_lock_that_is_lost_is_refused(running: Running) -> None:
    await until_async(running.report)
    token = await running.lock()
    await running.client.delete(lock_key(KENT))
    await running.lock()
    await running.order(token)
    await until_async(lambda: running.fleet.refused["order_stale"] == 1)
    await until_async(lambda: running.report().order == token)  # type: ignore[union-attr]
    assert running.upgrades == 0
    assert running.events[-1] == "fleet.order_refused"


async def test_an_order_for_another_process_is_none(running: Running) -> None:
    await until_async(running.report)
    token = await running.lock()
    await running.order(token, process="0" * 16)
    await running.order(token, process="1" * 16)
    await asyncio.sleep(0.3)
    assert running.upgrades == 0
    assert not running.fleet.refused


async def test_an_order_of_another_kind_is_counted(running: Running) -> None:
    await until_async(running.report)
    await running.order(await running.lock(), act="stop")
    await until_async(lambda: running.fleet.refused["order_malformed"] == 1)
    assert running.upgrades == 0


async def test_an_order_that_nobody_can_prove_is_not_carried_out(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    await until_async(running.report)
    token = await running.lock()

    async def silent(*_: object) -> bool:
        raise module.StoreProblem("deadline")

    monkeypatch.setattr(module, "is_token", silent)
    await running.order(token)
    await until_async(lambda: running.fleet.refused["order_unproved"] == 1)
    assert running.upgrades == 0


async def test_a_process_that_cannot_be_started_is_told(running: Running) -> None:
    async def fails() -> str:
        raise RunError("The new process cannot be started (no room); the old one goes on.")

    running.fleet.upgrade = fails
    await until_async(running.report)
    await running.order(await running.lock())
    await until_async(lambda: "no room" in running.report().order_reason)  # type: ignore[union-attr]


async def test_the_nodes_are_followed_for_as_long_as_somebody_asks(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    await until_async(running.report)
    running.fleet.tick()
    assert not running.fleet.nodes.values
    running.fleet.want()
    await until_async(lambda: running.key in running.fleet.nodes.values)
    await running.lock()
    await until_async(lambda: lock_key(KENT) in running.fleet.locks.values)
    monkeypatch.setattr(module, "WANTED_MS", -1)
    running.fleet.tick()
    assert not running.fleet.nodes.values
    assert not running.fleet.nodes.loaded


async def test_another_store_is_used_from_a_reload_on_and_none_without_a_table(running: Running, fleet: Fleet) -> None:
    await until_async(running.report)
    first = running.fleet.client
    running.local.take(identity(fleet, "kent-1", fleet={**TABLE, "endpoints": ["https://etcd-2.store.example:2379"]}))
    running.fleet.apply()
    assert running.fleet.client is not first
    second = running.fleet.client
    running.fleet.apply()
    assert running.fleet.client is second
    running.local.take(identity(fleet, "kent-1"))
    running.fleet.apply()
    assert running.fleet.client is None
    assert running.fleet.state is None


async def test_files_that_have_become_wrong_end_no_node(running: Running, fleet: Fleet) -> None:
    await until_async(running.report)
    running.local.take(identity(fleet, "kent-1"))
    running.fleet.apply()
    wrong = fleet.folder / "wrong.pem"
    wrong.write_text("nothing")
    fresh = identity(fleet, "kent-1", fleet={**TABLE, "trust": str(wrong)})
    running.local.written = fresh.written
    running.local.__dict__.pop("store_credentials")
    running.fleet.apply()
    assert running.fleet.client is None
    assert running.events[-1] == "fleet.store_silent"


def test_figures_alone_are_no_news() -> None:
    one = NodeReport(process="a", role="edge", version="1", at_s=1.0, streams=1, load_percent=3)
    changes: list[Callable[[NodeReport], NodeReport]] = [
        lambda report: msgspec.structs.replace(report, at_s=2.0, streams=5, load_percent=50),
        lambda report: msgspec.structs.replace(report, ready=True),
    ]
    assert [change(one).tells_more(one) for change in changes] == [False, True]
