"""An edge at its limits: too many streams, too little memory, records that come late or must not come at all."""

from tests.reference.records import (
    Kind,
    record_accept,
    record_data,
    record_datagram,
    record_fin,
    record_open,
    record_reset,
    records_encode,
)
from tests.support.reference_peer import SESSION, Peer
from tests.support.virtual_wires import World

DONE, LIMIT, BUSY, UNKNOWN, REFUSED, UNREACHABLE, TIMEOUT, ABORTED = 0, 2, 3, 4, 5, 6, 7, 8
IMPORT_WANTED, STREAM_END = 8, 9
LATE_RECORDS, DATAGRAMS_IGNORED = 17, 22
TEXT = bytes(range(256)) * 256
MEGABYTE = 1 << 20


def codes(peer: Peer) -> dict[int, int]:
    """The code of each RESET that came, by stream."""
    return {record.stream: record.number("code") for record in peer.records() if record.kind is Kind.RESET}


def run(world: World, seconds: float = 1.0) -> None:
    world.settle()
    world.wait(seconds)


# -- limits -----------------------------------------------------------------------------------------------------------


def test_an_open_beyond_the_memory_is_answered_busy() -> None:
    world = World()
    near, far = world.edge(), world.edge(memory=400_000, reserve=400_000)
    far.connects = False
    session = world.session(near, far, [world.link(near, far)])
    world.service(near, far, session)
    applications = [near.connect() for _ in range(1_500)]
    run(world, 1)
    refused = [each for each in applications if each is not None and each.cause == (BUSY, True)]
    assert 0 < len(refused) < 1_500
    assert far.memory[1] <= 800_000
    assert near.has_session(session)
    assert far.has_session(session)


def test_an_open_past_the_limit_of_a_flow_is_answered_limit() -> None:
    peer = Peer()
    peer.be_blind()
    peer.edge.connects = False
    opens = [record_open(stream, "s", 0) for stream in range(1, 2 * 65_536 + 20, 2)]
    for at in range(0, len(opens), 2_500):
        peer.send(*opens[at : at + 2_500])
    assert peer.edge.has_session(SESSION)
    assert peer.edge.flow(SESSION)["streams"] == 65_536
    assert codes(peer) == dict.fromkeys(range(2 * 65_536 + 1, 2 * 65_536 + 20, 2), LIMIT)


def test_late_records_are_ignored_until_there_are_too_many() -> None:
    peer = Peer()
    peer.be_blind()
    peer.send(record_open(1, "s", 0), record_reset(1, ABORTED))
    late = [record_data(1, b"x")] * 5_000
    for _ in range(20):
        peer.send(*late)
    assert peer.edge.counted(LATE_RECORDS) == 100_000
    assert peer.edge.has_session(SESSION)
    peer.send(record_data(1, b"x"))
    assert peer.edge.refused() == {"GLITCHES": 1}
    assert not peer.edge.has_session(SESSION)


def test_a_bad_record_spoils_the_good_ones_before_it() -> None:
    peer = Peer()
    peer.be_blind()
    peer.edge.connects = True
    peer.send(record_open(1, "s", 0))
    (there,) = peer.edge.answered
    peer.send_body(record_data(1, b"good").encode() + bytes(7))
    assert bytes(there.received) == b""
    assert peer.edge.refused() == {"BAD_RECORD": 1}


def test_datagrams_are_ignored_and_counted() -> None:
    peer = Peer()
    body = records_encode([record_datagram(1, 0, b"x"), record_datagram(1, 1, b"y")])
    peer.end.flow.send_datagrams(body)
    peer.settle()
    assert peer.edge.counted(DATAGRAMS_IGNORED) == 2
    assert peer.edge.has_session(SESSION)


def test_a_record_for_a_stream_that_is_not_yet_said_is_a_violation() -> None:
    peer = Peer(is_initiator=True)
    peer.be_blind()
    peer.send(record_accept(1, 65_536))
    assert peer.edge.refused() == {"BAD_STREAM": 1}


def test_the_core_and_the_reference_talk_both_ways() -> None:
    peer = Peer()
    peer.send(record_open(1, "s", MEGABYTE), record_data(1, b"question"), record_fin(1, 8))
    (there,) = peer.edge.answered
    assert (bytes(there.received), there.ended) == (b"question", True)
    peer.edge.write(there, TEXT, close=True)
    peer.settle()
    data = b"".join(record.data for record in peer.records() if record.kind is Kind.DATA)
    assert data == TEXT
    assert peer.records()[-1].fields == {"final_offset": len(TEXT)}
    assert there.cause == (DONE, False)
    here = peer.edge.connect()
    assert here is not None
    peer.settle()
    assert [record.stream for record in peer.records() if record.kind is Kind.OPEN] == [2]
    peer.send(record_accept(2, MEGABYTE), record_data(2, b"speaks first"))
    assert bytes(here.received) == b"speaks first"
