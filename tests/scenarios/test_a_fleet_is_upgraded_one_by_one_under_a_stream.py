"""Nodes that share a store are listed, and changed one by one; a store that is silent or lies harms no stream."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pcgrelay import config
from pcgrelay.fleet.values import root_of, signing_as
from pcgrelay.identity.local import LocalIdentity
from tests.scenarios.kit.nodes import HOST, HUB, KENT, MET, PCGRELAY, STOP_S, Node, Stage
from tests.support.applications import echo, server
from tests.support.etcd_members import EtcdMembers, etcd_members
from tests.support.pki import REALM
from tests.support.ports import free_port
from tests.support.waiting import receive, until

pytestmark = pytest.mark.tier_all

GONE_S = 7.0
LEASE_S = 15.0  # of the lock


@dataclass
class Fleet:
    """Two relays and two edges, all with [fleet]."""

    stage: Stage
    store: EtcdMembers
    relays: tuple[Node, Node]
    kent: Node
    met: Node
    door: tuple[str, int]

    def command(self, node: Node, *words: str, seconds: float = 120.0) -> subprocess.CompletedProcess[str]:
        return self.called(node, "fleet", *words, seconds=seconds)

    def called(self, node: Node, *words: str, seconds: float = 120.0) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [PCGRELAY, *words, "-c", node.config],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def shown(self, node: Node) -> dict[str, Any]:
        """What a node answers, from its admin socket."""
        return dict(json.loads(node.asked("/v1/fleet")[1]))

    def names(self, node: Node) -> list[str]:
        return [each["node"] for each in self.shown(node)["nodes"]]

    def await_ready(self, count: int = 4) -> None:
        def is_ready() -> bool:
            answer = self.shown(self.met)
            return bool(answer["complete"]) and sum(each["ready"] for each in answer["nodes"]) == count

        until(is_ready, 60, f"{count} nodes are ready in the store", step_s=0.2)

    def adopt(self, node: Node) -> None:
        """Go on with the process that has taken a node's place."""
        assert node.process is not None
        node.process.wait(STOP_S)
        node.adopt(int(node.log("handover.done")[-1]["pid"]))

    @contextmanager
    def stream(self) -> Iterator[None]:
        """A stream of before goes on behind the block, with each byte."""
        with socket.create_connection(self.door, 10) as sock:
            sock.settimeout(20)
            sock.sendall(b"before")
            assert receive(sock, 6) == b"before"
            yield
            sock.sendall(b"after!")
            assert receive(sock, 6) == b"after!"


@contextmanager
def fleet(folder: Path, members: int) -> Iterator[Fleet]:
    door = (HOST, free_port())
    ports = [free_port(), free_port()]
    with Stage(folder) as stage, etcd_members(folder / "store", stage.pki, members) as store, server(echo) as target:
        tables: dict[str, Any] = {"fleet": {"store": "etcd", "endpoints": store.endpoints}}
        links = [{"peer": f"relay-{n}.{HUB}", "address": f"{HOST}:{port}"} for n, port in enumerate(ports, 1)]
        relays = (
            stage.relay("relay-1", listens=[f"{HOST}:{ports[0]}"], **tables),
            stage.relay("relay-2", listens=[f"{HOST}:{ports[1]}"], links=links[:1], **tables),
        )
        exports = [{"service": "echo", "target": f"{target[0]}:{target[1]}", "allow": [MET]}]
        imports = [{"service": f"echo@{KENT}", "listen": f"{door[0]}:{door[1]}"}]
        kent = stage.node(KENT, "kent-1", links=links, exports=exports, **tables)
        state = folder / "met-1.state"
        state.mkdir(mode=0o700)
        met = stage.node(MET, "met-1", links=links, imports=imports, node_table={"state": str(state)}, **tables)
        stage.start()
        stage.await_well()
        made = Fleet(stage, store, relays, kent, met, door)
        made.await_ready()
        yield made


def test_nodes_are_listed_and_upgraded_in_turn_and_a_dead_one_goes(tmp_path: Path) -> None:
    with fleet(tmp_path, 1) as realm:
        first, second = realm.relays
        done = realm.command(realm.met)
        assert done.returncode == 0, done
        assert re.search(rf"^relay-1\.{HUB} +relay +ready ", done.stdout, re.M), done.stdout
        assert "4 nodes, 4 of them ready." in done.stdout
        with realm.stream():
            done = realm.command(first, "upgrade", "--one-by-one", "--only", "relays")
            assert (done.returncode, done.stderr) == (0, ""), done
            lines = done.stdout.splitlines()
            # This node is the last of its organisation.
            assert [line.split(":")[0] for line in lines[:-1]] == [second.dotted] * 2 + [first.dotted] * 2
            assert lines[-1] == "2 nodes replaced, one by one."
            for relay in realm.relays:
                assert relay.log("fleet.order", act="upgrade", by=first.dotted)
                realm.adopt(relay)
        assert not realm.kent.log("handover.done")
        assert not realm.met.log("session.down")
        assert not set(first.niceness.values()) - {0, 7}
        assert 0 in first.niceness.values(), "the workers of the new process have their priority"
        # A node that dies is gone from every view with its lease; one that is stopped is gone at once.
        second.kill()
        died = time.monotonic()
        until(lambda: second.dotted not in realm.names(realm.met), GONE_S + 3, "it is gone", step_s=0.1)
        assert time.monotonic() - died < GONE_S
        realm.kent.stop()
        stopped = time.monotonic()
        until(lambda: realm.kent.dotted not in realm.names(realm.met), GONE_S, "it is gone", step_s=0.05)
        assert time.monotonic() - stopped < 2.0
        assert realm.shown(realm.met)["status"]["live"]


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet(tmp_path_factory.mktemp("realm"), 3) as made:
        yield made


def test_the_loss_of_the_leader_and_of_one_member_is_no_silence(three: Fleet) -> None:
    moments = {node: node.moment() for node in three.stage.nodes.values()}
    with three.stream():
        leader = three.store.leader()
        three.store.kill(leader)
        others = [each for each in three.store.members if each is not leader]
        until(lambda: all(map(three.store.is_well, others)), 30, "there is a new leader")
        time.sleep(GONE_S)  # longer than any lease: none of them has expired
        assert len(three.names(three.met)) == 4
        three.store.run(leader)
        until(lambda: three.store.is_well(leader), 60, "it is a member again")
    for node, moment in moments.items():
        assert not node.log("fleet.store_silent", moment), node


def test_a_silent_store_withdraws_nothing_and_is_told(three: Fleet) -> None:
    three.await_ready()
    moments = {node: node.moment() for node in three.stage.nodes.values()}
    with three.stream():
        for member in three.store.members:
            three.store.freeze(member)
        try:
            for node, moment in moments.items():
                node.await_log("fleet.store_silent", after=moment, seconds=30)
            time.sleep(GONE_S)
            answer = three.shown(three.met)
            assert not answer["status"]["live"]
            assert len(answer["nodes"]) == 4
            done = three.command(three.met)
            assert done.returncode == 4
            assert "Nothing is heard of the fleet's store since " in done.stdout
            status = three.met.status()
            assert status.condition == "degraded"
            done = three.command(three.relays[0], "upgrade", "--one-by-one")
            assert done.returncode == 1
            assert "The store of the fleet: no member of it answers in time." in done.stderr
            assert not three.relays[0].log("handover.done", moments[three.relays[0]])
        finally:
            for member in three.store.members:
                three.store.thaw(member)
        for node, moment in moments.items():
            node.await_log("fleet.store_live", after=moment, seconds=30)
        three.await_ready()


def test_two_rolls_at_once_are_one(three: Fleet) -> None:
    three.await_ready()
    first, second = three.relays
    command: list[str | Path] = [PCGRELAY, "fleet", "upgrade", "--one-by-one", "-c", first.config]
    with three.stream():
        running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        until(lambda: three.shown(first)["lock"], 30, "the lock is held", step_s=0.05)
        done = three.command(second, "upgrade", "--one-by-one")
        assert done.returncode == 6, done
        assert f"Nodes of {HUB} are being changed by {first.dotted} (upgrade, by " in done.stderr
        out, err = running.communicate(timeout=120)
        assert (running.returncode, err) == (0, ""), out
    for relay in three.relays:
        three.adopt(relay)
    three.await_ready()


def test_a_node_that_cannot_be_replaced_stops_the_roll_and_goes_on(three: Fleet) -> None:
    three.await_ready()
    first, second = three.relays
    good = second.config.read_text()
    second.config.write_text(good + "\nnonsense = 1\n")
    pid = second.pid
    try:
        with three.stream():
            done = three.command(first, "upgrade", "--one-by-one")
    finally:
        second.config.write_text(good)
    assert done.returncode == 1
    assert f"{second.dotted} was not replaced: the new process ended with exit code 78" in done.stderr
    assert "0 were replaced, and 1 not begun." in done.stderr
    assert (second.pid, second.running) == (pid, True)
    assert not three.shown(first)["lock"]
    three.await_ready()


def test_a_roll_that_is_killed_leaves_no_lock(three: Fleet) -> None:
    three.await_ready()
    first, second = three.relays
    command: list[str | Path] = [PCGRELAY, "fleet", "upgrade", "--one-by-one", "-c", first.config]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    moment, moment_of_first = second.moment(), first.moment()
    second.await_log("fleet.order", after=moment, seconds=60)
    until(lambda: three.shown(first)["lock"], 10, "the lock is held", step_s=0.05)
    running.kill()
    running.communicate(timeout=20)
    until(lambda: second.log("handover.done", moment), 60, "the node that was begun goes on")
    three.adopt(second)
    until(lambda: not three.shown(first)["lock"], 40, "the lock is gone with its lease", step_s=0.2)
    assert not first.log("handover.done", after=moment_of_first)
    three.await_ready()


def test_another_organisation_gives_no_orders(three: Fleet) -> None:
    """What Kent writes under the keys of the hub is not believed there."""
    three.await_ready()
    relay = three.relays[0]
    before = relay.metrics().get('refused_total{reason="value_wrong_signer"}', 0.0)
    key = f"orders/{HUB}/relay-1/upgrade"
    local = LocalIdentity(config.load(three.kent.config))
    value = signing_as(local)(key, b"\x80", 1)
    three.store.put(root_of(REALM) + key, value)
    name = 'refused_total{reason="value_wrong_signer"}'
    until(lambda: relay.metrics().get(name, 0.0) > before, 20, "it is refused", step_s=0.1)
    assert not relay.log("fleet.order_refused")


def refused(done: subprocess.CompletedProcess[str], organisation: str, holder: Node, act: str) -> None:
    """Somebody else holds the lock: who, what for, by whom, since when, and how to go on."""
    assert done.returncode == 6, done
    words = (
        rf"Nodes of {organisation} are being changed by {holder.dotted} \({act}, by \w+, since [-0-9: ]+ UTC\); wait"
    )
    assert re.search(words, done.stderr), done.stderr
    assert "Nothing was done." in done.stderr


def test_a_drained_node_keeps_the_others_from_being_changed(three: Fleet) -> None:
    three.await_ready()
    first, second = three.relays
    with three.stream():
        assert three.called(first, "drain", "--wait", "30").returncode == 0
        for words in (("drain",), ("fleet", "upgrade", "--one-by-one")):
            done = three.called(second, *words)
            refused(done, HUB, first, "drain")
            assert "end it there (pcgrelay drain --undo)" in done.stderr
        assert not second.log("node.draining")
        done = three.command(first)
        assert f"Nodes of this organisation are being changed by {first.dotted} (drain, by " in done.stdout
        # Other organisations have a lock of their own.
        assert three.called(three.kent, "fleet", "upgrade", "--one-by-one", "--dry-run").returncode == 0
        assert three.called(first, "drain", "--undo").returncode == 0
        three.await_ready()
        assert three.called(second, "drain", "--wait", "30").returncode == 0
        tokens = [int(node.log("fleet.locked")[-1]["token"]) for node in (first, second)]
        assert tokens[1] > tokens[0]
        assert three.called(second, "drain", "--undo").returncode == 0
    three.await_ready()


def test_a_drained_node_that_dies_leaves_the_lock_with_its_lease(three: Fleet) -> None:
    three.await_ready()
    first, second = three.relays
    assert three.called(first, "drain", "--wait", "30").returncode == 0
    first.kill()
    refused(three.called(second, "drain"), HUB, first, "drain")

    def drains() -> bool:
        return three.called(second, "drain", "--wait", "0").returncode in (0, 1) and bool(second.status().node.draining)

    until(drains, LEASE_S + 15, "the lease of the dead node has expired", step_s=0.5)
    assert three.called(second, "drain", "--undo").returncode == 0
    first.start()
    three.await_ready()


def test_a_drain_without_a_store_that_answers_is_for_whoever_insists(three: Fleet) -> None:
    three.await_ready()
    relay = three.relays[0]
    moment = relay.moment()
    with three.stream():
        for member in three.store.members:
            three.store.freeze(member)
        try:
            done = three.called(relay, "drain")
            assert done.returncode == 1
            assert "So nobody can say whether another node is being changed. Nothing was done; add" in done.stderr
            assert not relay.status().node.draining
            assert three.called(relay, "drain", "--wait", "30", "--without-lock").returncode == 0
            assert relay.log("fleet.lock_passed_over", moment, act="drain")
            assert three.called(relay, "drain", "--undo").returncode == 0
        finally:
            for member in three.store.members:
                three.store.thaw(member)
    three.await_ready()


def test_a_drill_holds_the_lock_and_ends_when_it_may_be_lost(three: Fleet) -> None:
    three.await_ready()
    relay, met = three.relays[0], three.met
    command: list[str | Path] = [
        PCGRELAY,
        "drill",
        "relay-loss",
        relay.dotted,
        "--for",
        "5m",
        "--yes",
        "-c",
        met.config,
    ]
    with three.stream():
        running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        met.await_log("drill.begun", seconds=30)
        refused(three.command(met, "upgrade", "--one-by-one"), MET, met, "drill")
        for member in three.store.members:
            three.store.freeze(member)
        frozen = time.monotonic()
        try:
            met.await_log("drill.ended", seconds=LEASE_S + 15)
            assert time.monotonic() - frozen < LEASE_S, "it has ended before anybody else could have the lock"
        finally:
            for member in three.store.members:
                three.store.thaw(member)
        out, _ = running.communicate(timeout=60)
        assert running.returncode == 1, out
        assert "Stopped: the lock of the fleet was lost" in out
        assert met.log("fleet.lock_lost", act="drill")
    three.await_ready()
