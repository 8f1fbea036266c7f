"""The UDP lanes of one index of a link, as the control plane has them in mind: the newest alone, and why none is used.

none --offer--> OFFERED --answer--> BEGUN --RENEW_MS, spent, or RENEWED--> OFFERED (the one before goes on)
  ^                |                  |
  +--- back-off ---+-- closed, off ---+
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from pcgrelay.net.backoff import backoff_ms

# A key lives for 120 s at most: the next lane is offered well before.
RENEW_MS = 100_000
RETRY_FIRST_MS = 1_000
RETRY_CAP_MS = 60_000


class Obstacle(Enum):
    """Why the datagrams of an index go over TCP."""

    NONE = ""  # nothing is known: a lane is being agreed on, or its first probe is under way
    SILENT = "silent"  # no packet gets through
    LOSS = "loss"  # too much is lost: the circuit breaker is open
    NO_PORT = "no-port"  # another program has the port at this end
    FAR_PORT = "far-port"  # or at the other
    REFUSED = "refused"  # one end has no room for it, or does not take its number
    UNANSWERED = "unanswered"
    OFF_THERE = "off-there"  # the neighbour has switched its UDP lanes off

    @classmethod
    def _missing_(cls, value: object) -> Obstacle:
        """A word of a newer node, which a command of this version asks."""
        return cls.NONE


# Why the core gave one up, where that says something of the way.
OF_CORE = {each.value: each for each in (Obstacle.SILENT, Obstacle.LOSS, Obstacle.REFUSED)}


@dataclass(slots=True)
class IndexUdpLanes:
    """One index of a link. The lane before the newest is the core's matter."""

    begun: int | None = None  # the number of the newest that both sides have
    begun_ms: int = 0
    generation: int = 0  # of the link when it began
    is_spent: bool = False  # the core wants the next one
    offered: int | None = None  # the number of one that was not answered yet
    offered_ms: int = 0
    attempts: int = 0  # since one came up
    due_ms: float = 0  # no offer before
    up: set[int] = field(default_factory=set)  # numbers of lanes over which is sent
    told: bool | None = None  # what the log says: whether there are any; None: nothing yet
    obstacle: Obstacle = Obstacle.NONE
    port: int = 0  # of UDP at the acceptor; 0: not known yet

    def is_due(self, generation: int, now_ms: int) -> bool:
        """Whether another lane is to be offered. generation: that of the link."""
        if self.offered is not None or now_ms < self.due_ms:
            return False
        is_old = self.is_spent or now_ms - self.begun_ms >= RENEW_MS or self.generation != generation
        return self.begun is None or is_old

    def begin(self, number: int, now_ms: int, generation: int = 0) -> None:
        """Note that both sides have a new lane. generation: that of the link, which its dialler looks at."""
        self.begun, self.begun_ms, self.generation, self.is_spent = number, now_ms, generation, False
        # Silence is broken by an answer alone.
        if self.obstacle is not Obstacle.SILENT:
            self.obstacle = Obstacle.NONE

    def failed(self, now_ms: int, obstacle: Obstacle = Obstacle.NONE) -> None:
        """Note that an offer, or a lane, came to nothing. obstacle: why, if that is known."""
        self.attempts += 1
        self.due_ms = now_ms + backoff_ms(self.attempts, RETRY_FIRST_MS, RETRY_CAP_MS)
        if obstacle is not Obstacle.NONE:
            self.obstacle = obstacle

    def numbers(self) -> set[int]:
        """The numbers of all lanes that may be there."""
        return {number for number in (self.begun, self.offered, *self.up) if number is not None}
