"""What links carried is not forgotten when they end."""

from types import SimpleNamespace
from typing import Any

from pcgrelay.admin.status import LinkStatus
from pcgrelay.config import Address
from pcgrelay.gateway import link_totals
from pcgrelay.gateway.link_totals import LinkTotals
from pcgrelay.handover.node import NodeHandover, decode_handover, encode_handover
from pcgrelay.model import NodeId
from pcgrelay.views.status import numbered

PLACE = ("relay-1.hub.example", "psn", "out", "127.0.0.1:7400")


def link(number: int, name: str = "relay-1") -> Any:
    settings = SimpleNamespace(address=Address("127.0.0.1", 7400))
    peer = NodeId("police.example", "hub.example", name)
    return SimpleNamespace(
        number=number, peer=peer, bearer="psn", dialled=True, standing=SimpleNamespace(settings=settings)
    )


def counted(sent: int, received: int) -> dict[str, int]:
    return {"sent_bytes": sent, "received_bytes": received}


def test_a_link_that_is_made_again_continues_its_totals() -> None:
    totals = LinkTotals()
    totals.look([link(1)], {1: counted(10, 20)})
    totals.look([link(1)], {1: counted(11, 22)})
    assert totals.ended(PLACE) == (0, 0)
    totals.look([link(2)], {2: counted(1, 2)})
    assert totals.ended(PLACE) == (11, 22)
    totals.look([], {})
    assert totals.ended(PLACE) == (12, 24)
    record = decode_handover(encode_handover(NodeHandover(started_ms=1, link_totals=totals.to_handover())))
    heir = LinkTotals()
    heir.restore(record.link_totals)
    assert heir.ended(PLACE) == (12, 24)
    heir.restore(NodeHandover(started_ms=1).link_totals)  # an older process says nothing of them
    assert heir.ended(PLACE) == (12, 24)


def test_there_is_an_end_to_the_places(monkeypatch: Any) -> None:
    monkeypatch.setattr(link_totals, "PLACES_MOST", 2)
    totals = LinkTotals()
    totals.look(
        [link(number, f"relay-{number}") for number in range(5)], {number: counted(1, 1) for number in range(5)}
    )
    totals.look([], {})
    assert len(totals.to_handover()) == 2


def test_of_two_links_to_one_place_the_first_has_what_ended() -> None:
    one = LinkStatus(peer=PLACE[0], bearer="psn", direction="out", state="up", address=PLACE[3], sent_bytes=5)
    shown = numbered([one, one], lambda place: (100, 200) if place == PLACE else (0, 0))
    assert [(each.nth, each.sent_total_bytes, each.received_total_bytes) for each in shown] == [
        (1, 105, 200),
        (2, 5, 0),
    ]
