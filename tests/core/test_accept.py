"""Which session an accepted connection gets: by weight for each import, and the same where another worker serves it."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterator

import pytest

from pcgrelay._core.face import core as native
from tests.support.cores import CoreRealm, Node, carried_out
from tests.support.echo_exchange import echo_server
from tests.support.waiting import until

DONE = 0
CONNECTIONS = 12


@pytest.fixture
def realm() -> Iterator[CoreRealm]:
    made = CoreRealm()
    yield made
    made.close()


@pytest.fixture
def target() -> Iterator[tuple[str, int]]:
    with echo_server() as address:
        yield address


def export(node: Node, target: tuple[str, int], sessions: list[int]) -> None:
    rows = [(0, b"echo", 1, 0, native.EXPORT_READY, 2_000, [target])]
    node.core.publish(exports=rows, imports=[], grants=[(session, [0]) for session in sorted(sessions)])
    carried_out(node)


def use(node: Node, sessions: list[int], imports: int = 1) -> None:
    """Let imports have these sessions as routes of equal weight."""
    routes = [(session, 2, 1) for session in sessions]
    rows = [(number, b"echo", 1, 0, native.IMPORT_LIVE, routes) for number in range(imports)]
    node.core.publish(exports=[], imports=rows, grants=[])


def listen_apart(node: Node, number: int, listener: int = 0) -> list[tuple[str, int]]:
    """A listening socket for each worker, each with an address of its own; listener: the number of its counts."""
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(node.core.workers)]
    addresses: list[tuple[str, int]] = [sock.getsockname() for sock in listeners]
    for sock in listeners:
        sock.setblocking(False)
    node.core.import_listen(number, [sock.detach() for sock in listeners], listener)
    return addresses


def ask(realm: CoreRealm, address: tuple[str, int]) -> socket.socket:
    sock = socket.create_connection(address, timeout=20)
    realm.sockets.append(sock)
    sock.sendall(b"?")
    return sock


def streams(node: Node) -> Counter[int]:
    return Counter({session: seen["streams"] for session, seen in node.core.sessions().items()})


def test_each_import_takes_its_routes_in_turn(realm: CoreRealm, target: tuple[str, int]) -> None:
    near, far = realm.edge(), realm.edge()
    link = realm.link(near, far)
    sessions = [realm.session(near, far, [], link) for _ in range(2)]
    export(far, target, sessions)
    use(near, sessions, imports=2)
    ((first,), (second,)) = (listen_apart(near, number) for number in range(2))
    used: dict[tuple[str, int], Counter[int]] = {first: Counter(), second: Counter()}
    for _ in range(CONNECTIONS // 2):
        for address in (first, second):
            before = streams(near)
            assert ask(realm, address).recv(1) == b"?"
            used[address] += streams(near) - before
    assert [set(counts.values()) for counts in used.values()] == [{CONNECTIONS // 4}, {CONNECTIONS // 4}]


@pytest.fixture
def narrow_and_wide(realm: CoreRealm, target: tuple[str, int]) -> tuple[Node, int, int]:
    """A node of two workers, a session with a flow on worker 0 alone, and one with a flow on each."""
    near, far = realm.edge(workers=2), realm.edge(workers=2)
    link = realm.link(near, far, lanes=2)
    narrow, wide = (realm.session(near, far, [], link, flows=flows) for flows in (1, 2))
    export(far, target, [narrow, wide])
    return near, narrow, wide


def test_a_socket_for_another_worker_keeps_the_session_chosen(
    realm: CoreRealm, narrow_and_wide: tuple[Node, int, int]
) -> None:
    near, narrow, wide = narrow_and_wide
    use(near, [narrow, wide])
    _, address = listen_apart(near, 0)
    for _ in range(CONNECTIONS):
        assert ask(realm, address).recv(1) == b"?"
    assert streams(near) == {narrow: CONNECTIONS // 2, wide: CONNECTIONS // 2}


def waiting(realm: CoreRealm, near: Node) -> list[socket.socket]:
    """Connections that worker 1 accepted while their import had no route."""
    use(near, [])
    _, address = listen_apart(near, 0)
    socks = [ask(realm, address) for _ in range(CONNECTIONS)]
    until(lambda: near.core.streams() == CONNECTIONS)
    return socks


def test_one_that_waited_keeps_the_session_chosen_too(realm: CoreRealm, narrow_and_wide: tuple[Node, int, int]) -> None:
    near, narrow, wide = narrow_and_wide
    socks = waiting(realm, near)
    use(near, [narrow, wide])
    assert [sock.recv(1) for sock in socks] == [b"?"] * CONNECTIONS
    assert streams(near) == {narrow: CONNECTIONS // 2, wide: CONNECTIONS // 2}


def test_a_session_that_ended_on_the_way_is_chosen_again(
    realm: CoreRealm, narrow_and_wide: tuple[Node, int, int]
) -> None:
    near, narrow, wide = narrow_and_wide
    socks = waiting(realm, near)
    # Worker 0 ends the session before worker 1, which still knows it, hands over what it chose it for.
    near.core.freeze()
    use(near, [narrow, wide])
    near.core.session_close(narrow, DONE)
    while not near.core.settle():
        pass
    near.core.start()
    assert [sock.recv(1) for sock in socks] == [b"?"] * CONNECTIONS
    assert streams(near) == {wide: CONNECTIONS}


def test_what_comes_by_a_listener_is_counted_apart(realm: CoreRealm, narrow_and_wide: tuple[Node, int, int]) -> None:
    near, narrow, wide = narrow_and_wide
    use(near, [narrow, wide])
    # Worker 1 hands the sockets of the narrow session to worker 0.
    plain, counted, other = (listen_apart(near, 0, listener)[1] for listener in (0, 1, 511))
    socks = [ask(realm, address) for address in (plain, counted, counted, counted, counted, other)]
    assert [sock.recv(1) for sock in socks] == [b"?"] * len(socks)
    assert near.core.listener(1) == (4, 4, 0, 0)
    assert near.core.listener(511) == (1, 1, 0, 0)
    assert near.core.listener(0) == (0, 0, 0, 0)
    for sock in socks:
        sock.close()
    until(lambda: near.core.listener(1) == (4, 0, 4, 4))
    until(lambda: near.core.listener(511) == (1, 0, 1, 1))
    assert near.core.listener(0) == (0, 0, 0, 0)
    with pytest.raises(native.CoreError, match="no counts of a listener 512"):
        listen_apart(near, 0, 512)
    with pytest.raises(native.CoreError, match="no counts of a listener 512"):
        near.core.listener(512)


def test_a_connection_that_is_refused_is_counted_at_its_listener(realm: CoreRealm) -> None:
    near = realm.edge()
    (address,) = listen_apart(near, 0, 3)
    near.core.publish(exports=[], imports=[(0, b"echo", 1, 0, native.IMPORT_DOWN, [])], grants=[])
    with pytest.raises(ConnectionResetError):
        ask(realm, address).recv(1)
    until(lambda: near.core.listener(3) == (1, 0, 0, 0))
