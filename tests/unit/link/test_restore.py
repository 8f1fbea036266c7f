"""The settings of a link that another process has handed over."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pcgrelay.config import Address, DiscoverSettings, LinkSettings, ListenSettings
from pcgrelay.daemon.reload import Reloader
from pcgrelay.handover.records import LinkHandover, write_chain
from pcgrelay.identity.handshake import HandshakeResult
from pcgrelay.link.control import LostConnection
from pcgrelay.link.link import Link, LinkState
from pcgrelay.link.restore import restored_places, restored_settings
from pcgrelay.log.writer import Log
from pcgrelay.model import NodeId, Role, Suite
from tests.support.nodes_in_process import HUB, Nodes
from tests.support.pki import REALM
from tests.support.ports import free_port
from tests.support.waiting import until_async as until

PEER = NodeId(REALM, "org.example", "edge-1")
ADDRESS = Address.parse("192.0.2.1:8443")


def handed_over(*, dialled: bool, bearer: str = "psn", address: str = str(ADDRESS)) -> Any:
    return SimpleNamespace(peer=PEER.uri, dialled=dialled, bearer=bearer, address=address, discover="")


def file(*, links: str = "", listens: str = "") -> Any:
    """What the file says of the bearer now; nothing: it does not have that link or listener."""
    return SimpleNamespace(
        discoveries=[],
        named_links=[LinkSettings(peer=PEER, address=ADDRESS, bearer=links, weight=7)] if links else [],
        listens=[ListenSettings(address=ADDRESS, bearer=listens, weight=7)] if listens else [],
    )


@pytest.mark.parametrize("now", ["psn", "internet"])
def test_a_listener_is_of_the_network_that_the_file_says(now: str) -> None:
    found = restored_settings(handed_over(dialled=False), file(listens=now))
    assert (found.bearer, found.weight) == (now, 7)


def test_a_dialled_link_stays_of_the_network_that_it_went_over() -> None:
    found = restored_settings(handed_over(dialled=True), file(links="internet"))
    assert (found.bearer, found.weight) == ("psn", 100)
    found = restored_settings(handed_over(dialled=True), file(links="psn"))
    assert (found.bearer, found.weight) == ("psn", 7)


@pytest.mark.parametrize("dialled", [True, False])
def test_what_the_file_has_no_more_keeps_what_it_had(dialled: bool) -> None:
    found = restored_settings(handed_over(dialled=dialled), file())
    assert (found.bearer, found.address) == ("psn", ADDRESS)


@pytest.mark.parametrize("dialled", [True, False])
def test_a_record_without_an_address_is_found_by_its_bearer(dialled: bool) -> None:
    old = handed_over(dialled=dialled, address="")
    assert restored_settings(old, file(links="psn", listens="psn")).weight == 7
    assert restored_settings(old, file(links="internet", listens="internet")).bearer == "psn"


async def test_a_new_link_over_another_network_is_not_taken_for_the_restored_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nodes = Nodes(tmp_path)
    running = await nodes.start(HUB, "relay-1", role="relay", listens=[f"127.0.0.1:{free_port()}"])
    table = running.node.link_table
    monkeypatch.setattr(table._local, "standing_refusal", lambda *_: None)

    def entered(bearer: str) -> Link:
        established = HandshakeResult(
            peer=PEER, peer_role=Role.EDGE, suite=Suite.AES_256_GCM, group="X25519MLKEM768", tls_suite="", client=True,
            secret=bytearray(32), binding=bytes(32), lanes=1, flows=0, cap=1 << 20, link_id=bytes(16), chain=(),
        )  # fmt: skip
        link = table.add(established, LostConnection(), LinkSettings(peer=PEER, address=ADDRESS, bearer=bearer))
        assert link is not None
        return link

    old, new = entered("psn"), entered("internet")
    assert (old.bearer, new.bearer) == ("psn", "internet")
    assert entered("internet").standing is new.standing
    await nodes.stop()


def test_a_relay_that_dns_led_to_is_of_the_name_that_the_file_has() -> None:
    by = DiscoverSettings(discover="_pcgrelay._tcp.relays.example", bearer="psn", weight=7)
    record = handed_over(dialled=True)
    record.discover = by.discover
    now = file()
    now.discoveries = [by]
    found = restored_settings(record, now)
    assert isinstance(found, LinkSettings)
    assert (found.peer, found.address, found.discover, found.weight) == (PEER, ADDRESS, by.discover, 7)
    now.discoveries = []
    without = restored_settings(record, now)
    assert isinstance(without, LinkSettings)
    assert without.discover == ""


def test_places_of_a_host_are_bounded() -> None:
    record = handed_over(dialled=True)
    record.found = tuple((2, f"192.0.2.{number}", 7400) for number in range(20))
    places = restored_places(record)
    assert places[0] == (2, ("192.0.2.0", 7400))
    assert len(places) == 8


@pytest.mark.parametrize("draining", [False, True])
async def test_a_restored_link_ends_with_its_entry_in_the_file_though_no_new_one_is_up(
    tmp_path: Path, draining: bool
) -> None:
    nodes = Nodes(tmp_path)
    entry = {"peer": f"relay-2.{HUB}", "address": f"127.0.0.1:{free_port()}"}
    tables: dict[str, Any] = {"role": "relay", "listens": [f"127.0.0.1:{free_port()}"]}
    running = await nodes.start(HUB, "relay-1", links=[entry], **tables)
    table, chain = running.node.link_table, running.node.local.credentials.chain
    handover = LinkHandover(
        number=7, peer=NodeId(REALM, HUB, "relay-2").uri, peer_role=Role.RELAY, bearer="internet", dialled=True,
        lanes=1, cap=1 << 20, suite=Suite.AES_256_GCM, group="X25519MLKEM768", tls_suite="", link_id=bytes(16),
        chain=write_chain(chain), draining=draining, address=str(entry["address"]), lanes_up={0: 1},
    )  # fmt: skip
    table.restore([handover])
    # Its successor is being dialled, and nobody answers.
    assert (table.links[7].state, table.links[7].bearer) == (LinkState.ORPHANED, "internet")
    nodes.write(HUB, "relay-1", **tables)
    answer = await Reloader(running.node, Log("debug", running.sink), lambda text: None).reload()
    assert answer.ok, answer
    await until(lambda: 7 not in table.links)
    (down,) = running.lines("link.down")
    assert (down["link"], down["reason"]) == (7, "removed")
    await nodes.stop()
