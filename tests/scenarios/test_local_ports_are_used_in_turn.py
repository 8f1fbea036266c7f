"""Connections to a target leave from local ports that are known to be free, and what has none left is told so."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from pcgrelay._core.face import core as native
from tests.scenarios.kit.network_namespace import own_network
from tests.scenarios.kit.nodes import HOST, KENT, MET, Stage
from tests.scenarios.kit.real_programs import run
from tests.scenarios.kit.two_edges import reload
from tests.support.applications import Across, client, echo, is_turned_away, read_all, reset, transfer, try_open
from tests.support.cores import carried_out, frozen_record
from tests.support.dialled_targets import serve
from tests.support.handover import hand_over
from tests.support.handover_records import HEAD, WORKER, item, items
from tests.support.ports import free_port
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test
Address = tuple[str, int]
# As long as a port stays unused after it was closed, and how long a target without a port is left alone.
AGAIN_S, PAUSE_S = 1.05, 0.1
LIBC = ctypes.CDLL(None, use_errno=True)
PORT_TAGS = (18, 19)  # of a worker's container in the record of a hand-over
CAPABILITY_VERSION, CAP_NET_BIND_SERVICE = 0x2008_0522, 10
SOURCES = {"IPv4": ["192.0.2.7", "192.0.2.8"], "IPv6": ["2001:db8::7", "2001:db8::8"]}
TARGETS = {"IPv4": "192.0.2.1", "IPv6": "2001:db8::1"}


def allow(across: Across, *ports: int) -> None:
    allowed = bytearray(8_192)
    for port in ports:
        allowed[port // 8] |= 1 << port % 8
    across.far.core.local_ports(bytes(allowed))
    carried_out(across.far)


class Callers:
    """A server that keeps each connection, echoes, and knows the addresses that they came from."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family, backlog=256)
        self.address: Address = self._listener.getsockname()[:2]
        self.seen: list[Address] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, where = self._listener.accept()
                self.seen.append(where[:2])
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            echo(connection)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def across() -> Iterator[Across]:
    with own_network() as network, Across(relays=0) as built:
        assert network
        yield built


@contextlib.contextmanager
def callers(host: str = "127.0.0.1") -> Iterator[Callers]:
    made = Callers(host)
    try:
        yield made
    finally:
        made.close()


def opened(address: Address) -> socket.socket:
    connection = try_open(address)
    assert connection is not None
    return connection


def is_served(address: Address) -> bool:
    connection = try_open(address)
    if connection is not None:
        connection.close()
    return connection is not None


def last_cause(across: Across) -> object:
    return across.far.wait_kind(native.EVENT_STREAM_END, 20.0)[9]


def test_as_many_as_there_are_ports_and_then_none(across: Across) -> None:
    ports = [40_001, 40_003, 40_000, 40_002]
    with callers() as target, contextlib.ExitStack() as stack:
        address = serve(across, target.address)
        allow(across, *ports)
        for _ in ports:
            stack.enter_context(opened(address))
        # Odd ones first: those that the system gives to others last.
        assert [port % 2 for _, port in target.seen] == [1, 1, 0, 0]
        assert sorted(port for _, port in target.seen) == sorted(ports)
        assert is_turned_away(address)
        assert last_cause(across) == "no-local-port"
        # Another target has all of them once more.
        with callers() as other:
            second = serve(across, other.address)
            for _ in ports:
                stack.enter_context(opened(second))
            assert sorted(port for _, port in other.seen) == sorted(ports)


def test_a_port_is_not_used_for_a_second_after_its_end(across: Across) -> None:
    with callers() as target:
        address = serve(across, target.address)
        allow(across, 40_001)
        began = time.monotonic()
        assert transfer(address, b"once") == b"once"
        until(lambda: across.far.core.streams() == 0)
        turned_away = 0
        while not is_served(address):
            turned_away += 1
            time.sleep(0.01)
        assert time.monotonic() - began >= AGAIN_S
        assert turned_away
        assert {port for _, port in target.seen} == {40_001}


@pytest.mark.parametrize("family", SOURCES)
def test_each_source_has_all_ports_and_they_are_taken_in_turn(across: Across, family: str) -> None:
    sources, host = SOURCES[family], TARGETS[family]
    for address in (*sources, host):
        run("ip", "address", "add", address, "dev", "lo", *(["nodad"] if ":" in address else []))
    with callers(host) as target, contextlib.ExitStack() as stack:
        door = serve(across, target.address)
        publish(across, target.address, sources)
        allow(across, 40_001, 40_003)
        for _ in range(4):
            stack.enter_context(opened(door))
        assert sorted(target.seen) == [(source, port) for source in sources for port in (40_001, 40_003)]
        # In turn: no source twice in a row.
        assert all(one[0] != other[0] for one, other in zip(target.seen[:1], target.seen[1:2], strict=True))
        assert is_turned_away(door)
        assert last_cause(across) == "no-local-port"


def publish(across: Across, target: Address, sources: Sequence[str]) -> None:
    row = (0, b"echo", 1, 0, native.EXPORT_READY, 10_000, [target], sources, False)
    across.far.core.publish(exports=[row], imports=[], grants=[(across.session, [0])])
    carried_out(across.far)


def test_ports_of_other_programs_are_passed_by(across: Across) -> None:
    with callers() as target, contextlib.ExitStack() as stack:
        address = serve(across, target.address)
        for port in range(40_001, 40_015, 2):
            taken = stack.enter_context(socket.socket())
            taken.bind(("127.0.0.1", port))
        allow(across, *range(40_001, 40_017, 2))
        assert transfer(address, b"hello") == b"hello"
        assert target.seen[0][1] == 40_015


def test_if_other_programs_have_the_ports_that_are_tried_the_system_chooses(across: Across) -> None:
    """A port from which anything else is connected cannot be bound; what connects without may have it."""
    with callers() as target, callers() as another, contextlib.ExitStack() as stack:
        address = serve(across, target.address)
        Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("40001 40064\n")
        others = [stack.enter_context(client(another.address)) for _ in range(64)]
        assert {each.getsockname()[1] for each in others} == set(range(40_001, 40_065))
        allow(across, *range(40_001, 40_065))
        for _ in range(3):
            assert transfer(address, b"hello") == b"hello"
        assert {port for _, port in target.seen} <= set(range(40_001, 40_065))


def test_after_eight_tries_a_target_is_left_alone_for_a_moment(across: Across) -> None:
    with callers() as target, contextlib.ExitStack() as stack:
        address = serve(across, target.address)
        for port in range(40_001, 40_101, 2):
            taken = stack.enter_context(socket.socket())
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.bind(("127.0.0.1", port))
            taken.connect(target.address)
        allow(across, *range(40_001, 40_101, 2))
        began = time.monotonic()
        assert is_turned_away(address)
        assert last_cause(across) == "no-local-port"
        # From now on there are ports enough, and none is tried yet.
        allow(across, *range(40_101, 40_201, 2))
        until(lambda: is_served(address))
        assert time.monotonic() - began >= PAUSE_S


def test_where_the_system_chooses_it_is_left_alone_as_well(across: Across) -> None:
    with callers() as target:
        address = serve(across, target.address)
        Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("40000 40001\n")
        held = [client(target.address), client(target.address)]
        began = time.monotonic()
        assert is_turned_away(address)
        assert last_cause(across) == "no-local-port"
        for each in held:
            reset(each)
        Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("40000 41001\n")
        until(lambda: is_served(address))
        assert time.monotonic() - began >= PAUSE_S


def test_nobody_is_connected_to_itself(across: Across) -> None:
    """A socket that is bound to the port that it connects to is its own server, if there is no other."""
    address = serve(across, ("127.0.0.1", 40_001))
    allow(across, 40_001)
    assert is_turned_away(address)
    assert last_cause(across) == "no-local-port"
    allow(across, 40_001, 40_003)
    until(lambda: is_turned_away(address) and across.far.poll() and last_causes(across)[-1] == "target-refused")


def last_causes(across: Across) -> list[object]:
    return [event[9] for event in across.far.seen if event[0] == native.EVENT_STREAM_END]


def test_ports_in_use_and_those_just_closed_go_along_in_a_hand_over(across: Across) -> None:
    ports = [40_001, 40_003, 40_005, 40_007]
    with callers() as target, contextlib.ExitStack() as stack:
        address = serve(across, target.address)
        allow(across, *ports)
        open_ones = [stack.enter_context(opened(address)) for _ in range(2)]
        began = time.monotonic()
        assert transfer(address, b"short") == b"short"
        until(lambda: across.far.core.streams() == 2)
        used, closed = {port for _, port in target.seen[:2]}, target.seen[2][1]
        (fresh,) = set(ports) - used - {closed}
        hand_over(across, across.far, target.address)
        allow(across, *ports)
        # The one that nobody has used; the others are in use, or were just closed.
        stack.enter_context(opened(address))
        if time.monotonic() - began < AGAIN_S:
            assert target.seen[-1][1] == fresh
        until(lambda: is_served(address))
        assert time.monotonic() - began >= AGAIN_S
        assert {port for _, port in target.seen} <= set(ports)
        # What was open went on, and gives its port back here.
        ended = time.monotonic()
        for connection in open_ones:
            connection.sendall(b"more")
            connection.shutdown(socket.SHUT_WR)
            assert read_all(connection) == b"more"
        until(lambda: across.far.core.streams() == 1)
        for _ in range(3):
            stack.enter_context(until(lambda: try_open(address)))
        assert time.monotonic() - ended >= AGAIN_S


def without_ports(record: bytes) -> bytearray:
    """The record as a version wrote it that knew nothing of ports."""
    kept = b"".join(
        item(tag, b"".join(item(*each) for _, *each in items(value) if each[0] not in PORT_TAGS))
        if tag == WORKER
        else item(tag, value)
        for _, tag, value in items(record[HEAD:])
    )
    return bytearray(record[:HEAD] + kept)


def test_after_a_version_that_told_nothing_the_system_chooses_for_a_moment(across: Across) -> None:
    with callers() as target:
        address = serve(across, target.address)
        old = across.far.core
        record, fds = frozen_record(across.far)
        across.far.core = native.Core(workers=1, memory_bytes=64 << 20, role=native.ROLE_EDGE)
        began = time.monotonic()
        assert across.far.core.handover_read(without_ports(bytes(record)), fds) == []
        for fd in old.handover_write(record):
            os.close(fd)
        old.abandon()
        publish(across, target.address, [])
        across.far.core.start()
        allow(across, 40_001)
        chosen = []
        while not chosen or chosen[-1] != 40_001:
            until(lambda: is_served(address))
            chosen.append(target.seen[-1][1])
        # Of what that one had closed nobody knows; after two seconds all of it is long over.
        assert time.monotonic() - began >= 2 * AGAIN_S


@contextlib.contextmanager
def no_right_to_ports() -> Iterator[None]:
    """This thread, and those that it starts, may not bind ports that need a right (capabilities(7))."""
    head = struct.pack("=Ii", CAPABILITY_VERSION, 0)
    before = ctypes.create_string_buffer(24)
    assert LIBC.capget(head, before) == 0
    words = list(struct.unpack("=6I", before.raw))
    words[0] &= ~(1 << CAP_NET_BIND_SERVICE)
    assert LIBC.capset(head, struct.pack("=6I", *words)) == 0
    try:
        yield
    finally:
        assert LIBC.capset(head, before) == 0


def test_a_port_that_may_not_be_chosen_is_left_to_the_system() -> None:
    """A sandbox may forbid bind(): then the system chooses, and nothing fails."""
    with own_network(), no_right_to_ports(), Across(relays=0) as across, callers() as target:
        address = serve(across, target.address)
        Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("50000 50999\n")
        Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").write_text("45000\n")
        allow(across, *range(40_001, 40_101, 2))
        for _ in range(20):
            assert transfer(address, b"hello") == b"hello"
        assert {port // 1_000 for _, port in target.seen} == {50}


def test_a_node_takes_what_the_system_allows_and_a_reload_looks_again(tmp_path: Path) -> None:
    settings = Path("/proc/sys/net/ipv4")
    door, port = (HOST, free_port()), free_port()
    with own_network(), callers() as target, Stage(tmp_path) as stage:
        (settings / "ip_local_port_range").write_text("40000 40063\n")
        (settings / "ip_local_reserved_ports").write_text("40000-40031\n")
        export = {"service": "echo", "target": f"{HOST}:{target.address[1]}", "allow": [MET]}
        kent = stage.node(KENT, "kent-1", listens=[f"{HOST}:{port}"], exports=[export])
        link = {"peer": f"kent-1.{KENT}", "address": f"{HOST}:{port}"}
        imports = [{"service": f"echo@{KENT}", "listen": f"{door[0]}:{door[1]}"}]
        stage.node(MET, "met-1", links=[link], imports=imports)
        stage.start()
        stage.await_well()
        for _ in range(10):
            assert transfer(door, b"hello") == b"hello"
        # The system would have given even ones.
        assert {port for _, port in target.seen} <= set(range(40_033, 40_064, 2))
        (settings / "ip_local_reserved_ports").write_text("40032-40063\n")
        assert reload(kent).ok
        target.seen.clear()
        for _ in range(10):
            assert transfer(door, b"hello") == b"hello"
        assert {port for _, port in target.seen} <= set(range(40_001, 40_032, 2))
