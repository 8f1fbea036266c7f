"""The UDP lanes of a link as a phrase."""

from __future__ import annotations

from pcgrelay.admin.udp_lanes import UdpLanesStatus
from pcgrelay.output import milliseconds, percent_exact


def udp_lanes_words(status: UdpLanesStatus | None) -> str:
    """Return the figures as a phrase; empty if the link has no UDP lanes."""
    if status is None:
        return ""
    if not status.up:
        return "no UDP lane up"
    loss = percent_exact(100 * status.loss)
    return f"UDP lanes {status.up} of {status.lanes} up, loss {loss}, {milliseconds(status.rtt_ms)}"
