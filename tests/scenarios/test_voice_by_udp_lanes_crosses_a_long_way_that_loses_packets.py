"""Twenty calls over a round trip of 40 ms that loses packets, alone and beside bulk: by UDP lanes, and by TCP."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.scenarios.kit.datagram_programs import drops
from tests.scenarios.kit.distance import Side, far_apart
from tests.scenarios.kit.long_line import inside
from tests.scenarios.kit.nodes import HOST, KENT, MET, Line, Stage
from tests.scenarios.kit.streaming import Sink, bulk
from tests.scenarios.kit.udp_lanes import await_lanes, on_the_way, packets
from tests.scenarios.kit.voice import SIZE, answering, calling, heard
from tests.support.ports import free_port
from tests.support.waiting import until

pytestmark = pytest.mark.tier_all

ROUND_TRIP_MS = 40
CALLS, CALL_S = 20, 8
# So many packets of voice go together at most, where some calls speak at the same moment.
TOGETHER = 1_200 // SIZE


@contextmanager
def beside(streams: int, door: int, target: int, near: Side, far: Side) -> Iterator[Sink | None]:
    """So many streams of TCP that send without end, over the same link; what they lead to."""
    if not streams:
        yield None
        return
    with ExitStack() as stack:
        with inside(far):
            sink = stack.enter_context(Sink((HOST, target)))
        with inside(near):
            stack.enter_context(bulk((HOST, door), streams))
        until(lambda: sink.taken, 20, "bulk flows")
        yield sink


@pytest.mark.parametrize("streams", [0, 8], ids=["alone", "beside bulk"])
@pytest.mark.parametrize("lost", [1, 10], ids=["0.1 percent", "1 percent"])
@pytest.mark.parametrize("udp_lanes", [True, False], ids=["UDP", "TCP"])
def test_voice_over_a_lossy_way(
    udp_lanes: bool, lost: int, streams: int, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    port, table = free_port(), {"udp_lanes": udp_lanes, "workers": 1}
    doors, targets = ({name: free_port() for name in ("voice", "bulk")} for _ in range(2))
    with far_apart(tmp_path, ROUND_TRIP_MS, lost) as (near, far), Stage(tmp_path) as stage:
        protocols = {"voice": "udp", "bulk": "tcp"}
        exports = [
            {"service": name, "protocol": protocol, "target": f"{HOST}:{targets[name]}", "allow": [MET]}
            for name, protocol in protocols.items()
        ]
        imports = [
            {"service": f"{name}@{KENT}", "protocol": protocol, "listen": f"{HOST}:{doors[name]}"}
            for name, protocol in protocols.items()
        ]
        kent = stage.node(KENT, "kent-1", listens=[f"{far.address}:{port}"], exports=exports, node_table=table)
        links = [{"peer": kent.dotted, "address": f"{far.address}:{port}"}]
        met = stage.node(MET, "met-1", links=links, imports=imports, node_table=table)
        kent.prefix, met.prefix = far.prefix, near.prefix
        stage.start()
        stage.await_well()
        if udp_lanes:
            await_lanes((met, kent))
        with beside(streams, doors["bulk"], targets["bulk"], near, far) as sink:
            before, carried = packets(met), sink.taken if sink else 0
            with (
                answering((HOST, targets["voice"]), far.prefix),
                calling((HOST, doors["voice"]), CALLS, CALL_S, near.prefix) as calls,
            ):
                told = heard(calls, CALL_S + 20)
            carried = sink.taken - carried if sink else 0
            missing = on_the_way(met, kent)
        dropped = sum(drops(Line(stage, "", met, kent, ())).values())
        sent, taken = (now - then for now, then in zip(packets(met), before, strict=True))
        figure(
            f"{'UDP' if udp_lanes else 'TCP'} lanes, {lost / 10} % loss, beside {carried / CALL_S / 1e6:.1f} MB/s: "
            f"{told.lost} of {told.sent} packets of voice lost, {missing} of UDP lanes, {dropped:.0f} dropped; "
            f"round trip {told.median_ms:.0f} ms, of 99 % below {told.p99_ms:.0f} ms, {told.worst_ms:.0f} ms at most; "
            f"jitter {told.jitter_ms:.1f} ms; load {os.getloadavg()[0]:.1f}"
        )
        assert bool(carried) == bool(streams)
        assert told.lost <= missing * TOGETHER + dropped
        if udp_lanes:
            # Some calls go together in one packet.
            assert sent > told.sent // CALLS
            assert taken > told.sent // CALLS
            # What the way loses itself it loses in each direction.
            assert told.received >= told.sent * 99 // 100 - missing * TOGETHER
            assert told.received >= told.sent * (1_000 - 6 * lost) // 1_000 - dropped
        else:
            assert (sent, taken, missing) == (0, 0, 0)
