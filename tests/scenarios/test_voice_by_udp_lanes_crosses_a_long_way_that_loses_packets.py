"""Twenty calls beside bulk over a round trip of 40 ms that loses packets: by UDP lanes, and by lanes of TCP."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.scenarios.kit.datagram_programs import drops
from tests.scenarios.kit.distance import far_apart
from tests.scenarios.kit.nodes import HOST, KENT, MET, Line, Stage
from tests.scenarios.kit.udp_lanes import await_lanes, packets
from tests.scenarios.kit.voice import answering, calling, heard
from tests.support.ports import free_port

pytestmark = pytest.mark.tier_all

ROUND_TRIP_MS = 40
CALLS, CALL_S = 20, 8


@pytest.mark.parametrize("lost", [1, 10], ids=["0.1 percent", "1 percent"])
@pytest.mark.parametrize("udp_lanes", [True, False], ids=["UDP", "TCP"])
def test_voice_over_a_lossy_way(udp_lanes: bool, lost: int, tmp_path: Path, figure: Callable[[str], None]) -> None:
    port, door, target = free_port(), free_port(), free_port()
    table = {"udp_lanes": udp_lanes, "workers": 1}
    with far_apart(tmp_path, ROUND_TRIP_MS, lost) as (near, far), Stage(tmp_path) as stage:
        export = {"service": "voice", "protocol": "udp", "target": f"{HOST}:{target}", "allow": [MET]}
        entry = {"service": f"voice@{KENT}", "protocol": "udp", "listen": f"{HOST}:{door}"}
        listens = [f"{far.address}:{port}"]
        kent = stage.node(KENT, "kent-1", listens=listens, exports=[export], node_table=table)
        links = [{"peer": kent.dotted, "address": f"{far.address}:{port}"}]
        met = stage.node(MET, "met-1", links=links, imports=[entry], node_table=table)
        kent.prefix, met.prefix = far.prefix, near.prefix
        stage.start()
        stage.await_well()
        if udp_lanes:
            await_lanes((met, kent))
        before = packets(met)
        with answering((HOST, target), far.prefix), calling((HOST, door), CALLS, CALL_S, near.prefix) as calls:
            told = heard(calls, CALL_S + 20)
        kind = "UDP" if udp_lanes else "TCP"
        figure(
            f"{kind} lanes, {lost / 10} % loss: {told.lost} of {told.sent} packets lost; round "
            f"trip {told.median_ms:.0f} ms, of 99 % below {told.p99_ms:.0f} ms, {told.worst_ms:.0f} ms at most; jitter "
            f"{told.jitter_ms:.1f} ms"
        )
        sent, taken = (now - then for now, then in zip(packets(met), before, strict=True))
        if udp_lanes:
            # Some ways of a call go together in one packet. What the way loses nobody counts: one of each direction.
            assert sent > told.sent // CALLS
            assert taken > told.sent // CALLS
            assert told.lost <= told.sent * 6 * lost // 1_000 + sum(drops(Line(stage, "", met, kent, ())).values())
        else:
            assert (sent, taken) == (0, 0)
            assert told.lost <= sum(drops(Line(stage, "", met, kent, ())).values())
