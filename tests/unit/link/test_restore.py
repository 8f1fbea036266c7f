"""The settings of a link that another process has handed over."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pcgrelay.config import Address, LinkSettings, ListenSettings
from pcgrelay.link.restore import restored_settings
from pcgrelay.model import NodeId

PEER = NodeId("police.example", "hub.example", "relay-1")
ADDRESS = Address.parse("192.0.2.1:8443")


def handed_over(*, dialled: bool, bearer: str = "psn", address: str = str(ADDRESS)) -> Any:
    return SimpleNamespace(peer=PEER.uri, dialled=dialled, bearer=bearer, address=address)


def file(*, links: str = "", listens: str = "") -> Any:
    """What the file says of the bearer now; nothing: it does not have that link or listener."""
    return SimpleNamespace(
        links=[LinkSettings(peer=PEER, address=ADDRESS, bearer=links, weight=7)] if links else [],
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
