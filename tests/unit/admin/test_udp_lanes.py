"""UDP lanes of a link as figures and as a phrase."""

from __future__ import annotations

from pcgrelay.admin.udp_lanes import UdpLanesStatus, udp_lanes_status
from pcgrelay.cli.udp_lanes import udp_lanes_words
from pcgrelay.figures import UdpLaneFigures

UP = UdpLaneFigures(0, 5, "up", 1_200, 400, 1_000, 30, 20, 1)
SLOW = UdpLaneFigures(1, 6, "up", 1_000, 900, 0, 3, 2, 0)
BROKEN = UdpLaneFigures(1, 7, "broken", 1_200, 5_000, 900_000, 10, 0, 0)


def test_the_worst_of_those_that_are_up_is_told() -> None:
    status = udp_lanes_status([UP, SLOW], 2)
    assert status == UdpLanesStatus(
        up=2, lanes=2, rtt_ms=0.9, loss=0.001, longest=1_000, sent_packets=33, taken_packets=22, refused_packets=1
    )
    assert udp_lanes_words(status) == "UDP lanes 2 of 2 up, loss 0.1 %, 0.90 ms"


def test_one_that_is_down_says_nothing_of_the_others() -> None:
    status = udp_lanes_status([UP, BROKEN], 2)
    assert (status.up, status.rtt_ms, status.loss, status.sent_packets) == (1, 0.4, 0.001, 40)
    assert udp_lanes_words(status) == "UDP lanes 1 of 2 up, loss 0.1 %, 0.40 ms"


def test_links_without_any() -> None:
    assert udp_lanes_words(None) == ""
    assert udp_lanes_words(udp_lanes_status([BROKEN], 2)) == "no UDP lane up"
    assert udp_lanes_words(udp_lanes_status([], 2)) == "no UDP lane up"
