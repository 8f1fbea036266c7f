"""The tables that an edge publishes to its core: rows of exports and imports, built from the current state."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache, partial
from typing import Any

from pcgrelay.catalogue.entries import STATE_DOWN, STATE_DRAIN, STATE_READY, Offer
from pcgrelay.clock import Clock
from pcgrelay.dataplane.adapter import Export, Grant, Import, OutletsRow, Plane
from pcgrelay.model import Transport
from pcgrelay.policy.clearances import Clearances
from pcgrelay.policy.rules import MARKING_NUMBERS, Rule, granted
from pcgrelay.services.datagrams import export_datagrams, import_datagrams
from pcgrelay.services.imports import (
    FAILURES_BEFORE_DOWN,
    Exporter,
    ImportState,
    SessionFact,
    SessionHealth,
    import_plan,
)
from pcgrelay.services.services import Exported, Imported, key_of
from pcgrelay.session.session import Key, Session, State
from pcgrelay.session.table import Sessions

# A session whose path is lost for less than this does not count as a failure of its edge: most recover at once.
STALL_BORNE_MS = 2_000

EXPORT, IMPORT = "export", "import"

WithKey = Callable[[Key], Sequence[Session]]
_HEALTH = {State.UP: SessionHealth.UP, State.STALLED: SessionHealth.STALLED}


@dataclass(frozen=True, slots=True)
class Row:
    """Identifies one row of the tables."""

    direction: str  # "export" or "import"
    number: int
    service: bytes

    @property
    def words(self) -> str:
        """The row as it is named in messages."""
        return f"{self.direction} {self.service.decode('ascii', 'replace')}"


@dataclass(frozen=True, slots=True)
class Tables:
    """All rows that are published to the core together."""

    exports: Sequence[Export] = ()
    imports: Sequence[Import] = ()
    grants: Sequence[Grant] = ()

    def rows(self) -> Mapping[str, Any]:
        """Return the rows as keyword arguments of the core's call."""
        return {"exports": self.exports, "imports": self.imports, "grants": self.grants}


def shrunk(last: Tables, new: Tables, closed: Collection[int]) -> Tables:
    """Return the last tables reduced to what the new ones allow: the only change that is safe if those are refused.

    An export whose rules changed keeps only what the new rules allow as well; rows that are new are left out.
    closed: the kinds of outlet that take nothing new.
    """
    wanted = {(row[0], row[1]): row for row in new.exports}
    granted = {session: set(numbers) for session, numbers in new.grants}
    kept = {row[0] for row in last.exports if (row[0], row[1]) in wanted}
    sessions = {session for session, _ in new.grants}
    outlets = {row[0]: row[6] for row in new.imports}
    return Tables(
        exports=[_lessened(row, wanted[row[0], row[1]]) for row in last.exports if row[0] in kept],
        imports=[
            (
                *row[:5],
                tuple(route for route in row[5] if route[0] in sessions),
                _closed(row, outlets.get(row[0]), closed),
                row[7],
            )
            for row in last.imports
        ],
        grants=[
            (session, tuple(number for number in numbers if number in granted[session] & kept))
            for session, numbers in last.grants
            if session in granted
        ],
    )


def _lessened(last: Export, new: Export) -> Export:
    """Return the last row of an export with the new row's state and the higher of the two markings."""
    number, service, marking, rule, state = last[:5]
    return (number, service, max(marking, new[2]), rule, max(state, new[4]), *last[5:])


def _closed(last: Import, new: OutletsRow | None, closed: Collection[int]) -> OutletsRow | None:
    """Return the outlets of an import as they were, and closed where they are closed now.

    An import that has none now has lost its meter too, and with it all outlets but the gateway.
    """
    outlets = last[6]
    if outlets is None or new is None:
        return None
    found = list(outlets[7])
    for index, way in enumerate(new[7][: len(found)]):
        if way[0] in closed:
            found[index] = way
    return (*outlets[:7], tuple(found))


class ImportPlanner:
    """Plans an edge's imports from the states of its sessions."""

    def __init__(self, sessions: Sessions, is_barred: Callable[[Key], bool | None], clock: Clock) -> None:
        """is_barred: whether clearances alone keep a session from a path; None: there is no way at all."""
        self._sessions = sessions
        self._is_barred = is_barred
        self._clock = clock

    def plan(self, imports: Iterable[Imported], *, starting: Callable[[Imported], bool]) -> bool:
        """Update the damping and the plan of each import; return whether any exporter is in hold-down.

        starting: whether an unknown service may still be announced: the node started, or asked for it, a moment ago.
        """
        now = self._clock.monotonic_ms()
        settling = False
        with_key = cache(self._sessions.with_key)  # a thousand imports may share one session
        is_well = partial(self._is_well, with_key, now)
        is_barred = cache(lambda exporter: self._is_barred(key_of(exporter)))
        for imported in imports:
            imported.weigh(is_well, now)
            settling = settling or imported.is_held_down(now)
            facts = partial(self._facts, with_key, imported, now)
            hopes = not imported.is_known and starting(imported)
            plan = import_plan(imported.exporters, facts, starting=hopes, is_barred=is_barred)
            imported.planned(plan, self._sessions.count)
        return settling

    def _facts(self, with_key: WithKey, imported: Imported, now_ms: int, exporter: Exporter) -> list[SessionFact]:
        key = key_of(exporter)
        failures = self._sessions.failures[key]
        is_steady = imported.is_steady(exporter.edge, now_ms)
        sessions = with_key(key)
        if imported.settings.transport is Transport.DATAGRAM:
            if lacks_datagrams(sessions):
                return [SessionFact(SessionHealth.NONE, 0, FAILURES_BEFORE_DOWN)]
            sessions = [session for session in sessions if _may_carry_datagrams(session)]
        found = [SessionFact(_health(session), session.number, failures, is_steady) for session in sessions]
        return found or [SessionFact(SessionHealth.NONE, 0, failures)]

    def _is_well(self, with_key: WithKey, now_ms: int, exporter: Exporter, was_well: bool) -> bool:
        return any(
            session.state is State.UP
            or (was_well and session.state is State.STALLED and now_ms - session.stalled_ms < STALL_BORNE_MS)
            for session in with_key(key_of(exporter))
        )


def lacks_datagrams(sessions: Sequence[Session]) -> bool:
    """Return whether there are sessions with an edge, and none of them carries datagrams."""
    return bool(sessions) and not any(map(_may_carry_datagrams, sessions))


def _may_carry_datagrams(session: Session) -> bool:
    # Before its handshake nobody knows.
    return session.suite is None or session.carries_datagrams


def import_rows(plane: Plane, imports: Iterable[Imported], *, draining: bool = False) -> list[Import]:
    """Return the rows of imports, as planned.

    Of a node that drains nothing new begins: streams have no listener then, and datagrams no state but down.
    """
    states = {
        ImportState.DOWN: plane.IMPORT_DOWN,
        ImportState.PENDING: plane.IMPORT_PENDING,
        ImportState.LIVE: plane.IMPORT_LIVE,
    }
    return [
        (
            imported.number,
            imported.settings.service.service.encode(),
            imported.plan.marking,
            imported.plan.priority,
            _import_state(plane, imported, states, draining),
            imported.plan.routes,
            imported.outlets.row(plane, careful=imported.settings.careful) if imported.outlets else None,
            import_datagrams(imported.settings),
        )
        for imported in imports
    ]


def export_rows(plane: Plane, exports: Iterable[Exported], *, draining: bool) -> list[Export]:
    """Return the rows of exports, in the order of their rules."""
    return [
        (
            exported.number,
            exported.settings.service.service.encode(),
            MARKING_NUMBERS[exported.settings.marking],
            rule,
            _export_state(plane, exported, draining),
            exported.settings.connect_timeout_ms,
            exported.target.addresses,
            exported.settings.sources,
            exported.settings.proxy,
            export_datagrams(exported.settings),
        )
        for rule, exported in enumerate(exports)
    ]


def grants_of(
    session: Session, rules: Sequence[Rule], numbers: Sequence[int], now: datetime, clearances: Clearances
) -> tuple[int, ...]:
    """Return the numbers of the exports that a session's peer may open now; numbers: of all, in the rules' order."""
    organisation = session.key.edge.organisation
    allowed = granted(rules, organisation, now, session.key.priority, clearances.of_organisation(organisation))
    return tuple(numbers[rule] for rule in allowed)


def row_of(exported: Exported) -> Row:
    """Return the identification of an export's row."""
    return Row(EXPORT, exported.number, exported.settings.service.service.encode())


def offer_of(exported: Exported, *, draining: bool, refused: bool = False) -> Offer:
    """Return what is announced of an export. refused: the core does not accept its target."""
    is_present = exported.target.is_present and not refused
    state = STATE_DRAIN if draining else STATE_READY if is_present else STATE_DOWN
    settings = exported.settings
    return Offer(
        settings.service.service,
        MARKING_NUMBERS[settings.marking],
        settings.precedence,
        settings.weight,
        state,
        settings.priority,
        settings.transport,
    )


def _import_state(plane: Plane, imported: Imported, states: Mapping[ImportState, int], draining: bool) -> int:
    if draining and imported.settings.transport is Transport.DATAGRAM:
        return plane.IMPORT_DOWN
    return plane.IMPORT_UNCLEARED if imported.plan.is_barred else states[imported.plan.state]


def _export_state(plane: Plane, exported: Exported, draining: bool) -> int:
    if draining:
        return plane.EXPORT_DRAIN
    return plane.EXPORT_READY if exported.target.addresses else plane.EXPORT_UNRESOLVED


def _health(session: Session) -> SessionHealth:
    """Return a session's state for new streams: one over a draining link accepts none until it has moved.

    A link that was replaced drains too, but its neighbour stays: new streams move with the rest.
    """
    if session.path is not None and session.path.link.draining and not session.path.link.replaced:
        return SessionHealth.SETTING_UP
    return _HEALTH.get(session.state, SessionHealth.SETTING_UP)
