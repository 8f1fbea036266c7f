"""Links that a node dials: whom they may be made with, and which of them may be there in a moment."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pcgrelay.config import Address, DiscoverSettings, LinkSettings
from pcgrelay.link.bar import Bar
from pcgrelay.link.dialled import DialledLink, FoundRelay
from pcgrelay.link.dialler import Dialler
from pcgrelay.link.link import LinkState
from pcgrelay.model import NodeId, Role
from tests.support.pki import REALM

PEER = NodeId(REALM, "hub.example", "relay-1")
OTHER = NodeId(REALM, "hub.example", "relay-2")
ADDRESS = Address.parse("192.0.2.1:7400")
POLICY: Any = SimpleNamespace(relays=("hub.example",), may_relay=lambda organisation: True, admits=lambda name: True)


def found(*peers: NodeId) -> FoundRelay:
    return FoundRelay(DiscoverSettings(discover="_pcgrelay._tcp.relays.example", bearer="psn", peers=peers), ADDRESS)


def test_a_relay_that_a_reload_forbids_while_it_is_asked_who_it_is_gets_no_link() -> None:
    slot = DialledLink(found(PEER, OTHER))
    assert slot.refusal(PEER, POLICY) is None
    assert isinstance(slot.made_with(PEER, Role.RELAY, POLICY), LinkSettings)
    slot.settings = found(OTHER)
    assert slot.made_with(PEER, Role.RELAY, POLICY) == "relay_not_admitted"
    # Named in the file it is a matter of the entry, which ends with its link.
    named = DialledLink(LinkSettings(peer=PEER, address=ADDRESS, bearer="psn"))
    assert named.made_with(PEER, Role.RELAY, POLICY) is named.settings


@pytest.mark.parametrize(
    ("state", "attempts", "expected"),
    [
        # Not tried yet, as after the start of a process, and tried in vain.
        (None, 0, True),
        (None, 1, False),
        # There, lost just now, and lost and tried in vain.
        (LinkState.UP, 0, False),
        (LinkState.CLOSED, 1, True),
        (LinkState.CLOSED, 2, False),
    ],
)
def test_a_link_that_may_be_there_in_a_moment(state: LinkState | None, attempts: int, expected: bool) -> None:
    settings = LinkSettings(peer=PEER, address=ADDRESS, bearer="psn")
    config = SimpleNamespace(named_links=(settings,), discoveries=())
    registry: Any = SimpleNamespace(bar=None)
    local: Any = SimpleNamespace(config=config)
    clock: Any = None
    dialler = Dialler(registry, local, lambda record: None, clock)
    (wanted,) = dialler.named
    wanted.attempts = attempts
    wanted.link = None if state is None else _link(state)
    assert bool(list(dialler.awaited())) is expected
    registry.bar = Bar(bearer="psn")
    assert not list(dialler.awaited())


def _link(state: LinkState) -> Any:
    return SimpleNamespace(state=state, lanes_up={})
