"""The realm's bundle at a node: from a file, told on along a row of nodes, kept, handed over, and refused."""

from __future__ import annotations

import asyncio
import hashlib
import io
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from pcgrelay import config
from pcgrelay.admin.bundles import bundle_lines, bundle_sentences
from pcgrelay.admin.condition import troubles
from pcgrelay.admin.metrics import metrics_text
from pcgrelay.config.settings import RealmTerms
from pcgrelay.daemon.reload import Reloader
from pcgrelay.daemon.run import make_node
from pcgrelay.errors import ConfigError
from pcgrelay.gateway.handover import to_handover
from pcgrelay.gateway.node import Node
from pcgrelay.handover.node import NodeHandover, decode_handover, encode_handover
from pcgrelay.identity.credentials import load_credentials
from pcgrelay.link.link import Link
from pcgrelay.log.writer import Log
from pcgrelay.messages import Object, ObjectGet, ObjectPiece
from pcgrelay.model import Marking
from pcgrelay.realm import bundle as bundles
from pcgrelay.realm.kept import NAME, read_kept
from pcgrelay.state.folder import StateFolder
from pcgrelay.views.explain import explain
from pcgrelay.views.status import node_status
from tests.support import fake_core
from tests.support.bundles import Signer, span_of
from tests.support.metric_samples import value
from tests.support.nodes_in_process import HUB, KENT, MET, Nodes, Running, dial
from tests.support.ports import free_port
from tests.support.waiting import until_async as until

EVERYBODY = ("*.police.example", HUB)
WITHOUT_MET = (KENT, HUB)
DAY = timedelta(days=1)
IN_FORCE_S = 5.0


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[Nodes]:
    nodes = Nodes(tmp_path)
    yield nodes
    await nodes.stop()


class Row:
    """kent-1 - relay-1 - relay-2 - relay-3 - met-1; Kent alone has a file."""

    NAMES = ("kent-1", "relay-1", "relay-2", "relay-3", "met-1")

    def __init__(self, nodes: Nodes) -> None:
        self.nodes = nodes
        self.signer = Signer(nodes.pki)
        self.file = nodes.folder / "realm.bundle"
        self.members: dict[str, Running] = {}

    async def start(self, data: bytes | None = None) -> Row:
        ports = [free_port() for _ in range(3)]
        if data is not None:
            self.file.write_bytes(data)
        realm = {"realm_table": {"bundle": str(self.file)}} if data is not None else {}
        for number, port in enumerate(ports, 1):
            links = [dial(number - 1, ports[number - 2])] if number > 1 else []
            name = f"relay-{number}"
            self.members[name] = await self.nodes.start(
                HUB, name, role="relay", listens=[f"127.0.0.1:{port}"], links=links
            )
        self.members["kent-1"] = await self.nodes.start(KENT, "kent-1", links=[dial(1, ports[0])], **realm)
        self.members["met-1"] = await self.nodes.start(MET, "met-1", links=[dial(3, ports[2])])
        await until(lambda: [self.links(name) for name in self.NAMES] == [1, 2, 2, 2, 1])
        return self

    def node(self, name: str) -> Node:
        return self.members[name].node

    def links(self, name: str) -> int:
        return len(list(self.node(name).link_table.usable()))

    def epochs(self) -> list[int]:
        found = [self.node(name).bundles.bundle for name in self.NAMES]
        return [0 if each is None else each.epoch for each in found]

    async def put(self, data: bytes) -> tuple[str, ...]:
        self.file.write_bytes(data)
        answer = await reloader(self.members["kent-1"]).reload()
        assert answer.ok, answer.reason
        return answer.changes


def reloader(running: Running) -> Reloader:
    return Reloader(running.node, Log("debug", io.StringIO()), lambda text: None)


async def ended(running: Running) -> str:
    """Why its last link ended."""
    await until(lambda: running.lines("link.down"))
    reason = running.lines("link.down")[-1]["reason"]
    assert isinstance(reason, str)
    return reason


# --- along a row ---------------------------------------------------------------------------------------------------


async def test_a_bundle_at_one_edge_is_in_force_four_links_away(nodes: Nodes) -> None:
    row = Row(nodes)
    await row.start(row.signer.bundle(1, members=EVERYBODY))
    await until(lambda: row.epochs() == [1] * 5, IN_FORCE_S)
    began = time.monotonic()
    assert await row.put(row.signer.bundle(2, members=WITHOUT_MET, minimum="99")) == ("realm bundle 2 taken",)
    await until(lambda: row.epochs()[:4] == [2] * 4, IN_FORCE_S)
    assert time.monotonic() - began < IN_FORCE_S
    # Who is no member any more is cut off, and nobody else.
    await until(lambda: row.links("relay-3") == 1, IN_FORCE_S)
    assert [row.links(name) for name in row.NAMES[:4]] == [1, 2, 2, 1]
    far = row.members["relay-3"]
    assert await ended(far) == "not_a_member"
    line = far.lines("bundle.taken")[-1]
    assert (line["epoch"], line["source"], line["members"], line["minimum"]) == (2, f"relay-2.{HUB}", 2, "99")
    await until(lambda: far.node.refused.total().get("not_a_member", 0) > 1)  # it comes again
    assert far.lines("bundle.refused") == []
    status = node_status(far.node)
    assert status.bundle is not None
    assert (status.bundle.epoch, status.bundle.source, status.bundle.is_below) == (2, f"relay-2.{HUB}", True)
    assert any("below the realm's minimum (99)" in trouble.sentence for trouble in troubles(status))
    text = metrics_text(status, {})
    assert value(text, "pcgrelay_realm_bundle_epoch", source="neighbour") == 2
    assert value(text, "pcgrelay_realm_bundle_below_minimum") == 1
    assert list(bundle_lines(status.bundle))[1] == f"realm bundle 2 was brought by relay-2.{HUB}"


async def test_explain_says_that_the_realm_does_not_name_an_organisation(nodes: Nodes) -> None:
    row = Row(nodes)
    await row.start(row.signer.bundle(1, members=EVERYBODY))
    await row.put(row.signer.bundle(2, members=WITHOUT_MET))
    await until(lambda: row.epochs()[1] == 2, IN_FORCE_S)
    answer = explain(row.node("relay-1"), f"met-1.{MET}")
    assert not answer.open
    assert answer.verdict == f"New paths are refused: {MET} is no member here."
    assert answer.rule == f"members: the realm's bundle does not name {MET}"


async def test_who_is_a_member_again_is_let_in_again(nodes: Nodes) -> None:
    row = Row(nodes)
    await row.start(row.signer.bundle(1, members=(*WITHOUT_MET, MET)))
    await until(lambda: row.epochs() == [1] * 5, IN_FORCE_S)
    await row.put(row.signer.bundle(2, members=WITHOUT_MET))
    await until(lambda: row.links("relay-3") == 1, IN_FORCE_S)
    await row.put(row.signer.bundle(3, members=EVERYBODY))
    await until(lambda: row.links("relay-3") == 2)
    await until(lambda: row.epochs() == [3] * 5, IN_FORCE_S)


async def test_who_may_not_be_a_relay_loses_the_links_of_one(nodes: Nodes) -> None:
    row = Row(nodes)
    await row.start(row.signer.bundle(1))
    await until(lambda: row.epochs() == [1] * 5, IN_FORCE_S)
    await row.put(row.signer.bundle(2, relays=(KENT,)))
    await until(lambda: row.links("kent-1") == 0, IN_FORCE_S)
    assert await ended(row.members["kent-1"]) == "not_a_relay"


async def test_clearances_of_the_realm_count_beside_those_of_the_file(nodes: Nodes) -> None:
    row = Row(nodes)
    terms = RealmTerms(clearances=((HUB, Marking.OFFICIAL_SENSITIVE),))
    await row.start(row.signer.bundle(1, terms=terms))
    await until(lambda: row.epochs() == [1] * 5, IN_FORCE_S)
    cleared = row.node("met-1").local.clearances
    assert (cleared.of_organisation(HUB), cleared.of_organisation(KENT)) == (2, 1)


async def test_revocation_lists_in_a_bundle_are_put_in_force(nodes: Nodes) -> None:
    row = Row(nodes)
    await row.start(row.signer.bundle(1))
    await until(lambda: row.epochs() == [1] * 5, IN_FORCE_S)
    nodes.pki.authority.revoke(MET, "met-1")
    crl = nodes.pki.crls()[0].public_bytes(Encoding.DER)
    await row.put(row.signer.bundle(2, lists=[crl, b"damaged"]))
    await until(lambda: row.links("relay-3") == 1, IN_FORCE_S)
    assert await ended(row.members["relay-3"]) == "revoked"
    assert {each.number for each in row.node("relay-2").local.lists.values()} == {2}


async def test_a_bundle_is_not_told_to_who_does_not_know_the_kind(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pcgrelay.identity.handshake.LINK_FEATURES", ("objects",))
    row = Row(nodes)
    await row.start(row.signer.bundle(1))
    await asyncio.sleep(1.2)  # a tick, in which neighbours are told what they were not told
    assert row.epochs() == [1, 0, 0, 0, 0]
    assert not row.node("relay-1").objects.refused
    (link,) = row.node("met-1").link_table.usable()
    link.send(announced(row.signer.bundle(2)))
    await until(lambda: row.node("relay-3").objects.refused == {"object_unasked": 1})


# --- refused over links --------------------------------------------------------------------------------------------


def announced(data: bytes, **other: Any) -> Object:
    digest = hashlib.sha256(data).digest()
    name = bundles.name_of("police.example")
    return Object(**({"kind": 2, "name": name, "epoch": 2, "hash": digest, "size": len(data)} | other))


async def told(row: Row, data: bytes, **other: Any) -> Running:
    """Relay-3 is told of a bundle by met-1, which then delivers these bytes."""
    relay, met = row.members["relay-3"], row.members["met-1"]
    (link,) = met.node.link_table.usable()
    message = announced(data, **other)

    def deliver(link: Link, asked: object) -> None:
        if isinstance(asked, ObjectGet):
            piece = data[asked.offset : asked.offset + 65_536]
            link.send(ObjectPiece(message.hash, asked.offset, piece))

    met.node.objects.receive = deliver  # type: ignore[method-assign]
    link.send(message)
    await until(lambda: bool(relay.node.objects.refused))
    return relay


@pytest.mark.parametrize(
    ("make", "other", "reason"),
    [
        ("replayed", {"epoch": 1}, "bundle_older"),
        ("same_epoch", {"epoch": 5}, "bundle_forked"),
        ("labelled_newer", {"epoch": 6}, "object_mislabelled"),
        ("forged", {"epoch": 6}, "bundle_signature"),
        ("of_a_strange_ca", {"epoch": 6}, "bundle_untrusted"),
        ("of_another_realm", {"epoch": 6}, "bundle_of_another_realm"),
        ("of_another_realm", {"epoch": 6, "name": bundles.name_of("army.example")}, "bundle_of_another_realm"),
        ("over", {"epoch": 6}, "bundle_expired"),
        ("early", {"epoch": 6}, "bundle_not_yet_valid"),
        ("damaged", {"epoch": 6}, "bundle_malformed"),
        ("replaced", {"epoch": 6, "hash": b"?" * 32}, "object_hash"),
        ("good", {"epoch": 6, "size": (1 << 20) + 1}, "object_too_large"),
        ("jump", {"epoch": 6 + bundles.JUMP_MOST}, "bundle_jump"),
        ("good", {"epoch": 1 << 63}, "bundle_jump"),
    ],
)
async def test_a_bundle_that_must_not_be_taken_is_counted_and_changes_nothing(
    nodes: Nodes, make: str, other: dict[str, Any], reason: str
) -> None:
    row = Row(nodes)
    await row.start(row.signer.bundle(5, members=EVERYBODY))
    await until(lambda: row.epochs() == [5] * 5, IN_FORCE_S)
    signer = row.signer
    good = signer.bundle(6, members=(MET,))
    data = {
        "good": lambda: good,
        "replayed": lambda: signer.bundle(1),
        "same_epoch": lambda: signer.bundle(5, members=(MET,)),
        "labelled_newer": lambda: signer.bundle(4, members=(MET,)),
        "forged": lambda: forged(good),
        "of_a_strange_ca": lambda: Signer(nodes.pki, wrong_ca=True, folder="strange").bundle(6),
        "of_another_realm": lambda: signer.bundle(6, realm="army.example"),
        "over": lambda: signer.bundle(6, span=span_of(2 * DAY, -DAY)),
        "early": lambda: signer.bundle(6, span=span_of(-DAY, 2 * DAY)),
        "damaged": lambda: good[:-1],
        "replaced": lambda: good,
        "jump": lambda: signer.bundle(6 + bundles.JUMP_MOST),
    }[make]()
    relay = await told(row, data, **other)
    assert relay.node.objects.refused == {reason: 1}
    assert row.epochs() == [5] * 5
    assert [row.links(name) for name in row.NAMES] == [1, 2, 2, 2, 1]
    assert all(line["peer"] == f"met-1.{MET}" for line in relay.lines("bundle.refused"))
    assert node_status(relay.node).refusals[reason] == 1


def forged(data: bytes) -> bytes:
    """Change the first organisation in what was signed."""
    assert data.count(MET.encode()) == 1
    return data.replace(MET.encode(), b"m" + b"ut" + MET[3:].encode())


async def test_what_is_offered_by_another_way_is_judged_alike(nodes: Nodes) -> None:
    row = Row(nodes)
    running = await nodes.start(HUB, "relay-9", role="relay", listens=[f"127.0.0.1:{free_port()}"])
    node = running.node
    assert await node.bundles.offer(row.signer.bundle(3), "a store") is None
    assert await node.bundles.offer(row.signer.bundle(2), "a store") == "bundle_older"
    assert await node.bundles.offer(b"?", "a store") == "bundle_malformed"
    assert node_status(node).refusals["bundle_older"] == 1
    assert node.bundles.bundle is not None
    assert node.bundles.bundle.epoch == 3


# --- the file ------------------------------------------------------------------------------------------------------


async def test_a_file_that_is_refused_is_refused_whole(nodes: Nodes) -> None:
    row = Row(nodes)
    await row.start(row.signer.bundle(5, members=EVERYBODY))
    kent = row.members["kent-1"]
    for data, words in [
        (row.signer.bundle(4), "The bundle has epoch 4, and epoch 5 is in force"),
        (row.signer.bundle(5), "Another bundle with epoch 5 is in force"),
        (row.signer.bundle(6, span=span_of(2 * DAY, -DAY)), "The bundle expired on"),
        (row.signer.bundle(6, realm="army.example"), "of another realm than police.example"),
        (Signer(nodes.pki, wrong_ca=True, folder="strange").bundle(6), "certificate of the bundle's signer is refused"),
        (b"what", "This is no realm bundle"),
    ]:
        row.file.write_bytes(data)
        nodes.write(KENT, "kent-1", listens=["127.0.0.1:1"], realm_table={"bundle": str(row.file)})
        answer = await reloader(kent).reload()
        assert not answer.ok
        assert answer.exit_code == 78
        assert str(row.file) in answer.reason
        assert words in answer.reason
        assert "Traceback" not in answer.reason
        assert row.links("kent-1") == 1  # nothing else of the file came into force
        assert row.epochs()[0] == 5


async def test_a_file_that_neighbours_overtook_or_that_is_over_blocks_no_reload(nodes: Nodes) -> None:
    row = Row(nodes)
    old = row.signer.bundle(1)
    await row.start(old)
    assert await row.node("kent-1").bundles.offer(row.signer.bundle(2), "relay-1") is None
    assert await row.put(old) == ()
    assert row.epochs()[0] == 2
    # Another file that is older is one that somebody means.
    row.file.write_bytes(row.signer.bundle(1))
    assert not (await reloader(row.members["kent-1"]).reload()).ok


async def test_a_reload_without_the_table_keeps_what_is_in_force(nodes: Nodes) -> None:
    row = Row(nodes)
    await row.start(row.signer.bundle(1, members=EVERYBODY))
    (link,) = row.node("kent-1").config.links
    nodes.write(KENT, "kent-1", links=[dial(1, link.address.port)])
    answer = await reloader(row.members["kent-1"]).reload()
    assert answer.ok, answer.reason
    assert row.epochs()[0] == 1
    assert row.node("kent-1").config.policy.realm.members == EVERYBODY


async def test_a_node_starts_with_a_bundle_that_is_over_and_tells_nobody(nodes: Nodes) -> None:
    row = Row(nodes)
    await row.start(row.signer.bundle(1, members=EVERYBODY, span=span_of(2 * DAY, -DAY)))
    kent = row.members["kent-1"]
    assert row.epochs() == [1, 0, 0, 0, 0]
    assert list(kent.node.bundles.held()) == []
    kent.node.bundles.tick()
    kent.node.bundles.tick()
    (line,) = kent.lines("bundle.expired")
    assert line["level"] == "error"
    (sentence,) = bundle_sentences(node_status(kent.node).bundle)
    assert "stays in force" in sentence


async def test_a_node_does_not_start_with_a_file_that_is_refused(nodes: Nodes) -> None:
    file = nodes.folder / "realm.bundle"
    file.write_bytes(b"what")
    table: dict[str, Any] = {
        "role": "relay",
        "listens": [f"127.0.0.1:{free_port()}"],
        "realm_table": {"bundle": str(file)},
    }
    path = nodes.write(HUB, "relay-9", **table)
    node = make_node(config.load(path), fake_core, Log("debug", io.StringIO()))
    with pytest.raises(ConfigError, match="This is no realm bundle"):
        node.bundles.begin(None)


async def test_a_bundle_goes_with_the_ca_of_its_signer(nodes: Nodes) -> None:
    """And not with its signer, whose certificate is revoked."""
    row = Row(nodes)
    signer = Signer(nodes.pki, folder="second")
    running = await nodes.start(HUB, "relay-9", role="relay", listens=[f"127.0.0.1:{free_port()}"])
    node = running.node
    assert await node.bundles.offer(signer.bundle(3, members=WITHOUT_MET), "a store") is None
    nodes.pki.authority.revoke("", "realm/bundle")
    assert (await reloader(running).reload()).changes == ("revocation list renewed",)
    assert node.bundles.bundle is not None
    assert await node.bundles.offer(row.signer.bundle(4), "a store") == "bundle_untrusted"
    stranger = nodes.pki.other_authority()
    both = nodes.pki.trust.read_bytes()
    nodes.pki.trust.write_bytes(stranger.certificate_path.read_bytes())
    try:
        fresh = node.bundles.terms_with(None, node.local.credentials)
        assert fresh.members == WITHOUT_MET
        changed = load_credentials(node.config.identity)
        assert node.bundles.terms_with(None, changed) == RealmTerms()
        node.local.from_files = changed
        await node.bundles.reloaded(None)
        assert node.bundles.bundle is None
        assert running.lines("bundle.dropped")[-1]["epoch"] == 3
    finally:
        nodes.pki.trust.write_bytes(both)


# --- kept, and handed over -----------------------------------------------------------------------------------------


async def started(nodes: Nodes, state: Path | None = None, **tables: Any) -> Node:
    """Start a relay with a folder of state, which nobody else has any more."""
    path = nodes.write(HUB, "relay-9", role="relay", listens=[f"127.0.0.1:{free_port()}"], **tables)
    sink = io.StringIO()
    node = make_node(config.load(path), fake_core, Log("debug", sink))
    if state is not None:
        node.state = StateFolder.take(state)
    nodes.running.append(Running(node, sink))
    await node.start()
    return node


async def killed(node: Node) -> None:
    await node.stop()
    assert node.state is not None
    node.state.close()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    return folder


async def test_an_older_bundle_is_refused_after_a_restart(nodes: Nodes, state: Path) -> None:
    row = Row(nodes)
    row.file.write_bytes(row.signer.bundle(1, members=EVERYBODY))
    table = {"bundle": str(row.file)}
    node = await started(nodes, state, realm_table=table)
    assert await node.bundles.offer(row.signer.bundle(7, members=WITHOUT_MET), "relay-1") is None
    await until(lambda: (kept := read_kept(state)) is not None and kept.source == "relay-1")
    await killed(node)
    again = await started(nodes, state, realm_table=table)
    assert again.bundles.bundle is not None
    assert again.bundles.bundle.epoch == 7
    assert again.config.policy.realm.members == WITHOUT_MET
    assert not again.config.policy.admits(MET)
    assert await again.bundles.offer(row.signer.bundle(6), "relay-1") == "bundle_older"
    await killed(again)
    # What is kept is damaged: the file counts.
    for name in (NAME, f"{NAME}.before"):
        (state / name).write_bytes(b"?")
    third = await started(nodes, state, realm_table=table)
    assert third.bundles.bundle is not None
    assert third.bundles.bundle.epoch == 1


async def test_a_bundle_that_cannot_be_kept_is_told_and_in_force(nodes: Nodes, state: Path) -> None:
    row = Row(nodes)
    node = await started(nodes, state)
    state.joinpath(NAME).mkdir()  # in the place of the file
    assert await node.bundles.offer(row.signer.bundle(7), "relay-1") is None
    await until(lambda: (status := node.bundles.status()) is not None and bool(status.unkept))
    assert any("is not kept" in trouble.sentence for trouble in troubles(node_status(node)))
    state.joinpath(NAME).rmdir()
    assert await node.bundles.offer(row.signer.bundle(8), "relay-1") is None
    await until(lambda: (found := node.bundles.status()) is not None and not found.unkept)


async def test_a_hand_over_takes_the_bundle_along(nodes: Nodes) -> None:
    row = Row(nodes)
    running = await nodes.start(HUB, "relay-9", role="relay", listens=[f"127.0.0.1:{free_port()}"])
    assert await running.node.bundles.offer(row.signer.bundle(7, members=WITHOUT_MET), "relay-1") is None
    record = decode_handover(encode_handover(to_handover(running.node)))
    fresh = make_node(running.node.config, fake_core, Log("debug", io.StringIO()))
    fresh.bundles.begin(None, record.bundle)
    assert fresh.bundles.bundle is not None
    assert (fresh.bundles.bundle.epoch, fresh.config.policy.admits(MET)) == (7, False)
    status = fresh.bundles.status()
    assert status is not None
    assert status.source == "relay-1"
    # The record of a process of before has none.
    older = decode_handover(encode_handover(NodeHandover(started_ms=0)))
    assert older.bundle is None
