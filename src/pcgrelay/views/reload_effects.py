"""What a reload would end, change by change: for `pcgrelay reload --dry-run`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pcgrelay.admin.answers import ReloadEffect
from pcgrelay.gateway.edge import EdgeRole
from pcgrelay.gateway.node import Node
from pcgrelay.identity.local import LocalIdentity
from pcgrelay.model import organisation_number
from pcgrelay.services.reload_effects import LiveStreams, ended_streams
from pcgrelay.session.session import Session

# Changes by which sessions are judged again; all others are of single services.
_JUDGING = ("policy.", "private key", "certificate", "trusted", "revocation")


def reload_effects(node: Node, fresh: LocalIdentity, changes: Sequence[str]) -> tuple[ReloadEffect, ...]:
    """Return each change with the streams and sessions that it ends. A relay sees no streams, and has no sessions."""
    if not isinstance(node.role, EdgeRole):
        return tuple(ReloadEffect(change=change) for change in changes)
    ended = ended_streams(node.config, fresh.config, live_streams(node, node.role), node.clock.wall())
    sessions = _ended_sessions(node, node.role, fresh, changes)
    figures = node.plane.sessions()
    found = []
    for change in changes:
        streams, closed = _streams_of(change, ended), 0
        if sessions and change.startswith(_JUDGING):
            closed = len(sessions)
            streams += sum(figures.get(session.number, {}).get("streams", 0) for session in sessions)
            sessions = []
        found.append(ReloadEffect(change=change, streams=streams, sessions=closed))
    return tuple(found)


def live_streams(node: Node, edge: EdgeRole) -> LiveStreams:
    """Return what is open at an edge now."""
    services, active = edge.services, node.plane.services()["imports"]
    names = {session.key.edge.organisation for session in edge.sessions}
    outlets = {
        (imported.settings.service, name): imported.outlets.meter.figures(direct.index)[0].active
        for imported in services.imports
        if imported.outlets is not None
        for name, direct in imported.outlets.directs.items()
    }
    return LiveStreams(
        exports=node.plane.export_streams(),
        organisations={organisation_number(name): name for name in names},
        export_names={exported.number: exported.settings.service for exported in services.exports},
        imports={imported.settings.service: active.get(imported.number, 0) for imported in services.imports},
        outlets=outlets,
        markings={
            imported.settings.service: imported.outlets.marking
            for imported in services.imports
            if imported.outlets is not None and imported.outlets.marking is not None
        },
    )


def _streams_of(change: str, ended: Counter[str]) -> int:
    """Return what ends by one change, whose phrase begins with the table and what it is of."""
    return sum(streams for subject, streams in ended.items() if f"{change} ".startswith(f"{subject} "))


def _ended_sessions(node: Node, edge: EdgeRole, fresh: LocalIdentity, changes: Sequence[str]) -> list[Session]:
    if not any(change.startswith(_JUDGING) for change in changes):
        return []
    return [
        session
        for session in edge.sessions
        if session.chain and fresh.standing_refusal(session.chain, session.suite, session.group)
    ]
