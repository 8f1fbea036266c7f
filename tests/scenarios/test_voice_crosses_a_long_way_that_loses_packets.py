"""Twenty calls over a round trip of 40 ms that loses packets: lanes of TCP are late then, and say what they drop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.scenarios.kit.datagram_programs import drops
from tests.scenarios.kit.distance import far_apart
from tests.scenarios.kit.nodes import HOST, KENT, MET, Line, Stage
from tests.scenarios.kit.voice import answering, calling, heard
from tests.support.ports import free_port

pytestmark = pytest.mark.tier_all

ROUND_TRIP_MS = 40
CALLS, CALL_S = 20, 5


@pytest.mark.parametrize("lost", [0, 1, 10], ids=["no loss", "0.1 percent", "1 percent"])
def test_voice_over_a_lossy_way(lost: int, tmp_path: Path, figure: Callable[[str], None]) -> None:
    port, door, target = free_port(), free_port(), free_port()
    with far_apart(tmp_path, ROUND_TRIP_MS, lost) as (near, far), Stage(tmp_path) as stage:
        export = {"service": "voice", "protocol": "udp", "target": f"{HOST}:{target}", "allow": [MET]}
        entry = {"service": f"voice@{KENT}", "protocol": "udp", "listen": f"{HOST}:{door}"}
        kent = stage.node(KENT, "kent-1", listens=[f"{far.address}:{port}"], exports=[export])
        links = [{"peer": kent.dotted, "address": f"{far.address}:{port}"}]
        met = stage.node(MET, "met-1", links=links, imports=[entry])
        kent.prefix, met.prefix = far.prefix, near.prefix
        stage.start()
        stage.await_well()
        with answering((HOST, target), far.prefix), calling((HOST, door), CALLS, CALL_S, near.prefix) as calls:
            told = heard(calls, CALL_S + 20)
        figure(
            f"{lost / 10} % loss: {told.lost} of {told.sent} packets lost; round trip {told.median_ms:.0f} ms, of 99 % "
            f"below {told.p99_ms:.0f} ms, {told.worst_ms:.0f} ms at most; jitter {told.jitter_ms:.1f} ms"
        )
        assert told.median_ms >= ROUND_TRIP_MS
        assert told.lost <= sum(drops(Line(stage, "", met, kent, ())).values())
        assert told.lost <= told.sent // 20
