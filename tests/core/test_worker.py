"""Real workers and real sockets: how connections begin, fail and are forgotten."""

import os
import socket
import threading
from pathlib import Path

import pytest

from pcgrelay._core.face import core as native
from tests.support.applications import (
    Across,
    client,
    echo,
    is_turned_away,
    pattern,
    read_all,
    server,
    silent,
    swallow,
    transfer,
    was_reset,
)
from tests.support.cores import CoreRealm, Node, carried_out, listen, tcp_pair
from tests.support.ports import free_port
from tests.support.stream_ends import causes, end_of, ends
from tests.support.waiting import until

MEGABYTE = 1 << 20
RINGS = 4_096  # bytes that the queues of a lane may take for more than one span


# -- lanes that never are -------------------------------------------------------------------------------------------


def test_another_deadline_of_handshakes_reaches_lanes_that_wait() -> None:
    realm = CoreRealm()
    try:
        node = realm.edge()
        node.core.link_add(
            1, secret=bytearray(range(32)), binding=bytes(32), suite=1, dialler=True, lanes=1, link_id=bytes(16)
        )
        number, _ = node.core.lane_dial(1, 0)
        near, far = tcp_pair()
        with far:
            near.setblocking(False)
            node.core.lane_add(1, 0, number, near.detach())
            node.core.settings(handshake_deadline_ms=100)
            event = node.wait_kind(native.EVENT_LANE_DOWN)
        assert event[:4] == (native.EVENT_LANE_DOWN, 1, 0, number)
        assert event[5] == "confirm-timeout"
    finally:
        realm.close()


# -- how it begins ----------------------------------------------------------------------------------------------------


def test_a_megabyte_there_and_back(across: Across) -> None:
    data = pattern(MEGABYTE)
    with server(echo) as target:
        assert transfer(across.serve(target), data) == data


@pytest.mark.parametrize("suite", [1, 2, 3])
def test_every_suite_carries(suite: int) -> None:
    data = pattern(300_000)
    with server(echo) as target, Across(suite=suite) as across:
        assert transfer(across.serve(target), data) == data


def test_a_server_may_speak_first(across: Across) -> None:
    def greet(connection: socket.socket) -> None:
        connection.sendall(b"220 ready\r\n")
        connection.sendall(connection.recv(100).upper())

    with server(greet) as target, client(across.serve(target)) as connection:
        assert connection.recv(100) == b"220 ready\r\n"
        connection.sendall(b"quit")
        assert read_all(connection) == b"QUIT"


def test_what_is_sent_before_the_target_is_connected_arrives(across: Across) -> None:
    with server(swallow) as target, client(across.serve(target)) as connection:
        connection.sendall(pattern(100_000))
        connection.shutdown(socket.SHUT_WR)
        assert read_all(connection) == b"100000"


def test_a_service_that_is_not_exported_is_reset(across: Across) -> None:
    across.far.core.publish(exports=[], imports=[], grants=[])
    routes = [(across.session, 2, 100)]
    across.near.core.publish(exports=[], imports=[(0, b"echo", 1, 0, native.IMPORT_LIVE, routes)], grants=[])
    assert is_turned_away(listen(across.near))
    assert causes(across.far) == (4, "unknown-service")
    assert causes(across.near) == (4, "far-reset")


def test_a_service_that_is_not_granted_is_reset_with_its_rule(across: Across) -> None:
    across.far.core.publish(
        exports=[(0, b"echo", 1, 7, native.EXPORT_READY, 2000, [("127.0.0.1", 9)])], imports=[], grants=[]
    )
    routes = [(across.session, 2, 100)]
    across.near.core.publish(exports=[], imports=[(0, b"echo", 1, 0, native.IMPORT_LIVE, routes)], grants=[])
    assert is_turned_away(listen(across.near))
    assert causes(across.far) == (5, "not-allowed")
    assert end_of(across.near)[8:12] == (5, "far-reset", 7, True)


def test_a_target_that_refuses_is_a_reset(across: Across) -> None:
    target = "127.0.0.1", free_port()
    assert is_turned_away(across.serve(target))
    assert causes(across.far) == (6, "target-refused")


def test_a_target_that_stays_silent_meets_its_deadline() -> None:
    with silent() as target, Across(relays=0) as across:
        across.far.core.publish(
            exports=[(0, b"echo", 1, 0, native.EXPORT_READY, 300, [target])],
            imports=[],
            grants=[(across.session, [0])],
        )
        routes = [(across.session, 2, 100)]
        across.near.core.publish(exports=[], imports=[(0, b"echo", 1, 0, native.IMPORT_LIVE, routes)], grants=[])
        assert is_turned_away(listen(across.near))
        assert causes(across.far) == (7, "target-silent")


def test_the_next_address_is_tried_when_the_first_refuses(across: Across) -> None:
    dead = "127.0.0.1", free_port()
    with server(echo) as target:
        across.far.core.publish(
            exports=[(0, b"echo", 1, 0, native.EXPORT_READY, 2000, [dead, target])],
            imports=[],
            grants=[(across.session, [0])],
        )
        routes = [(across.session, 2, 100)]
        across.near.core.publish(exports=[], imports=[(0, b"echo", 1, 0, native.IMPORT_LIVE, routes)], grants=[])
        assert transfer(listen(across.near), b"hello") == b"hello"


def test_a_connection_that_came_before_its_listener_was_tuned_is_asked_as_well() -> None:
    with server(echo) as target, Across(relays=0) as across:
        across.serve(target)
        with socket.create_server(("127.0.0.1", 0)) as listener, client(listener.getsockname()) as early:
            listener.setblocking(False)
            across.near.core.import_listen(0, [os.dup(listener.fileno())])
            with client(listener.getsockname()) as later:
                for connection in (early, later):
                    connection.sendall(b"x")
                    assert connection.recv(1) == b"x"
                    until(lambda connection=connection: is_asked(connection))


def is_asked(connection: socket.socket) -> bool:
    """Whether the kernel's keep-alive timer runs on the other end of a connection."""
    far, near = (f":{name[1]:04X}" for name in (connection.getpeername(), connection.getsockname()))
    for line in Path("/proc/self/net/tcp").read_text().splitlines():
        _, local, remote, _, _, timer, *_ = line.split()
        if local.endswith(far) and remote.endswith(near):
            return timer.startswith("02:")
    return False


def test_an_import_that_is_down_is_closed_at_once() -> None:
    with Across(relays=0) as across:
        across.near.core.publish(exports=[], imports=[(0, b"echo", 1, 0, native.IMPORT_DOWN, [])], grants=[])
        assert is_turned_away(listen(across.near))
        assert causes(across.near) == (6, "no-route")


def test_an_import_without_a_cleared_way_is_closed_for_its_marking() -> None:
    with Across(relays=0) as across:
        core = across.near.core
        core.publish(exports=[], imports=[(0, b"echo", 2, 0, native.IMPORT_UNCLEARED, [])], grants=[])
        address = listen(across.near)
        assert is_turned_away(address)
        assert causes(across.near) == (6, "marking")
        assert core.counters()["stream_end_marking_total"] == 1
        # One that waits for a route is told the same, as soon as it is known that none is cleared.
        core.publish(exports=[], imports=[(0, b"echo", 2, 0, native.IMPORT_PENDING, [])], grants=[])
        carried_out(across.near)
        with client(address) as connection:
            across.near.wait_kind(native.EVENT_IMPORT_WANTED)
            core.publish(exports=[], imports=[(0, b"echo", 2, 0, native.IMPORT_UNCLEARED, [])], grants=[])
            assert was_reset(connection)
        assert causes(across.near) == (6, "marking")


@pytest.mark.parametrize("said", [2, 3])
def test_what_is_said_in_open_does_not_raise_the_marking_of_a_session(said: int) -> None:
    """The path of a session was led by the session's own marking, whatever a member writes into OPEN."""
    with server(echo) as target, Across(relays=0) as across:
        rows = [(0, b"echo", 2, 0, native.EXPORT_READY, 2000, [target])]
        across.far.core.publish(exports=rows, imports=[], grants=[(across.session, [0])])
        carried_out(across.far)
        routes = [(across.session, 2, 100)]
        across.near.core.publish(exports=[], imports=[(0, b"echo", said, 0, native.IMPORT_LIVE, routes)], grants=[])
        assert is_turned_away(listen(across.near))
        assert causes(across.far) == (5, "marking")


def test_a_connection_waits_for_a_route_and_gets_it() -> None:
    with server(echo) as target, Across(relays=0) as across:
        across.near.core.publish(exports=[], imports=[(0, b"echo", 1, 0, native.IMPORT_PENDING, [])], grants=[])
        with client(listen(across.near)) as connection:
            connection.sendall(b"hello")
            assert across.near.wait_kind(native.EVENT_IMPORT_WANTED)[1] == 0
            across.serve(target)
            connection.shutdown(socket.SHUT_WR)
            assert read_all(connection) == b"hello"


def test_a_connection_that_waits_too_long_is_reset() -> None:
    with Across(relays=0, wait_ms=100) as across:
        across.near.core.publish(exports=[], imports=[(0, b"echo", 1, 0, native.IMPORT_PENDING, [])], grants=[])
        assert is_turned_away(listen(across.near))
        assert causes(across.near) == (7, "waited-too-long")


# -- sessions, links, drain -------------------------------------------------------------------------------------------


def test_the_end_of_a_session_resets_its_streams(across: Across) -> None:
    with server(echo) as target, client(across.serve(target)) as connection:
        connection.sendall(b"hello")
        assert connection.recv(5) == b"hello"
        across.far.core.session_close(across.session, 9)
        assert was_reset(connection)
    assert across.near.wait_kind(native.EVENT_SESSION_DOWN)[1:] == (across.session, 9, "peer-closed", True)
    assert causes(across.near) == (9, "session-lost")


def test_the_end_of_a_link_stalls_the_session_and_keeps_its_streams(across: Across) -> None:
    with server(echo) as target, client(across.serve(target)) as connection:
        connection.sendall(b"hello")
        assert connection.recv(5) == b"hello"
        across.near.core.link_close(across.links[0], 0)
        assert across.near.wait_kind(native.EVENT_SESSION_STALLED)[1:3] == (across.session, 0)
        assert across.near.core.streams() == 1
        across.near.core.session_close(across.session, 0)
        assert was_reset(connection)


def test_a_node_that_drains_takes_no_more_but_finishes() -> None:
    with server(echo) as target, Across(relays=0) as across:
        address = across.serve(target)
        with client(address) as connection:
            connection.sendall(b"hello")
            assert connection.recv(5) == b"hello"
            across.far.core.drain()
            assert is_turned_away(address)
            connection.sendall(b"still here")
            assert connection.recv(10) == b"still here"
        until(lambda: len(ends(across.far)) == 2)
        assert {event[9] for event in ends(across.far)} == {"draining", "done"}


def test_priorities_are_carried_by_their_own_sessions() -> None:
    with server(echo) as target, Across() as across:
        urgent = across.realm.session(
            across.near, across.far, [(across.relays[0], across.links[0])], across.links[1], priority=2
        )
        across.far.core.publish(
            exports=[(0, b"echo", 1, 0, native.EXPORT_READY, 2000, [target])],
            imports=[],
            grants=[(across.session, [0]), (urgent, [0])],
        )
        imports = [
            (number, b"echo", 1, priority, native.IMPORT_LIVE, [(session, 2, 100)])
            for number, priority, session in ((0, 0, across.session), (1, 2, urgent))
        ]
        across.near.core.publish(exports=[], imports=imports, grants=[])
        bulk, quick = listen(across.near, 0), listen(across.near, 1)
        stop = threading.Event()

        def flood() -> None:
            while not stop.is_set():
                transfer(bulk, pattern(2 * MEGABYTE))

        flooding = threading.Thread(target=flood, daemon=True)
        flooding.start()
        with client(quick) as connection:
            for _ in range(50):
                connection.sendall(b"ping")
                assert connection.recv(4) == b"ping"
        stop.set()
        flooding.join(20)


# -- many -------------------------------------------------------------------------------------------------------------


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_many_short_connections_leave_nothing_behind(across: Across) -> None:
    def used() -> list[int]:
        return [node.core.memory()["used_bytes"] for node in across.nodes]

    def short(connection: socket.socket) -> None:
        connection.sendall(read_all(connection)[::-1])

    with server(short) as target:
        address = across.serve(target)

        def some(count: int) -> None:
            for _ in range(count):
                assert transfer(address, b"abc") == b"cba"
            until(lambda: all(node.core.streams() == 0 for node in across.nodes))

        some(50)
        until(lambda: all(session["retained_bytes"] == 0 for session in across.near.core.sessions().values()))
        before, files = used(), descriptors()
        some(400)
        # What the rings of a lane's queues have grown to stays. A record of each stream would be 160,000 bytes.
        until(lambda: all(now <= then + RINGS for now, then in zip(used(), before, strict=True)))
        until(lambda: descriptors() <= files)


def test_an_idle_stream_is_small_whatever_it_has_carried() -> None:
    count, each = 40, 432
    with server(echo) as target, Across(relays=0) as across:
        address = across.serve(target)
        edges = (across.near, across.far)

        def used(edge: Node) -> int:
            return int(edge.core.memory()["used_bytes"])

        assert transfer(address, pattern(MEGABYTE)) == pattern(MEGABYTE)
        until(lambda: all(edge.core.streams() == 0 for edge in edges))
        until(lambda: all(row["retained_bytes"] == 0 for edge in edges for row in edge.core.sessions().values()))
        before = [used(edge) for edge in edges]
        connections = [client(address) for _ in range(count)]
        for size in (1, 300_000):
            for connection in connections:
                threading.Thread(target=connection.sendall, args=(pattern(size),), daemon=True).start()
                received = 0
                while received < size:
                    received += len(connection.recv(65_536))
            until(lambda: all(used(edge) - then <= count * each for edge, then in zip(edges, before, strict=True)))
        for connection in connections:
            connection.close()


def test_two_workers_carry_flows_on_both() -> None:
    data = pattern(MEGABYTE)
    with server(echo) as target, Across(lanes=2, workers=2) as across:
        address = across.serve(target)
        results: list[bytes] = []
        threads = [
            threading.Thread(target=lambda: results.append(transfer(address, data)), daemon=True) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert results == [data] * 8
        assert across.near.core.sessions()[across.session]["flows_up"] == 2
        assert across.near.core.links()[across.links[0]]["lanes_up"] == 2


def test_a_core_is_stopped_twice_and_with_streams_open() -> None:
    with server(echo) as target, Across() as across, client(across.serve(target)) as connection:
        connection.sendall(b"hello")
        assert connection.recv(5) == b"hello"
        for node in across.nodes:
            node.core.stop()
            node.core.stop()


# -- new tables -------------------------------------------------------------------------------------------------------


def test_streams_are_judged_anew_only_by_tables_that_take_something_away(across: Across) -> None:
    """A peer may cause tables that allow more, by new sessions, as often as it likes: no stream is touched by them."""
    core, session = across.far.core, across.session

    def publish(*granted: int, marking: int = 1, others: int = 0) -> None:
        rows = [(n, name, marking, n, native.EXPORT_READY, 2000, [target]) for n, name in enumerate((b"echo", b"more"))]
        strangers = [(1_000 + number, [0]) for number in range(others)]
        core.publish(exports=rows, imports=[], grants=[(session, granted), *strangers])

    def judged() -> int:
        return int(core.counters()["streams_judged_total"])

    with server(echo) as target, client(across.serve(target)) as connection:
        connection.sendall(b"one")
        assert connection.recv(3) == b"one"
        start = judged()
        for others in (0, 1, 50):
            publish(0, others=others)
        publish(0, 1)
        # Grants of sessions that are gone, and a grant and services that come, took nothing away; this does.
        publish(0)
        until(lambda: judged() > start)
        assert judged() == start + 1
        connection.sendall(b"two")
        assert connection.recv(3) == b"two"
        publish(0, marking=2)
        assert was_reset(connection)
    assert causes(across.far) == (5, "marking")
