"""When a link or session is renewed, and what a failed renewal means (pure).

A renewal is a new handshake (docs/protocol.md, 9.9). It judges certificates as a set-up does, with the trust and lists
that the node loaded last; it reads no file. If it fails because of the peer's identity, the link or session must end.
If it fails for another reason it is tried again, and the link or session goes on until its hard age.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from pcgrelay.identity.certificates import Refusal
from pcgrelay.identity.tls import HandshakeRefused
from pcgrelay.model import NodeId, Suite
from pcgrelay.net.backoff import backoff_ms

RETRY_FIRST_MS = 4_000  # at least half of it is waited: by then the far side has given up the last attempt
RETRY_CAP_MS = 60_000
SPREAD = 0.2  # part of the interval, so that links that were set up together are not renewed together

# Reasons that are a verdict about the peer. That this node's own revocation list is out of date is none.
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
    """What a renewal must match: the present link or session."""

    peer: NodeId
    suite: Suite
    generation: int  # the next one; a server also accepts later ones, as an attempt can fail on one side alone
    link_id: bytes = b""


def is_verdict(refused: HandshakeRefused) -> bool:
    """Whether the link or session must end: the peer is refused, or refuses this node."""
    return refused.shuts_out or refused.reason in VERDICTS


class Schedule:
    """When the next renewal is due. Times are of the monotonic clock."""

    def __init__(self, now_ms: int) -> None:
        """now_ms: the time of the first handshake."""
        self.attempts = 0  # failed attempts in a row
        self._begun = 0  # the greatest generation of an attempt
        self.renewed(now_ms)

    def begun(self, renewal: Renewal) -> Renewal:
        """Return the renewal with a generation that no attempt before it had.

        The server may hear of an attempt that was given up after it has heard of the next one.
        """
        self._begun = max(self._begun + 1, renewal.generation)
        return replace(renewal, generation=self._begun)

    def renewed(self, now_ms: int) -> None:
        """Note a successful renewal."""
        self.authenticated_ms = now_ms
        self.attempts = 0
        self._share = _random.uniform(1 - SPREAD, 1)
        self._retry_ms = 0

    def failed(self, now_ms: int) -> None:
        """Note a failed attempt, and put off the next one."""
        self.attempts += 1
        wait_ms = backoff_ms(self.attempts, RETRY_FIRST_MS, RETRY_CAP_MS)
        self._retry_ms = now_ms + max(round(wait_ms), RETRY_FIRST_MS // 2)

    def age_ms(self, now_ms: int) -> int:
        """How long ago both ends proved their identities, in milliseconds."""
        return now_ms - self.authenticated_ms

    def is_due(self, now_ms: int, interval_s: int) -> bool:
        """Whether a renewal is due now. The caller checks that none is under way."""
        if self.attempts:
            return now_ms >= self._retry_ms
        return self.age_ms(now_ms) >= interval_s * 1000 * self._share

    def is_overdue(self, now_ms: int, age_s: int) -> bool:
        """Whether the hard age is reached."""
        return self.age_ms(now_ms) >= age_s * 1000
