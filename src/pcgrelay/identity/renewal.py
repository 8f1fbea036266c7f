"""When a link or session proves again who its ends are, and what it means if that fails (pure).

A renewal is a fresh handshake (docs/protocol.md, 9.9). It looks at certificates as a set-up does, with the trust and
the list that the node has loaded last; it reads no file. If it fails for what a peer is, what it was to renew must end.
If it fails for anything else it is tried again, and the old goes on until its hard age.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from pcgrelay.identity.certificates import Refusal
from pcgrelay.identity.tls import HandshakeRefused
from pcgrelay.model import NodeId, Suite
from pcgrelay.net.backoff import backoff_ms

RETRY_FIRST_MS = 4_000  # half of it is waited at least: the far side has given the last attempt up by then
RETRY_CAP_MS = 60_000
SPREAD = 0.2  # of the interval, so that what was set up together is not renewed together

# What a failed renewal says about the peer. That this node's own list is out of date says nothing about anybody.
_OF_THE_LIST = {Refusal.NO_CRL, Refusal.CRL_NOT_CURRENT, Refusal.BAD_CRL}
VERDICTS = {str(refusal) for refusal in Refusal} - _OF_THE_LIST - {Refusal.OTHER} | {
    "group",
    "not_a_member",
    "own_identity",
    "suite",
    "unexpected_identity",
}

_random = random.SystemRandom()


@dataclass(frozen=True, slots=True)
class Renewal:
    """What a renewal must agree with: the link or session as it stands."""

    peer: NodeId
    suite: Suite
    generation: int  # the next one: a server takes this or a later one, for an attempt can fail on one side alone
    link_id: bytes = b""


def is_verdict(refused: HandshakeRefused) -> bool:
    """Whether what was to be renewed must end, for the peer is refused or refuses this node."""
    return refused.shuts_out or refused.reason in VERDICTS


class Schedule:
    """When the next renewal is due. Times are those of the monotonic clock."""

    def __init__(self, now_ms: int) -> None:
        """It was authenticated now."""
        self.attempts = 0  # that failed in a row
        self.renewed(now_ms)

    def renewed(self, now_ms: int) -> None:
        """It was authenticated again."""
        self.authenticated_ms = now_ms
        self.attempts = 0
        self._share = _random.uniform(1 - SPREAD, 1)
        self._retry_ms = 0

    def failed(self, now_ms: int) -> None:
        """An attempt failed, and not for what the peer is."""
        self.attempts += 1
        wait_ms = backoff_ms(self.attempts, RETRY_FIRST_MS, RETRY_CAP_MS)
        self._retry_ms = now_ms + max(round(wait_ms), RETRY_FIRST_MS // 2)

    def age_ms(self, now_ms: int) -> int:
        """How long ago both ends proved who they are."""
        return now_ms - self.authenticated_ms

    def is_due(self, now_ms: int, interval_s: int) -> bool:
        """Whether to begin now, if nothing is under way."""
        if self.attempts:
            return now_ms >= self._retry_ms
        return self.age_ms(now_ms) >= interval_s * 1000 * self._share

    def is_overdue(self, now_ms: int, age_s: int) -> bool:
        """Whether the hard age is reached."""
        return self.age_ms(now_ms) >= age_s * 1000
