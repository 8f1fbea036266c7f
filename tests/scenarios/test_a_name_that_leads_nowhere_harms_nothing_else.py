"""Names: what a name service says is told apart, dead names keep nobody waiting, one address that answers will do."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.scenarios.kit.echo_talk import answers
from tests.scenarios.kit.echo_witness import Echo, host_port
from tests.scenarios.kit.fake_dns import FORMERR, NODATA, NOTIMP, NXDOMAIN, OK, REFUSED, SERVFAIL, SILENT, Names
from tests.scenarios.kit.network_namespace import own_network
from tests.scenarios.kit.nodes import HOST, HUB, KENT, MET, Address, Stage
from tests.support.ports import free_port
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test

BLACK_HOLE = "127.0.0.9"  # whose packets are dropped
DEAD_TARGETS = 20
READY_S = 20.0
ASKS = """
import json, sys
from concurrent.futures import ThreadPoolExecutor
from pcgrelay.net.resolver import ask_system

with ThreadPoolExecutor(8) as pool:
    told = pool.map(ask_system, [name + ".test.example" for name in sys.argv[1:]])
    print(json.dumps({name: answer.outcome.name for name, answer in zip(sys.argv[1:], told)}))
"""


def expected(of_four: str, of_six: str) -> str:
    if OK in (of_four, of_six):
        return "FOUND"
    return "ABSENT" if {of_four, of_six} <= {NXDOMAIN, NODATA} else "UNKNOWN"


def test_that_a_name_is_gone_is_told_from_everything_else(tmp_path: Path) -> None:
    words = (OK, NXDOMAIN, NODATA, SERVFAIL, REFUSED, FORMERR, NOTIMP, SILENT)
    pairs = [(four, six) for four in words for six in words if OK not in (four, six) or (four, six) == (OK, NODATA)]
    with own_network(), Names(tmp_path) as names:
        names.answers = True
        names.says = {f"{four}-{six}": (four, six) for four, six in pairs}
        told = asked(names, *names.says)
    assert told == {f"{four}-{six}": expected(four, six) for four, six in pairs}


def test_nobody_listens_where_the_name_service_should_be(tmp_path: Path) -> None:
    with own_network(), Names(tmp_path) as names:
        names._stopping.set()
        names._thread.join()
        names._sock.close()
        assert asked(names, "any") == {"any": "UNKNOWN"}


def asked(names: Names, *labels: str) -> dict[str, str]:
    """What a process that asks this name service is told."""
    command = [*names.with_it, sys.executable, "-c", ASKS, *labels]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    told: dict[str, str] = json.loads(done.stdout)
    return told


@pytest.mark.tier_all
def test_dead_names_and_a_black_hole_keep_nobody_waiting(tmp_path: Path, figure: Callable[[str], None]) -> None:
    with own_network() as network, Names(tmp_path) as names, Stage(tmp_path) as stage:
        names.answers = True
        names.says = {f"dead-{number}": (SILENT, SILENT) for number in range(DEAD_TARGETS + 2)}
        # The first of two addresses swallows what is sent to it: of the relay, and of the target.
        names.leads = {"relay-1": [BLACK_HOLE, HOST], "records": [BLACK_HOLE, HOST]}
        network._nft(f"add rule inet faults arriving ip daddr {BLACK_HOLE} drop")
        port, target, door = free_port(), (HOST, free_port()), (HOST, free_port())
        stage.relay("relay-1", listens=[host_port(port)])
        link = {"peer": f"relay-1.{HUB}", "address": f"relay-1.hub.example:{port}"}
        dead = [
            {"service": f"dead-{number}", "target": f"dead-{number}.kent.example:5432", "allow": [MET]}
            for number in range(DEAD_TARGETS)
        ]
        export = {
            "service": "echo", "target": f"records.kent.example:{target[1]}", "allow": [MET], "probe": "connect",
            "probe_interval_ms": 200,
        }  # fmt: skip
        away = [
            {"peer": f"relay-{number}.{HUB}", "address": f"dead-{DEAD_TARGETS + number - 8}.hub.example:7400"}
            for number in (8, 9)
        ]
        kent = stage.node(KENT, "kent-1", links=[*away, link], exports=[*dead, export])
        entry = {"service": f"echo@{KENT}", "listen": host_port(door[1])}
        met = stage.node(MET, "met-1", links=[*away, link], imports=[entry])
        for edge in (kent, met):
            edge.prefix = names.with_it
        with Echo(target):
            stage.start()
            began = time.monotonic()
            for edge in (kent, met):
                edge.await_log("link.up", READY_S, peer=f"relay-1.{HUB}")
            up_s = time.monotonic() - began
            until(lambda: answers(door), READY_S, "the service is reached")
            # The probe found which address answers, so a stream does not wait for the other one.
            until(lambda: took_s(door) < 1.0, READY_S, "streams go where the probe was answered")
    figure(f"linked {up_s:.1f} s after the start beside {DEAD_TARGETS} dead targets and two dead links")


def took_s(door: Address) -> float:
    began = time.monotonic()
    return time.monotonic() - began if answers(door) else 100.0
