"""Revocation lists that travel: put at one node, in force at all, kept in memory, and handed over."""

from __future__ import annotations

import asyncio
import hashlib
import io
import shutil
import time
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from pcgrelay import config
from pcgrelay.admin.metrics import metrics_text
from pcgrelay.admin.validity import brought_lines
from pcgrelay.ca import Authority
from pcgrelay.clock import SYSTEM_CLOCK
from pcgrelay.daemon.reload import Reloader
from pcgrelay.daemon.run import make_node
from pcgrelay.gateway.handover import to_handover
from pcgrelay.gateway.lists import RevocationLists
from pcgrelay.handover.node import ListHandover, decode_handover, encode_handover
from pcgrelay.identity.credentials import load_certificates
from pcgrelay.identity.local import LocalIdentity
from pcgrelay.link.link import Link
from pcgrelay.log.writer import Log
from pcgrelay.messages import MessageReader, Object, ObjectGet, ObjectPiece, encode_message
from pcgrelay.objects.exchange import ObjectExchange
from pcgrelay.views.status import node_status
from tests.support import fake_core
from tests.support.metric_samples import value
from tests.support.nodes_in_process import HUB, KENT, MET, Nodes, Running, dial
from tests.support.odd_pki import Issuer, ca, crl
from tests.support.pki import RealmPki, write_config
from tests.support.ports import free_port
from tests.support.waiting import until_async as until

RING = 50
LATENCY_S = 0.02


# --- a ring of fifty -----------------------------------------------------------------------------------------------


class RingLink:
    """One end of a link over which real messages take a while."""

    features = frozenset({"objects"})
    backlog_bytes = 0

    def __init__(self, number: int, name: str) -> None:
        self.number = number
        self.peer = type("Peer", (), {"dotted": name})
        self.there: tuple[RingNode, RingLink] | None = None
        self.reader = MessageReader()

    def send(self, message: Object | ObjectGet | ObjectPiece) -> None:
        asyncio.get_running_loop().call_later(LATENCY_S, self._arrive, encode_message(message))

    def _arrive(self, data: bytes) -> None:
        assert self.there is not None
        node, link = self.there
        for message, _ in self.reader.feed(data):
            node.objects.receive(cast("Link", link), cast("Object", message))


class RingNode:
    """The parts of a node that have to do with lists."""

    def __init__(self, settings: config.Config) -> None:
        self.local = LocalIdentity(settings)
        self.links: dict[int, Any] = {}
        self.events: list[Any] = []
        self.tasks: set[asyncio.Task[None]] = set()
        lists = RevocationLists(self.local, asyncio.Lock(), self.local.take, self.events.append, SYSTEM_CLOCK)
        self.objects = ObjectExchange(self.links, lists, self._spawn, SYSTEM_CLOCK)

    def _spawn(self, work: Any, name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self.tasks.add(task)
        return task


def ring_of(count: int, settings: config.Config) -> list[RingNode]:
    nodes = [RingNode(settings) for _ in range(count)]
    for number, node in enumerate(nodes):
        after = nodes[(number + 1) % count]
        here, there = RingLink(1, f"node-{(number + 1) % count}"), RingLink(2, f"node-{number}")
        here.there, there.there = (after, there), (node, here)
        node.links[1], after.links[2] = here, there
    for node in nodes:
        for link in node.links.values():
            node.objects.link_up(link)
    return nodes


async def test_a_revocation_at_one_node_is_in_force_at_fifty_of_a_ring_within_five_seconds(tmp_path: Path) -> None:
    pki = RealmPki(tmp_path)
    thief = pki.issue(MET, "met-1")
    path = write_config(tmp_path / "n.toml", pki.issue(KENT, "kent-1"), KENT, "kent-1", listens=["127.0.0.1:1"])
    settings = config.load(path)
    nodes = ring_of(RING, settings)
    chain = load_certificates(thief.certificate, "certificate")
    assert {node.local.chain_refusal(chain) for node in nodes} == {None}
    pki.authority.revoke(MET, "met-1")
    await asyncio.sleep(5 * LATENCY_S)  # until nothing is under way of what was told when the links came up
    began = time.monotonic()
    fresh = LocalIdentity(settings)
    fresh.prepare()
    nodes[7].local.take(fresh)
    nodes[7].objects.changed()
    await until(lambda: all(node.local.chain_refusal(chain) == "revoked" for node in nodes), 5.0)
    assert time.monotonic() - began < 5.0
    # Each but the first has taken it once, from a neighbour, and has refused nothing.
    assert [len(node.events) for node in nodes] == [0 if node is nodes[7] else 1 for node in nodes]
    await asyncio.sleep(5 * LATENCY_S)
    assert [dict(node.objects.refused) for node in nodes if node.objects.refused] == []
    for node in nodes:
        await asyncio.gather(*node.tasks)


# --- nodes ---------------------------------------------------------------------------------------------------------


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[Nodes]:
    nodes = Nodes(tmp_path)
    for organisation, name in ((HUB, "relay-1"), (HUB, "relay-2"), (KENT, "kent-1"), (MET, "met-1")):
        nodes.pki.issue(organisation, name)
    yield nodes
    await nodes.stop()


class Chain:
    """kent-1 - relay-1 - relay-2 - met-1, each with a list file of its own."""

    def __init__(self, nodes: Nodes) -> None:
        self.nodes = nodes
        self.members: dict[str, Running] = {}

    async def start(self, without: tuple[str, ...] = ()) -> Chain:
        first, second = free_port(), free_port()
        tables: list[tuple[str, str, dict[str, Any]]] = [
            (HUB, "relay-1", {"role": "relay", "listens": [f"127.0.0.1:{first}"]}),
            (HUB, "relay-2", {"role": "relay", "listens": [f"127.0.0.1:{second}"], "links": [dial(1, first)]}),
            (KENT, "kent-1", {"links": [dial(1, first)]}),
            (MET, "met-1", {"links": [dial(2, second)]}),
        ]
        for organisation, name, table in tables:
            if name in without:
                table["crl"] = False
            else:
                shutil.copy(self.nodes.pki.crl, self.list_of(name))
                table["identity"] = {"crl": str(self.list_of(name))}
            self.members[name] = await self.nodes.start(organisation, name, **table)
        await until(lambda: [self.links(name) for name in self.members] == [2, 2, 1, 1])
        return self

    def list_of(self, name: str) -> Path:
        return self.nodes.folder / f"{name}.crl"

    def links(self, name: str) -> int:
        return len(list(self.members[name].node.link_table.usable()))

    def numbers(self) -> dict[str, list[int]]:
        return {
            name: [each.number for each in running.node.local.lists.values()] for name, running in self.members.items()
        }

    async def reload(self, name: str) -> None:
        shutil.copy(self.nodes.pki.crl, self.list_of(name))
        answer = await reloader(self.members[name]).reload()
        assert answer.ok, answer.reason


def reloader(running: Running) -> Reloader:
    return Reloader(running.node, Log("debug", io.StringIO()), lambda text: None)


@pytest.mark.parametrize("without", [(), ("relay-2", "met-1"), ("relay-1", "relay-2", "met-1")])
async def test_a_list_at_one_edge_ends_the_links_of_the_revoked_node_everywhere(
    nodes: Nodes, without: tuple[str, ...]
) -> None:
    """Also at nodes that have no list of their own, and through them."""
    chain = await Chain(nodes).start(without)
    nodes.pki.authority.revoke(MET, "met-1")
    await chain.reload("kent-1")
    await until(lambda: chain.links("relay-2") == 1, 5.0)
    await until(lambda: chain.links("met-1") == 0, 5.0)
    assert {number for numbers in list(chain.numbers().values())[:3] for number in numbers} == {2}
    assert (chain.links("kent-1"), chain.links("relay-1")) == (1, 2)
    relay = chain.members["relay-2"]
    line = relay.lines("crl.taken")[-1]
    assert (line["number"], line["source"], line["entries"]) == (2, f"relay-1.{HUB}", 1)
    await until(lambda: relay.lines("link.down")[-1:] != [])
    assert relay.lines("link.down")[-1]["reason"] == "revoked"
    # The node that is revoked comes again, and is refused.
    await until(lambda: "revoked" in relay.node.refused.total() and chain.links("met-1") == 0)
    status = node_status(relay.node)
    assert [(each.number, each.source) for each in status.credentials.lists] == [(2, f"relay-1.{HUB}")]
    text = metrics_text(status, {})
    assert value(text, "pcgrelay_crl_number", ca="CN=police.example realm CA", source="neighbour") == 2


async def test_a_reload_keeps_what_neighbours_brought_until_the_file_has_it(nodes: Nodes) -> None:
    chain = await Chain(nodes).start()
    nodes.pki.authority.renew_crl()
    await chain.reload("kent-1")
    await until(lambda: all(numbers == [2] for numbers in chain.numbers().values()))
    relay = chain.members["relay-1"]
    answer = await reloader(relay).reload()
    assert answer.ok
    assert answer.changes == ()
    assert chain.numbers()["relay-1"] == [2]
    await chain.reload("relay-1")
    assert relay.node.local.received() == []
    assert node_status(relay.node).credentials.lists[0].source == ""


async def test_a_list_file_that_is_over_is_told_and_blocks_no_reload(nodes: Nodes) -> None:
    """In force is the list of a neighbour, and after a restart it is not."""
    chain = await Chain(nodes).start()
    nodes.pki.authority.renew_crl()
    await chain.reload("kent-1")
    relay = chain.members["relay-1"]
    await until(lambda: chain.numbers()["relay-1"] == [2])
    over = Authority(nodes.pki.authority.folder)
    root = ca_of(over)
    chain.list_of("relay-1").write_bytes(crl_pem(crl(root, number=1, start=-timedelta(days=9), end=-timedelta(days=1))))
    answer = await reloader(relay).reload()
    assert answer.ok, answer.reason
    status = node_status(relay.node)
    date = next(date for date in status.credentials.dates if date.kind == "crl_file")
    assert date.state == "expired"
    assert not date.is_grave
    assert "until a restart" in date.sentence
    assert status.credentials.refusal == ""


async def test_a_hand_over_takes_the_lists_along(nodes: Nodes, tmp_path: Path) -> None:
    chain = await Chain(nodes).start()
    nodes.pki.authority.revoke(MET, "met-1")
    await chain.reload("kent-1")
    relay = chain.members["relay-1"]
    await until(lambda: chain.numbers()["relay-1"] == [2])
    record = decode_handover(encode_handover(to_handover(relay.node)))
    assert [each.source for each in record.lists] == [f"kent-1.{KENT}"]
    fresh = make_node(relay.node.config, fake_core, Log("debug", io.StringIO()))
    fresh.lists.restore(record.lists)
    assert [(each.number, each.source) for each in fresh.local.received()] == [(2, f"kent-1.{KENT}")]
    # What is damaged, or older than the file meanwhile, is left out.
    fresh = make_node(relay.node.config, fake_core, Log("debug", io.StringIO()))
    shutil.copy(nodes.pki.crl, chain.list_of("relay-1"))
    newer = make_node(relay.node.config, fake_core, Log("debug", io.StringIO()))
    for node in (fresh, newer):
        damaged = tuple(type(each)(data=each.data[:-1], source=each.source) for each in record.lists)
        node.lists.restore((*damaged, *(record.lists if node is newer else ())))
        assert node.local.received() == []


async def test_a_hand_over_takes_a_list_along_that_is_over_by_now(nodes: Nodes) -> None:
    """Else an upgrade would let in again whom it refuses."""
    chain = await Chain(nodes).start(without=("relay-1",))
    relay = chain.members["relay-1"]
    met = load_certificates(nodes.pki.issue(MET, "met-2").certificate, "certificate")
    over = crl(ca_of(nodes.pki.authority), number=9, end=-timedelta(hours=1), revoked=[met[0].serial_number])
    fresh = make_node(relay.node.config, fake_core, Log("debug", io.StringIO()))
    assert fresh.local.chain_refusal(met) is None
    fresh.lists.restore([ListHandover(data=crl_der(over), source=f"kent-1.{KENT}")])
    assert fresh.local.chain_refusal(met) == "revoked"
    assert list(fresh.lists.held()) == []  # and nobody is told of it


async def test_a_list_that_is_too_large_to_travel_is_told_of_once(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pcgrelay.gateway.lists.OBJECT_MOST_BYTES", 100)
    running = await nodes.start(HUB, "relay-1", role="relay", listens=[f"127.0.0.1:{free_port()}"])
    node = running.node
    for _ in range(3):
        assert list(node.lists.held()) == []
    (line,) = running.lines("crl.too_large")
    assert (line["level"], line["number"], line["most_bytes"]) == ("warning", 1, 100)
    assert line["size_bytes"] > 100
    status = node_status(node)
    assert [each.travels for each in status.credentials.lists] == [False]
    assert "does not travel" in next(brought_lines(status.credentials))


# --- refusals ------------------------------------------------------------------------------------------------------


async def told(chain: Chain, data: bytes, **other: Any) -> Running:
    """Relay-2 is told of an object by met-1, which then delivers these bytes."""
    relay, met = chain.members["relay-2"], chain.members["met-1"]
    (link,) = met.node.link_table.usable()
    digest = hashlib.sha256(data).digest()
    anchor = next(iter(met.node.local.lists))

    def deliver(link: Link, message: object) -> None:
        if isinstance(message, ObjectGet):
            link.send(ObjectPiece(digest, 0, data))

    met.node.objects.receive = deliver  # type: ignore[method-assign]
    link.send(Object(**({"kind": 1, "name": anchor, "epoch": 9, "hash": digest, "size": len(data)} | other)))
    await until(lambda: bool(relay.node.objects.refused))
    return relay


def ca_of(authority: Authority) -> Issuer:
    return Issuer(authority.certificate, load_pem_private_key(authority.key_path.read_bytes(), None))


def crl_pem(of: x509.CertificateRevocationList) -> bytes:
    return of.public_bytes(Encoding.PEM)


def crl_der(of: x509.CertificateRevocationList) -> bytes:
    return of.public_bytes(Encoding.DER)


@pytest.mark.parametrize(
    ("make", "other", "reason"),
    [
        (lambda root: crl(ca("stranger"), number=9), {}, "list_of_unknown_ca"),
        (lambda root: crl(root, number=9, key=ca("x").key), {}, "list_signature"),
        (lambda root: crl(root, number=9, end=-timedelta(hours=1)), {}, "list_not_current"),
        (lambda root: crl(root, number=8, start=-timedelta(minutes=1)), {}, "object_mislabelled"),
        (lambda root: crl(root, number=9, start=-timedelta(days=2)), {}, "list_older"),
        (lambda root: crl(root, number=9, start=-timedelta(minutes=1)), {"kind": 3}, "object_kind"),
        (lambda root: crl(root, number=9), {"name": b"?" * 32}, "list_of_unknown_ca"),
        (lambda root: crl(root, number=9), {"epoch": 0}, "list_older"),
        (lambda root: crl(root, number=9), {"size": (1 << 20) + 1}, "object_too_large"),
    ],
)
async def test_a_list_that_must_not_be_taken_is_counted_and_changes_nothing(
    nodes: Nodes, make: Callable[[Any], Any], other: dict[str, Any], reason: str
) -> None:
    chain = await Chain(nodes).start()
    before = chain.numbers()
    relay = await told(chain, crl_der(make(ca_of(nodes.pki.authority))), **other)
    assert relay.node.objects.refused == {reason: 1}
    assert chain.numbers() == before
    assert chain.links("relay-2") == 2
    assert all(line["peer"] == f"met-1.{MET}" for line in relay.lines("crl.refused"))
    assert node_status(relay.node).refusals[reason] == 1
