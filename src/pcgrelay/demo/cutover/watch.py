"""What the node decides, told with its second and with what applications saw, as it comes."""

from __future__ import annotations

import time
from datetime import datetime

from pcgrelay.admin.cutover_answers import CutoverDecision, CutoverStatus
from pcgrelay.demo.cutover.applications import Caller
from pcgrelay.demo.cutover.measured import Moment
from pcgrelay.demo.cutover.operator import Operator
from pcgrelay.demo.cutover.realm import NEW, OLD, MovingRealm
from pcgrelay.demo.cutover.telling import Telling
from pcgrelay.output import count, percent_exact

PATIENCE_S = 5.0  # longer than that, it is said what the gate waits for


class Watch:
    """Looks at the cut-over of one node. Moments are when another share began."""

    def __init__(self, telling: Telling, operator: Operator, realm: MovingRealm, caller: Caller) -> None:
        self._telling, self._operator, self._realm, self._caller = telling, operator, realm, caller
        self._wall = time.time() - time.monotonic()
        self._decided = 0  # decisions of the node that were told
        self._waited_after = 0  # so many of them, when it was told what the gate waits for
        self.moments: list[Moment] = []
        self.mark(f"all over {OLD}", 0.0)

    def mark(self, name: str, planned: float | None, at_s: float | None = None) -> None:
        """From now on, or from then on, it is like this."""
        self.moments.append(Moment(time.monotonic() if at_s is None else at_s, name, planned))

    def second_of(self, at: str) -> float:
        """The demonstration's second of a time that the node tells."""
        return datetime.fromisoformat(at).timestamp() - self._wall - self._telling.began_s

    def look(self) -> CutoverStatus:
        """Ask the node, and tell what it has decided since."""
        told = self._operator.cutover(self._realm.met)
        for decision in told.decisions[self._decided :]:
            self._tell(decision)
        self._decided = len(told.decisions)
        is_over = told.phase == "soaking" and told.soaked_s > told.soak_s + PATIENCE_S
        if is_over and self._waited_after != self._decided:
            self._waited_after = self._decided
            self._telling.say(f"The soak is over, and the gate waits: {told.verdict}")
        return told

    def _tell(self, decision: CutoverDecision) -> None:
        at_s = self.second_of(decision.at) + self._telling.began_s
        share = decision.shares.get(NEW, 0.0)
        match decision.what:
            case "started" | "stepped":
                self.mark(percent_exact(share), share, at_s)
                self._telling.say(f"{percent_exact(share)} of new connections take the gateway. {self._before()}")
            case "fell_back":
                self.mark(f"back on {OLD}", 0.0, at_s)
                self._telling.say(f"It is back on {OLD}: {decision.sentence}", "bold")
            case "arrived":
                self._telling.say(f"It has arrived. {self._before(closed=False)}", "bold")
            case "held" | "released":
                self.mark(decision.what, share, at_s)
                self._telling.say(decision.sentence)
            case _:
                self._telling.say(decision.sentence)

    def _before(self, *, closed: bool = True) -> str:
        """What applications saw since the moment before: at the step that is over, or at this one."""
        began = self.moments[-2 if closed else -1]
        ended_s = self.moments[-1].at_s if closed else time.monotonic()
        seen = [each for each in list(self._caller.seen) if began.at_s <= each.began_s < ended_s]
        failed = sum(not each.network for each in seen)
        took = sum(each.network == NEW for each in seen)
        words = f"{count(took)} of {count(len(seen))} took it" if began.planned else f"{count(len(seen))} connections"
        at = f"At {began.name}" if began.planned else began.name[0].upper() + began.name[1:]
        return f"{at}: {words}, {count(failed) if failed else 'none'} failed."
