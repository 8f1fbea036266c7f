"""The clients of a listener of datagrams against a plain model, and the queue of an association."""

from __future__ import annotations

import ipaddress
import socket
import struct
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.native.probe_datagrams import CLIENT, DROPS, LOCAL, Associations, client_name, serves

QUEUE, AGE, TOO_LONG, NO_STREAM = 0, 1, 4, 5
MOST, BYTES = 64, 131_072


def client(port: int, host: str = "10.0.0.1") -> bytes:
    address = ipaddress.ip_address(host)
    if address.version == 4:
        return struct.pack("=H", socket.AF_INET) + struct.pack(">H", port) + address.packed.ljust(CLIENT - 4, b"\0")
    head = struct.pack("=H", socket.AF_INET6) + struct.pack(">HI", port, 0)
    return head + address.packed + bytes(4)


def local(last: int = 1) -> bytes:
    return bytes([192, 0, 2, last]).ljust(LOCAL, b"\0")


# -- clients ----------------------------------------------------------------------------------------------------------

HOSTS = ["10.0.0.1", "10.0.0.2", "fd00::1", "fd00::2"]
NAMES = st.tuples(st.integers(1, 5), st.sampled_from(HOSTS), st.integers(1, 2))


class ClientMachine(RuleBasedStateMachine):
    """What the table finds, and the order in which clients were used, as a list of them would have it."""

    @initialize(collide=st.booleans())
    def start(self, collide: bool) -> None:
        self.table = Associations(collide=collide)
        self.before = self.table.used
        self.known: dict[tuple[int, str, int], int] = {}
        self.order: list[int] = []
        self.next = 1

    @rule(name=NAMES)
    def meet(self, name: tuple[int, str, int]) -> None:
        port, host, asked = name
        found = self.table.find(client(port, host), local(asked))
        assert found == self.known.get(name)
        if found is None:
            assert self.table.begin(self.next, client(port, host), local(asked))
            self.known[name] = found = self.next
            self.next += 1
        else:
            self.table.use(found)
            self.order.remove(found)
        self.order.insert(0, found)

    @rule(name=NAMES)
    def leave(self, name: tuple[int, str, int]) -> None:
        if (number := self.known.pop(name, None)) is not None:
            self.table.end(number)
            self.order.remove(number)

    @invariant()
    def the_orders_are_those_of_the_model(self) -> None:
        if not hasattr(self, "table"):
            return
        assert self.table.by_use() == self.order
        for host in HOSTS:
            of_host = {number for (_, at, _), number in self.known.items() if at == host}
            assert self.table.of_source(client(9, host)) == [number for number in self.order if number in of_host]

    def teardown(self) -> None:
        if hasattr(self, "table"):
            for number in list(self.known.values()):
                self.table.end(number)
            assert self.table.used == self.before


TestClients = ClientMachine.TestCase
TestClients.settings = settings(max_examples=60, deadline=None)


def test_what_does_not_name_a_client_is_left_out() -> None:
    """A flow label may change from one datagram to the next; a scope tells two links apart."""
    address = client(53, "fe80::1")
    with_flow = address[:4] + b"\x00\x0f\xff\xff" + address[8:]
    with_scope = address[:24] + struct.pack("=I", 3)
    assert client_name(with_flow) == client_name(address) == address
    assert client_name(with_scope) == with_scope
    old = client(53)[:8] + b"junk" * 5
    assert client_name(old) == client(53)


def test_a_table_without_memory_begins_nothing() -> None:
    table = Associations(limit=4_000)
    number = 0
    while table.begin(number, client(1 + number), local()):
        number += 1
    used = table.used
    assert number > 0
    assert not table.begin(number, client(9_999, "10.0.0.7"), local())
    assert table.used == used
    assert table.of_source(client(1, "10.0.0.7")) == []
    assert len(table.by_use()) == number


def begun(table: Associations, each_second: int, offered: int, seconds: int) -> list[int]:
    """When one may begin, of so many that come in a second, at equal distances."""
    times = [at * 1_000_000 // offered for at in range(offered * seconds)]
    found = []
    for now_us in times:
        table.at(1_000_000 + now_us)
        if table.may_begin(each_second):
            found.append(now_us)
    return found


def test_beside_a_flood_new_ones_begin_together_and_as_many_as_ever() -> None:
    seconds = 4
    found = begun(Associations(), 1_000, 10_000, seconds)
    # A second's worth at once, and then as many as the rate allows, but now and then only.
    assert 1_000 * (seconds + 1) - 20 <= len(found) <= 1_000 * (seconds + 1) + 1
    later = [now_us for now_us in found if now_us >= 1_500_000]
    pauses = [after - before for before, after in pairwise(later) if after - before > 1_000]
    assert 2_300 <= len(later) <= 2_520
    assert all(pause >= 10_000 for pause in pauses)
    assert 200 <= len(pauses) <= 250


@pytest.mark.parametrize("offered", [900, 1_000, 1_100])
def test_about_as_many_as_the_rate_allows_are_hardly_disturbed(offered: int) -> None:
    found = begun(Associations(), 1_000, offered, 20)
    assert len(found) >= min(offered, 1_000) * 20


def test_a_slow_rate_stays_what_it_is() -> None:
    assert 10 + 99 <= len(begun(Associations(), 10, 500, 10)) <= 10 + 101


@given(
    st.lists(st.tuples(st.sampled_from([4, 6]), st.binary(min_size=16, max_size=16), st.integers(0, 128)), max_size=5),
    st.sampled_from([4, 6]),
    st.binary(min_size=16, max_size=16),
)
def test_prefixes_are_those_of_the_standard_library(
    prefixes: list[tuple[int, bytes, int]], version: int, address: bytes
) -> None:
    rows, networks = [], []
    for family, packed, bits in prefixes:
        length = min(bits, 32) if family == 4 else bits
        # As a configuration has it: nothing is set behind the prefix.
        network = ipaddress.ip_network((packed[:4] if family == 4 else packed, length), strict=False)
        networks.append(network)
        rows.append(
            (
                socket.AF_INET if family == 4 else socket.AF_INET6,
                network.network_address.packed.ljust(16, b"\0"),
                length,
            )
        )
    host = ipaddress.ip_address(address[:4] if version == 4 else address)
    if isinstance(host, ipaddress.IPv6Address) and host.ipv4_mapped is not None:
        host = host.ipv4_mapped
    expected = not networks or any(host in network for network in networks if network.version == host.version)
    name = str(ipaddress.ip_address(address[:4] if version == 4 else address))
    assert serves(rows, client(1, name)) == expected


def test_a_client_of_ipv4_by_a_socket_of_both_is_one_of_ipv4() -> None:
    rows = [(socket.AF_INET, bytes([10, 0, 0, 0]).ljust(16, b"\0"), 8)]
    assert serves(rows, client(1, "::ffff:10.1.2.3"))
    assert not serves(rows, client(1, "::ffff:11.1.2.3"))
    assert not serves(rows, client(1, "::10.1.2.3"))


# -- what waits -------------------------------------------------------------------------------------------------------


def datagrams(body: bytes) -> list[tuple[int, int, bytes]]:
    """Stream, number and content of each record of a DATAGRAMS frame."""
    found = []
    while body:
        stream, kind = struct.unpack_from(">IB", body)
        length = int.from_bytes(body[5:8])
        assert kind == 7
        found.append((stream, int.from_bytes(body[8:16]), body[16 : 8 + length]))
        body = body[8 + length :]
    return found


def drops(at: int, count: int, waiting: int = 0) -> tuple[int, ...]:
    """So many dropped for a cause, and so many that still waited at the end."""
    found = [0] * DROPS
    found[at] += count
    found[NO_STREAM] += waiting
    return tuple(found)


def some(*numbers: int, wait_us: int = 200_000) -> Associations:
    made = Associations()
    made.at(1_000_000)
    for number in numbers:
        assert made.begin(number, client(number), local(), wait_us)
    return made


def test_datagrams_leave_in_their_order_and_are_numbered() -> None:
    made = some(1)
    for number in range(10):
        made.push(1, b"%d" % number)
    assert made.waiting(1) == (10, 10)
    body, count = made.fill(65_536)
    assert count == 10
    assert datagrams(body) == [(1, number, b"%d" % number) for number in range(10)]
    made.push(1, b"")
    assert datagrams(made.fill(65_536)[0]) == [(1, 10, b"")]
    assert made.fill(65_536) == (b"", 0)
    assert made.end(1) == (11, 0, (0,) * DROPS)


def test_of_too_many_the_oldest_go() -> None:
    made = some(1)
    for number in range(MOST + 5):
        made.push(1, b"%03d" % number)
    assert made.waiting(1) == (MOST, 3 * MOST)
    taken = datagrams(made.fill(65_536)[0])
    assert taken[0] == (1, 0, b"005")
    assert len(taken) == MOST
    assert made.end(1)[2] == drops(QUEUE, 5)


def test_of_too_many_bytes_the_oldest_go() -> None:
    made = some(1)
    for number in range(3):
        made.push(1, bytes([number]) * 60_000)
    assert made.waiting(1) == (2, 120_000)
    assert datagrams(made.fill(65_536)[0])[0][2] == b"\x01" * 60_000
    assert made.end(1)[2] == drops(QUEUE, 1, 1)


def test_what_waits_too_long_goes() -> None:
    made = some(1, 2, wait_us=200_000)
    made.push(1, b"old")
    made.at(1_150_000)
    made.push(2, b"newer")
    made.at(1_200_001)
    made.expire()
    assert made.waiting(1) == (0, 0)
    assert datagrams(made.fill(65_536)[0]) == [(2, 0, b"newer")]
    assert made.end(1)[2] == drops(AGE, 1)
    assert made.end(2)[2] == drops(AGE, 0)


def test_one_that_is_too_old_is_not_sent_though_nobody_looked() -> None:
    made = some(1)
    made.push(1, b"old")
    made.at(1_200_001)
    assert made.fill(65_536) == (b"", 0)
    assert made.end(1)[2] == drops(AGE, 1)


def test_one_that_no_frame_can_hold_goes() -> None:
    made = some(1)
    made.push(1, bytes(65_521))
    made.push(1, bytes(65_520))
    assert made.room(65_536) == 65_536
    assert len(datagrams(made.fill(65_536)[0])[0][2]) == 65_520
    assert made.end(1)[2] == drops(TOO_LONG, 1)


def test_without_memory_what_comes_is_dropped() -> None:
    made = Associations(limit=10_000)
    assert made.begin(1, client(1), local())
    for _ in range(10):
        made.push(1, bytes(4_000))
    held, size = made.waiting(1)
    assert 0 < held < 10
    assert size == 4_000 * held
    assert made.end(1)[2] == drops(QUEUE, 10 - held, held)


def test_associations_take_turns() -> None:
    made = some(1, 2, 3)
    for number in (1, 2, 3):
        for _ in range(20):
            made.push(number, bytes([number]))
    taken = [stream for stream, _, _ in datagrams(made.fill(65_536)[0])]
    assert taken == ([1] * 8 + [2] * 8 + [3] * 8) * 2 + [1] * 4 + [2] * 4 + [3] * 4


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 4), st.integers(0, 3_000)), max_size=150),
    st.integers(3_016, 65_536),
)
def test_whatever_waits_leaves_once_and_within_its_room(pushed: list[tuple[int, int]], most: int) -> None:
    made = some(1, 2, 3, 4)
    expected: dict[int, list[bytes]] = {number: [] for number in (1, 2, 3, 4)}
    for at, (number, size) in enumerate(pushed):
        data = struct.pack(">I", at) + bytes(max(size - 4, 0))
        made.push(number, data)
        expected[number] = [*expected[number], data][-MOST:]
        while sum(map(len, expected[number])) > BYTES:
            del expected[number][0]
    found: dict[int, list[bytes]] = {number: [] for number in (1, 2, 3, 4)}
    while room := made.room(most):
        assert room <= most
        body, count = made.fill(room)
        assert len(body) <= room
        records = datagrams(body)
        assert count == len(records) > 0
        for stream, number, data in records:
            assert number == len(found[stream])
            found[stream].append(data)
    assert found == expected


@pytest.mark.parametrize("number", [1, 2, 3])
def test_one_that_ends_takes_what_waits_with_it(number: int) -> None:
    made = some(1, 2, 3)
    for each in (1, 2, 3):
        made.push(each, b"x")
    assert made.end(number) == (0, 0, drops(NO_STREAM, 1))
    assert [stream for stream, _, _ in datagrams(made.fill(65_536)[0])] == [
        each for each in (1, 2, 3) if each != number
    ]
