"""What a flow takes before it has opened the other side's FLOW_CONFIRM (docs/protocol.md, 2.5, 6.1 and 12.1)."""

from __future__ import annotations

import pytest

from tests.reference.frames import Type, body_encode
from tests.reference.records import record_open, records_encode
from tests.reference.refusals import Code
from tests.support.reference_peer import SESSION, Peer

TAKEN = {
    Type.ACK: body_encode(Type.ACK, next_number=0),
    Type.RESUME: body_encode(Type.RESUME, resume_id=1, next_number=0),
    Type.FLOW_PADDING: b"",
}
ENDS = {Type.FLOW_CLOSE: body_encode(Type.FLOW_CLOSE, code=Code.DONE)}
REFUSED = {Type.DATAGRAMS: b"\0\0\0\1\x07\0\0\x08" + bytes(8)}


def unconfirmed() -> Peer:
    peer = Peer(start=False)
    peer.confirm()
    return peer


@pytest.mark.parametrize("kind", [*TAKEN, *ENDS, *REFUSED])
def test_volatile_frames_before_flow_confirm(kind: Type) -> None:
    peer = unconfirmed()
    if kind is Type.DATAGRAMS:
        peer.end.flow.out.append(peer.end.flow.datagrams_frame(REFUSED[kind]))
    else:
        peer.end.flow.send_volatile(kind, (TAKEN | ENDS)[kind])
    peer.settle()
    assert peer.edge.has_session(SESSION) == (kind in TAKEN)
    assert peer.edge.refused() == {kind: {"NOT_CONFIRMED": 1} for kind in REFUSED}.get(
        kind, {"PEER_CLOSED": 1} if kind in ENDS else {}
    )
    if kind in TAKEN:
        peer.end.flow.start()
        peer.settle()
        assert peer.edge.flow(SESSION)["state"] == "UP"


def test_no_numbered_frame_but_flow_confirm_is_taken() -> None:
    peer = unconfirmed()
    peer.end.flow._send_numbered(Type.BUNDLE, records_encode([record_open(1, "s", 65_536)]), peer.now)
    peer.settle()
    assert not peer.edge.has_session(SESSION)
    assert peer.edge.refused() == {"NOT_CONFIRMED": 1}
