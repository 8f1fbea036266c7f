"""What a peer sends costs by its length alone, whatever its form: nothing of what is not known is made into objects.

Counted is memory, not time: a structure that nobody knows leaves no trace. The one thing that is measured by a clock is
a map whose keys are all of one hash, which took seconds, and the bound is ten times what all forms take together.
"""

from __future__ import annotations

import asyncio
import socket
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcgrelay import messages as m
from pcgrelay.catalogue.entries import ENTRY_KIND, EntryRefused, SignedEntry, decode_entry
from pcgrelay.identity.tls import HandshakeRefused
from pcgrelay.link import control
from pcgrelay.model import Role
from pcgrelay.net.ratelimit import TokenBucket
from tests.support.all_messages import ALL
from tests.support.handshake_sides import EDGE_ID, RELAY_ID, credentials_of, side, terms_of
from tests.support.nodes_in_process import HUB, Nodes, dial, link_to, relays
from tests.support.pki import RealmPki
from tests.support.processor import processor_time
from tests.support.waiting import until_async as until

KINDS = {type(message).__name__: message for message in ALL}
UNKNOWN = (0, 21, 127, 200, 70_000, 1 << 40, -1, -200)
ENTRY_LIMIT_BYTES = 160_000
# What stands for a message that is known and small, and for the error of one that is refused.
OBJECTS_BYTES = 8_192


def array(*elements: bytes) -> bytes:
    return b"\xdd" + len(elements).to_bytes(4, "big") + b"".join(elements)


def keys_of_one_hash(count: int) -> list[bytes]:
    """Arrays of -1 and -2, which have one hash in Python, so that tuples of them have, too."""
    width = 17
    return [
        bytes([0xDC, 0, width]) + bytes(0xFF if number >> bit & 1 else 0xFE for bit in range(width))
        for number in range(count)
    ]


def deep(room: int) -> bytes:
    part = b"\x91" * 100 + b"\x90"
    return array(*[part] * (room // len(part)))


JUNK: dict[str, Callable[[int], bytes]] = {
    "empty arrays": lambda room: array(*[b"\x90"] * room),
    "empty maps": lambda room: array(*[b"\x80"] * room),
    "small maps": lambda room: array(*[b"\x81\x01\x02"] * (room // 3)),
    "numbers": lambda room: array(*[b"\x07"] * room),
    "texts": lambda room: array(*[b"\xa1a"] * (room // 2)),
    "binaries": lambda room: array(*[b"\xc4\x01a"] * (room // 3)),
    "extensions": lambda room: array(*[b"\xd4\x01a"] * (room // 3)),
    "nested": deep,
    "keys of one hash": lambda room: (
        b"\xdf" + (room // 21).to_bytes(4, "big") + b"\xc0".join([*keys_of_one_hash(room // 21), b""])
    ),
    "one text": lambda room: b"\xdb" + room.to_bytes(4, "big") + b"a" * room,
}


def framed(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


def with_fields(message: m.Message, junk: bytes) -> bytes:
    """The message, and one more field that nobody knows."""
    elements = [msgspec.msgpack.encode(value) for value in msgspec.msgpack.decode(m.encode_message(message)[4:])]
    return array(*elements, junk)


def made_bytes(work: Callable[[], object]) -> int:
    """How much memory was held at once."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def limit_of(kind: str) -> int:
    limits = {"Advert": m.MESSAGE_LIMIT_BYTES, "ObjectPiece": m.PIECE_MESSAGE_LIMIT_BYTES}
    limits |= {"Witness": m.WITNESS_LIMIT_BYTES, "Want": m.WANT_LIMIT_BYTES}
    return limits.get(kind, m.ORDINARY_LIMIT_BYTES)


@pytest.mark.parametrize("junk", JUNK)
@pytest.mark.parametrize("kind", KINDS)
def test_fields_that_nobody_knows_cost_nothing(kind: str, junk: str) -> None:
    body = with_fields(KINDS[kind], JUNK[junk](limit_of(kind) - 1_000))
    assert limit_of(kind) - 1_500 < len(body) <= limit_of(kind)
    made: list[m.Message] = []

    def work() -> None:
        made.extend(message for message, _ in m.MessageReader().feed(framed(body)))

    # The bytes themselves are held twice or three times while they are cut out.
    assert made_bytes(work) < 4 * len(body) + OBJECTS_BYTES
    assert made_bytes(lambda: m._decoded(body)) < OBJECTS_BYTES
    assert made == [KINDS[kind]]


@pytest.mark.parametrize("junk", JUNK)
@pytest.mark.parametrize("kind", KINDS)
def test_fields_that_nobody_knows_in_place_of_known_ones_cost_nothing(kind: str, junk: str) -> None:
    elements = [msgspec.msgpack.encode(value) for value in msgspec.msgpack.decode(m.encode_message(KINDS[kind])[4:])]
    for place in range(1, len(elements)):
        body = array(*elements[:place], JUNK[junk](20_000), *elements[place + 1 :])

        def work(body: bytes = body) -> None:
            with pytest.raises(m.MessageRefused):
                m._decoded(body)

        # A text or binary is made before it is found to be too long.
        assert made_bytes(work) < 2 * len(body) + OBJECTS_BYTES


@pytest.mark.parametrize("junk", JUNK)
def test_an_unknown_message_is_passed_over_unread_if_it_is_short(junk: str) -> None:
    for tag in UNKNOWN:
        body = array(msgspec.msgpack.encode(tag), JUNK[junk](m.UNKNOWN_LIMIT_BYTES - 100))
        reader = m.MessageReader()

        def work(body: bytes = body, reader: m.MessageReader = reader) -> None:
            assert not list(reader.feed(framed(body)))

        assert made_bytes(work) < 4 * len(body) + OBJECTS_BYTES
        assert reader.unknown_total == 1


@pytest.mark.parametrize("tag", UNKNOWN)
@pytest.mark.parametrize("step", [1, 1 << 20])
def test_an_unknown_message_that_is_long_is_refused_before_it_is_there(tag: int, step: int) -> None:
    data = framed(array(msgspec.msgpack.encode(tag), JUNK["empty arrays"](m.UNKNOWN_LIMIT_BYTES)))
    reader = m.MessageReader()
    fed, code = refused_after(reader, data, step)
    assert fed < 4 + m._HEAD_BYTES
    assert code == m.Code.LIMIT


def refused_after(reader: m.MessageReader, data: bytes, step: int) -> tuple[int, int]:
    """Where it stood in the data when it was refused, and with which code."""
    for at in range(0, len(data), step):
        try:
            list(reader.feed(data[at : at + step]))
        except m.MessageRefused as refused:
            return at, refused.code
    raise AssertionError("it was not refused")


@pytest.mark.parametrize("kind", KINDS)
def test_a_known_message_has_the_bound_of_its_kind(kind: str) -> None:
    body = with_fields(KINDS[kind], JUNK["numbers"](limit_of(kind)))
    with pytest.raises(m.MessageRefused) as refused:
        list(m.MessageReader().feed(framed(body)[:100]))
    assert refused.value.code == (m.Code.VIOLATION if kind == "Advert" else m.Code.LIMIT)


def test_no_form_takes_long() -> None:
    bodies = [
        framed(with_fields(message, junk(limit_of(kind) - 1_000)))
        for kind, message in KINDS.items()
        for junk in JUNK.values()
    ]
    with processor_time() as used:
        for body in bodies:
            list(m.MessageReader().feed(body))
    assert used.seconds < 4.0


NUMBERS = st.integers(-(1 << 63), (1 << 64) - 1)


@given(st.lists(st.one_of(NUMBERS, st.booleans(), st.none(), st.text(max_size=3), st.floats()), max_size=20))
def test_the_kind_read_by_hand_is_the_first_element(value: list[object]) -> None:
    head = msgspec.msgpack.encode(value)[: m._HEAD_BYTES]
    if value and type(value[0]) is int:
        assert m.read_tag(head) == value[0]
    else:
        with pytest.raises(m.MessageRefused):
            m.read_tag(head)


@pytest.mark.parametrize("head", ["9c", "dc0002", "dd00000002"])
@pytest.mark.parametrize("number", ["02", "cc02", "cd0002", "ce00000002", "cf0000000000000002", "d002", "d10002"])
def test_a_kind_may_be_written_longer_than_need_be(head: str, number: str) -> None:
    assert m.read_tag(bytes.fromhex(head + number)) == 2


@pytest.mark.parametrize("head", ["", "90", "dc0000", "dd00000000", "dc00", "91", "91cc", "91cd00", "82", "c0", "91c3"])
def test_what_has_no_kind_is_refused(head: str) -> None:
    with pytest.raises(m.MessageRefused) as refused:
        m.read_tag(bytes.fromhex(head))
    assert refused.value.code == m.Code.VIOLATION


@pytest.mark.parametrize("junk", JUNK)
def test_a_catalogue_entry_costs_by_what_is_known_of_it(junk: str) -> None:
    encode = msgspec.msgpack.encode
    head = [encode(ENTRY_KIND), encode(EDGE_ID.uri), encode(1), encode(100)]
    offer = [encode("custody"), encode(2), encode(2), encode(100), encode(1), encode(0)]
    room = ENTRY_LIMIT_BYTES - 1_000
    entries = [
        array(*head, array(array(*offer)), JUNK[junk](room)),
        array(*head, array(array(*offer, JUNK[junk](room)))),
        array(*head, JUNK[junk](room)),
        array(*head, array(*[b"\x90"] * room)),
        JUNK[junk](room),
    ]
    for entry in entries:

        def work(entry: bytes = entry) -> None:
            try:
                decode_entry(SignedEntry(entry, b"", ()), 50)
            except EntryRefused:
                return

        assert made_bytes(work) < len(entry) // 2 + 2 * OBJECTS_BYTES or junk == "one text"


def test_a_handshake_begins_with_hello_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    realm = RealmPki(tmp_path)
    edge = realm.issue(EDGE_ID.organisation, EDGE_ID.name)
    relay = realm.issue(RELAY_ID.organisation, RELAY_ID.name)
    for body in (array(b"\x63"), array(b"\x63", JUNK["keys of one hash"](100_000))):
        first = framed(body)
        client = side(credentials_of(edge), terms_of(EDGE_ID, credentials_of(edge)), client=True)
        server = side(credentials_of(relay), terms_of(RELAY_ID, credentials_of(relay), Role.RELAY), client=False)
        monkeypatch.setattr(client, "_said", lambda hello, client=client, first=first: client.tls.write(first))
        with pytest.raises(HandshakeRefused) as refused:
            server.receive(client.receive(server.receive(client.start())))
        assert refused.value.reason == "hello"


async def test_a_neighbour_that_says_something_long_and_unknown_loses_its_link(tmp_path: Path) -> None:
    nodes = Nodes(tmp_path)
    try:
        ((relay, port),) = await relays(nodes, 1)
        met = await nodes.start("met.police.example", "met-1", links=[dial(1, port)])
        await until(lambda: met.node.link_table.links and link_to(met, f"relay-1.{HUB}").usable)
        connection = link_to(met, f"relay-1.{HUB}")._connection
        connection._tls.write(framed(array(b"\x63", JUNK["keys of one hash"](100_000))))
        connection._outgoing += connection._tls.take()
        connection._wake.set()
        await until(lambda: relay.lines("link.down") and met.lines("link.down"))
        assert relay.lines("link.down")[0]["reason"] == "control_message_too_long"
        assert met.lines("link.down")[0]["reason"] == "goodbye_limit"
        assert relay.node.refused.total()["control_message_too_long"] == 1
        # It is well again.
        await until(lambda: len(met.lines("link.up")) > 1)
    finally:
        await nodes.stop()


def test_bytes_are_owed_for() -> None:
    """A neighbour that sends without end is read as fast as the allowance fills again."""
    bucket, now, read = TokenBucket(control.READ_AT_ONCE_BYTES, control.READ_EACH_SECOND_BYTES, 0), 0.0, 0
    while now < 60_000:
        read += 65_536
        now += bucket.owe(65_536, int(now))
    assert read <= control.READ_AT_ONCE_BYTES + 61 * control.READ_EACH_SECOND_BYTES


async def test_a_neighbour_is_read_no_faster_than_its_allowance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "READ_AT_ONCE_BYTES", 1_000)
    monkeypatch.setattr(control, "READ_EACH_SECOND_BYTES", 100_000)
    near, far = socket.socketpair()
    with far:
        for sock in (near, far):
            sock.setblocking(False)
        clear = Clear()
        connection = control.ControlConnection(near, clear, m.MessageReader(), b"")  # type: ignore[arg-type]
        running = asyncio.create_task(connection.run(lambda message: None))
        began = time.monotonic()
        await asyncio.get_running_loop().sock_sendall(far, bytes(41_000))
        await until(lambda: clear.fed == 41_000)
        # 40,000 bytes beyond what may come at once; the bound is below, so a slow machine does no harm.
        assert time.monotonic() - began > 0.35
        connection.end("over")
        await running


class Clear:
    """A TLS connection that seals nothing, and counts what it is fed."""

    fed = 0

    def feed(self, data: bytes) -> None:
        self.fed += len(data)

    def read(self) -> bytes:
        return b""

    def take(self) -> bytes:
        return b""
