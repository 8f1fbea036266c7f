"""The socket between a process and the one that takes its place: order, bounds, descriptors, and who is there."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from pcgrelay.daemon.handover.channel import (
    DESCRIPTORS_AT_ONCE,
    MESSAGE_LIMIT_BYTES,
    Channel,
    ChannelBroken,
    Go,
    Offer,
    Ready,
    Refusal,
    State,
    Taken,
    handover_path,
)
from pcgrelay.handover.node import ServiceHandover

SOON_S = 2.0
OFFER = Offer(
    record=1,
    handover=1,
    node={"name": "kent-1"},
    used_bytes=7,
    descriptors=9,
    listens=("127.0.0.1:7400",),
    imports=(ServiceHandover(number=3, service="custody@kent.police.example", listen="127.0.0.1:5432", is_open=True),),
)


@pytest.fixture
def pair() -> Iterator[tuple[Channel, socket.socket]]:
    near, far = socket.socketpair()
    channel = Channel(near)
    yield channel, far
    channel.close()
    far.close()


def said(message: object) -> bytes:
    data = msgspec.msgpack.encode(message)
    return len(data).to_bytes(4, "big") + data


@pytest.mark.parametrize(
    "message", [OFFER, Ready(), State(handover=b"e", record_bytes=8, listens=(), core=0), Taken(), Go()]
)
def test_a_message_arrives_as_it_was_said(message: Offer | Ready | State | Taken | Go) -> None:
    near, far = socket.socketpair()
    one, other = Channel(near), Channel(far)
    one.send(message, SOON_S)
    assert other.receive(type(message), SOON_S) == message
    one.close()
    other.close()


def test_a_message_may_come_byte_by_byte(pair: tuple[Channel, socket.socket]) -> None:
    channel, far = pair
    far.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    for byte in said(OFFER):
        far.send(bytes([byte]))
    assert channel.receive(Offer, SOON_S) == OFFER


def test_a_refusal_is_raised_with_its_reason(pair: tuple[Channel, socket.socket]) -> None:
    channel, far = pair
    far.send(said(Refusal(reason="it drains")))
    with pytest.raises(ChannelBroken, match="it drains"):
        channel.receive(Offer, SOON_S)


def test_another_order_is_refused(pair: tuple[Channel, socket.socket]) -> None:
    channel, far = pair
    far.send(said(Go()))
    with pytest.raises(ChannelBroken, match="another order"):
        channel.receive(Taken, SOON_S)


@pytest.mark.parametrize(
    "junk",
    [
        (MESSAGE_LIMIT_BYTES + 1).to_bytes(4, "big"),
        b"\xff\xff\xff\xff",
        b"\0\0\0\1\xc1",
        b"\0\0\0\0",
        said({"type": "nothing"}),
        said({"type": "offer"}),
        said(7),
    ],
)
def test_what_is_no_message_is_refused(pair: tuple[Channel, socket.socket], junk: bytes) -> None:
    channel, far = pair
    far.send(junk)
    with pytest.raises(ChannelBroken, match="does not speak"):
        channel.receive(Offer, SOON_S)


def test_random_bytes_are_refused_and_nothing_else_happens() -> None:
    rng = random.Random(3)
    for _ in range(300):
        near, far = socket.socketpair()
        far.sendall(rng.randbytes(rng.randrange(64)))
        far.close()
        channel = Channel(near)
        with pytest.raises(ChannelBroken):
            channel.receive(Offer, SOON_S)
        channel.close()


def test_silence_and_an_end_are_told_apart(pair: tuple[Channel, socket.socket]) -> None:
    channel, far = pair
    with pytest.raises(ChannelBroken, match="does not answer"):
        channel.receive(Offer, 0.01)
    far.send(b"\0\0\0\7half")
    far.close()
    with pytest.raises(ChannelBroken, match="is gone"):
        channel.receive(Offer, SOON_S)
    with pytest.raises(ChannelBroken, match="is gone"):
        channel.send(OFFER, SOON_S)


def test_who_was_not_heard_in_time_cannot_send_the_last_message_any_more() -> None:
    near, far = socket.socketpair()
    one, other = Channel(near), Channel(far)
    with pytest.raises(ChannelBroken, match="does not answer"):
        one.receive_last(Go, 0.01)
    # Both know: the one gives up, and the other goes on.
    with pytest.raises(ChannelBroken, match="is gone"):
        other.send(Go(), SOON_S)
    one.close()
    other.close()


class JustNow:
    """A socket whose other end sends when the deadline has passed, and before anything was done about it."""

    def __init__(self, sock: socket.socket, far: socket.socket) -> None:
        self._sock = sock
        self._far = far

    def __getattr__(self, name: str) -> object:
        return getattr(self._sock, name)

    def shutdown(self, how: int) -> None:
        self._far.sendall(said(Go()))
        self._sock.shutdown(how)


def test_a_last_message_that_was_sent_counts_however_late() -> None:
    near, far = socket.socketpair()
    channel = Channel(JustNow(near, far))  # type: ignore[arg-type]
    assert channel.receive_last(Go, 0.01) == Go()
    channel.close()
    far.close()


def test_a_last_message_in_time_leaves_the_channel_open() -> None:
    near, far = socket.socketpair()
    one, other = Channel(near), Channel(far)
    other.send(Go(), SOON_S)
    assert one.receive_last(Go, SOON_S) == Go()
    other.send(Taken(), SOON_S)
    assert one.receive(Taken, SOON_S) == Taken()
    one.close()
    other.close()


def test_whoever_takes_nothing_is_given_up(pair: tuple[Channel, socket.socket]) -> None:
    channel, _ = pair
    with pytest.raises(ChannelBroken, match="takes nothing"):
        channel.send(State(handover=bytes(8 << 20), record_bytes=0, listens=(), core=0), 0.05)


@pytest.mark.parametrize("count", [0, 1, DESCRIPTORS_AT_ONCE, DESCRIPTORS_AT_ONCE + 1, 600])
def test_descriptors_come_in_their_order(count: int) -> None:
    near, far = socket.socketpair()
    one, other = Channel(near), Channel(far)
    made = [os.memfd_create(f"number-{number}") for number in range(count)]
    one.send_descriptors(made, SOON_S)
    found = other.receive_descriptors(count, SOON_S)
    assert [os.fstat(fd).st_ino for fd in found] == [os.fstat(fd).st_ino for fd in made]
    assert not any(os.get_inheritable(fd) for fd in found)
    for fd in made + found:
        os.close(fd)
    one.close()
    other.close()


@pytest.mark.parametrize("sent", [(b"D", 2), (b"X", 3), (b"D", 0)])
def test_other_descriptors_than_were_told_are_refused_and_closed(
    pair: tuple[Channel, socket.socket], sent: tuple[bytes, int]
) -> None:
    channel, far = pair
    word, count = sent
    before = len(os.listdir("/proc/self/fd"))
    made = [os.memfd_create("one") for _ in range(count)]
    socket.send_fds(far, [word], made)
    for fd in made:
        os.close(fd)
    with pytest.raises(ChannelBroken, match="not all descriptors"):
        channel.receive_descriptors(3, SOON_S)
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_kernel_says_who_is_there(pair: tuple[Channel, socket.socket]) -> None:
    channel, _ = pair
    assert channel.peer() == (os.getpid(), os.geteuid())
    assert channel.is_own()


def test_another_user_is_not_this_one(pair: tuple[Channel, socket.socket], monkeypatch: pytest.MonkeyPatch) -> None:
    channel, _ = pair
    monkeypatch.setattr(os, "geteuid", lambda: channel.peer()[1] + 1)
    assert not channel.is_own()


def test_the_socket_is_beside_the_admin_socket() -> None:
    assert handover_path(Path("/run/pcgrelay/kent-1.sock")) == Path("/run/pcgrelay/kent-1.sock.next")
