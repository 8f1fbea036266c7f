"""The state folder has one owner through every upgrade, and what is in it outlasts a process that is killed."""

from __future__ import annotations

import json
import socket
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.scenarios.kit.echo_witness import host_port
from tests.scenarios.kit.nodes import HOST, KENT, MET, PCGRELAY, Node, Stage
from tests.scenarios.kit.reload_setup import command, reload
from tests.support.applications import Talk, echo, server
from tests.support.ports import free_port
from tests.support.waiting import receive, until

pytestmark = pytest.mark.tier_test

SERVICE = f"named@{KENT}"


def says(name: bytes) -> Talk:
    def talk(connection: socket.socket) -> None:
        connection.sendall(name)
        echo(connection)

    return talk


class Proxy:
    """An edge with two direct outlets alone, and another configuration that names its state folder."""

    def __init__(self, stage: Stage, targets: dict[str, int]) -> None:
        self.door, self.further = (HOST, free_port()), (HOST, free_port())
        self.state = stage.folder / "state"
        self.state.mkdir(mode=0o700)
        self.met = self._node(stage, "met-1", [self.door[1], self.further[1]], targets)
        self.other = self._node(stage, "met-2", [free_port()], targets)

    def _node(self, stage: Stage, name: str, ports: list[int], targets: dict[str, int]) -> Node:
        listen, *also = (host_port(port) for port in ports)
        return stage.node(
            MET,
            name,
            node_table={"state": str(self.state)},
            imports=[{"service": SERVICE, "listen": listen, "also": also, "outlet": "cjx"}],
            directs=[
                {"service": SERVICE, "name": outlet, "address": host_port(port), "bearer": "cjx", "probe": "none"}
                for outlet, port in targets.items()
            ],
        )

    def refused(self) -> subprocess.Popen[str]:
        """Another `run` that wants the same folder, begun."""
        words = [PCGRELAY, "run", "-c", self.other.config]
        return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def asked(self, count: int, door: tuple[str, int] | None = None) -> Counter[bytes]:
        seen: Counter[bytes] = Counter()
        for _ in range(count):
            with socket.create_connection(door or self.door, timeout=15) as connection:
                seen[receive(connection, 4)] += 1
        return seen

    def shares(self) -> dict[str, float]:
        told = json.loads(command("outlet", "named", "--json", "-c", self.met.config).stdout)
        return {outlet["name"]: outlet["share"] * 100 for outlet in told["outlets"]}

    def listener(self, name: str, what: str) -> float:
        return self.met.metrics()[f'listener_{what}{{listener="{name}",service="{SERVICE}"}}']


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Proxy]:
    with ExitStack() as stack:
        stage = stack.enter_context(Stage(tmp_path))
        targets = {name: stack.enter_context(server(says(name.encode() + b" "))) for name in ("cjx", "psn")}
        made = Proxy(stage, {name: address[1] for name, address in targets.items()})
        stage.start(made.met)
        until(lambda: made.met.service("named").state == "ready", 10)
        yield made


def assert_refused(other: subprocess.Popen[str], pids: set[int]) -> None:
    _, said = other.communicate(timeout=60)
    assert other.returncode == 1, said
    assert "another node has this state folder" in said
    assert any(f"(pid {pid})" in said for pid in pids), (said, pids)
    assert "Traceback" not in said


def test_a_second_node_is_refused_before_during_and_after_an_upgrade(proxy: Proxy) -> None:
    old = proxy.met.pid
    assert_refused(proxy.refused(), {old})
    during = [proxy.refused() for _ in range(2)]
    done = proxy.met.upgrade()
    assert done.returncode == 0, done.stdout + done.stderr
    during.append(proxy.refused())
    assert proxy.met.pid != old
    for other in during:
        assert_refused(other, {old, proxy.met.pid})
    assert_refused(proxy.refused(), {proxy.met.pid})
    assert (proxy.state / "lock").read_text() == f"{proxy.met.pid}\n"
    # It ends with the process, however that ends.
    proxy.met.kill()
    proxy.other.start()
    assert (proxy.state / "lock").read_text() == f"{proxy.other.pid}\n"
    proxy.other.stop()


def test_shares_outlast_kill_9_reload_and_upgrade(proxy: Proxy) -> None:
    done = command("outlet", "named", "cjx=30", "psn=70", "gateway=0", "-c", proxy.met.config)
    assert done.returncode == 0, done.stdout + done.stderr
    wanted = {"gateway": 0.0, "cjx": 30.0, "psn": 70.0}

    def killed() -> None:
        proxy.met.kill()
        proxy.met.start()

    for again in (killed, lambda: reload(proxy.met), proxy.met.upgrade, killed):
        again()
        until(lambda: proxy.met.service("named").state == "ready", 10)
        assert proxy.shares() == wanted
        assert proxy.asked(200) == {b"cjx ": 60, b"psn ": 140}


def test_what_comes_by_each_listener_is_counted_through_an_upgrade(proxy: Proxy) -> None:
    assert sum(proxy.asked(5).values()) == 5
    with socket.create_connection(proxy.further, timeout=15) as stray:
        assert receive(stray, 4) == b"cjx "
        until(lambda: proxy.listener("also-1", "connections_total") == 1, 20)
        done = proxy.met.upgrade()
        assert done.returncode == 0, done.stdout + done.stderr
        assert proxy.listener("also-1", "streams_active") == 1
        assert proxy.listener("listen", "connections_total") == 5
    until(lambda: proxy.listener("also-1", "streams_active") == 0, 20)
    assert proxy.listener("also-1", "received_bytes_total") == 4
    assert sum(proxy.asked(2, proxy.further).values()) == 2
    until(lambda: proxy.listener("also-1", "connections_total") == 3, 20)

    def used() -> tuple[int, int]:
        """What its day record says, which is made now and then."""
        told = json.loads(command("quiet", "--json", "-c", proxy.met.config).stdout)
        (also,) = [each for each in told["outlets"] if each["listener"] == "also-1"]
        return also["days"], also["used_connections"]

    # What came by it before the upgrade is not counted once more.
    until(lambda: used()[1] >= 3, 20, step_s=0.5)
    assert used() == (0, 3)
    said = command("explain", SERVICE, "-c", proxy.met.config).stdout
    assert "also-1" in said, said
    assert "listener also-1: 3 connections" in command("status", "-c", proxy.met.config).stdout
