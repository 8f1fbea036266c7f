"""Handlers of the admin socket for the audit log."""

from __future__ import annotations

import asyncio
import secrets

from pcgrelay.admin.audit_answers import AuditRestartAnswer, QueriedAnswer
from pcgrelay.admin.http import Answer, json_answer
from pcgrelay.admin.server import UID, Query
from pcgrelay.audit.restarting import Restart
from pcgrelay.errors import PcgrelayError, RuleProblem
from pcgrelay.gateway.actor import Actor
from pcgrelay.gateway.node import Node
from pcgrelay.log.audit_events import AuditQueried
from pcgrelay.printable import printable

TEXT_LIMIT = 320
ID_BYTES = 8


class AuditApi:
    """What is done with the log is on record in it."""

    def __init__(self, node: Node, lock: asyncio.Lock) -> None:
        """lock: held by whatever must not overlap with a reload or a hand-over."""
        self._node = node
        self._lock = lock

    async def queried(self, query: Query, body: bytes) -> Answer:
        """POST /v1/audit/queried?service=...&organisation=...&since=...&until=...&by=...&reason=..."""
        log = self._node.log
        if log.audit is None:
            return json_answer(QueriedAnswer(reason="this node keeps no audit log; see [audit] in its configuration."))
        keys = ("service", "organisation", "since", "until", "by", "reason")
        said = {key: printable(query.get(key, "")[:TEXT_LIMIT]) for key in keys}
        identity = secrets.token_hex(ID_BYTES)
        is_kept = await log.keep(AuditQueried(id=identity, uid=int(query[UID]), **said))
        reason = "" if is_kept else "the audit log is not written; see status."
        return json_answer(QueriedAnswer(id=identity, is_kept=is_kept, reason=reason))

    async def restart(self, query: Query, body: bytes) -> Answer:
        """POST /v1/audit/restart?reason=...&by=..."""
        actor = Actor(int(query[UID]), query.get("by", "")[:TEXT_LIMIT], query.get("reason", "")[:TEXT_LIMIT])
        async with self._lock:
            try:
                if not actor.reason.strip():
                    raise RuleProblem("Say why a new audit log is begun; add --reason.")
                async with self._node.approvals.acting("audit restart", actor.reason, actor):
                    await self._node.audit.restart(Restart(uid=actor.uid, by=actor.by, reason=actor.reason))
            except PcgrelayError as error:
                answer = AuditRestartAnswer(ok=False, reason=str(error), exit_code=error.exit_code)
                return json_answer(answer, 409)
        return json_answer(AuditRestartAnswer(ok=True))
