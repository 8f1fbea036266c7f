"""`source` makes `bearer` true: what is bound to an address of one network never leaves by the other."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.kit.network_namespace import own_network
from tests.scenarios.kit.nodes import HOST, KENT, MET, Stage
from tests.scenarios.kit.real_programs import run
from tests.scenarios.kit.socket_steps import accepted, bind_listener, connect, read_exactly
from tests.scenarios.kit.two_edges import reload
from tests.support.ports import free_port
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test
FIRST, SECOND = "10.71.1.1", "10.71.2.1"
FAR = "10.71.9.1"
COUNTERS = """
table inet seen {
  counter first { }
  counter second { }
  chain leaving {
    type filter hook output priority 0;
    oifname "first0" meta l4proto tcp counter name first
    oifname "second0" meta l4proto tcp counter name second
  }
}
"""


@contextmanager
def two_networks() -> Iterator[list[str]]:
    """Two networks to one far machine, the second of which is the way by itself; yields how to run a program there."""
    with own_network(), far_machine() as pid:
        there = ["nsenter", "-t", str(pid), "-n"]
        for name, network, near in (("first", "10.71.1", FIRST), ("second", "10.71.2", SECOND)):
            run("ip", "link", "add", f"{name}0", "type", "veth", "peer", "name", f"{name}1", "netns", str(pid))
            run("ip", "address", "add", f"{near}/24", "dev", f"{name}0")
            run("ip", "link", "set", f"{name}0", "up")
            run(*there, "ip", "address", "add", f"{network}.2/24", "dev", f"{name}1")
            run(*there, "ip", "link", "set", f"{name}1", "up")
        run(*there, "ip", "link", "set", "lo", "up")
        run(*there, "ip", "address", "add", f"{FAR}/32", "dev", "lo")
        run("ip", "route", "add", f"{FAR}/32", "via", "10.71.2.2")
        run("ip", "route", "add", f"{FAR}/32", "via", "10.71.1.2", "table", "101")
        run("ip", "rule", "add", "from", FIRST, "lookup", "101")
        run("nft", "-f", "-", data=COUNTERS.encode())
        yield there


@contextmanager
def far_machine() -> Iterator[int]:
    """A process in a network of its own, which lives as long as the block."""
    with subprocess.Popen(["unshare", "-n", "sleep", "600"]) as keeper:
        try:
            until(lambda: _network(keeper.pid) != _network("self"), 20, "the far machine has its network")
            yield keeper.pid
        finally:
            keeper.kill()


def _network(pid: int | str) -> str:
    return Path(f"/proc/{pid}/ns/net").readlink().name


def packets(name: str) -> int:
    told: dict[str, Any] = json.loads(run("nft", "-j", "list", "counter", "inet", "seen", name))
    (packets_,) = (entry["counter"]["packets"] for entry in told["nftables"] if "counter" in entry)
    return int(packets_)


def test_the_other_network_sees_no_packet(tmp_path: Path) -> None:
    port, door, target = free_port(), (HOST, free_port()), free_port()
    with two_networks() as there, Stage(tmp_path) as stage:
        export = {"service": "echo", "target": f"{HOST}:{target}", "allow": [MET]}
        kent = stage.node(KENT, "kent-1", listens=[f"{FAR}:{port}"], exports=[export])
        kent.prefix = there
        link = {"peer": f"kent-1.{KENT}", "address": f"{FAR}:{port}", "source": FIRST, "bearer": "first"}
        imports = [{"service": f"echo@{KENT}", "listen": f"{door[0]}:{door[1]}"}]
        met = stage.node(MET, "met-1", links=[link], imports=imports)
        stage.start()
        stage.await_well()
        assert packets("first") > 0
        assert packets("second") == 0

        # Without it the system chooses, and the label is no more than that.
        del link["source"]
        stage.node(MET, "met-1", links=[link], imports=imports)
        assert reload(met).ok
        until(lambda: packets("second") > 0, 20, "the link goes out by the way that the system prefers")

        # An address that is not here is told as such, and nothing goes out by another.
        link["source"] = "10.71.3.1"
        stage.node(MET, "met-1", links=[link], imports=imports)
        answer = reload(met)
        assert answer.ok
        failed = met.await_log("link.failed", reason="no_source_address")
        assert "10.71.3.1 is no address of this machine" in failed["cause"]
        checked = subprocess.run(
            ["nsenter", "-t", str(met.pid), "-n", *pcgrelay("check", met.config)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert "10.71.3.1 is no address of this machine" in checked.stdout


def pcgrelay(command: str, config: Path) -> list[str]:
    return [str(Path(__file__).resolve().parents[2] / ".venv/bin/pcgrelay"), command, "-c", str(config)]


def test_a_target_is_connected_to_and_probed_from_its_source(tmp_path: Path) -> None:
    target, door = (HOST, free_port()), (HOST, free_port())
    export = {"service": "echo", "target": f"{HOST}:{target[1]}", "source": ["127.0.0.7", "127.0.0.8"], "allow": [MET]}
    imports = [{"service": f"echo@{KENT}", "listen": f"{door[0]}:{door[1]}"}]
    port = free_port()
    with bind_listener(target) as server, Stage(tmp_path) as stage:
        kent = stage.node(KENT, "kent-1", listens=[f"{HOST}:{port}"], exports=[export])
        links = [{"peer": f"kent-1.{KENT}", "address": f"{HOST}:{port}"}]
        stage.node(MET, "met-1", links=links, imports=imports)
        stage.start()
        stage.await_well()
        seen = []
        for _ in range(4):
            with connect(door) as client, accepted(server) as far:
                client.sendall(b"x")
                read_exactly(far, 1)
                seen.append(far.getpeername()[0])
        # In turn.
        assert sorted(seen) == ["127.0.0.7"] * 2 + ["127.0.0.8"] * 2
        # One that is not here: the stream is refused by that name, and so is the probe.
        odd = {**export, "source": "192.0.2.1", "probe": "connect", "probe_interval_ms": 200}
        stage.node(KENT, "kent-1", listens=[f"{HOST}:{port}"], exports=[odd])
        assert reload(kent).ok
        assert kent.await_log("target.failing")["cause"] == "no-source-address"
