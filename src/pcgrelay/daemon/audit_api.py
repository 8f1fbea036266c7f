"""Handlers of the admin socket for the audit log."""

from __future__ import annotations

import secrets

from pcgrelay.admin.audit_answers import QueriedAnswer
from pcgrelay.admin.http import Answer, json_answer
from pcgrelay.admin.server import UID, Query
from pcgrelay.gateway.node import Node
from pcgrelay.log.audit_events import AuditQueried
from pcgrelay.printable import printable

TEXT_LIMIT = 320
ID_BYTES = 8


class AuditApi:
    """What is done with the log is on record in it."""

    def __init__(self, node: Node) -> None:
        self._node = node

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
