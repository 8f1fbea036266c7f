"""What an edge needs of the catalogue: named to its relays, which tell it nothing else (docs/protocol.md, 9.13).

An edge reads entries for its imports alone: who exports a service, and over which relays. It needs no entry of those
who call it, for whoever opened a session finds its paths. Beside the services it names the edges whose entries it must
not lose sight of: those that offer an import or did a moment ago, those with which a session lasts, and neighbours that
are edges, of which it may be the one that finds twins.
"""

from __future__ import annotations

from collections.abc import Iterator

from pcgrelay.catalogue.interest import make_want
from pcgrelay.gateway.edge_services import EdgeServices
from pcgrelay.gateway.role import NodeParts
from pcgrelay.gateway.watching import ImportWatch
from pcgrelay.model import NodeId, Role, ServiceName
from pcgrelay.services.services import Imported
from pcgrelay.session.table import Sessions

# A service that no entry offers by then is asked for with all of its organisation: what that offers in its place is
# shown. Until the second time an application waits, for the answer may still be on its way.
UNFOUND_MS = 1_000
ANSWERED_MS = 3_000


class Wanting:
    """The names that an edge has asked its relays for, and since when."""

    def __init__(self, node: NodeParts, services: EdgeServices, sessions: Sessions, watch: ImportWatch) -> None:
        self._node = node
        self._services = services
        self._sessions = sessions
        self._watch = watch
        self._asked_ms: dict[ServiceName, int] = {}
        self._was_linked = False

    def look(self) -> None:
        """Tell the relays what is needed now, if it has changed; called once a second and for a configuration."""
        now, imports = self._node.clock.monotonic_ms(), self._services.imports
        is_linked = any(True for _ in self._node.link_table.usable())
        asked = {} if is_linked and not self._was_linked else self._asked_ms
        self._was_linked = is_linked
        self._asked_ms = {each.settings.service: asked.get(each.settings.service, now) for each in imports}
        unfound = {
            each.settings.service.organisation
            for each in imports
            if is_linked and not each.is_known and self._age_ms(each) >= UNFOUND_MS
        }
        self._node.exchange.want(make_want(self._asked_ms, unfound, self._edges()))

    def is_unanswered(self, imported: Imported) -> bool:
        """Whether an import was asked for so recently that an edge with it may still become known."""
        return self._was_linked and not imported.is_known and self._age_ms(imported) < ANSWERED_MS

    def _age_ms(self, imported: Imported) -> int:
        now = self._node.clock.monotonic_ms()
        return now - self._asked_ms.get(imported.settings.service, now)

    def _edges(self) -> Iterator[NodeId]:
        """Yield the edges whose entries are needed whatever they offer, the most important first."""
        yield from (session.key.edge for session in self._sessions if session.initiator)
        yield from (link.peer for link in self._node.link_table.links.values() if link.peer_role is Role.EDGE)
        yield from self._watch.edges()
