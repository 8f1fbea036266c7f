"""One side of UDP lanes against the reference, with neither socket nor clock: what it seals, and what it takes."""

from __future__ import annotations

import random
import struct

import pytest

from tests.native.probe_udp import UdpEnd
from tests.reference.frames import Half, Header, Type
from tests.reference.packets import PROBE, REPORT, Receiver, epoch_of, own_packet, packet_seal, probe, report

SECRET = bytes(range(32))
OURS, THEIRS = 0x1234_5678, 0x9ABC_DEF0
SECOND = 1_000_000
HERE, THERE, ELSEWHERE = (b"\2\0\x10" + bytes([at]) + b"\x7f\0\0\1" + bytes(8) for at in (1, 2, 3))
LABEL = 77


class Peer:
    """The far side of UDP lane 0, by the reference: the acceptor."""

    def __init__(self, end: UdpEnd, *, suite: int = 1, number: int = 0, secret: bytes = SECRET, token: int = OURS):
        self.end, self.number, self.token = end, number, token
        self.tx, self.rx = epoch_of(secret, 1, suite), epoch_of(secret, 0, suite)
        self.half = Half(1, 0)
        self.receiver = Receiver(self.rx, Half(0, 0), THEIRS)
        self.hop = 0
        self.taken = 0

    def datagrams(self, body: bytes = b"a sealed body", label: int = LABEL) -> bytes:
        self.hop += 1
        header = Header(len(body), Type.DATAGRAMS, label, number=5)
        return packet_seal(self.tx, self.token, self.hop - 1, header, b"T" * 16, body)

    def own(self, kind: int, body: bytes) -> bytes:
        self.hop += 1
        return own_packet(self.tx, self.token, self.hop - 1, self.half, kind, body)

    def hear(self) -> list[tuple[str, bytes]]:
        """What the end sends, opened."""
        heard = [self.receiver.take(packet) for packet in self.end.out(self.number)]
        self.taken += len(heard)
        return heard

    def answer(self) -> None:
        """Answer each PROBE that it sends."""
        for word, body in self.hear():
            if word == "probe":
                self.end.rx(self.own(REPORT, report(int.from_bytes(body[:8], "big"), self.taken)))


def made(*, suite: int = 1, begun: bool = True) -> tuple[UdpEnd, Peer]:
    end = UdpEnd(dialler=True, suite=suite)
    assert end.start(0, token=OURS, secret=SECRET)
    if begun:
        end.begin(0, THEIRS)
    return end, Peer(end, suite=suite)


def up(suite: int = 1) -> tuple[UdpEnd, Peer]:
    end, peer = made(suite=suite)
    peer.answer()
    assert end.used() == 0
    end.events()
    return end, peer


def frame(body: bytes = b"a sealed body", label: int = LABEL) -> bytes:
    return Header(len(body), Type.DATAGRAMS, label, number=9).encode() + bytes(16) + b"T" * 16 + body


# -- there and back ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suite", [1, 2, 3])
def test_packets_are_those_of_the_page(suite: int) -> None:
    end, peer = up(suite)
    end.push(0, frame())
    end.push(0, frame(b"x" * 1_200))
    packets = end.out(0)
    assert [len(packet) for packet in packets] == [12 + 48 + 13, 12 + 48 + 1_200]
    assert [struct.unpack(">IQ", packet[:12]) for packet in packets] == [(THEIRS, 1), (THEIRS, 2)]
    assert [peer.receiver.take(packet) for packet in packets] == [("datagrams", b"")] * 2
    body = b"back" * 50
    taken = end.rx(peer.datagrams(body))
    assert taken is not None
    number, wire = taken
    assert (number, wire[:16], wire[32:]) == (
        0,
        Header(200, Type.DATAGRAMS, LABEL, number=5).encode(),
        b"T" * 16 + body,
    )


def test_the_first_probe_is_as_long_as_the_longest_body_and_is_answered_at_once() -> None:
    end, peer = made()
    ((word, body),) = peer.hear()
    assert (word, len(body), body[8:]) == ("probe", 1_200, bytes(1_192))
    assert end.rx(peer.own(PROBE, probe(99, 1_200))) is None
    ((word, body),) = peer.hear()
    assert (word, struct.unpack(">QQ", body)) == ("report", (99, 1))


def test_it_is_used_from_the_first_report_on() -> None:
    end, peer = made()
    assert (end.used(), end.state(0)) == (None, "opening")
    peer.answer()
    assert (end.used(), end.state(0)) == (0, "up")
    assert end.events() == [("up", 0, "", False)]


def test_nothing_is_sent_before_the_peers_token_is_known_and_its_probe_is_answered_then() -> None:
    end, peer = made(begun=False)
    assert end.rx(peer.own(PROBE, probe(5, 1_200)), THERE) is None
    end.now_us += SECOND
    end.tick()
    assert end.out(0) == []
    end.begin(0, THEIRS, HERE)
    assert [word for word, _ in peer.hear()] == ["probe", "report"]
    # A packet had told where the peer is.
    assert end.peer(0) == THERE


def test_probe_goes_out_in_each_interval() -> None:
    end, peer = up()
    for _ in range(10):
        end.now_us += SECOND // 2
        end.tick()
        assert [word for word, _ in peer.hear()] == ["probe"]
        end.tick()
        assert peer.hear() == []


# -- what is not taken ------------------------------------------------------------------------------------------------


def test_each_bit_of_a_packet_is_looked_at() -> None:
    end, peer = up()
    packet = peer.datagrams(b"some body of a frame")
    for at in range(len(packet)):
        forged = bytearray(packet)
        forged[at] ^= 1 << (at % 8)
        assert end.rx(bytes(forged), ELSEWHERE) is None
    counts = end.counts()
    assert counts["token"] == 4
    assert sum(counts.get(cause, 0) for cause in ("tag", "late", "replayed")) == len(packet) - 4
    # Nothing of it was believed: neither the number is taken, nor is the peer elsewhere.
    assert end.peer(0) != ELSEWHERE
    assert end.rx(packet) is not None


@pytest.mark.parametrize("length", [0, 1, 11, 12, 60, 67, 1_261, 9_000])
def test_a_packet_of_another_length_costs_nothing(length: int) -> None:
    end, _ = up()
    packet = struct.pack(">IQ", OURS, 7) + bytes(9_000)
    assert end.rx(packet[:length]) is None
    assert end.counts()["length"] == 1


def test_a_packet_is_taken_once_and_in_any_order_within_the_window() -> None:
    end, peer = up()
    packets = [peer.datagrams() for _ in range(1_100)]
    order = list(range(200))
    random.Random(7).shuffle(order)
    assert all(end.rx(packets[at]) for at in order)
    assert not any(end.rx(packets[at]) for at in order)
    assert end.counts()["replayed"] == 200
    assert end.rx(packets[-1])
    assert end.rx(packets[500])
    # 1,023 below the greatest.
    assert end.rx(packets[76]) is None
    assert end.counts()["replayed"] == 201
    end, peer = up()
    packets = [peer.datagrams() for _ in range(1_100)]
    assert end.rx(packets[-1])
    assert end.rx(packets[75]) is None
    assert end.rx(packets[76]) is not None
    assert end.counts()["late"] == 1


def test_a_number_beyond_the_life_of_a_key_is_not_opened() -> None:
    end, peer = up()
    peer.hop = 1 << 24
    assert end.rx(peer.datagrams()) is None
    assert end.counts()["tag"] == 1


@pytest.mark.parametrize(
    "header",
    [
        Header(12, Type.DATAGRAMS, LABEL),
        Header(14, Type.DATAGRAMS, LABEL),
        Header(13, Type.DATAGRAMS, 0),
        Header(13, Type.DATAGRAMS, LABEL, flags=1),
        Header(13, Type.BUNDLE, LABEL),
        Header(13, Type.ACK, LABEL),
        Header(13, Type.PADDING),
        Header(13, Type.CLOSE),
        Header(13, REPORT),
        Header(13, PROBE, 1),
        Header(13, PROBE, 0, 1),
        Header(13, PROBE, number=1),
        Header(13, PROBE, flags=1),
        Header(13, 0x0B),
        Header(13, PROBE),
    ],
)
def test_a_frame_that_may_not_come_here_is_dropped_and_closes_nothing(header: Header) -> None:
    """The last one is right but for the tag of its body."""
    end, peer = up()
    peer.hop += 1
    packet = packet_seal(peer.tx, OURS, peer.hop - 1, header, b"T" * 16, b"13 bytes long")
    assert end.rx(packet) is None
    assert end.counts()["malformed"] == 1
    assert (end.used(), end.events()) == (0, [])
    assert end.rx(peer.datagrams()) is not None


def test_another_direction_another_lane_and_another_key_do_not_open() -> None:
    end, _peer = up()
    end.push(0, frame())
    (own,) = end.out(0)
    assert end.rx(struct.pack(">IQ", OURS, 50) + own[12:]) is None
    other = Peer(end, secret=bytes(32))
    other.hop = 100
    assert end.rx(other.datagrams()) is None
    assert end.counts()["tag"] == 2


def test_probes_beyond_the_budget_are_not_answered() -> None:
    end, peer = up()
    for at in range(150):
        end.rx(peer.own(PROBE, probe(at, 8)))
    assert len(peer.hear()) == 100
    assert end.counts()["glitches"] == 50
    end.now_us += SECOND
    for at in range(30):
        end.rx(peer.own(PROBE, probe(at, 8)))
    assert len(peer.hear()) == 20


# -- where the peer is ------------------------------------------------------------------------------------------------


def test_the_peer_moves_with_a_greater_number_alone() -> None:
    end, peer = up()
    first, second, third = (peer.datagrams() for _ in range(3))
    assert end.rx(second, THERE)
    assert end.peer(0) == THERE
    assert end.rx(first, ELSEWHERE)
    assert end.peer(0) == THERE
    assert end.rx(second, ELSEWHERE) is None
    assert end.peer(0) == THERE
    assert end.rx(third, ELSEWHERE)
    assert end.peer(0) == ELSEWHERE


# -- life -------------------------------------------------------------------------------------------------------------


def test_the_next_one_is_due_by_packets_either_way() -> None:
    for skip in (lambda end, _: end.skip(0, 3_145_728), lambda _, peer: setattr(peer, "hop", 3_145_727)):
        end, peer = up()
        skip(end, peer)
        assert end.rx(peer.datagrams())
        end.tick()
        end.tick()
        assert end.events() == [("spent", 0, "", False)]


def test_a_key_that_is_spent_seals_nothing_more() -> None:
    end, peer = up()
    end.skip(0, (1 << 24) - 1)
    end.push(0, frame())
    assert not end.bears(0, 10)
    end.tick()
    assert ("down", 0, "spent", True) in end.events()
    assert (end.used(), end.numbers()) == (None, [])
    assert end.rx(peer.datagrams()) is None


def test_a_key_lives_180_seconds() -> None:
    end, peer = up()
    for _ in range(359):
        end.now_us += SECOND // 2
        end.tick()
        peer.answer()
    assert end.used() == 0
    end.now_us += SECOND // 2
    assert not end.bears(0, 10)
    end.tick()
    assert end.events()[-1] == ("down", 0, "spent", True)


def replaced() -> tuple[UdpEnd, Peer, Peer]:
    end, peer = up()
    assert end.start(1, token=OURS + 1, secret=bytes(32))
    end.begin(1, THEIRS)
    newer = Peer(end, number=1, secret=bytes(32), token=OURS + 1)
    return end, peer, newer


def test_the_next_one_takes_the_place_at_its_first_report_and_both_are_read_for_two_seconds() -> None:
    end, peer, newer = replaced()
    assert end.used() == 0
    newer.answer()
    assert (end.used(), end.events()) == (1, [("up", 1, "", False)])
    end.now_us += 2 * SECOND - 1
    end.tick()
    assert [taken and taken[0] for taken in (end.rx(peer.datagrams()), end.rx(newer.datagrams()))] == [0, 1]
    end.now_us += 1
    end.tick()
    assert ("down", 0, "replaced", True) in end.events()
    assert end.rx(peer.datagrams()) is None
    assert end.counts()["token"] == 1


def test_one_that_is_answered_late_does_not_take_the_place_of_a_newer() -> None:
    end, _, newer = replaced()
    assert end.start(2, token=OURS + 2, secret=SECRET[::-1])
    end.begin(2, THEIRS)
    newest = Peer(end, number=2, secret=SECRET[::-1], token=OURS + 2)
    newest.answer()
    assert end.used() == 2
    newer.answer()
    assert end.used() == 2
    end.now_us += 2 * SECOND
    end.tick()
    assert end.numbers() == [2]


def test_one_that_was_never_answered_makes_room_for_one_that_is() -> None:
    end, _ = made()
    assert end.start(1, token=OURS + 1, secret=bytes(32))
    end.begin(1, THEIRS)
    Peer(end, number=1, secret=bytes(32), token=OURS + 1).answer()
    assert end.used() == 1
    end.now_us += 2 * SECOND
    end.tick()
    assert end.numbers() == [1]


def test_one_that_follows_a_broken_one_is_not_used_before_that_would_have_been() -> None:
    end, _peer = up()
    for _ in range(60):
        end.now_us += 50_000
        end.tick()
    assert (end.used(), end.state(0)) == (None, "broken")
    assert ("down", 0, "silent", False) in end.events()
    assert end.start(1, token=OURS + 1, secret=bytes(32))
    end.begin(1, THEIRS)
    newer = Peer(end, number=1, secret=bytes(32), token=OURS + 1)
    newer.answer()
    assert (end.used(), end.state(1)) == (None, "broken")
    assert end.events() == [("up", 1, "", False), ("down", 1, "loss", False)]
    for _ in range(220):
        end.now_us += 50_000
        end.tick()
        newer.answer()
    assert end.used() == 1


def test_of_an_index_there_are_at_most_three() -> None:
    end, _ = up()
    for number in range(1, 6):
        assert end.start(number, token=OURS + number, secret=SECRET)
    assert end.numbers() == [0, 4, 5]
    assert [event[1:] for event in end.events()] == [(number, "replaced", True) for number in (1, 2, 3)]


def test_a_token_in_use_is_refused_and_so_is_none() -> None:
    end, _ = up()
    before = end.memory()
    assert not end.start(1, token=OURS, secret=SECRET)
    assert not end.start(1, token=0, secret=SECRET)
    assert end.memory() == before


def test_nothing_is_left_of_one_that_ended() -> None:
    end = UdpEnd(dialler=True)
    before = end.memory()
    assert end.start(0, token=OURS, secret=SECRET)
    end.begin(0, THEIRS)
    end.push(0, frame())
    end.close(0)
    assert (end.memory(), end.numbers(), end.used()) == (before, [], None)
    assert end.events() == [("down", 0, "link", True)]


# -- bounds -----------------------------------------------------------------------------------------------------------


def test_what_leaves_in_one_turn_is_bounded() -> None:
    end, _ = up()
    for _ in range(1_500):
        end.push(0, frame(b"x" * 1_200))
    assert end.counts()["not sent"] == 476
    assert len(end.out(0)) == 1_024


def test_where_memory_is_short_packets_are_dropped_and_counted() -> None:
    end = UdpEnd(dialler=True, memory=200_000)
    assert end.start(0, token=OURS, secret=SECRET)
    end.begin(0, THEIRS)
    Peer(end).answer()
    for _ in range(500):
        end.push(0, frame(b"x" * 1_000))
    assert end.counts()["not sent"] > 200
    assert len(end.out(0)) == 500 - end.counts()["not sent"]


def test_a_longer_frame_is_not_for_it() -> None:
    end, _ = up()
    assert end.bears(0, 1_200)
    assert not end.bears(0, 1_201)
    assert end.counts()["too long"] == 1
