"""A stream that both sides ended, while its application has not taken all: closed for the far edge, not for us."""

import pytest

from tests.native.probe_edge import Application
from tests.reference.records import (
    Kind,
    Record,
    record_credit,
    record_data,
    record_fin,
    record_open,
    record_reset,
    records_encode,
)
from tests.support.reference_peer import SESSION, Peer

COUNT_LATE_RECORDS = 17
TEXT = b"the last bytes"


def closed(peer: Peer) -> Application:
    """A stream that the peer opened and both sides ended. Its application holds back from reading."""
    peer.be_blind()
    peer.send(record_open(1, "s", 65_536))
    (application,) = peer.edge.answered
    peer.edge.reads(application, False)
    peer.send(record_data(1, TEXT), record_fin(1, len(TEXT)))
    peer.edge.write(application, b"", close=True)
    peer.settle()
    assert application.state == "CLOSED"
    assert not application.ended
    return application


@pytest.mark.parametrize(
    "record",
    [record_reset(1, 8), record_credit(1, 1 << 20), record_credit(1, 0), record_data(1, b"more"), record_fin(1, 3)],
    ids=["RESET", "CREDIT", "CREDIT that lowers", "DATA", "FIN"],
)
def test_what_still_comes_for_it_is_late(record: Record) -> None:
    peer = Peer()
    application = closed(peer)
    # Not as records: the reference itself would not send all of them.
    peer.send_body(records_encode([record]))
    assert peer.edge.has_session(SESSION)
    assert peer.edge.counted(COUNT_LATE_RECORDS) == 1
    peer.edge.reads(application, True)
    peer.settle()
    assert application.received == TEXT
    assert application.ended


def test_it_says_nothing_more_when_its_application_goes() -> None:
    peer = Peer()
    application = closed(peer)
    before = len(peer.records())
    peer.edge.reset(application)
    peer.settle()
    assert [record for record in peer.records()[before:] if record.kind is Kind.RESET] == []
    assert application.state is None
