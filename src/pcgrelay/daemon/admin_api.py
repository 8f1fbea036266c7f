"""Handlers of the admin socket that need the running node: reload, explain, and what modules beside this one have."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from pcgrelay.admin.answers import (
    DRAIN_PATH,
    EXPLAIN_PATH,
    OUTLET_PATH,
    RELOAD_PATH,
    OutletAnswer,
    OutletList,
)
from pcgrelay.admin.assure_answers import SEALED_PATH, SELFTEST_PATH, TRANSIT_PATH
from pcgrelay.admin.audit_answers import AUDIT_EXPORTED_PATH, AUDIT_QUERIED_PATH, AUDIT_RESTART_PATH
from pcgrelay.admin.cutover_answers import CUTOVER_PATH, REHEARSE_PATH
from pcgrelay.admin.drill_answers import DRILL_PATH
from pcgrelay.admin.http import Answer, json_answer
from pcgrelay.admin.policy_answers import POLICY_PATH
from pcgrelay.admin.quiet_answers import QUIET_PATH, RETIRE_PATH
from pcgrelay.admin.realm_answers import REALM_PATH, RealmAnswer
from pcgrelay.admin.report_answers import REPORT_PATH
from pcgrelay.admin.server import UID, Action, AdminHandlers, Query
from pcgrelay.daemon.assure_api import AssureApi
from pcgrelay.daemon.audit_api import AuditApi
from pcgrelay.daemon.cutover_api import CutoverApi
from pcgrelay.daemon.drain_api import DrainApi
from pcgrelay.daemon.drill_api import DrillApi
from pcgrelay.daemon.fleet_api import FLEET_PATH, fleet_shown
from pcgrelay.daemon.paper_api import PaperApi
from pcgrelay.daemon.policy_api import PolicyApi
from pcgrelay.daemon.quiet_api import QuietApi
from pcgrelay.daemon.reload import Reloader
from pcgrelay.errors import PcgrelayError, RunError
from pcgrelay.gateway.actor import Actor
from pcgrelay.gateway.edge import EdgeRole
from pcgrelay.gateway.node import Node
from pcgrelay.gateway.outlet_shares import find_import, move_shares
from pcgrelay.views.explain import explain
from pcgrelay.views.outlets import outlet_answer
from pcgrelay.views.realm import realm_answer
from pcgrelay.views.status import node_status
from pcgrelay.views.traffic import TrafficText, handshake_text

SUBJECT_LIMIT = 512
PATH_LIMIT = 4_096


def admin_handlers(node: Node, reloader: Reloader) -> AdminHandlers:
    """Return the handlers of a node's admin interface."""

    async def reload(query: Query, body: bytes) -> Answer:
        if query.get("dry_run") == "1":
            answer = await reloader.try_out()
        else:
            change = query.get("change", "")[:PATH_LIMIT]
            answer = await reloader.reload(int(query[UID]), Path(change) if change else None)
        return json_answer(answer, 200 if answer.ok else 409)

    def explanation(query: Query) -> Answer:
        answer = explain(node, query.get("subject", "")[:SUBJECT_LIMIT], query.get("from", "")[:SUBJECT_LIMIT])
        return json_answer(answer, 409 if answer.reason else 200)

    def outlets(query: Query) -> Answer:
        return _outlets(node, query.get("service", "")[:SUBJECT_LIMIT])

    async def move(query: Query, body: bytes) -> Answer:
        # A hand-over would take half of it along.
        async with reloader.lock:
            return await _moved(node, query)

    quiet = QuietApi(node, reloader.lock)
    cutovers = CutoverApi(node, reloader.lock)
    drains, drills = DrainApi(node), DrillApi(node, reloader.lock)
    paper = PaperApi(node)
    views, actions = _on_record(node, reloader.lock)
    return AdminHandlers(
        status=lambda: node_status(node),
        counters=node.plane.counters,
        traffic=_traffic(node),
        views={
            DRAIN_PATH: drains.shown,
            EXPLAIN_PATH: explanation,
            OUTLET_PATH: outlets,
            QUIET_PATH: quiet.shown,
            RETIRE_PATH: quiet.may_retire,
            CUTOVER_PATH: cutovers.shown,
            DRILL_PATH: drills.view,
            REPORT_PATH: paper.facts,
            REALM_PATH: lambda query: json_answer(_realm(node, query)),
            FLEET_PATH: lambda query: fleet_shown(node, query),
            **views,
        },
        actions={
            RELOAD_PATH: reload,
            DRAIN_PATH: drains.acted,
            OUTLET_PATH: move,
            QUIET_PATH: quiet.noted,
            RETIRE_PATH: quiet.retired,
            CUTOVER_PATH: cutovers.acted,
            DRILL_PATH: drills.act,
            REHEARSE_PATH: cutovers.rehearsed,
            **actions,
        },
        page=paper.page,
    )


def _on_record(node: Node, lock: asyncio.Lock) -> tuple[dict[str, Callable[[Query], Answer]], dict[str, Action]]:
    """Return the views and actions about who allowed what, and what is on record of it."""
    policy, audit, evidence = PolicyApi(node, lock), AuditApi(node, lock), AssureApi(node)
    views: dict[str, Callable[[Query], Answer]] = {
        POLICY_PATH: policy.shown,
        SELFTEST_PATH: evidence.self_test,
        TRANSIT_PATH: evidence.transit,
    }
    actions: dict[str, Action] = {
        POLICY_PATH: policy.held,
        AUDIT_QUERIED_PATH: audit.queried,
        AUDIT_EXPORTED_PATH: audit.exported,
        AUDIT_RESTART_PATH: audit.restart,
        SEALED_PATH: evidence.sealed,
    }
    return views, actions


def _realm(node: Node, query: Query) -> RealmAnswer:
    text = query.get("offset", "0")
    offset = int(text) if text.isascii() and text.isdigit() and len(text) < 8 else 0
    return realm_answer(node, query.get("organisation", "")[:SUBJECT_LIMIT], offset)


def _traffic(node: Node) -> Callable[[], str]:
    """Return what writes the metrics of handshakes and, at an edge, of its services."""
    local, role = node.local, node.role
    if not isinstance(role, EdgeRole):
        return lambda: handshake_text(local.link_handshakes, local.session_handshakes)
    services, kept = role.services, TrafficText(role.services.traffic)

    def text() -> str:
        counts = node.plane.services()
        imports = {str(each.settings.service): counts["imports"].get(each.number, 0) for each in services.imports}
        exports = {str(each.settings.service): counts["exports"].get(each.number, 0) for each in services.exports}
        active = {("import", name): n for name, n in imports.items()}
        active |= {("export", name): n for name, n in exports.items()}
        return handshake_text(local.link_handshakes, local.session_handshakes) + kept.text(active)

    return text


def _outlets(node: Node, subject: str) -> Answer:
    """The outlets of one import, or of all that have any."""
    if not isinstance(node.role, EdgeRole):
        return _refused(subject, RunError("A relay has no imports; ask an edge."))
    if not subject:
        found = (outlet_answer(node, node.role, imported) for imported, _ in node.role.outlets.with_outlets())
        return json_answer(OutletList(services=tuple(found)))
    try:
        return json_answer(outlet_answer(node, node.role, find_import(node.role, subject)))
    except PcgrelayError as error:
        return _refused(subject, error)


async def _moved(node: Node, query: Query) -> Answer:
    """Move new streams between the outlets of an import."""
    subject = query.get("service", "")[:SUBJECT_LIMIT]
    if not isinstance(node.role, EdgeRole):
        return _refused(subject, RunError("A relay has no imports; ask an edge."))
    words = query.get("shares", "").split(",")
    actor = Actor(int(query[UID]), query.get("by", ""), query.get("reason", ""))
    try:
        moved = await move_shares(node, node.role, subject, words, actor)
        return json_answer(outlet_answer(node, node.role, find_import(node.role, subject), moved))
    except PcgrelayError as error:
        return _refused(subject, error)


def _refused(subject: str, error: PcgrelayError) -> Answer:
    return json_answer(OutletAnswer(service=subject, reason=str(error), exit_code=error.exit_code), 409)
