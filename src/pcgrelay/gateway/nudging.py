"""Closing idle streams that are left on an outlet, a few a minute, as a server does that tidies up.

Two plain TCP connections cannot be joined, so a live stream never moves. Pools that keep connections for weeks would
never leave the old outlet; an idle one that is closed by FIN comes back over the new one.
"""

from __future__ import annotations

from dataclasses import dataclass

from pcgrelay.cutover.phases import Phase
from pcgrelay.dataplane.adapter import Plane
from pcgrelay.errors import RuleProblem, RunError
from pcgrelay.gateway.cutover import Cutover
from pcgrelay.printable import printable

# So many in one order: the pace is kept over the minute, not in bursts.
AT_ONCE_MOST = 32


@dataclass(frozen=True, slots=True)
class Nudge:
    """What is to be closed, and how fast."""

    outlet: str
    idle_s: int  # nothing moved for so long
    per_minute: int  # 0: no more
    hard: bool = False  # what is not idle is reset too


def refuse_nudge(cutover: Cutover, nudge: Nudge) -> None:
    """Refuse to close what would come back at once, or what is not there; to end a nudge is never refused."""
    service, outlet = cutover.service, nudge.outlet
    outlets = cutover.outlets
    if outlets is None or outlets.index_of(outlet) is None:
        known = [] if outlets is None else outlets.all_names
        raise RunError(f"{service} has no outlet {printable(outlet)}; there are: {', '.join(known)}.")
    if not nudge.per_minute:
        return
    if cutover.phase is Phase.PLANNED:
        raise RuleProblem(f"The cut-over of {service} has not begun, so what is closed would come back over {outlet}.")
    if outlet == cutover.leads_to:
        left = cutover.plan.new if cutover.phase is Phase.BACK else cutover.plan.old
        raise RuleProblem(
            f"New streams of {service} are led to {outlet}, so what is closed there would come back there; it is left "
            f"on {left}: --from {left}."
        )
    outlets.meter.look_again()
    if cutover.active_index(outlet) is None:
        raise RunError(f"No stream of {service} is open on {outlet}; there is nothing to close.")


class Nudging:
    """One nudge that is under way."""

    def __init__(self, nudge: Nudge, now_s: float) -> None:
        self.nudge = nudge
        self._due = 0.0
        self._at_s = now_s

    def tend(self, plane: Plane, number: int, outlet: int, now_s: float) -> None:
        """Close what is due since the last turn."""
        self._due += max(0.0, now_s - self._at_s) * self.nudge.per_minute / 60
        self._due = min(self._due, AT_ONCE_MOST)
        self._at_s = now_s
        most = int(self._due)
        if most:
            self._due -= most
            plane.streams_nudge(number, outlet, self.nudge.idle_s * 1_000_000, most, self.nudge.hard)
