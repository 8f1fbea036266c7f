"""Sessions that are being set up: limits on those that other edges begin, and which of two goes on (pure).

The handshake of what another edge begins has not yet proved its identity.

PATH_OPEN names its source, and a relay may name anybody: only the link that the message came over is proved. A name is
therefore counted for each link separately, and no link may use all places. Invented names so keep out nobody who comes
over another link, and those on the same link only by chance.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from pcgrelay.model import NodeId
from pcgrelay.net.halfopen import is_dropped_early
from pcgrelay.session.session import Key, Session, State

CLAIMS_MOST = 128
CLAIMS_OF_A_LINK_MOST = CLAIMS_MOST // 2
CLAIMS_OF_A_NAME_MOST = 4  # over one link
SESSIONS_MOST = 4_096
SESSIONS_OF_A_PEER_MOST = 32  # three markings in three classes, begun by either side
TOO_MANY = "too_many_handshakes"
EARLY = "handshake_early_drop"
GLARE = "glare"


class PendingSessions:
    """Counts of sessions that other edges are setting up here, by link and by claimed name."""

    def __init__(self, chance: Callable[[], float]) -> None:
        """chance: returns a random number in [0, 1) at each call."""
        self._chance = chance
        self._names: Counter[tuple[int, NodeId]] = Counter()
        self._links: Counter[int] = Counter()
        self._total = 0

    def refusal(self, link: int, name: NodeId) -> str | None:
        """Return the reason for which one more set-up over that link is refused, or None."""
        of_link = self._links[link]
        if self._names[(link, name)] >= CLAIMS_OF_A_NAME_MOST:
            return TOO_MANY
        for count, most in ((self._total, CLAIMS_MOST), (of_link, CLAIMS_OF_A_LINK_MOST)):
            if count >= most:
                return TOO_MANY
            if is_dropped_early(count, most, self._chance):
                return EARLY
        return None

    def enter(self, link: int, name: NodeId) -> None:
        """Count a set-up that has begun."""
        self._total += 1
        self._links[link] += 1
        self._names[(link, name)] += 1

    def leave(self, link: int, name: NodeId) -> None:
        """Stop counting a set-up: its peer is proved, or it has ended."""
        self._total -= 1
        self._links[link] -= 1
        self._names[(link, name)] -= 1
        if not self._links[link]:
            del self._links[link]
        if not self._names[(link, name)]:
            del self._names[(link, name)]


def setup_refusal(
    sessions: Mapping[bytes, Session], pending: PendingSessions, me: NodeId, link: int, identifier: bytes, key: Key
) -> str | None:
    """Return the reason for which another edge may not begin a session over that link, or None.

    sessions: those that there are, by id. me: this edge. identifier: of the new session.
    """
    mine = [session for session in sessions.values() if session.key.edge == key.edge]
    if identifier in sessions:
        return "session_id_taken"
    # Only a session with a number is proved to be this peer's.
    if len(sessions) >= SESSIONS_MOST or sum(s.number > 0 for s in mine) >= SESSIONS_OF_A_PEER_MOST:
        return "too_many_sessions"
    if word := pending.refusal(link, key.edge):
        return word
    beginning = (State.ASKING, State.HANDSHAKE, State.STARTING)
    if me < key.edge and any(s.key == key and s.initiator and s.state in beginning for s in mine):
        return GLARE
    return None


def glare_refusal(sessions: Iterable[Session], me: NodeId, session: Session) -> str | None:
    """Return the reason for which a set-up that gets its keys now ends: that of the other edge has been faster.

    Of two edges that begin at once the lesser alone decides, by which has its keys first: if both did, each could end
    what the other one keeps. What is up at the greater one has been decided on: it then ends its own, of which the
    lesser may have heard later. sessions: those that there are. me: this edge. session: what is set up.
    """
    decides = me < session.key.edge
    is_second = any(
        each.key == session.key
        and each.initiator is not session.initiator
        and (each.number if decides else each.state in (State.UP, State.STALLED))
        and each.keyed_ms >= session.began_ms
        for each in sessions
    )
    return GLARE if is_second and (decides or session.initiator) else None
