"""Kinds of line about UDP lanes: whether datagrams to a neighbour go over UDP."""

from __future__ import annotations

from typing import ClassVar

from pcgrelay.log.events import Record


class UdpLaneUp(Record, frozen=True, kw_only=True):
    """Packets get through in both directions; before, the datagrams of this lane went over TCP."""

    EVENT: ClassVar[str] = "link.udp_lane_up"
    link: int
    peer: str
    bearer: str
    index: int


class UdpLaneDown(Record, frozen=True, kw_only=True):
    """The datagrams of this lane go over TCP, from here on or still."""

    EVENT: ClassVar[str] = "link.udp_lane_down"
    LEVEL: ClassVar[str] = "warning"
    link: int
    peer: str
    bearer: str
    index: int
    reason: str  # silent, loss, spent, refused, withdrawn
