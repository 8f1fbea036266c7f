"""Twenty calls beside eight streams that send without end on the same link: nothing is lost without a cause."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.scenarios.kit.datagram_programs import drops
from tests.scenarios.kit.nodes import TOPOLOGIES, Stage, line
from tests.scenarios.kit.streaming import Sink, bulk
from tests.scenarios.kit.voice import answering, calling, heard

pytestmark = pytest.mark.tier_all

CALLS, CALL_S = 20, 5
BULK_STREAMS = 8
VOICE = {"protocol": "udp", "idle_timeout_s": 3}


@pytest.mark.parametrize("priority", ["normal", "critical"])
@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_voice_goes_on_beside_bulk(topology: str, priority: str, tmp_path: Path, figure: Callable[[str], None]) -> None:
    exported = {**VOICE, "priority": priority}
    with Stage(tmp_path) as stage, ExitStack() as stack:
        nodes = line(stage, topology, ["bulk"], odd_exports={"voice": exported}, odd_imports={"voice": VOICE})
        nodes.start()
        sink = stack.enter_context(Sink(nodes.target("bulk")))
        stack.enter_context(answering(nodes.target("voice")))
        stack.enter_context(bulk(nodes.door("bulk"), BULK_STREAMS))
        before, began = sink.taken, time.monotonic()
        with calling(nodes.door("voice"), CALLS, CALL_S) as calls:
            told = heard(calls, CALL_S + 20)
        rate = (sink.taken - before) / (time.monotonic() - began) / 1e6
        figure(
            f"{topology}, {priority}: beside {rate:.0f} MB/s {told.lost} of {told.sent} packets lost; "
            f"round trip {told.median_ms:.1f} ms, of 99 % below {told.p99_ms:.1f} ms; jitter {told.jitter_ms:.2f} ms"
        )
        assert told.lost <= sum(drops(nodes).values())
        assert told.lost <= told.sent // 20
