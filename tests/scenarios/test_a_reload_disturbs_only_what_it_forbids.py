"""Reloads under traffic: what is still allowed notices nothing, and what is not ends within a second."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator

import pytest

from tests.scenarios.kit.echo_witness import ending, host_port, received
from tests.scenarios.kit.nodes import HOST, MET
from tests.scenarios.kit.reload_setup import Scene, applications, command, is_open, reload, reload_by_signal, scene
from tests.support.ports import free_port
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test

RELOADS = 100
WITHIN_S = 2.5  # a second, and what a busy machine takes
PACE_S = 0.05


@pytest.fixture(scope="module")
def realm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene(tmp_path_factory.mktemp("reload")) as made:
        yield made


def talking(scene: Scene, door: tuple[str, int]) -> socket.socket:
    sock = socket.create_connection(door, 10)
    sock.sendall(b"hello")
    assert received(sock, 5) == b"hello"
    return sock


def test_a_hundred_reloads_under_load(realm: Scene, figure: Callable[[str], None]) -> None:
    fresh = (HOST, free_port())
    descriptors = [node.descriptors for node in realm.nodes]
    took = []
    with applications(realm.door, 4) as witnesses:
        for number in range(RELOADS):
            node = realm.nodes[number % len(realm.nodes)]
            even = number // len(realm.nodes) % 2 == 0
            # Each time something comes or goes beside what is in use.
            if node is realm.kent:
                realm.change(node, exports=[realm.export("echo"), *([realm.export("more")] if even else [])])
            elif node is realm.met:
                realm.change(node, imports=[realm.entry("echo", realm.door), *([realm.entry("more", fresh)] * even)])
            else:
                realm.change(node, policy={"handshake_deadline_ms": 9_000 + number})
            began = time.monotonic()
            answer = reload(node)
            took.append(time.monotonic() - began)
            assert answer.ok, answer
            assert answer.changes
            time.sleep(PACE_S)
        rounds = sum(witness.rounds for witness in witnesses)
        worst = max(witness.worst_s for witness in witnesses)
    figure(
        f"{RELOADS} reloads, 0 errors in {rounds} exchanges, the slowest {worst * 1000:.0f} ms; "
        f"a reload took {sorted(took)[RELOADS // 2] * 1000:.0f} ms, at most {max(took) * 1000:.0f} ms"
    )
    for node, before in zip(realm.nodes, descriptors, strict=True):
        assert not node.log("session.stalled")
        until(lambda node=node, before=before: node.descriptors <= before + 4, 5, f"{node} closes what it opened")


def test_a_new_service_can_be_used_and_a_removed_one_ends(realm: Scene) -> None:
    fresh = (HOST, free_port())
    realm.change(realm.kent, exports=[realm.export("echo"), realm.export("new")])
    realm.change(realm.met, imports=[realm.entry("echo", realm.door), realm.entry("new", fresh)])
    with applications(realm.door, 1):
        assert f"export new@{realm.kent.organisation} added" in reload(realm.kent).changes
        assert f"import new@{realm.kent.organisation} added" in reload(realm.met).changes
        until(lambda: realm.met.service("new").state == "ready")
        with talking(realm, fresh) as sock:
            realm.change(realm.kent, exports=[realm.export("echo")])
            began = time.monotonic()
            assert reload(realm.kent).ok
            assert ending(sock) == (b"", "reset")
            assert time.monotonic() - began < WITHIN_S
        realm.kent.await_log("stream.end", cause="unknown-service")
        realm.change(realm.met, imports=[realm.entry("echo", realm.door)])
        assert reload(realm.met).ok
        until(lambda: not is_open(fresh), 10, "the import's listener is gone")


def test_an_import_that_is_removed_takes_its_streams_along(realm: Scene) -> None:
    fresh = (HOST, free_port())
    realm.change(realm.kent, exports=[realm.export("echo"), realm.export("new")])
    realm.change(realm.met, imports=[realm.entry("echo", realm.door), realm.entry("new", fresh)])
    assert reload(realm.kent).ok
    assert reload(realm.met).ok
    until(lambda: realm.met.service("new").state == "ready")
    with applications(realm.door, 1), talking(realm, fresh) as sock:
        realm.change(realm.met, imports=[realm.entry("echo", realm.door)])
        began = time.monotonic()
        reload_by_signal(realm.met)
        assert ending(sock) == (b"", "reset")
        assert time.monotonic() - began < WITHIN_S
    realm.met.await_log("stream.end", cause="not-allowed", service=f"new@{realm.kent.organisation}")
    realm.change(realm.kent, exports=[realm.export("echo")])
    assert reload(realm.kent).ok


@pytest.mark.parametrize("change", [{"allow": ["other.example"]}, {"marking": "SECRET"}], ids=["allow", "marking"])
def test_what_a_rule_no_longer_allows_ends_within_a_second(
    realm: Scene, change: dict[str, object], figure: Callable[[str], None]
) -> None:
    fresh = (HOST, free_port())
    realm.change(realm.kent, exports=[realm.export("echo"), realm.export("strict")])
    realm.change(realm.met, imports=[realm.entry("echo", realm.door), realm.entry("strict", fresh)])
    assert reload(realm.kent).ok
    assert reload(realm.met).ok
    until(lambda: realm.met.service("strict").state == "ready")
    with applications(realm.door, 2), talking(realm, fresh) as sock:
        realm.change(realm.kent, exports=[realm.export("echo"), realm.export("strict", **change)])
        began = time.monotonic()
        assert reload(realm.kent).ok
        assert ending(sock) == (b"", "reset")
        took = time.monotonic() - began
    assert took < WITHIN_S
    figure(f"a stream without its grant ended {took * 1000:.0f} ms after the reload was asked for")
    cause = "not-allowed" if "allow" in change else "marking"
    realm.kent.await_log("stream.end", cause=cause, from_organisation=MET)
    realm.change(realm.kent, exports=[realm.export("echo")])
    realm.change(realm.met, imports=[realm.entry("echo", realm.door)])
    assert reload(realm.kent).ok
    assert reload(realm.met).ok


def test_an_import_moves_to_another_port_and_its_streams_go_on(realm: Scene) -> None:
    moved = (HOST, free_port())
    with applications(realm.door, 1) as (witness,), talking(realm, realm.door) as sock:
        realm.change(realm.met, imports=[realm.entry("echo", moved)])
        # The witness opens no new connection while the door is away.
        witness.pause()
        assert reload(realm.met).ok
        sock.sendall(b"still here")
        assert received(sock, 10) == b"still here"
        talking(realm, moved).close()
        realm.change(realm.met, imports=[realm.entry("echo", realm.door)])
        assert reload(realm.met).ok
        witness.go_on()


def test_a_port_that_is_taken_refuses_the_whole_reload(realm: Scene) -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        door = (HOST, free_port())
        realm.change(
            realm.met,
            imports=[realm.entry("echo", realm.door), realm.entry("a", door), realm.entry("b", (HOST, port))],
        )
        answer = reload(realm.met)
    assert (answer.ok, answer.exit_code) == (False, 78)
    assert host_port(port) in answer.reason
    assert not is_open(door)
    realm.change(realm.met, imports=[realm.entry("echo", realm.door)])


WRONG = {
    "no TOML": (lambda text: text + "\n[", "not valid TOML"),
    "an unknown key": (lambda text: text.replace("members", "membres"), "the nearest that there is: members"),
    "a file that is not there": (lambda text: text.replace("kent-1.pem", "kent-9.pem"), "no certificate at this path"),
    "another node's key": (lambda text: text.replace("kent-1.key", "../met-1.met.police.example/met-1.key"), "key"),
    "another name": (lambda text: text.replace('name = "kent-1"', 'name = "kent-2"'), "restart"),
    "another budget": (lambda text: text.replace("64MiB", "65MiB"), "node.memory has changed"),
    "another socket": (lambda text: text.replace(".sock", ".other"), "restart"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_configuration_changes_nothing(realm: Scene, name: str) -> None:
    spoil, words = WRONG[name]
    good = realm.kent.config.read_text()
    with applications(realm.door, 1):
        realm.kent.config.write_text(spoil(good))
        assert realm.kent.config.read_text() != good
        try:
            answer = reload(realm.kent)
        finally:
            realm.kent.config.write_text(good)
    assert (answer.ok, answer.exit_code) == (False, 78)
    assert words in answer.reason
    assert answer.reason.endswith(".")
    assert realm.kent.log("config.refused")[-1]["reason"] == answer.reason
    assert realm.kent.metrics()["config_last_reload_successful"] == 0
    assert reload(realm.kent).ok
    assert realm.kent.metrics()["config_last_reload_successful"] == 1


def test_the_command_says_what_changed_or_why_not(realm: Scene) -> None:
    config = realm.kent.config
    good = config.read_text()
    realm.change(realm.kent, exports=[realm.export("echo"), realm.export("said")])
    done = command("reload", "-c", config)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"  export said@{realm.kent.organisation} added\n" in done.stdout
    config.write_text(good.replace("members", "membres"))
    refused = command("reload", "-c", config)
    assert refused.returncode == 78
    assert refused.stderr.startswith(f"pcgrelay: {config}:")
    config.write_text(good)
    done = command("reload", "-c", config, "--json")
    assert json.loads(done.stdout)["changes"] == [f"export said@{realm.kent.organisation} removed"]


def test_an_organisation_that_is_no_longer_a_member_is_shut_out(realm: Scene, figure: Callable[[str], None]) -> None:
    (relay,) = realm.relays
    with talking(realm, realm.door) as sock:
        realm.change(relay, policy={"members": [realm.kent.organisation]})
        began = time.monotonic()
        assert reload(relay).ok
        # It has no other neighbour, so there is no way to wait for.
        assert ending(sock) == (b"", "reset")
        took = time.monotonic() - began
    assert took < WITHIN_S
    figure(f"a stream of an edge without a neighbour ended {took * 1000:.0f} ms after the reload was asked for")
    relay.await_log("link.down", peer=realm.met.dotted, reason="not_a_member")
    realm.met.await_log("session.down", code="refused", reason="shut_out")
    realm.change(relay, policy={"members": ["*"]})
    assert reload(relay).ok
    realm.stage.await_well()
    talking(realm, realm.door).close()


def test_a_listener_comes_and_goes(realm: Scene) -> None:
    (relay,) = realm.relays
    first = realm.stage.nodes[relay.dotted].config.read_text().partition('address = "')[2].partition('"')[0]
    second = host_port(free_port())
    with applications(realm.door, 1):
        realm.change(relay, listens=[first, second])
        assert reload(relay).changes == (f"listen {second} added",)
        host, _, port = second.partition(":")
        socket.create_connection((host, int(port)), 2).close()
        realm.change(relay, listens=[first])
        assert reload(relay).ok
        until(lambda: not is_open((host, int(port))), 10)
