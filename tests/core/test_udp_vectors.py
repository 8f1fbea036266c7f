"""The core makes of each packet in the vectors what they say."""

import pytest

from tests.native.probe_udp import UdpEnd
from tests.support.vectors import Json, load, octets, suite_of

CASES: list[Json] = load("udp_lanes")["cases"]
OWN = ("probe", "report")


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['suite']}-{case['direction']}-{case['what'][:20]}")
def test_each_packet_comes_to_what_the_vectors_say(case: Json) -> None:
    # The receiver of direction 1 is the dialler.
    end = UdpEnd(dialler=case["direction"] == 1, suite=int(suite_of(case["suite"])), lanes=case["index"] + 1)
    assert end.start(case["number"], token=case["token"], secret=octets(case["lane_secret"]), index=case["index"])
    for step in case["packets"]:
        before = end.counts()
        taken = end.rx(octets(step["wire"]))
        grown = {name: n - before.get(name, 0) for name, n in end.counts().items() if n != before.get(name, 0)}
        if step["outcome"] == "datagrams":
            assert taken is not None, step
            assert taken[1][32:] == octets(step["wire"])[44:]
            assert grown == {"taken": 1}
            continue
        assert taken is None, step
        taken_count = {"taken": 1} if step["outcome"] in (*OWN, "malformed") else {}
        refused = {} if step["outcome"] in OWN else {step["outcome"]: 1}
        assert grown == taken_count | refused, step
