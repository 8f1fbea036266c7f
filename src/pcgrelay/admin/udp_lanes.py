"""The UDP lanes of a link, as status and metrics have them."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from pcgrelay.figures import UdpLaneFigures

MILLION = 1_000_000


class UdpLanesStatus(Struct, frozen=True, kw_only=True):
    """All UDP lanes of one link. Packets count since the link came up."""

    up: int = 0  # those over which datagrams go
    lanes: int = 0  # as many as the link has indices
    rtt_ms: float | None = None  # the longest of them
    loss: float = 0.0  # of what this side sends, the worst of them: 0 to 1
    longest: int = 0  # bytes of the body that all of them carry; 0: none is up
    sent_packets: int = 0
    taken_packets: int = 0
    refused_packets: int = 0  # late, replayed or malformed ones, after they had found their lane
    # Why the first of those that are not up is not: silent, loss, no-port, far-port, refused, unanswered. Empty: it is
    # being agreed on.
    why: str = ""
    ports: tuple[int, ...] = ()  # of UDP at the acceptor, as far as this end knows them;
    closed_ports: tuple[int, ...] = ()  # of these, those to which lanes that are not up belong


def udp_lanes_status(rows: Sequence[UdpLaneFigures], lanes: int) -> UdpLanesStatus:
    """Return the figures of a link with so many lanes. rows: of each index that has or had a UDP lane."""
    up = [row for row in rows if row.state == "up"]
    rtt_us = max((row.rtt_us for row in up), default=0)
    return UdpLanesStatus(
        up=len(up),
        lanes=lanes,
        rtt_ms=rtt_us / 1000 if rtt_us else None,
        loss=max((row.loss_ppm for row in up), default=0) / MILLION,
        longest=min((row.longest for row in up), default=0),
        sent_packets=sum(row.sent for row in rows),
        taken_packets=sum(row.taken for row in rows),
        refused_packets=sum(row.refused for row in rows),
    )
