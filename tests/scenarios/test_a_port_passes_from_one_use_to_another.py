"""A reload may move a port that the node itself has: to another address, between links and imports, by exchange."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.scenarios.kit.echo_witness import received
from tests.scenarios.kit.nodes import HOST, HUB, Node
from tests.scenarios.kit.reload_setup import Scene, applications, is_open, reload, scene
from tests.support.ports import free_port
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene(tmp_path_factory.mktemp("realm")) as made:
        yield made


@pytest.fixture
def realm(shared: Scene) -> Iterator[Scene]:
    with shared.restored():
        yield shared


def port_of(node: Node) -> int:
    (address,) = [line.split('"')[1] for line in node.config.read_text().splitlines() if line.startswith("address = ")]
    return int(address.rpartition(":")[2])


def echoed(door: tuple[str, int]) -> bool:
    """Whether an application is served there; for a moment after a reload the one before may still close there."""
    try:
        with closing(socket.create_connection(door, 5)) as sock:
            sock.settimeout(5)
            sock.sendall(b"echo")
            return received(sock, 4) == b"echo"
    except OSError:
        return False


def is_alone(port: int) -> bool:
    """Whether another program finds the port taken."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            other.bind((HOST, port))
        except OSError:
            return True
    return False


@pytest.mark.parametrize("wide", ["0.0.0.0", "[::]"])
def test_links_come_in_at_one_address_then_at_all_and_back(realm: Scene, wide: str) -> None:
    (relay,) = realm.relays
    port = port_of(relay)
    with applications(realm.door, 2):
        for host in (wide, HOST, wide):
            realm.change(relay, listens=[f"{host}:{port}"])
            answer = reload(relay)
            assert answer.ok, answer.reason
            assert is_open((HOST, port))
    assert is_alone(port)


def test_an_import_goes_to_all_addresses_and_back(realm: Scene) -> None:
    with applications(realm.door, 2):
        for host in ("0.0.0.0", HOST):
            entry = {"service": "echo@kent.police.example", "listen": f"{host}:{realm.door[1]}"}
            realm.change(realm.met, imports=[entry])
            answer = reload(realm.met)
            assert answer.ok, answer.reason
            until(lambda: echoed(realm.door))


def test_a_port_moves_between_links_and_an_import(realm: Scene) -> None:
    met, port = realm.met, free_port()
    entry = {"service": "echo@kent.police.example", "listen": f"{HOST}:{port}"}
    with applications(realm.door, 1) as (lasting,):
        realm.change(met, listens=[f"{HOST}:{port}"], policy={"members": [HUB]})
        assert reload(met).ok
        # What is open goes on. A new connection would meet links where the import was.
        lasting.pause()
        # To the import, and back; and both at once, each to where the other was.
        other = f"{HOST}:{realm.door[1]}"
        realm.change(met, listens=[other], imports=[entry])
        answer = reload(met)
        assert answer.ok, answer.reason
        until(lambda: echoed((HOST, port)))
        realm.change(met, listens=[f"{HOST}:{port}"], imports=[{**entry, "listen": other}])
        answer = reload(met)
        assert answer.ok, answer.reason
        until(lambda: echoed(realm.door))
        lasting.go_on()


def test_two_imports_exchange_their_ports(realm: Scene) -> None:
    met, doors = realm.met, [realm.door, (HOST, free_port())]
    realm.change(realm.kent, exports=[realm.export("echo"), realm.export("other")])
    assert reload(realm.kent).ok
    for _ in range(3):
        realm.change(met, imports=[realm.entry("echo", doors[0]), realm.entry("other", doors[1])])
        answer = reload(met)
        assert answer.ok, answer.reason
        for door in doors:
            until(lambda door=door: echoed(door))
        doors.reverse()


def test_a_reload_that_fails_leaves_each_port_where_it_was(realm: Scene) -> None:
    (relay,), met = realm.relays, realm.met
    port = port_of(relay)
    with socket.create_server((HOST, 0)) as taken, applications(realm.door, 2):
        theirs = f"{HOST}:{taken.getsockname()[1]}"
        realm.change(relay, listens=[f"0.0.0.0:{port}", theirs])
        answer = reload(relay)
        assert (answer.ok, answer.exit_code) == (False, 78)
        assert theirs in answer.reason
        entries = [realm.entry("echo", (HOST, free_port())), realm.entry("x", realm.door)]
        realm.change(met, imports=entries, listens=[theirs])
        assert theirs in reload(met).reason
        # Connections go where they went, all of them.
        for _ in range(20):
            assert echoed(realm.door)
            assert is_open((HOST, port))
        assert is_alone(port)


def test_another_program_on_one_of_the_addresses_is_told_as_such(realm: Scene) -> None:
    (relay,) = realm.relays
    port = port_of(relay)
    with socket.create_server(("127.0.0.2", port)):
        realm.change(relay, listens=[f"0.0.0.0:{port}"])
        answer = reload(relay)
    assert not answer.ok
    assert "another program has this port" in answer.reason
    assert is_open((HOST, port))


def test_an_upgrade_says_that_the_running_node_has_the_port(realm: Scene) -> None:
    (relay,) = realm.relays
    port = port_of(relay)
    with applications(realm.door, 2):
        realm.change(relay, listens=[f"0.0.0.0:{port}"])
        done = relay.upgrade()
        assert done.returncode == 1
        assert "the running node itself has this port for something else; reload it first, then upgrade" in done.stderr
        assert reload(relay).ok
        assert relay.upgrade().returncode == 0
