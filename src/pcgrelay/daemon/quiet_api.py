"""Handlers of the admin socket for days of quiet, statements of others, and retiring an outlet."""

from __future__ import annotations

import asyncio

from pcgrelay.admin.http import Answer, json_answer
from pcgrelay.admin.quiet_answers import QuietAnswer, RetireAnswer
from pcgrelay.admin.server import UID, Query
from pcgrelay.errors import PcgrelayError, RuleProblem, RunError
from pcgrelay.gateway.actor import Actor
from pcgrelay.gateway.edge import EdgeRole
from pcgrelay.gateway.node import Node
from pcgrelay.gateway.outlet_shares import find_import
from pcgrelay.services.statements import checked_text
from pcgrelay.views.quiet import quiet_answer, retire_answer

TEXT_LIMIT = 512


class QuietApi:
    """GET shows what is proven, POST notes what somebody else has seen."""

    def __init__(self, node: Node, lock: asyncio.Lock) -> None:
        """lock: held by whatever must not overlap with a reload or a hand-over."""
        self._node = node
        self._lock = lock

    def shown(self, query: Query) -> Answer:
        """GET /v1/quiet."""
        try:
            return json_answer(quiet_answer(self._node, self._edge()))
        except PcgrelayError as error:
            return _refused(error)

    async def noted(self, query: Query, body: bytes) -> Answer:
        """POST /v1/quiet?bearer=...&observer=...&from=...&to=...&bytes=...&reason=...&by=..."""
        async with self._lock:
            try:
                edge = self._edge()
                actor = Actor(int(query[UID]), query.get("by", ""), query.get("reason", ""))
                said = {key: query.get(key, "")[:TEXT_LIMIT] for key in ("observer", "from", "to", "bytes")}
                await edge.statements.note(query.get("bearer", "")[:TEXT_LIMIT], said, actor)
                return json_answer(quiet_answer(self._node, edge, noted=True))
            except PcgrelayError as error:
                return _refused(error)

    def may_retire(self, query: Query) -> Answer:
        """GET /v1/retire?service=...&outlet=...: whether it could be retired."""
        subject, outlet = query.get("service", "")[:TEXT_LIMIT], query.get("outlet", "")[:TEXT_LIMIT]
        try:
            edge = self._edge()
            service = find_import(edge, subject).settings.service
            if why := edge.retirement.why_not(service, outlet):
                raise RuleProblem(why)
            return json_answer(retire_answer(self._node, edge, service, outlet))
        except PcgrelayError as error:
            return _not_retired(subject, outlet, error)

    async def retired(self, query: Query, body: bytes) -> Answer:
        """POST /v1/retire?service=...&outlet=...&reason=...&by=..."""
        subject, outlet = query.get("service", "")[:TEXT_LIMIT], query.get("outlet", "")[:TEXT_LIMIT]
        async with self._lock:
            try:
                edge = self._edge()
                actor = Actor(
                    int(query[UID]),
                    checked_text("--by", query.get("by", "")),
                    checked_text("--reason", query.get("reason", "")),
                )
                service = find_import(edge, subject).settings.service
                was_retired = edge.retirement.is_retired(service, outlet)
                if was_retired or edge.retirement.why_not(service, outlet):
                    # Nothing is done, or it is refused: neither needs paper.
                    warnings = await edge.retirement.retire(service, outlet, actor)
                else:
                    async with self._node.approvals.acting("retire", f"{outlet}/{service}", actor):
                        warnings = await edge.retirement.retire(service, outlet, actor)
                answer = retire_answer(self._node, edge, service, outlet, changed=not was_retired, warnings=warnings)
                return json_answer(answer)
            except PcgrelayError as error:
                return _not_retired(subject, outlet, error)

    def _edge(self) -> EdgeRole:
        if not isinstance(self._node.role, EdgeRole):
            raise RunError("A relay has no imports; ask an edge.")
        return self._node.role


def _not_retired(service: str, outlet: str, error: PcgrelayError) -> Answer:
    answer = RetireAnswer(service=service, outlet=outlet, reason=str(error), exit_code=error.exit_code)
    return json_answer(answer, 409)


def _refused(error: PcgrelayError) -> Answer:
    return json_answer(QuietAnswer(reason=str(error), exit_code=error.exit_code), 409)
