"""Handlers of the admin socket for the audit log."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Callable
from typing import TypedDict

from pcgrelay.admin.audit_answers import AuditRestartAnswer, QueriedAnswer
from pcgrelay.admin.http import Answer, json_answer
from pcgrelay.admin.server import UID, Query
from pcgrelay.audit.restarting import Restart
from pcgrelay.errors import PcgrelayError, RuleProblem
from pcgrelay.gateway.actor import Actor
from pcgrelay.gateway.node import Node
from pcgrelay.log.audit_events import AuditExported, AuditQueried
from pcgrelay.log.events import Record
from pcgrelay.printable import printable

TEXT_LIMIT = 320
ID_BYTES = 8
EXPORTS = ("tiles", "proof")
_NUMBER = re.compile(r"[0-9]{1,18}", re.ASCII)


class _Said(TypedDict):
    """Who does something with the log, and why."""

    id: str  # of the record
    uid: int
    by: str
    reason: str


class AuditApi:
    """What is done with the log is on record in it."""

    def __init__(self, node: Node, lock: asyncio.Lock) -> None:
        """lock: held by whatever must not overlap with a reload or a hand-over."""
        self._node = node
        self._lock = lock

    async def queried(self, query: Query, body: bytes) -> Answer:
        """POST /v1/audit/queried?service=...&organisation=...&since=...&until=...&by=...&reason=..."""
        keys = ("service", "organisation", "since", "until")
        wanted = {key: printable(query.get(key, "")[:TEXT_LIMIT]) for key in keys}
        return await self._keep(query, lambda said: AuditQueried(**wanted, **said))

    async def exported(self, query: Query, body: bytes) -> Answer:
        """POST /v1/audit/exported?kind=tiles|proof&first=...&last=...&by=...&reason=..."""
        kind, numbers = query.get("kind", ""), [query.get(key, "") for key in ("first", "last")]
        if kind not in EXPORTS or not all(_NUMBER.fullmatch(each) for each in numbers):
            reason = "an export is of tiles or a proof, from a first record to a last one."
            return json_answer(QueriedAnswer(reason=reason), 409)
        first, last = map(int, numbers)
        return await self._keep(query, lambda said: AuditExported(kind=kind, first=first, last=last, **said))

    async def _keep(self, query: Query, make: Callable[[_Said], Record]) -> Answer:
        log = self._node.log
        if log.audit is None:
            return json_answer(QueriedAnswer(reason="this node keeps no audit log; see [audit] in its configuration."))
        by, reason = (printable(query.get(key, "")[:TEXT_LIMIT]) for key in ("by", "reason"))
        said = _Said(id=secrets.token_hex(ID_BYTES), uid=int(query[UID]), by=by, reason=reason)
        is_kept = await log.keep(make(said))
        why = "" if is_kept else "the audit log is not written; see status."
        return json_answer(QueriedAnswer(id=said["id"], is_kept=is_kept, reason=why))

    async def restart(self, query: Query, body: bytes) -> Answer:
        """POST /v1/audit/restart?reason=...&by=..."""
        actor = Actor(int(query[UID]), query.get("by", "")[:TEXT_LIMIT], query.get("reason", "")[:TEXT_LIMIT])
        async with self._lock:
            try:
                if not actor.reason.strip():
                    raise RuleProblem("Say why a new audit log is begun; add --reason.")
                async with self._node.approvals.acting("audit restart", actor.reason, actor) as acted:
                    await self._node.audit.restart(Restart(uid=actor.uid, by=actor.by, reason=actor.reason))
                if acted is not None:
                    # The log that took nothing any more did not take this either.
                    self._node.log.emit_audit(acted)
            except PcgrelayError as error:
                answer = AuditRestartAnswer(ok=False, reason=str(error), exit_code=error.exit_code)
                return json_answer(answer, 409)
        return json_answer(AuditRestartAnswer(ok=True))
