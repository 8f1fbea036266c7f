"""A lane that is full of bulk: a request of a critical service passes it, one of a normal service waits behind it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.scenarios.kit.echo_witness import Echo, host_port
from tests.scenarios.kit.narrow_wire import NarrowWire
from tests.scenarios.kit.nodes import HOST, KENT, MET, Address, Stage
from tests.scenarios.kit.socket_steps import connect
from tests.scenarios.kit.streaming import Sink, bulk
from tests.support.ports import free_port

pytestmark = pytest.mark.tier_test

RATE = 4_000_000
BULK_STREAMS = 8
REQUESTS = 25


def latencies(door: Address) -> list[float]:
    """Milliseconds of small requests over one connection, after a first one that does not count."""
    found = []
    with connect(door) as sock:
        for _ in range(REQUESTS + 1):
            began = time.monotonic()
            sock.sendall(b"request!")
            assert sock.recv(8) == b"request!"
            found.append((time.monotonic() - began) * 1000)
            time.sleep(0.01)
    return found[1:]


def test_critical_beside_bulk_on_one_lane(tmp_path: Path, figure: Callable[[str], None]) -> None:
    port, echo, sink = free_port(), (HOST, free_port()), Sink()
    doors = {name: (HOST, free_port()) for name in ("urgent", "plain", "bulk")}
    targets = {"urgent": echo, "plain": echo, "bulk": sink.address}
    exports = [
        {"service": name, "target": host_port(target[1]), "allow": [MET], "priority": priority}
        for (name, target), priority in zip(targets.items(), ("critical", "normal", "normal"), strict=True)
    ]
    imports = [{"service": f"{name}@{KENT}", "listen": host_port(door[1])} for name, door in doors.items()]
    with Stage(tmp_path) as stage, NarrowWire((HOST, port), RATE) as wire, Echo(echo), sink:
        stage.node(KENT, "kent-1", listens=[host_port(port)], exports=exports)
        met = stage.node(
            MET,
            "met-1",
            node_table={"lanes": 1},
            links=[{"peer": f"kent-1.{KENT}", "address": host_port(wire.address[1])}],
            imports=imports,
        )
        stage.start()
        stage.await_well()
        alone = latencies(doors["urgent"])
        with bulk(doors["bulk"], BULK_STREAMS):
            time.sleep(1.5)
            before, began = sink.taken, time.monotonic()
            urgent, plain = latencies(doors["urgent"]), latencies(doors["plain"])
            rate = (sink.taken - before) / (time.monotonic() - began)
        assert len(met.log("session.up")) == 2
    for name, found in (("critical alone", alone), ("critical", urgent), ("normal", plain)):
        figure(f"{name}: p50 {statistics.median(found):.0f} ms, most {max(found):.0f} ms")
    figure(f"bulk {rate / 1e6:.1f} of {RATE / 1e6:.1f} MB/s")
    assert statistics.median(urgent) < 0.8 * statistics.median(plain)
    assert statistics.median(urgent) < 150
    # The bulk is not starved either; the wire is of Python, and slower where the machine has no time for it.
    assert rate > 0.4 * RATE
