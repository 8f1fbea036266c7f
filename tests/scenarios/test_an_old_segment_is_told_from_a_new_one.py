"""A local port is used again while its last connection is in TIME-WAIT: what comes late from that one is dropped.

The segments are made here. One that is like the next of the connection, with the time stamp of the one before, is
dropped by the target (PAWS, RFC 7323, section 5); with a time stamp of now the same is taken, so the test can fail.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.scenarios.kit.network_namespace import own_network
from tests.support.applications import Across, server, try_open
from tests.support.cores import carried_out
from tests.support.dialled_targets import serve
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test
HOST, PORT = "127.0.0.1", 40_001
ETH_P_IP = 0x0800
PUSH_AND_ACK = 0x18
STAMP = bytes([1, 1, 8, 10])  # two of padding, then the option of time stamps


@dataclass(frozen=True)
class Segment:
    """One of the edge to its target."""

    target: int
    after: int  # the sequence number behind it
    ack: int
    stamp: int
    echoed: int

    @classmethod
    def of(cls, packet: bytes) -> Segment | None:
        """Read a packet of IPv4; None: it is another's, or has no time stamp."""
        head = (packet[0] & 15) * 4
        source, target, number, ack, offset = struct.unpack_from(">HHIIB", packet, head)
        options = packet[head + 20 : head + (offset >> 4) * 4]
        at = options.find(STAMP)
        if packet[9] != socket.IPPROTO_TCP or source != PORT or at < 0:
            return None
        length = struct.unpack_from(">H", packet, 2)[0] - head - (offset >> 4) * 4
        stamp, echoed = struct.unpack_from(">II", options, at + 4)
        return cls(target, (number + length) & 0xFFFF_FFFF, ack, stamp, echoed)


@contextlib.contextmanager
def listening() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_IP)) as tap:
        tap.bind(("lo", ETH_P_IP))
        tap.setblocking(False)
        yield tap


def read_all(tap: socket.socket) -> Iterator[Segment]:
    with contextlib.suppress(BlockingIOError):
        while True:
            if segment := Segment.of(tap.recv(65_536)):
                yield segment


def last_segment(tap: socket.socket) -> Segment:
    *_, last = read_all(tap)
    return last


def send_segment(last: Segment, stamp: int, data: bytes) -> None:
    """Send what would be the next segment after the last one."""
    options = STAMP + struct.pack(">II", stamp, last.echoed)
    head = struct.pack(">HHIIBBHHH", PORT, last.target, last.after, last.ack, 8 << 4, PUSH_AND_ACK, 512, 0, 0)
    address = socket.inet_aton(HOST)
    whole = address + address + struct.pack(">HH", socket.IPPROTO_TCP, 32 + len(data)) + head + options + data
    sums = sum(struct.unpack(f">{len(whole) // 2}H", whole))
    while sums >> 16:
        sums = (sums & 0xFFFF) + (sums >> 16)
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP) as raw:
        raw.sendto(head[:16] + struct.pack(">HH", ~sums & 0xFFFF, 0) + options + data, (HOST, 0))


def dropped_by_stamp() -> int:
    names, figures = Path("/proc/thread-self/net/netstat").read_text().splitlines()[:2]
    return int(dict(zip(names.split(), figures.split(), strict=True))["PAWSEstab"])


def test_a_segment_of_the_connection_before_is_dropped() -> None:
    heard: list[bytes] = []

    def answer(connection: socket.socket) -> None:
        while data := connection.recv(100):
            heard.append(data)
            connection.sendall(data)

    with own_network(), server(answer) as target, Across(relays=0) as across, listening() as tap:
        address = serve(across, target)
        allowed = bytearray(8_192)
        allowed[PORT // 8] |= 1 << PORT % 8
        across.far.core.local_ports(bytes(allowed))
        carried_out(across.far)
        before = try_open(address)
        assert before is not None
        before.close()
        until(lambda: across.far.core.streams() == 0)
        old = last_segment(tap)

        def opened_again() -> socket.socket | None:
            # Attempts that come too early would fill the tap, and nothing of the one that succeeds would be in it.
            list(read_all(tap))
            return try_open(address)

        with until(opened_again) as connection:
            last = last_segment(tap)
            assert last.target == old.target
            # A second has passed, and its time stamps have gone on by as much.
            assert last.stamp - old.stamp >= 1_000
            dropped = dropped_by_stamp()
            send_segment(last, old.stamp, b"late!!")
            until(lambda: dropped_by_stamp() == dropped + 1)
            connection.sendall(b"more!!")
            assert connection.recv(100) == b"more!!"

            now = last_segment(tap)
            send_segment(now, now.stamp, b"forged")
            until(lambda: b"forged" in heard)
            assert heard == [b"hello", b"hello", b"more!!", b"forged"]
