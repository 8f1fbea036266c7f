"""Requests about the approved policy at the admin socket."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path

from pcgrelay.admin.http import Answer, json_answer
from pcgrelay.admin.policy_answers import PolicyAnswer, PolicyFile
from pcgrelay.admin.server import UID, Query
from pcgrelay.errors import PcgrelayError
from pcgrelay.gateway.node import Node
from pcgrelay.state.approved import REVOKED, SIGNERS, TRUST, Approved

PATH_LIMIT = 4_096


class PolicyApi:
    """The handlers of /v1/policy."""

    def __init__(self, node: Node, lock: asyncio.Lock) -> None:
        """lock: held while a reload or a hand-over runs."""
        self._node = node
        self._lock = lock

    def shown(self, query: Query) -> Answer:
        """GET: what holds, what was before it, and which acts wait for approval."""
        return json_answer(self._answer())

    async def held(self, query: Query, body: bytes) -> Answer:
        """POST ?change=PATH&text=PATH: hold a change, or let it go, as a signed text says."""
        change, text = query.get("change", "")[:PATH_LIMIT], query.get("text", "")[:PATH_LIMIT]
        async with self._lock:
            try:
                holders = await self._node.approvals.hold(Path(change), Path(text), int(query[UID]))
            except PcgrelayError as error:
                return json_answer(PolicyAnswer(reason=str(error), exit_code=error.exit_code), 409)
        return json_answer(PolicyAnswer(active=True, held_by=holders))

    def _answer(self) -> PolicyAnswer:
        approvals = self._node.approvals
        if approvals.held is None or approvals.kept is None:
            return PolicyAnswer(active=approvals.is_active)
        before = approvals.before
        return PolicyAnswer(
            active=True,
            holds=_file(approvals.kept),
            before=None if before is None else _file(before),
            unapproved=approvals.unapproved,
            unwritten=approvals.unwritten,
            acts=dict(approvals.pending),
        )


def _file(kept: Approved) -> PolicyFile:
    pointer, files = kept.pointer, kept.files
    return PolicyFile(
        digest=pointer.digest,
        taken=pointer.taken,
        by=pointer.by,
        change=pointer.change,
        approved=pointer.approved,
        is_first=pointer.is_first,
        text=kept.text,
        signers=files.get(SIGNERS, b"").decode("ascii", "replace"),
        trust=files.get(TRUST, b"").decode("ascii", "replace"),
        revoked=base64.b64encode(files.get(REVOKED, b"")).decode(),
    )
