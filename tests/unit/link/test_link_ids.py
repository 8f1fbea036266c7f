"""Ids of links are chosen by whoever was dialled: they find no link but one that came in here."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from pcgrelay.config import Address, LinkSettings, ListenSettings
from pcgrelay.identity import handshake
from pcgrelay.identity.handshake import HandshakeResult
from pcgrelay.link.control import LostConnection
from pcgrelay.link.link import Link
from pcgrelay.model import NodeId, Role, Suite
from tests.support.nodes_in_process import HUB, KENT, Nodes, Running, dial, link_to
from tests.support.pki import REALM
from tests.support.ports import free_port
from tests.support.waiting import until_async as until

IDS = [bytes([number]) * 16 for number in range(4)]
NOWHERE = Address.parse("127.0.0.1:9")


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[Nodes]:
    nodes = Nodes(tmp_path)
    yield nodes
    await nodes.stop()


def entered(running: Running, number: int, link_id: bytes, *, dialled: bool) -> Link:
    """A link that has just been made, with a neighbour of its own."""
    peer = NodeId(REALM, f"org-{number}.example", "edge-1")
    established = HandshakeResult(
        peer=peer,
        peer_role=Role.EDGE,
        suite=Suite.AES_256_GCM,
        group="X25519MLKEM768",
        tls_suite="",
        client=dialled,
        secret=bytearray(32),
        binding=bytes(32),
        lanes=1,
        flows=0,
        cap=1 << 20,
        link_id=link_id,
        chain=(),
    )
    listens, dials = ListenSettings(address=NOWHERE, bearer=""), LinkSettings(peer=peer, address=NOWHERE, bearer="")
    link = running.node.link_table.add(established, LostConnection(), dials if dialled else listens)
    assert link is not None
    return link


@pytest.mark.parametrize("seed", range(5))
async def test_an_id_finds_the_link_that_was_given_it_whatever_others_are_called(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    running = await nodes.start(HUB, "relay-1", role="relay", listens=[f"127.0.0.1:{free_port()}"])
    link_table, chance = running.node.link_table, random.Random(seed)
    monkeypatch.setattr(link_table._local, "standing_refusal", lambda *_: None)
    served: dict[bytes, Link] = {}
    dialled: list[Link] = []
    for number in range(200):
        free = [link_id for link_id in IDS if link_id not in served]
        if free and chance.random() < 0.3:
            served[free[0]] = entered(running, number, free[0], dialled=False)
        elif served and chance.random() < 0.3:
            link_table.link_down(served.pop(chance.choice(list(served))), "test")
        elif dialled and chance.random() < 0.5:
            link_table.link_down(dialled.pop(chance.randrange(len(dialled))), "test")
        else:
            dialled.append(entered(running, number, chance.choice(IDS), dialled=True))
        assert [link_table.by_id(link_id) for link_id in IDS] == [served.get(link_id) for link_id in IDS]
        asked = [link_table.renewer.renewable(link_id) for link_id in IDS]
        assert all(renewal is None or renewal.link_id in served for renewal in asked)


async def test_an_acceptor_cannot_take_the_link_of_another_neighbour_away(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gives its own link the id of that one, which preambles show to the network."""
    port, malicious_port = free_port(), free_port()
    relay = await nodes.start(
        HUB, "relay-1", role="relay", listens=[f"127.0.0.1:{port}"], links=[dial(2, malicious_port)]
    )
    kent = await nodes.start(KENT, "kent-1", links=[dial(1, port)])
    await until(lambda: list(relay.node.link_table.usable()))
    good = link_to(relay, f"kent-1.{KENT}")
    stolen = SimpleNamespace(urandom=lambda size: good.link_id if size == 16 else bytes(size))
    monkeypatch.setattr(handshake, "os", stolen)
    malicious = await nodes.start(HUB, "relay-2", role="relay", listens=[f"127.0.0.1:{malicious_port}"])
    await until(lambda: len(list(relay.node.link_table.usable())) == 2)
    assert link_to(relay, f"relay-2.{HUB}").link_id == good.link_id
    number = link_to(kent, f"relay-1.{HUB}").number
    for _ in range(2):
        # Each lane is opened again by its preamble, while the other link is there and when it has gone.
        cut = good.lanes_up[0]
        kent.core.lane_cut(number, 0)
        # By its number, for it may be back before anybody sees that it was gone.
        opened = lambda cut=cut: (
            link_to(kent, f"relay-1.{HUB}").lanes_up.get(0, cut) == good.lanes_up.get(0, cut) != cut
        )
        await until(opened)
        await malicious.kill()
        await until(lambda: len(relay.node.link_table.links) == 1)
    assert relay.node.link_table.refused.get("lane_unknown_link") is None
