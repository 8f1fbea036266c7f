"""Whatever goes wrong before the new process has all, the old one goes on as if nothing had been."""

from __future__ import annotations

import os
import re
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec
import pytest

from pcgrelay.daemon.handover.channel import (
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
from pcgrelay.daemon.handover.memfd import make_record
from tests.scenarios.kit.demo_nodes import short_folder
from tests.scenarios.kit.echo_witness import received
from tests.scenarios.kit.nodes import HOST, HUB, MET, STOP_S, Node, Stage
from tests.scenarios.kit.reload_setup import Scene, applications, command, is_open, reload, scene
from tests.support.ports import free_port
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test

WHICH = ["met", pytest.param("relay", marks=pytest.mark.tier_all)]

OWN = 5
DOES_NOT_ANSWER = "the other process does not answer"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene(tmp_path_factory.mktemp("realm")) as made:
        yield made


@pytest.fixture
def realm(shared: Scene) -> Iterator[Scene]:
    with shared.restored():
        yield shared


@contextmanager
def undisturbed(realm: Scene, node: Node) -> Iterator[None]:
    """A stream that was there before goes on, in the same process, and so do its links and session."""
    with socket.create_connection(realm.door, 10) as sock, applications(realm.door, 2):
        sock.settimeout(10)
        sock.sendall(b"before")
        assert received(sock, 6) == b"before"
        pid, since, since_met = node.pid, node.moment(), realm.met.moment()
        yield
        sock.sendall(b"after!")
        assert received(sock, 6) == b"after!"
        assert (node.pid, node.running) == (pid, True)
    assert not node.log("lane.down", since)
    assert not realm.met.log("session.stalled", since_met)


def knock(node: Node) -> Channel:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(10)
    sock.connect(str(handover_path(node.admin)))
    return Channel(sock)


def given(channel: Channel) -> None:
    """Be given the whole state, and let go of the descriptors."""
    channel.receive(Offer, 5)
    channel.send(Ready(), 5)
    state = channel.receive(State, 5)
    for descriptor in channel.receive_descriptors(OWN + len(state.listens) + state.core, 5):
        os.close(descriptor)


@contextmanager
def deaf_to(number: signal.Signals) -> Iterator[None]:
    """A node sends signals on to who takes over, which is this process here."""
    before = signal.signal(number, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(number, before)


def test_a_configuration_that_is_wrong_is_refused(realm: Scene) -> None:
    node = realm.met
    good = node.config.read_text()
    with undisturbed(realm, node):
        node.config.write_text(good.replace("[node]", "[node]\nnonsense = 1"))
        done = node.upgrade()
        assert done.returncode == 78
        assert "nonsense" in done.stderr
        node.config.write_text(good)


def test_what_needs_a_restart_is_refused_by_name(realm: Scene) -> None:
    node = realm.met
    good = node.config.read_text()
    with undisturbed(realm, node):
        since = node.moment()
        node.config.write_text(good.replace("workers = 1", "workers = 3"))
        done = node.upgrade()
        assert done.returncode == 1
        assert "node.workers has changed, which needs a restart; the running node goes on." in done.stderr
        assert len(done.stderr.splitlines()) == 1
        node.config.write_text(good)
        assert "node.workers has changed" in node.await_log("handover.failed", after=since)["reason"]


def test_a_port_that_is_taken_is_refused(realm: Scene) -> None:
    node = realm.met
    good = node.config.read_text()
    with undisturbed(realm, node), socket.create_server(("127.0.0.1", 0)) as other:
        node.config.write_text(re.sub(r'listen = "[^"]*"', f'listen = "127.0.0.1:{other.getsockname()[1]}"', good))
        done = node.upgrade()
        assert done.returncode != 0
        assert "listen" in done.stderr
        node.config.write_text(good)


@pytest.mark.parametrize("which", WHICH)
def test_a_new_process_that_leaves_too_early_is_none(realm: Scene, which: str) -> None:
    node = realm.relays[0] if which == "relay" else realm.met
    before, since = sorted(node.niceness.values()), node.moment()
    assert before[0] == 0 < before[-1]
    with undisturbed(realm, node):
        for words in (b"", b"\x16\x03\x01\x02", os.urandom(64), b"\xff\xff\xff\xff", b"\0\0\0\2\xc1\xc1"):
            channel = knock(node)
            channel.receive(Offer, 5)
            channel._sock.sendall(words)
            channel.close()
        channel = knock(node)
        channel.receive(Offer, 5)
        channel.send(Refusal(reason="it is not to be"), 5)
        channel.close()
        channel = knock(node)
        channel.receive(Offer, 5)
        channel.send(Ready(), 5)
        channel.close()
        for _ in range(3):
            channel = knock(node)
            given(channel)
            channel.close()
        channel = knock(node)
        given(channel)
        channel.send(Refusal(reason="it cannot read this"), 5)
        channel.close()
        until(lambda: len(node.log("handover.failed", since)) == 11)
    # The workers that go on are begun again, and come before the control plane on a core that they share, as they did.
    until(lambda: list(node.niceness.values()).count(0) == before.count(0), what="the workers are as they were")
    reasons = [line["reason"] for line in node.log("handover.failed", since)]
    assert {"it is not to be", "it cannot read this", "the other process is gone"} <= set(reasons)


@pytest.mark.parametrize("which", WHICH)
def test_a_new_process_that_hangs_is_given_up_before_a_lane_is(realm: Scene, which: str) -> None:
    node = realm.relays[0] if which == "relay" else realm.met
    with undisturbed(realm, node):
        since = node.moment()
        channel = knock(node)
        given(channel)
        began = time.monotonic()
        node.await_log("handover.failed", after=since, reason=DOES_NOT_ANSWER)
        assert time.monotonic() - began < 3.5
        channel.close()
        # And after all that it can still be upgraded.
    assert node.upgrade().returncode == 0
    realm.stage.await_well()


@pytest.mark.parametrize("which", WHICH)
def test_a_node_that_is_told_to_stop_while_its_workers_stand_still_keeps_its_state_and_ends(
    realm: Scene, which: str
) -> None:
    """Its event loop has not seen the signal yet, and would not again after the hand-over."""
    node = realm.relays[0] if which == "relay" else realm.met
    done = len(node.log("handover.done"))
    with deaf_to(signal.SIGTERM):
        with closing(knock(node)) as channel:
            given(channel)
            os.kill(node.pid, signal.SIGTERM)
            channel.send(Taken(), 5)
            try:
                told = repr(channel.receive(Go, 5))
            except ChannelBroken as broken:
                told = str(broken)
        assert node.await_exit(STOP_S) == 0
    assert told != repr(Go())
    assert [line["event"] for line in node.log()][-1] == "node.stopped"
    assert len(node.log("handover.done")) == done


@pytest.mark.tier_all
def test_who_leaves_beside_a_new_process_that_hangs_is_gone_all_the_same(realm: Scene) -> None:
    """Copies of all connections lie in a message that nobody reads, and keep none of them alive."""
    node = realm.met
    with undisturbed(realm, node), socket.create_connection(realm.door, 10) as sock:
        sock.settimeout(5)
        sock.sendall(b"before")
        assert received(sock, 6) == b"before"
        since = node.moment()
        channel = knock(node)
        channel.receive(Offer, 5)
        channel.send(Ready(), 5)
        channel.receive(State, 5)
        node.await_log("handover.failed", after=since, reason=DOES_NOT_ANSWER)
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(1) == b""
        channel.close()


@pytest.mark.tier_all
def test_a_port_for_links_that_goes_beside_a_new_process_that_hangs_is_closed_all_the_same(realm: Scene) -> None:
    """A copy of it lies in that message too, and would take connections that nobody ever answers."""
    (relay,) = realm.relays
    since = relay.moment()
    with closing(knock(relay)) as channel:
        channel.receive(Offer, 5)
        channel.send(Ready(), 5)
        (listen,) = channel.receive(State, 5).listens
        relay.await_log("handover.failed", after=since, reason=DOES_NOT_ANSWER)
        host, _, port = listen.rpartition(":")
        assert is_open((host, int(port)))
        realm.change(relay, listens=[f"{host}:{free_port()}"])
        assert reload(relay).ok
        until(lambda: not is_open((host, int(port))), 10)
        # And it can be had again.
        realm.change(relay, listens=[listen])
        assert reload(relay).ok
        assert is_open((host, int(port)))


@pytest.fixture
def open_realm() -> Iterator[Scene]:
    """In a folder that everybody may enter. Pytest's own is closed to others again by any run that begins."""
    with short_folder() as folder:
        folder.chmod(0o755)
        with scene(folder) as made:
            yield made


def test_only_the_user_of_the_node_may_ask(open_realm: Scene) -> None:
    node = open_realm.met
    path = handover_path(node.admin)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    if os.geteuid() != 0:
        pytest.skip("only root can be another user")
    path.chmod(0o666)
    code = (
        f"import socket; s = socket.socket(socket.AF_UNIX); s.settimeout(5); s.connect({str(path)!r}); print(s.recv(9))"
    )
    with undisturbed(open_realm, node):
        done = subprocess.run(
            ["/usr/bin/python3", "-c", code], user=65534, capture_output=True, text=True, timeout=20, check=False
        )
        assert (done.returncode, done.stdout) == (0, "b''\n"), done.stderr
        node.await_log("handover.failed", reason="somebody of another user has asked for the state")


def test_where_no_node_runs_there_is_nothing_to_take(realm: Scene) -> None:
    realm.met.stop()
    done = command("upgrade", "-c", realm.met.config)
    assert done.returncode == 1
    assert "no node runs here; start one with: pcgrelay run -c FILE" in done.stderr
    assert not handover_path(realm.met.admin).exists()


def test_a_node_that_drains_is_not_handed_over(realm: Scene) -> None:
    assert command("drain", "-c", realm.relays[0].config).returncode in (0, 1)
    done = realm.relays[0].upgrade()
    assert done.returncode == 1
    assert "it drains; undo that first" in done.stderr
    assert command("drain", "--undo", "-c", realm.relays[0].config).returncode == 0


@pytest.mark.parametrize(
    ("handover", "record", "words"),
    [
        (b"\xc1", b"PCGH", "The state of the running node cannot be read"),
        (msgspec.msgpack.encode({"started_ms": 1}), b"PCGX" + bytes(100), "this is no state record"),
        (msgspec.msgpack.encode({"started_ms": 1}), b"PCGH\1\0\0\0" + os.urandom(100), "the state cannot be read"),
        (msgspec.msgpack.encode({"started_ms": 1}), b"PCGH\xff\xff\0\0", "the state is of version 65535"),
    ],
)
def test_a_new_process_that_cannot_read_the_state_ends_with_a_sentence(
    tmp_path: Path, handover: bytes, record: bytes, words: str
) -> None:
    # The one that it is to replace is played here.
    with Stage(tmp_path) as stage, socket.socket(socket.AF_UNIX) as door:
        node = stage.node(MET, "met-1", links=[{"peer": f"relay-1.{HUB}", "address": f"{HOST}:{free_port()}"}])
        door.bind(str(handover_path(node.admin)))
        door.listen()
        node.spawn("--take-over")
        channel = Channel(door.accept()[0])
        facts = {"name": "met-1", "organisation": MET, "realm": "police.example", "role": "edge", "workers": "1"}
        channel.send(Offer(record=1, handover=1, node=facts, used_bytes=0, descriptors=9), 5)
        channel.receive(Ready, 10)
        descriptor, memory = make_record(len(record))
        memory[:] = record
        channel.send(State(handover=handover, record_bytes=len(record), listens=(), core=0), 5)
        sockets = [socket.socket(socket.AF_UNIX) for _ in range(2)]
        channel.send_descriptors([descriptor, 2, 2, *(sock.fileno() for sock in sockets)], 5)
        with pytest.raises(ChannelBroken, match="is gone"):
            channel.receive(Taken, 10)
        channel.close()
        memory.close()
        os.close(descriptor)
        for sock in sockets:
            sock.close()
        assert node.await_exit(10) == 1
    (sentence,) = node.log_text.splitlines()
    assert sentence.startswith("pcgrelay: The running node was not taken over: ")
    assert words in sentence
