"""Checks of other nodes, once a second: which came, and which are missing.

A neighbour that dials this node is not in its configuration. So those are expected that were present within a day.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec import structs

from pcgrelay.catalogue.entries import STATE_DOWN, STATE_DRAIN, Catalogue
from pcgrelay.clock import Clock
from pcgrelay.config import Config
from pcgrelay.handover.node import SeenHandover
from pcgrelay.health.absences import Absences
from pcgrelay.identity.certificates import Refusal
from pcgrelay.link.link import Link, LinkState
from pcgrelay.log.events import Emit, MemberAway, MemberBack
from pcgrelay.log.service_events import ImportDown, ImportMoved, ImportUnavailable, ImportUp
from pcgrelay.model import NameProblem, NodeId, ServiceName
from pcgrelay.services.import_causes import ImportFailure
from pcgrelay.services.imports import ImportState
from pcgrelay.services.services import Imported
from pcgrelay.session.table import Sessions

# A link may carry a thousand imports: so many lines at most report its loss, and the last says how many are left out.
LINES_MOST = 32
SENT_AWAY = {Refusal.REVOKED, "not_a_member"}

Member = tuple[NodeId, str, str]  # identity, bearer, and address of the listener
Offering = tuple[ServiceName, NodeId]


class LinkWatch:
    """The neighbours that dial this node."""

    def __init__(self, emit: Emit, clock: Clock) -> None:
        self._emit = emit
        self._clock = clock
        self._members: Absences[Member] = Absences()

    @property
    def away(self) -> dict[Member, int]:
        """The members that are missing, and since when (monotonic milliseconds)."""
        return self._members.away

    def look(self, links: Sequence[Link], config: Config) -> None:
        """Check all links and log changes."""
        now = self._clock.monotonic_ms()
        present = {_member(link) for link in links if _is_there(link) and not link.dialled}
        gone, back = self._members.look(present, now)
        listeners = {(listen.bearer, str(listen.address)) for listen in config.listens}
        self._members.forget(lambda key: key[1:] not in listeners or not config.policy.admits(key[0].organisation))
        for member in gone:
            if member in self._members.away:
                self._emit(MemberAway(peer=member[0].dotted, bearer=member[1], listener=member[2]))
        for member, away_ms in back.items():
            self._emit(MemberBack(peer=member[0].dotted, bearer=member[1], listener=member[2], away_ms=away_ms))

    def link_down(self, link: Link, reason: str) -> None:
        """Note the end of a link. A neighbour that this node refuses is not missed."""
        if reason in SENT_AWAY:
            self._members.dismiss(lambda key: key[0] == link.peer)

    def to_handover(self) -> tuple[SeenHandover, ...]:
        """Return the hand-over records."""
        return tuple(
            SeenHandover(names=(peer.uri, bearer, address), away_ms=since)
            for (peer, bearer, address), since in self._members.everybody()
        )

    def restore(self, seen: Iterable[SeenHandover]) -> None:
        """Restore what the previous process knew."""
        known: list[tuple[Member, int]] = []
        for each in seen:
            if len(each.names) == 3 and (peer := _node(each.names[0])):
                known.append(((peer, each.names[1], each.names[2]), each.away_ms))
        self._members.restore(known)


class ImportWatch:
    """The edges that serve an edge's imports."""

    def __init__(self, emit: Emit, clock: Clock) -> None:
        self._emit = emit
        self._clock = clock
        self._exporters: Absences[Offering] = Absences()
        self._serving: dict[ServiceName, tuple[str, ...]] = {}  # the edges that get new streams
        self._failures: dict[ServiceName, str] = {}  # the cause that was logged, of each import that is not served
        self._is_first = False  # after a hand-over: the result of the first check is not logged

    def away(self, service: ServiceName) -> dict[NodeId, int]:
        """Return the edges with a service that are missing, and since when (monotonic milliseconds)."""
        return {edge: since for (name, edge), since in self._exporters.away.items() if name == service}

    def edges(self) -> list[NodeId]:
        """Return the edges that offer an import or are missed: those that are there first, then the last to go."""
        known = self._exporters.everybody()
        here = [edge for (_, edge), since in known if not since]
        away = [edge for (_, edge), since in reversed(known) if since]
        return list(dict.fromkeys((*here, *away)))

    def look(self, imports: Sequence[Imported], sessions: Sessions, catalogue: Catalogue) -> None:
        """Check all imports and log changes."""
        services = {imported.settings.service for imported in imports}
        present = {(imported.settings.service, each.edge) for imported in imports for each in imported.exporters}
        gone, back = self._exporters.look(present, self._clock.monotonic_ms())
        self._exporters.forget(lambda key: key[0] not in services or _is_given_up(catalogue, *key))
        missed = [key for key in gone if key in self._exporters.away]
        for edge in sorted({edge for _, edge in missed}):
            self._emit(MemberAway(peer=edge.dotted, services=sum(other == edge for _, other in missed)))
        for edge in sorted({edge for _, edge in back}):
            times = [away_ms for (_, other), away_ms in back.items() if other == edge]
            self._emit(MemberBack(peer=edge.dotted, services=len(times), away_ms=max(times)))
        serving = {imported.settings.service: _serving(imported, sessions) for imported in imports}
        if not self._is_first:
            self._changed(serving)
        self._is_first = False
        self._serving = serving

    def _changed(self, serving: dict[ServiceName, tuple[str, ...]]) -> None:
        changes = [
            _change(service, before, now)
            for service, now in serving.items()
            if (before := self._serving.get(service, ())) != now
        ]
        self._emit_some(changes)

    def look_for_failures(self, failures: Mapping[ServiceName, ImportFailure]) -> None:
        """Log each import that is not served, once for each cause."""
        fresh = [
            ImportUnavailable(service=str(service), cause=each.cause, detail=each.detail, nearest=each.nearest)
            for service, each in failures.items()
            if self._failures.get(service) != each.cause
        ]
        self._failures = {service: each.cause for service, each in failures.items()}
        self._emit_some(fresh)

    def _emit_some(self, records: Sequence[ImportUp | ImportDown | ImportMoved | ImportUnavailable]) -> None:
        for record in records[: LINES_MOST - 1]:
            self._emit(record)
        if left := records[LINES_MOST - 1 :]:
            self._emit(structs.replace(left[0], suppressed=len(left) - 1))

    def to_handover(self) -> tuple[SeenHandover, ...]:
        """Return the hand-over records."""
        return tuple(
            SeenHandover(names=(str(service), edge.uri), away_ms=since)
            for (service, edge), since in self._exporters.everybody()
        )

    def restore(self, seen: Iterable[SeenHandover]) -> None:
        """Restore what the previous process knew."""
        known: list[tuple[Offering, int]] = []
        for each in seen:
            if len(each.names) == 2 and (edge := _node(each.names[1])):
                known.append(((ServiceName.parse(each.names[0]), edge), each.away_ms))
        self._exporters.restore(known)
        self._is_first = True


def _change(service: ServiceName, before: tuple[str, ...], now: tuple[str, ...]) -> ImportUp | ImportDown | ImportMoved:
    if not before:
        return ImportUp(service=str(service), exporters=now)
    if not now:
        return ImportDown(service=str(service), exporters=before)
    return ImportMoved(service=str(service), before=before, after=now)


def _member(link: Link) -> Member:
    return link.peer, link.bearer, str(link.standing.settings.address)


def _is_there(link: Link) -> bool:
    return link.state in (LinkState.UP, LinkState.ORPHANED) and not link.replaced


def _is_given_up(catalogue: Catalogue, service: ServiceName, edge: NodeId) -> bool:
    """Whether an edge is present and no longer offers a service: then it is not missed."""
    newest = catalogue.newest(edge)
    return newest is not None and not any(
        offer.service == service.service and offer.state in (STATE_DOWN, STATE_DRAIN) for offer in newest.offers
    )


def _serving(imported: Imported, sessions: Sessions) -> tuple[str, ...]:
    """Return the edges that the core may choose for a new stream now: those with the best precedence."""
    if imported.plan.state is not ImportState.LIVE:
        return ()
    best = min(precedence for _, precedence, _ in imported.plan.routes)
    able = [(number, weight) for number, precedence, weight in imported.plan.routes if precedence == best]
    heavy = [number for number, weight in able if weight] or [number for number, _ in able]
    found = (sessions.by_number(number) for number in heavy)
    return tuple(sorted(session.key.edge.dotted for session in found if session is not None))


def _node(uri: str) -> NodeId | None:
    try:
        return NodeId.from_uri(uri)
    except NameProblem:
        return None
