"""Handlers of the admin socket that need the running node: reload, drain and explain."""

from __future__ import annotations

from pcgrelay.admin.answers import DRAIN_PATH, EXPLAIN_PATH, RELOAD_PATH, DrainAnswer
from pcgrelay.admin.server import AdminHandlers, Answer, Query, json_answer
from pcgrelay.daemon.reload import Reloader
from pcgrelay.errors import RunError
from pcgrelay.gateway.node import Node
from pcgrelay.gateway.relay import RelayRole
from pcgrelay.views.explain import explain
from pcgrelay.views.status import node_status

DRAIN_MOST_S = 86_400
SUBJECT_LIMIT = 512


def admin_handlers(node: Node, reloader: Reloader) -> AdminHandlers:
    """Return the handlers of a node's admin interface."""

    async def reload(query: Query) -> Answer:
        answer = await reloader.reload()
        return json_answer(answer, 200 if answer.ok else 409)

    async def drain(query: Query) -> Answer:
        try:
            if query.get("undo") == "1":
                if node.draining:
                    await node.drain_undo()
            elif not node.draining:
                node.drain_begin(_milliseconds(query.get("wait_ms", "0")))
        except RunError as error:
            return json_answer(drain_state(node, str(error)), 409)
        return json_answer(drain_state(node))

    def explanation(query: Query) -> Answer:
        answer = explain(node, query.get("subject", "")[:SUBJECT_LIMIT])
        return json_answer(answer, 409 if answer.reason else 200)

    return AdminHandlers(
        status=lambda: node_status(node),
        counters=node.plane.counters,
        views={DRAIN_PATH: lambda query: json_answer(drain_state(node)), EXPLAIN_PATH: explanation},
        actions={RELOAD_PATH: reload, DRAIN_PATH: drain},
    )


def drain_state(node: Node, reason: str = "") -> DrainAnswer:
    """Return the progress of a drain; reason says why the last request was refused."""
    role = node.role
    return DrainAnswer(
        draining=node.draining,
        empty=node.draining and not role.is_busy(),
        streams=node.plane.streams(),
        paths=len(role.paths) if isinstance(role, RelayRole) else 0,
        reason=reason,
    )


def _milliseconds(text: str) -> int:
    return min(int(text), DRAIN_MOST_S * 1000) if text.isascii() and text.isdigit() and len(text) < 12 else 0
